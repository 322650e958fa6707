/* The condition: who waits is told, once; a notify that a dead one swallowed goes on. */
#include "kill.h"

#include "shm/member.h"
#include "sync/condition.h"
#include "sync/lock.h"

#include <piu.h>

struct state {
    struct piu_lock lock;
    struct piu_rlock rlock;
    struct piu_condition condition;
    _Atomic unsigned returned;   /* peers, from their waits */
    _Atomic int about_to_wait;   /* the peer that comes later is */
    _Atomic int victim_returned; /* notified, and said so with the lock held */
};

static void acquire(void *state)
{
    struct state *s = state;

    CHECK(piu_lock_acquire(&s->lock, PIU_FOREVER) >= 0);
}

static void release(void *state)
{
    struct state *s = state;

    CHECK_EQ(piu_lock_release(&s->lock), 0);
}

static void wait_for_notify(void *state)
{
    struct state *s = state;

    CHECK(piu_condition_wait(&s->condition, &s->lock, PIU_FOREVER) >= 0);
}

static void peer_waits(void *state)
{
    struct state *s = state;

    peer_is_ready();
    acquire(state);
    wait_for_notify(state);
    s->returned++;
    release(state);
}

static unsigned waiting(struct state *s)
{
    return piu_condition_waiting(&s->condition);
}

static void nobody_waits(void *state)
{
    struct state *s = state;

    CHECK_EQ(piu_condition_notify(&s->condition, 1), 0);
    CHECK_EQ(waiting(s), 0);
    CHECK(condition_check(&s->condition));
    acquire(state);
    release(state);
    CHECK(piu_rlock_acquire(&s->rlock, PIU_SEC(10)) >= 0);
    CHECK_EQ(piu_rlock_count(&s->rlock), 1);
    CHECK_EQ(piu_rlock_release(&s->rlock), 0);
    piu_condition_done(&s->condition);
    member_sweep_dead(true);
    CHECK_EQ(kill_blocks(), 0);
}

/* ---- Notify ------------------------------------------------------------------------------ */

static void notify_one(void *state)
{
    piu_condition_notify(&((struct state *)state)->condition, 1);
}

static void notify_all(void *state)
{
    piu_condition_notify_all(&((struct state *)state)->condition);
}

/* At most `most` of two were told, and the rest can be. */
static void two_come_back(struct state *s, unsigned most)
{
    CHECK_EQ(piu_condition_notify(&s->condition, 0), 0); /* ends what was begun */
    CHECK(condition_check(&s->condition));
    CHECK(waiting(s) + most >= 2);
    CHECK(waiting(s) + most == 2 || !kill_now.ended);
    CHECK_EQ(piu_condition_notify_all(&s->condition), 0);
    peer_join(0);
    peer_join(1);
    CHECK_EQ(s->returned, 2);
    nobody_waits(s);
}

static void one_was_notified(void *state)
{
    two_come_back(state, 1);
}

static void all_were_notified(void *state)
{
    two_come_back(state, 2);
}

#define CONDITION .size = sizeof(struct state)

KILL(condition, notify, CONDITION, .peers = {peer_waits, peer_waits},
     .operation = notify_one, .check = one_was_notified);
KILL(condition, notify_all, CONDITION, .peers = {peer_waits, peer_waits},
     .operation = notify_all, .check = all_were_notified);

/* ---- A notify that a dead one swallowed --------------------------------------------------- */

/* The first peer is notified and killed before it has the lock; the others must not see it. */
static void first_swallows_a_notify(void *state)
{
    struct state *s = state;

    acquire(state);
    peer_stop(1);
    peer_stop(2);
    CHECK_EQ(piu_condition_notify(&s->condition, 1), 0);
    peer_kill(0);
    release(state);
}

static void notify_none(void *state)
{
    CHECK_EQ(piu_condition_notify(&((struct state *)state)->condition, 0), 0);
}

