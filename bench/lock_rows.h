/*
 * Locking, the same loops for every peer and for piu, inlined around an acquire and a
 * release. What the lock guards is checked: a lock that lets both in fails.
 */
#ifndef BENCH_LOCK_ROWS_H
#define BENCH_LOCK_ROWS_H

#include "measure.h"

enum lock_way {
    LOCK_ALONE, /* ns a pair */
    LOCK_BY_TWO /* M pairs/s of two processes together */
};

struct guarded {
    void *lock;                          /* on lines of its own */
    alignas(LINE) uint64_t count;        /* only touched with the lock held */
    alignas(LINE) _Atomic uint64_t made; /* pairs: must come out the same */
};

struct lock_kind {
    void *(*lock_new)(void);
    void (*alone)(void *guarded, uint64_t count);
    int (*by_two)(void *guarded, uint64_t count);
};

int lock_sample(const struct row *row, const struct lock_kind *kind, double *ret);

#define LOCK_KIND(name, size, init, acquire, release) \
    static void *name##_new(void)                     \
    {                                                 \
        void *lock = shared_new((size) + LINE);       \
                                                      \
        init(lock);                                   \
        return lock;                                  \
    }                                                 \
    LOCK_LOOPS(name, name##_new, acquire, release)

#define LOCK_LOOPS(name, new_, acquire, release)        \
    static void name##_alone(void *arg, uint64_t count) \
    {                                                   \
        struct guarded *g = arg;                        \
                                                        \
        for (uint64_t i = 0; i < count; i++) {          \
            acquire(g->lock);                           \
            release(g->lock);                           \
        }                                               \
    }                                                   \
    static int name##_by_two(void *arg, uint64_t count) \
    {                                                   \
        struct guarded *g = arg;                        \
                                                        \
        for (uint64_t i = 0; i < count; i++) {          \
            acquire(g->lock);                           \
            (*(volatile uint64_t *)&g->count)++;        \
            release(g->lock);                           \
        }                                               \
        g->made += count;                               \
        return 0;                                       \
    }                                                   \
    static const struct lock_kind name = {new_, name##_alone, name##_by_two}

#endif
