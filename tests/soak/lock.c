/* Locks and recursive locks: one holder at a time, and news of each that died. */
#include "soak.h"

#include "sync/lock.h"
#include "sync/rlock.h"

static struct state { /* piu's shared memory */
    struct piu_lock lock;
    struct piu_rlock rlock;
    struct guarded by_lock, by_rlock;
} * state;

static void set_up(void)
{
    state = piu_shared_new(1, sizeof(*state));
}

/* Elsewhere for a while: who never is would leave nothing to those who sleep. */
static void do_other_things(void)
{
    if (now_and_then(2))
        usleep(20);
}

static void locker_play(struct actor *a)
{
    while (!atomic_load(&a->stop)) {
        int64_t timeout = now_and_then(8) ? PIU_MSEC(1) : PIU_FOREVER;
        int r = ACT("acquire", piu_lock_acquire(&state->lock, timeout));

        if (r < 0) {
            if (r != -ETIMEDOUT)
                violation("acquire: %s", piu_strerror(r));
            continue;
        }
        guarded_change(&state->by_lock, r);
        r = ACT("release", piu_lock_release(&state->lock));
        if (r != 0)
            violation("release: %s", piu_strerror(r));
        do_other_things();
    }
}

static void rlocker_play(struct actor *a)
{
    while (!atomic_load(&a->stop)) {
        unsigned depth = 1 + (unsigned)random_below(&a->random, 3);
        int first = ACT("acquire (rlock)", piu_rlock_acquire(&state->rlock, PIU_FOREVER));
        int r = first;

        for (unsigned i = 1; i < depth && r >= 0; i++)
            r = ACT("acquire again (rlock)", piu_rlock_acquire(&state->rlock, PIU_NOW));
        if (r < 0) {
            violation("acquire (rlock): %s", piu_strerror(r));
            return;
        }
        if (piu_rlock_count(&state->rlock) != depth)
            violation("held %u times, and it says %u", depth,
                      piu_rlock_count(&state->rlock));
        guarded_change(&state->by_rlock, first);
        for (unsigned i = 0; i < depth; i++)
            if (ACT("release (rlock)", piu_rlock_release(&state->rlock)) != 0)
                violation("release (rlock) refused");
        do_other_things();
    }
}

/* All have gone: whoever died with it passes it on. */
static void check(void)
{
    if (!lock_check(&state->lock) || !rlock_check(&state->rlock))
        violation("a lock is not sound");
    if (piu_lock_acquire(&state->lock, PIU_SEC(1)) < 0 ||
        piu_rlock_acquire(&state->rlock, PIU_SEC(1)) < 0)
        violation("a lock stays held by one that has gone");
    state = piu_shared_free(state);
}

const struct subject lock_subject = {
    .name = "lock",
    .set_up = set_up,
    .check = check,
    .roles = {{.name = "locker", .count = 4, .play = locker_play},
              {.name = "rlocker", .count = 3, .play = rlocker_play}},
};
