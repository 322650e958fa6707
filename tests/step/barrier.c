/* The barrier: all who came are told the same; a dead one who had come breaks it. */
#include "kill.h"

#include "shm/member.h"
#include "sync/barrier.h"

#include <piu.h>

struct state {
    struct piu_barrier barrier;
    _Atomic bool comes_first; /* the peer, before the victim */
    _Atomic int result;       /* of the peer */
};

static void of_two(void *state)
{
    CHECK_EQ(piu_barrier_init(&((struct state *)state)->barrier, 2), 0);
}

static void arrive(void *state)
{
    piu_barrier_wait(&((struct state *)state)->barrier, NULL, PIU_FOREVER);
}

static void arrive_in_vain(void *state)
{
    piu_barrier_wait(&((struct state *)state)->barrier, NULL, PIU_NOW);
}

static void meet_for(void *state, int64_t timeout)
{
    struct piu_barrier *b = &((struct state *)state)->barrier;

    if (piu_barrier_meet(b, NULL, timeout) == PIU_LAST)
        piu_barrier_release(b);
}

static void meet(void *state)
{
    meet_for(state, PIU_FOREVER);
}

static void meet_in_vain(void *state)
{
    meet_for(state, PIU_NOW);
}

static void abort_it(void *state)
{
    CHECK_EQ(piu_barrier_abort(&((struct state *)state)->barrier), 0);
}

static void reset(void *state)
{
    CHECK_EQ(piu_barrier_reset(&((struct state *)state)->barrier), 0);
}

/* Whole again after a reset: two pass, each with an index of its own. */
static void two_pass(void *state)
{
    struct state *s = state;
    unsigned index = 9;
    pid_t child;

    CHECK(barrier_check(&s->barrier));
    reset(state);
    CHECK(!piu_barrier_is_broken(&s->barrier));
    CHECK_EQ(piu_barrier_waiting(&s->barrier), 0);
    child = child_start({
        unsigned first = 9;

        CHECK_EQ(piu_barrier_wait(&s->barrier, &first, PIU_FOREVER), 0);
        exit((int)first);
    });
    CHECK_EQ(piu_barrier_wait(&s->barrier, &index, PIU_SEC(10)), 0);
    CHECK(index < 2);
    CHECK_EQ(WEXITSTATUS(child_wait(child)), 1 - index);
    piu_barrier_done(&s->barrier);
    member_sweep_dead(true);
    CHECK_EQ(kill_blocks(), 0);
}

#define BARRIER .size = sizeof(struct state), .set_up = of_two

KILL(barrier, time_is_up, BARRIER, .operation = arrive_in_vain, .check = two_pass);

/* ---- With a peer ----------------------------------------------------------------------------- */

static void peer_arrives(void *state)
{
    struct state *s = state;

    s->comes_first = true;
    peer_is_ready();
    s->result = piu_barrier_wait(&s->barrier, NULL, PIU_FOREVER);
}

/*
 * Where it comes behind a victim that died inside the gate, it may sleep for that first: not before
 * the barrier counts it has it come.
 */
static bool peer_has_come(struct state *s)
{
    return peer_has_ended(0) ||
           (peer_rests(0) && (s->comes_first || piu_barrier_waiting(&s->barrier) > 0));
}

/* It passes with the first, finds that broken, or comes after it passed. */
static int third_comes(struct state *s)
{
    int r;

    test_wait_until(peer_has_come(s));
    r = piu_barrier_wait(&s->barrier, NULL, PIU_NOW);
    CHECK(r == 0 || r == -ENOTRECOVERABLE || r == -ETIMEDOUT);
    peer_join(0);
    return r;
}

static void all_are_told_the_same(void *state)
{
    struct state *s = state;
    int r = third_comes(s);

    CHECK_EQ(s->result, r == -ENOTRECOVERABLE ? r : 0);
    CHECK(r != 0 || !kill_now.ended);
    two_pass(state);
}

/* Reset, or not: the first is told that it was broken, or passes with the third. */
static void first_is_told(void *state)
{
    struct state *s = state;
    int r = piu_barrier_wait(&s->barrier, NULL, PIU_NOW);

    CHECK(r == 0 || r == -ETIMEDOUT);
    peer_join(0);
    CHECK_EQ(s->result, r == 0 ? 0 : -ENOTRECOVERABLE);
    CHECK(r != 0 || !kill_now.ended);
    two_pass(state);
}

KILL(barrier, last_arrives, BARRIER, .peers = {peer_arrives}, .operation = arrive,
     .check = all_are_told_the_same);
KILL(barrier, last_meets, BARRIER, .peers = {peer_arrives}, .operation = meet,
     .check = all_are_told_the_same);
KILL(barrier, abort, BARRIER, .peers = {peer_arrives}, .operation = abort_it,
     .check = all_are_told_the_same);
KILL(barrier, reset, BARRIER, .peers = {peer_arrives}, .operation = reset,
     .check = first_is_told);

static void peer_arrives_last(void *state)
{
    struct state *s = state;

    peer_is_ready();
    peer_awaits_victim();
    s->result = piu_barrier_wait(&s->barrier, NULL, PIU_FOREVER);
}

KILL(barrier, woken, BARRIER, .peers = {peer_arrives_last}, .operation = arrive,
     .check = all_are_told_the_same);

/* ---- Two ------------------------------------------------------------------------------------- */

KILL(barrier, abort_and_arrival, BARRIER, .operation = abort_it, .other = arrive_in_vain,
     .check = two_pass);
KILL(barrier, two_arrivals, BARRIER, .operation = arrive_in_vain, .other = arrive_in_vain,
     .check = two_pass);
KILL(barrier, abort_and_meeting, BARRIER, .operation = abort_it, .other = meet_in_vain,
     .check = two_pass);
KILL(barrier, reset_and_meeting, BARRIER, .operation = reset, .other = meet_in_vain,
     .check = two_pass);
KILL(barrier, two_meet, BARRIER, .operation = meet_in_vain, .other = meet_in_vain,
     .check = two_pass);

/* Of the second victim's time, or of its death, the first may have been told before or not. */
static void first_is_left_by_both(void *state)
{
    struct state *s = state;

    third_comes(s);
    CHECK(s->result == 0 || s->result == -ENOTRECOVERABLE);
    two_pass(state);
}

KILL(barrier, last_meets_then_arrival, BARRIER, .peers = {peer_arrives}, .operation = meet,
     .then = arrive_in_vain, .check = first_is_left_by_both);
