/* Who waits spins, then sleeps; who has news wakes one that sleeps: T5 and T6 of tasks.h. */
#include "tasks.h"
#include "wait.h"

#include <sched.h>
#include <unistd.h>

#define SPIN_PURE    (5 * 1000) /* ns; then with yields */
#define SPIN_MOST    (40 * 1000)
#define SPIN_PATIENT (4 * 1000)
#define SHORT_SLEEP  (100 * 1000)

/* NULL: none sleeps, or one is looking already. */
static struct seat *sleeper_of(const struct tasks_object *self)
{
    struct seat *sleeper = NULL;

    for (unsigned i = 0; i < self->slots; i++) {
        struct seat *seat = seat_of(self, i);
        uint32_t state = atomic_load_explicit(&seat->state, memory_order_relaxed);

        if (state == SEAT_LOOKING)
            return NULL;
        if (state == SEAT_ASLEEP && !sleeper)
            sleeper = seat;
    }
    return sleeper;
}

/* False: it woke by itself, and says what it does now: LOOKING over its BUSY would last. */
static bool seat_wake(struct seat *seat)
{
    uint32_t state = SEAT_ASLEEP;

    if (!atomic_compare_exchange_strong_explicit(&seat->state, &state, SEAT_LOOKING,
                                                 memory_order_relaxed,
                                                 memory_order_relaxed))
        return false;
    piu_event_set(&seat->bell);
    return true;
}

void workers_wake(const struct tasks_object *self)
{
    struct seat *sleeper;

    /* for the fence in fall_asleep() of work.c (T5) */
    atomic_thread_fence(memory_order_seq_cst);
    do
        sleeper = sleeper_of(self);
    while (sleeper && !seat_wake(sleeper));
}

void pool_wake(const struct tasks_object *self)
{
    /* for the fence in tasks_arm() (T5) */
    atomic_thread_fence(memory_order_seq_cst);
    if (atomic_load_explicit(&board_of(self)->asleep, memory_order_relaxed) &&
        atomic_exchange(&board_of(self)->asleep, 0) && write(self->bell, "", 1) < 0)
        return; /* full: then it is readable; closed: its reader has ended */
}

bool queue_spin(const struct piu_queue *q, const _Atomic uint32_t *shut, bool *patient)
{
    int64_t begin = wait_clock(), spun = 0;

    while (piu_queue_qsize(q) == 0 && !(shut && atomic_load(shut))) {
        spun = wait_clock() - begin;
        if (spun > (*patient ? SPIN_PATIENT : SPIN_MOST)) {
            *patient = true;
            return false;
        }
        if (spun > SPIN_PURE)
            sched_yield(); /* the other one may need this very core */
#if defined(__x86_64__)
        __builtin_ia32_pause();
#endif
    }
    if (spun < SPIN_PATIENT)
        *patient = false;
    return true;
}

void spin_learn(bool *patient, int64_t asleep_since)
{
    if (wait_clock() - asleep_since < SHORT_SLEEP)
        *patient = false;
}
