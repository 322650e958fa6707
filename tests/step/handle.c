/* Handles: whatever a dead one did with its holds, what it held is given back. */
#include "kill.h"

#include "flow/handle.h"
#include "flow/bequest.h"

#include <piu.h>

#include <stdatomic.h>

/* One object is kept by a message: the survivor holds nothing that its children would inherit. */
struct state {
    struct piu_handle handle;
    struct piu_hold mine; /* the victim's */
};

static void one_in_a_message(void *state)
{
    struct state *s = state;
    struct piu_hold hold;

    CHECK_EQ(piu_hold_new(&hold, PIU_KIND_MEMORY, 64), 0);
    s->handle = hold.handle;
    CHECK_EQ(piu_handle_send(&hold.handle), 0);
    CHECK_EQ(piu_hold_drop(&hold), 0);
}

static void make(void *state)
{
    CHECK_EQ(piu_hold_new(&((struct state *)state)->mine, PIU_KIND_MEMORY, 64), 0);
}

static void make_semaphore(void *state)
{
    struct state *s = state;

    CHECK_EQ(piu_hold_new(&s->mine, PIU_KIND_SEMAPHORE, sizeof(struct piu_semaphore)), 0);
    CHECK_EQ(piu_semaphore_init(s->mine.object, 1, PIU_BOUNDED), 0);
    CHECK_EQ(piu_semaphore_acquire(s->mine.object, PIU_NOW), 0);
}

static void make_queue(void *state)
{
    struct piu_queue *q = piu_queue_new();

    CHECK(q);
    CHECK_EQ(piu_hold_queue(&((struct state *)state)->mine, q), 0);
    CHECK_EQ(piu_queue_put(q, "x", 1, PIU_NOW), 0);
}

static void take(void *state)
{
    struct state *s = state;

    CHECK_EQ(piu_hold_take(&s->mine, &s->handle), 0);
}

static void drop(void *state)
{
    CHECK_EQ(piu_hold_drop(&((struct state *)state)->mine), 0);
}

/* The survivor's is whole, and nothing else is left. */
static void one_is_left(void *state)
{
    struct state *s = state;

    member_sweep_dead(true);
    CHECK_EQ(handles_in_use(), 1);
    CHECK(handles_check(1));
    in_child({
        take(s);
        CHECK_EQ(piu_handle_land(&s->handle), 0);
        drop(s);
        CHECK_EQ(piu_hold_take(&s->mine, &s->handle), -ESTALE);
    });
    member_sweep_dead(true);
    CHECK_EQ(handles_in_use(), 0);
    CHECK(handles_check(0));
}

#define HANDLE .size = sizeof(struct state), .set_up = one_in_a_message

KILL(handle, make, HANDLE, .check = one_is_left, .operation = make);
KILL(handle, take, HANDLE, .check = one_is_left, .operation = take);
KILL(handle, drop, HANDLE, .check = one_is_left, .prepare = take, .operation = drop);
KILL(handle, drop_the_last, HANDLE, .check = one_is_left, .prepare = make,
     .operation = drop);
KILL(handle, drop_the_last_of_a_semaphore, HANDLE, .check = one_is_left,
     .prepare = make_semaphore, .operation = drop);
KILL(handle, drop_the_last_of_a_queue, HANDLE, .check = one_is_left,
     .prepare = make_queue, .operation = drop);
KILL(handle, two_takers, HANDLE, .check = one_is_left, .operation = take, .other = take);
/* Both in the gate: what the victim prepares must not need it while B stands in there. */
static void take_and_drop(void *state)
{
    take(state);
    drop(state);
}

KILL(handle, taker_and_dropper, HANDLE, .check = one_is_left, .operation = take_and_drop,
     .other = take);

/* ---- A message that carries one -------------------------------------------------------------- */

static void send_and_land(void *state)
{
    struct state *s = state;

    CHECK_EQ(piu_handle_send(&s->handle), 0);
    CHECK_EQ(piu_handle_land(&s->handle), 0);
}

/* Between the two it lives as long as the family does. */
static void one_or_two_messages(void *state)
{
    struct state *s = state;

    member_sweep_dead(true);
    CHECK_EQ(handles_in_use(), 1);
    if (!handles_check(1)) {
        CHECK(!kill_now.ended && handles_check(2));
        in_child({ CHECK_EQ(piu_handle_land(&s->handle), 0); });
    }
    one_is_left(state);
}

KILL(handle, send_and_land, HANDLE, .operation = send_and_land,
     .check = one_or_two_messages);

/* ---- Fork: the child holds what its starter held ---------------------------------------------- */

static void fork_one(void *state)
{
    struct state *s = state;
    pid_t pid = fork();

    CHECK(pid >= 0);
    if (pid == 0) {
        drop(s);
        exit(0);
    }
    child_wait(pid);
}

/* What no child came for is given back by the next one that forks, when its time is over. */
static void bequests_age(void)
{
    struct handle_table *t = handles_enter();
    uint64_t at;

    CHECK(t);
    for (at = atomic_load(&t->bequests); at;) {
        struct ledger_block *b = arena_at(at, sizeof(*b));

        CHECK(b);
        atomic_store(&b->made, clock_now() - BEQUEST_LASTS);
        at = atomic_load(&b->next);
    }
    handles_leave(t);
}

static void no_bequest_is_left(void *state)
{
    struct state *s = state;

    kill_orphans_end();
    member_sweep_dead(true);
    bequests_age();
    in_child({
        take(s);
        fork_one(s);
        _exit(0);
    });
    one_is_left(state);
}

KILL(handle, fork, HANDLE, .forks = true, .prepare = take, .operation = fork_one,
     .check = no_bequest_is_left);
