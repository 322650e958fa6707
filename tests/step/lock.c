/* The lock: acquire and release, waits, release by another. */
#include "kill.h"

#include "sync/lock.h"

#include <piu.h>

/* before == after unless the holder died between: what the lock guards. */
struct state {
    struct piu_lock lock;
    volatile int before, after; /* two instructions */
};

static void write_guarded(struct state *s)
{
    s->before++;
    s->after++;
}

/* News is never swallowed: torn bytes come with PIU_OWNER_DIED, and are made whole. */
static void acquire(void *state)
{
    struct state *s = state;
    int r = piu_lock_acquire(&s->lock, PIU_FOREVER);

    CHECK(r >= 0);
    CHECK(s->before == s->after || r == PIU_OWNER_DIED);
    s->after = s->before;
}

static void release(void *state)
{
    struct state *s = state;

    piu_lock_release(&s->lock);
}

static void use(void *state)
{
    acquire(state);
    write_guarded(state);
    release(state);
}

static void goes_on(void *state)
{
    struct state *s = state;

    CHECK(lock_check(&s->lock));
    use(s);
    CHECK_EQ(piu_lock_acquire(&s->lock, PIU_NOW), 0);
    CHECK_EQ(piu_lock_release(&s->lock), 0);
    CHECK_EQ(piu_lock_release(&s->lock), -EPERM);
    CHECK_EQ(kill_blocks(), 0);
}

KILL(lock, free, .size = sizeof(struct state), .operation = use, .check = goes_on);
KILL(lock, holder_dies, .size = sizeof(struct state), .prepare = acquire,
     .operation = release, .check = goes_on);

static void held_by_one_that_died(void *state)
{
    in_child_killed({ acquire(state); });
}

KILL(lock, dead_holder, .size = sizeof(struct state), .set_up = held_by_one_that_died,
     .operation = use, .check = goes_on);
KILL(lock, dead_holder_released_by_another, .size = sizeof(struct state),
     .set_up = held_by_one_that_died, .operation = release, .check = goes_on);

/* ---- With peers -------------------------------------------------------------------------- */

static void peer_waits(void *state)
{
    peer_is_ready();
    use(state);
}

/* The survivor holds it, so that the peer sleeps. */
static void waiter_goes_on(void *state)
{
    struct state *s = state;

    if (piu_lock_owner(&s->lock) == getpid())
        CHECK_EQ(piu_lock_release(&s->lock), 0);
    peer_join(0);
    goes_on(state);
}

KILL(lock, released_by_another_one_sleeps, .size = sizeof(struct state),
     .set_up = acquire, .peers = {peer_waits}, .operation = release,
     .check = waiter_goes_on);

static void peer_holds(void *state)
{
    acquire(state);
    peer_is_ready();
    peer_awaits_victim();
    release(state);
}

KILL(lock, woken, .size = sizeof(struct state), .peers = {peer_holds}, .operation = use,
     .check = waiter_goes_on);

/* ---- Two ---------------------------------------------------------------------------------- */

KILL(lock, two_users, .size = sizeof(struct state), .operation = use, .other = use,
     .check = goes_on);
