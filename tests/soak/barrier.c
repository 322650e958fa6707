/* A barrier: nobody passes before all have come, and a death in it breaks it. */
#include "soak.h"

#include "sync/barrier.h"

#define PARTIES 3u

static struct piu_barrier *barrier; /* piu's shared memory */
static struct {                     /* plain shared */
    _Atomic uint64_t tickets;
    _Atomic uint64_t arrived[PARTIES]; /* ticket of each one's last arrival */
} * seen;

static void set_up(void)
{
    if (!seen)
        seen = plain_shared_new(sizeof(*seen));
    for (unsigned i = 0; i < PARTIES; i++)
        atomic_store(&seen->arrived[i], 0);
    barrier = piu_shared_new(1, sizeof(*barrier));
    if (!barrier || piu_barrier_init(barrier, PARTIES) != 0)
        violation("the barrier cannot be made");
}

/*
 * All of a generation have come since it began, so after the arrival of each of them at the one
 * before: `before` was our own, at the last that passed.
 */
static void all_have_come(uint64_t before)
{
    for (unsigned i = 0; i < PARTIES; i++)
        if (atomic_load(&seen->arrived[i]) <= before)
            violation("passed, and party-%u has not come", i);
}

static void party_play(struct actor *a)
{
    uint64_t passed = 0;

    while (!atomic_load(&a->stop)) {
        uint64_t ticket = atomic_fetch_add(&seen->tickets, 1) + 1;
        unsigned index = PARTIES;
        int r;

        atomic_store(&seen->arrived[a->number], ticket);
        r = ACT("wait", piu_barrier_wait(barrier, &index, PIU_FOREVER));
        if (r == 0) {
            if (passed)
                all_have_come(passed);
            if (index >= PARTIES)
                violation("passed as number %u of %u", index, PARTIES);
            passed = ticket;
        } else if (r != -ENOTRECOVERABLE) {
            violation("wait: %s", piu_strerror(r));
        } else if (piu_barrier_is_broken(barrier) && !atomic_load(&a->stop)) {
            ACT("reset", piu_barrier_reset(barrier));
        }
    }
}

static void close_barrier(void)
{
    piu_barrier_abort(barrier);
}

static void check(void)
{
    if (!barrier_check(barrier))
        violation("the barrier is not sound");
    piu_barrier_done(barrier);
    barrier = piu_shared_free(barrier);
}

const struct subject barrier_subject = {
    .name = "barrier",
    .set_up = set_up,
    .close = close_barrier,
    .check = check,
    .roles = {{.name = "party", .count = PARTIES, .play = party_play, .last = true}},
};