static void the_next_got_it(void *state)
{
    struct state *s = state;

    notify_none(state);
    CHECK_EQ(waiting(s), 1);
    peer_continue(1);
    peer_continue(2);
    peer_join(1);
    CHECK_EQ(s->returned, 1);
    notify_one(state);
    peer_join(2);
    nobody_waits(state);
}

KILL(condition, pass_on, CONDITION, .peers = {peer_waits, peer_waits, peer_waits},
     .prepare = first_swallows_a_notify, .operation = notify_none,
     .check = the_next_got_it);

/* ---- Wait ---------------------------------------------------------------------------------- */

static void wait_in_vain(void *state)
{
    struct state *s = state;

    piu_lock_acquire(&s->lock, PIU_NOW);
    piu_condition_wait(&s->condition, &s->lock, PIU_NOW);
    piu_lock_release(&s->lock);
}

static void wait_in_vain_twice_locked(void *state)
{
    struct state *s = state;

    piu_rlock_acquire(&s->rlock, PIU_NOW);
    piu_rlock_acquire(&s->rlock, PIU_NOW);
    piu_condition_wait_rlock(&s->condition, &s->rlock, PIU_NOW);
    CHECK_EQ(piu_rlock_count(&s->rlock), 2);
    piu_rlock_release(&s->rlock);
    piu_rlock_release(&s->rlock);
}

KILL(condition, wait, CONDITION, .operation = wait_in_vain, .check = nobody_waits);
KILL(condition, wait_rlock, CONDITION, .operation = wait_in_vain_twice_locked,
     .check = nobody_waits);

static void wait_and_say_so(void *state)
{
    struct state *s = state;

    acquire(state);
    wait_for_notify(state);
    s->victim_returned = 1;
    release(state);
}

/* Waits behind the victim, if that comes to wait. */
static void peer_waits_later(void *state)
{
    struct state *s = state;

    peer_is_ready();
    peer_awaits_victim();
    s->about_to_wait = 1;
    peer_waits(state);
}

static void peer_notifies(void *state)
{
    struct state *s = state;

    peer_is_ready();
    peer_awaits_victim();
    test_wait_until(s->about_to_wait && peer_rests(0) && waiting(s) >= 1);
    acquire(state);
    notify_one(state);
    release(state);
}

/* It went to the victim, which had the lock then, or to the other one. */
static void the_notify_is_not_lost(void *state)
{
    struct state *s = state;
    bool news;

    peer_join(1);
    notify_none(state);
    news = piu_lock_acquire(&s->lock, PIU_FOREVER) == PIU_OWNER_DIED;
    CHECK(waiting(s) == 0 || s->victim_returned || news);
    release(state);
    CHECK_EQ(piu_condition_notify_all(&s->condition), 0);
    peer_join(0);
    nobody_waits(state);
}

KILL(condition, woken, CONDITION, .peers = {peer_waits_later, peer_notifies},
     .operation = wait_and_say_so, .check = the_notify_is_not_lost);

static int ends_the_wait(void *unused)
{
    (void)unused;
    return 1;
}

static void wait_and_give_on(void *state)
{
    struct state *s = state;

    acquire(state);
    CHECK_EQ(piu_condition_wait_calling(&s->condition, &s->lock, PIU_FOREVER,
                                        ends_the_wait, NULL),
             -ECANCELED);
    release(state);
}

static void the_other_got_it(void *state)
{
    peer_join(1);
    notify_none(state);
    peer_join(0);
    nobody_waits(state);
}

KILL(condition, given_on, CONDITION, .peers = {peer_waits_later, peer_notifies},
     .operation = wait_and_give_on, .check = the_other_got_it);

/* ---- Two ------------------------------------------------------------------------------------ */

KILL(condition, notifier_and_waiter, CONDITION, .operation = notify_one,
     .other = wait_in_vain, .check = nobody_waits);
KILL(condition, two_waiters, CONDITION, .operation = wait_in_vain, .other = wait_in_vain,
     .check = nobody_waits);
