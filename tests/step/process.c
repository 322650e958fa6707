/* Processes and pools whose starter is killed: what it started ends, and nothing of it is left. */
#include "kill.h"

#include "shm/block.h"
#include "shm/member.h"

#include <piu.h>
#include <sched.h>

struct state {
    struct piu_lock lock;
    _Atomic int ran;
};

static unsigned living(void)
{
    uint32_t cursor = 0;
    unsigned count = 0;

    while (member_next(&cursor))
        count++;
    return count;
}

/* Daemons and workers go with their starter, busy or not; others go on to their end. */
static void nothing_is_left(void *state)
{
    struct state *s = state;

    kill_orphans_end();
    do /* those of a starter that lives on as another program are not ours to wait for */
        member_sweep_dead(true);
    while (living() != 1 && sched_yield() == 0);
    CHECK(block_check());
    CHECK_EQ(kill_blocks(), 0);
    CHECK(piu_lock_acquire(&s->lock, PIU_SEC(10)) >= 0);
    CHECK_EQ(piu_lock_release(&s->lock), 0);
}

#define STARTER .size = sizeof(struct state), .forks = true, .check = nothing_is_left

/* ---- Process ------------------------------------------------------------------------------- */

static int use_the_lock(void *state)
{
    struct state *s = state;

    CHECK(piu_lock_acquire(&s->lock, PIU_FOREVER) >= 0);
    s->ran++;
    CHECK_EQ(piu_lock_release(&s->lock), 0);
    return 7;
}

static int hold_for_ever(void *state)
{
    CHECK(piu_lock_acquire(&((struct state *)state)->lock, PIU_FOREVER) >= 0);
    for (;;)
        pause();
}

static void start_and_join(void *state)
{
    struct piu_process p = {.target = use_the_lock, .argument = state};
    int code;

    CHECK_EQ(piu_process_start(&p), 0);
    CHECK_EQ(piu_process_join(&p, PIU_FOREVER), 0);
    CHECK_EQ(piu_process_exitcode(&p, &code), 0);
    CHECK_EQ(code, 7);
    CHECK_EQ(piu_process_close(&p), 0);
}

static void start_a_daemon_and_kill_it(void *state)
{
    struct piu_process p = {.target = hold_for_ever, .argument = state, .daemon = true};

    CHECK_EQ(piu_process_start(&p), 0);
    CHECK_EQ(piu_process_kill(&p), 0);
    CHECK_EQ(piu_process_join(&p, PIU_FOREVER), 0);
    CHECK_EQ(piu_process_close(&p), 0);
}

KILL(process, start_and_join, STARTER, .operation = start_and_join);
KILL(process, daemon, STARTER, .most = 2000, .operation = start_a_daemon_and_kill_it);

/* ---- Pool --------------------------------------------------------------------------------------- */

#define ITEMS 6

static int square(int x)
{
    return x * x;
}

static void map_and_free(void *state)
{
    struct piu_pool *pool = piu_pool_new(.processes = 2);
    int in[ITEMS] = {0, 1, 2, 3, 4, 5}, out[ITEMS];

    (void)state;
    CHECK(pool);
    CHECK_EQ(piu_map(pool, square, in, out), 0);
    CHECK_EQ(out[5], 25);
    piu_pool_free(pool);
}

/*
 * What a killed owner's pool had goes back, but for the one block that it was killed at between
 * unlinking and freeing.
 */
static void all_workers_end(void *state)
{
    (void)state;
    kill_orphans_end();
    do /* those of an owner that lives on as another program are not ours to wait for */
        member_sweep_dead(true);
    while (living() != 1 && sched_yield() == 0);
    CHECK(block_check());
    CHECK(kill_blocks() <= 1);
    CHECK(kill_blocks() == 0 || !kill_now.ended);
}

KILL(pool, parent, .size = sizeof(struct state), .forks = true, .most = 500,
     .operation = map_and_free, .check = all_workers_end);

/* ---- One of the pool's own is killed, at some point of a life with a map in it ------------------ */

/* What was lost is told; the next map is whole; nobody and nothing is left. */
static void maps_go_on(void *state)
{
    struct piu_pool *pool = piu_pool_new(.processes = 2);
    int in[ITEMS] = {0, 1, 2, 3, 4, 5}, out[ITEMS] = {-1, -1, -1, -1, -1, -1};
    int r, lost = 0;

    if (!pool) /* its nursery was killed before there was a worker: that is told */
        pool = piu_pool_new(.processes = 2);
    CHECK(pool);
    r = piu_map(pool, square, in, out);
    CHECK(r == 0 || r == PIU_LOSSES);
    for (int i = 0; i < ITEMS; i++) {
        CHECK(out[i] == i * i || out[i] == -1);
        lost += out[i] == -1;
    }
    CHECK(lost == 0 || r == PIU_LOSSES);
    r = piu_map(pool, square, in, out); /* it may be killed in this one */
    CHECK(r == 0 || r == PIU_LOSSES);
    r = piu_map(pool, square, in, out);
    CHECK(r == 0 || r == PIU_LOSSES);
    piu_pool_free(pool);
    nothing_is_left(state);
}

KILL(pool, worker, .size = sizeof(struct state), .most = 500, .inside = ROLE_WORKER,
     .check = maps_go_on);
KILL(pool, nursery, .size = sizeof(struct state), .most = 500, .inside = ROLE_NURSERY,
     .check = maps_go_on);
