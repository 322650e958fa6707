/*
 * How soon what a killed member held, or where it waited, is another's: lock, read-write lock,
 * bounded semaphore, barrier.
 */
#include <piu.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "measure.h"

/* What is held.  The heir's wait ends with `news`; then it makes the thing as it was. */
struct kind {
    size_t size;
    int (*begin)(void *thing); /* NULL: zeroes will do */
    int (*hold)(void *thing);  /* 0; or does not return, if one holds it by waiting */
    int (*inherit)(void *thing);
    int news;
    int (*end)(void *thing);
    bool holds_by_waiting;
};

static int lock_acquire(void *lock)
{
    return piu_lock_acquire(lock, PIU_FOREVER);
}

static int lock_release(void *lock)
{
    return piu_lock_release(lock);
}

static int rwlock_acquire(void *lock)
{
    return piu_rwlock_acquire_write(lock, PIU_FOREVER);
}

static int rwlock_release(void *lock)
{
    return piu_rwlock_release(lock);
}

static int semaphore_begin(void *semaphore)
{
    return piu_semaphore_init(semaphore, 1, PIU_BOUNDED);
}

static int semaphore_acquire(void *semaphore)
{
    return piu_semaphore_acquire(semaphore, PIU_FOREVER);
}

static int semaphore_release(void *semaphore)
{
    return piu_semaphore_release(semaphore);
}

static int barrier_begin(void *barrier)
{
    return piu_barrier_init(barrier, 3); /* the third does not come */
}

static int barrier_wait(void *barrier)
{
    return piu_barrier_wait(barrier, NULL, PIU_FOREVER);
}

static int barrier_reset(void *barrier)
{
    return piu_barrier_reset(barrier);
}

enum kind_number { LOCK, RWLOCK, SEMAPHORE, BARRIER };

static const struct kind kinds[] = {
    [LOCK] = {sizeof(struct piu_lock), NULL, lock_acquire, lock_acquire, PIU_OWNER_DIED,
              lock_release},
    [RWLOCK] = {sizeof(struct piu_rwlock), NULL, rwlock_acquire, rwlock_acquire,
                PIU_OWNER_DIED, rwlock_release},
    [SEMAPHORE] = {sizeof(struct piu_semaphore), semaphore_begin, semaphore_acquire,
                   semaphore_acquire, 0, semaphore_release},
    [BARRIER] = {sizeof(struct piu_barrier), barrier_begin, barrier_wait, barrier_wait,
                 -ENOTRECOVERABLE, barrier_reset, .holds_by_waiting = true},
};

/*
 * Trials: a holder is forked and acquires, the heir waits for the thing, the parent kills the
 * holder and notes when.  Each says in a word which trial it has come to.
 */
struct succession {
    const struct kind *kind;
    void *thing;
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
    if (s->kind->holds_by_waiting)
        atomic_store(&s->held, trial);
    if (s->kind->hold(s->thing) < 0)
        _exit(1);
    atomic_store(&s->held, trial);
    for (;;)
        pause();
}

static _Noreturn void heir_main(struct succession *s, unsigned trials)
{
    for (unsigned trial = 1; trial <= trials; trial++) {
        await(&s->held, trial);
        if (s->kind->inherit(s->thing) != s->kind->news)
            _exit(EPROTO);
        trips_add(&s->trips, clock_now() - atomic_load(&s->killed));
        if (s->kind->end(s->thing) != 0)
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

static int succession_begin(struct succession *s, enum kind_number number)
{
    s->kind = &kinds[number];
    s->thing = piu_shared_new(1, s->kind->size);
    if (!s->thing)
        return -errno;
    return s->kind->begin ? s->kind->begin(s->thing) : 0;
}

/* ms; of row->size trials the median, or of 100 and more the 99th of a hundred. */
static int succession_sample(const struct row *row, double *ret)
{
    struct succession *s = shared_new(sizeof(*s));
    unsigned trials = (unsigned)row->size;
    int status, r = succession_begin(s, (enum kind_number)row->variant);
    pid_t heir;

    if (r < 0)
        return r;
    heir = fork();
    if (heir == 0)
        heir_main(s, trials);
    for (unsigned trial = 1; trial <= trials && r == 0; trial++)
        r = succession_trial(s, trial);
    if (r == 0 && waitpid(heir, &status, 0) == heir && status != 0)
        r = -EPROTO;
    *ret = trips_quantile(&s->trips, trials < 100 ? 0.5 : 0.99) / 1e6;
    return r;
}

static const struct row rows[] = {
    {"lock: from a killed holder, median", "ms", succession_sample, 50, LOCK, {UNDER(1)}},
    {"lock: from a killed holder, 99th of 100",
     "ms",
     succession_sample,
     100,
     LOCK,
     {UNDER(25)}},
    {"rwlock: from a killed writer, median",
     "ms",
     succession_sample,
     50,
     RWLOCK,
     {UNDER(1)}},
    {"semaphore: from a killed holder, median",
     "ms",
     succession_sample,
     50,
     SEMAPHORE,
     {UNDER(1)}},
    {"barrier: of a killed arrival, median",
     "ms",
     succession_sample,
     50,
     BARRIER,
     {UNDER(1)}},
};

const struct row_set piu_succession_rows = ROW_SET("piu: after a kill", rows);
