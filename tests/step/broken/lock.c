/* Locks that are wrong, each in one way. */
#include "kill.h"

#include "os/futex.h"
#include "shm/owner.h"

#include <piu.h>

struct state {
    _Atomic uint64_t word;
    volatile int before, after; /* two instructions */
};

static _Atomic uint32_t *futex_of(struct state *s)
{
    return (_Atomic uint32_t *)(void *)&s->word;
}

static void write_guarded(struct state *s)
{
    s->before++;
    s->after++;
}

/* ---- Nobody is named: who dies holding it holds it for ever ------------------------------ */

static void anonymous_use(void *state)
{
    struct state *s = state;

    while (atomic_exchange(&s->word, 1) != 0)
        futex_wait(futex_of(s), 1, PIU_MSEC(1));
    write_guarded(s);
    atomic_store(&s->word, 0);
}

static void anonymous_goes_on(void *state)
{
    struct state *s = state;

    for (int i = 0; atomic_exchange(&s->word, 1) != 0; i++) {
        CHECK(i < 100);
        futex_wait(futex_of(s), 1, PIU_MSEC(1));
    }
}

TWIN(lock, anonymous, .size = sizeof(struct state), .operation = anonymous_use,
     .check = anonymous_goes_on);

/* ---- The wait has no end: killed between the store and the wake ---------------------------- */

static void untimed_acquire(void *state)
{
    struct state *s = state;
    uint64_t old = 0;

    while (!atomic_compare_exchange_strong(&s->word, &old, kill_who() | ID_WAITERS)) {
        if (old != 0)
            futex_wait(futex_of(s), (uint32_t)old, CLOCK_FOREVER);
        old = 0;
    }
}

static void untimed_release(void *state)
{
    struct state *s = state;

    if (atomic_exchange(&s->word, 0) & ID_WAITERS)
        futex_wake(futex_of(s), 1);
}

static void untimed_peer(void *state)
{
    peer_is_ready();
    untimed_acquire(state);
    untimed_release(state);
}

static void untimed_goes_on(void *state)
{
    struct state *s = state;
    uint64_t owner = atomic_load(&s->word);

    if (owner_of(&s->word) && (owner & ID_MASK) == (kill_who() & ID_MASK))
        untimed_release(state);
    peer_join(0);
}

TWIN(lock, untimed_wait, .size = sizeof(struct state), .set_up = untimed_acquire,
     .peers = {untimed_peer}, .operation = untimed_release, .check = untimed_goes_on);

/* ---- The next one is not told ---------------------------------------------------------------- */

static void silent_acquire(struct state *s)
{
    uint64_t old = 0;

    while (!atomic_compare_exchange_strong(&s->word, &old, kill_who()))
        if (old && member_fate(old & ID_MASK) == FATE_DIED)
            atomic_compare_exchange_strong(&s->word, &old, 0);
        else
            old = 0;
}

static void silent_use(void *state)
{
    struct state *s = state;

    silent_acquire(s);
    write_guarded(s);
    atomic_store(&s->word, 0);
}

static void silent_goes_on(void *state)
{
    struct state *s = state;

    silent_acquire(s);
    CHECK_EQ(s->before, s->after);
}

TWIN(lock, silent, .size = sizeof(struct state), .operation = silent_use,
     .check = silent_goes_on);

/* ---- A recursive lock whose depth is written before its owner ------------------------------- */

struct recursive {
    struct state lock;
    int depth;
};

static void depth_first(void *state)
{
    struct recursive *r = state;

    r->depth++;
    CHECK(owner_acquire(&r->lock.word, kill_who(), CLOCK_FOREVER) >= 0);
    r->depth--;
    owner_release(&r->lock.word, kill_who());
}

static void depth_is_one(void *state)
{
    struct recursive *r = state;

    CHECK(owner_acquire(&r->lock.word, kill_who(), CLOCK_FOREVER) >= 0);
    r->depth++;
    CHECK_EQ(r->depth, 1);
}

TWIN(rlock, depth_before_owner, .size = sizeof(struct recursive),
     .operation = depth_first, .check = depth_is_one);
