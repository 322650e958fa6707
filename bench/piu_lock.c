/*
 * piu's lock: the pair, the contest, and how soon a killed holder's lock is another's.
 */
#include <piu.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

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

/*
 * Trials: a holder is forked and acquires, the heir waits for the lock, the parent
 * kills the holder and notes when.  Each says in a word which trial it has come to.
 */
struct succession {
    struct piu_lock *lock;
    _Atomic unsigned held, inherited;
    _Atomic int64_t killed; /* ns: just before the kill, so a little too early */
    struct trips trips;
};

enum { SETTLE = 3000000 }; /* ns: longer than any spin, so that the heir sleeps */

static void nap(long ns)
{
    struct timespec time = {.tv_nsec = ns};

    nanosleep(&time, NULL);
}

static void await(_Atomic unsigned *word, unsigned trial)
{
    while (atomic_load(word) < trial)
        nap(50000);
}

static _Noreturn void holder_main(struct succession *s, unsigned trial)
{
    if (piu_lock_acquire(s->lock, PIU_FOREVER) < 0)
        _exit(1);
    atomic_store(&s->held, trial);
    for (;;)
        pause();
}

static _Noreturn void heir_main(struct succession *s, unsigned trials)
{
    for (unsigned trial = 1; trial <= trials; trial++) {
        await(&s->held, trial);
        if (piu_lock_acquire(s->lock, PIU_FOREVER) != PIU_OWNER_DIED)
            _exit(EPROTO);
        trips_add(&s->trips, clock_now() - atomic_load(&s->killed));
        if (piu_lock_release(s->lock) != 0)
            _exit(EPROTO);
        atomic_store(&s->inherited, trial);
    }
    _exit(0);
}

static int succession_trial(struct succession *s, unsigned trial)
{
    pid_t holder = fork();

    if (holder == 0)
        holder_main(s, trial);
    if (holder < 0)
        return -errno;
    await(&s->held, trial);
    nap(SETTLE);
    atomic_store(&s->killed, clock_now());
    kill(holder, SIGKILL);
    waitpid(holder, NULL, 0);
    await(&s->inherited, trial);
    return 0;
}

static int succession_sample(const struct row *row, double *ret)
{
    struct succession *s = shared_new(sizeof(*s));
    unsigned trials = (unsigned)row->size;
    int r = 0, status;
    pid_t heir;

    s->lock = lock_new();
    if (!s->lock)
        return -errno;
    heir = fork();
    if (heir == 0)
        heir_main(s, trials);
    for (unsigned trial = 1; trial <= trials && r == 0; trial++)
        r = succession_trial(s, trial);
    if (r == 0 && waitpid(heir, &status, 0) == heir && status != 0)
        r = -EPROTO;
    *ret = trips_quantile(&s->trips, row->variant / 100.) / 1e6;
    return r;
}

static const struct row rows[] = {
    {"lock: pair", "ns", piu_lock_sample, 0, LOCK_ALONE, {AT_MOST(0.85, ROW_ROBUST)}},
    {"lock: by two",
     "M/s",
     piu_lock_sample,
     0,
     LOCK_BY_TWO,
     {AT_LEAST(1.5, ROW_ROBUST_TWO)}},
    {"lock: from a killed holder, median", "ms", succession_sample, 50, 50, {UNDER(1)}},
    {"lock: from a killed holder, 99th of 100",
     "ms",
     succession_sample,
     100,
     99,
     {UNDER(25)}},
};

const struct row_set piu_lock_rows = ROW_SET("piu: lock", rows);
