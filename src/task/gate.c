#include "task/gate.h"

#include "os/clock.h"
#include "os/futex.h"

#include <limits.h>
#include <sched.h>

/* ---- One thread at a time (R4) ------------------------------------------------------------ */

bool gate_try(struct gate *g)
{
    uint32_t idle = 0;

    return atomic_compare_exchange_strong(&g->busy, &idle, 1);
}

void gate_leave(struct gate *g)
{
    atomic_store(&g->busy, 0);
    atomic_fetch_add(&g->turns, 1); /* a full fence too, for the one in gate_wait() */
    if (atomic_load(&g->waiting))
        futex_wake(&g->turns, 1);
}

static void nap(struct gate *g)
{
    uint32_t turns = atomic_load(&g->turns);

    atomic_fetch_add(&g->waiting, 1);
    if (atomic_load(&g->busy))
        futex_wait(&g->turns, turns, GATE_NAP);
    atomic_fetch_sub(&g->waiting, 1);
}

int gate_enter(struct gate *g, struct pool_shared *p, int64_t deadline)
{
    bool have;

    atomic_fetch_add(&g->guests, 1);
    while (!(have = gate_try(g)) && deadline_left(deadline)) {
        pool_poke(p);
        nap(g);
    }
    atomic_fetch_sub(&g->guests, 1);
    return have ? 0 : -ETIMEDOUT;
}

/* For the word, or for whoever is busy to go. */
int gate_wait(struct gate *g, uint32_t turns, const _Atomic uint32_t *word,
              uint32_t value, int64_t timeout)
{
    struct futex_watch watch[2] = {{word, value}, {&g->turns, turns}};
    int r;

    atomic_fetch_add(&g->waiting, 1); /* a full fence, for the one in gate_leave() */
    r = futex_wait_any(watch, 2, timeout);
    atomic_fetch_sub(&g->waiting, 1);
    return r == -EINTR ? r : 0;
}

/* ---- Being inside (R7) -------------------------------------------------------------------- */

bool gate_arrive(struct gate *g)
{
    atomic_fetch_add(&g->inside, 1);
    if (!atomic_load(&g->ending))
        return true;
    gate_depart(g);
    return false;
}

void gate_depart(struct gate *g)
{
    atomic_fetch_sub(&g->inside, 1);
}

void gate_end(struct gate *g, struct pool_shared *p)
{
    atomic_store(&g->ending, 1);
    while (atomic_load(&g->inside)) {
        pool_poke(p);
        atomic_fetch_add(&g->turns, 1);
        futex_wake(&g->turns, INT_MAX);
        sched_yield();
    }
}
