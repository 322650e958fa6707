#include "sync/slices.h"

#include "os/clock.h"
#include "os/futex.h"
#include "os/machine.h"
#include "shm/arena.h"
#include "shm/fate.h"
#include "shm/member.h"

#define SPINS_MIN 8
#define SPINS_MAX 400 /* about 10 us: a sleep and a wake-up cost that and more */

/* What spinning brought this thread lately decides how long it spins. */
static _Thread_local int spins = SPINS_MAX;

void slices_spin(const _Atomic uint32_t *word, uint32_t expected)
{
    if (machine_cpus_online() < 2)
        return;
    for (int i = 0; i < spins; i++) {
        /* relaxed: the caller looks again, with the order it needs */
        if (atomic_load_explicit(word, memory_order_relaxed) != expected) {
            spins = SPINS_MAX;
            return;
        }
        cpu_relax();
    }
    spins = spins / 2 < SPINS_MIN ? SPINS_MIN : spins / 2;
}

void slices_begin(struct slices *s, uint64_t who, const void *object, int64_t timeout)
{
    *s = (struct slices){
        .who = who,
        .object = arena_has(object, 1) ? object : NULL,
        .deadline = deadline_after(timeout),
        .next = SLICE_FIRST,
    };
}

/* Only who really sleeps is worth showing to people. */
static void tell(struct slices *s)
{
    if (!s->told && s->object)
        operation_waits(s->who, s->object);
    s->told = true;
}

/* The caller looks once more before it hears that it is alone. */
static void slice_is_over(struct slices *s)
{
    if (s->next == SLICE_LAST && s->deadline == CLOCK_FOREVER)
        s->alone = member_is_alone();
    s->next = min_timeout(s->next * 2, SLICE_LAST);
}

int slices_sleep(struct slices *s, const _Atomic uint32_t *word, uint32_t expected)
{
    int64_t left = deadline_left(s->deadline);
    int r;

    if (left == 0)
        return -ETIMEDOUT;
    if (s->alone)
        return -EDEADLK;
    tell(s);
    r = futex_wait(word, expected, min_timeout(s->next, left));
    if (r == -ETIMEDOUT)
        slice_is_over(s);
    return r == -EINTR ? r : 0;
}

void slices_end(struct slices *s)
{
    if (s->told && s->object)
        operation_waits(s->who, NULL);
}
