/* Read-write locks: readers never see half a change, unless they are told of the death. */
#include "soak.h"

#include "sync/rwlock.h"

static struct state { /* piu's shared memory */
    struct piu_rwlock lock;
    struct guarded guarded;
} * state;

static void set_up(void)
{
    state = piu_shared_new(1, sizeof(*state));
}

static void write_once(void)
{
    int r = ACT("acquire_write", piu_rwlock_acquire_write(&state->lock, PIU_FOREVER));

    if (r < 0)
        violation("acquire_write: %s", piu_strerror(r));
    else
        guarded_change(&state->guarded, r);
}

static void read_once(void)
{
    int r = ACT("acquire_read", piu_rwlock_acquire_read(&state->lock, PIU_FOREVER));
    uint64_t before = state->guarded.first;

    if (r < 0)
        violation("acquire_read: %s", piu_strerror(r));
    guarded_look(&state->guarded, r);
    if (now_and_then(16))
        usleep(0);
    if (state->guarded.first != before)
        violation("somebody writes while somebody reads");
}

static void user_play(struct actor *a)
{
    while (!atomic_load(&a->stop)) {
        if (now_and_then(4))
            write_once();
        else
            read_once();
        if (ACT("release", piu_rwlock_release(&state->lock)) != 0)
            violation("release refused");
    }
}

static void check(void)
{
    if (!rwlock_check(&state->lock))
        violation("the rwlock is not sound");
    if (piu_rwlock_acquire_write(&state->lock, PIU_SEC(1)) < 0)
        violation("the rwlock stays held by one that has gone");
    piu_rwlock_release(&state->lock);
    piu_rwlock_done(&state->lock);
    state = piu_shared_free(state);
}

const struct subject rwlock_subject = {
    .name = "rwlock",
    .set_up = set_up,
    .check = check,
    .roles = {{.name = "rwlocker", .count = 4, .play = user_play}},
};
