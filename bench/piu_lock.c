/*
 * piu's lock: the pair and the contest.
 */
#include <piu.h>

#include "lock_rows.h"

static void *lock_new(void)
{
    return piu_shared_new(1, sizeof(struct piu_lock));
}

static inline void lock_acquire(void *lock)
{
    piu_lock_acquire(lock, PIU_FOREVER);
}

static inline void lock_release(void *lock)
{
    piu_lock_release(lock);
}

LOCK_LOOPS(locks, lock_new, lock_acquire, lock_release);

static int piu_lock_sample(const struct row *row, double *ret)
{
    return lock_sample(row, &locks, ret);
}

static const struct row rows[] = {
    {"lock: pair", "ns", piu_lock_sample, 0, LOCK_ALONE, {AT_MOST(0.85, ROW_ROBUST)}},
    {"lock: by two",
     "M/s",
     piu_lock_sample,
     0,
     LOCK_BY_TWO,
     {AT_LEAST(1.5, ROW_ROBUST_TWO)}},
};

const struct row_set piu_lock_rows = ROW_SET("piu: lock", rows);
