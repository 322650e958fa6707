/*
 * The means of measuring: clock, processors, memory seen by children, children with a
 * limit.
 */
#ifndef BENCH_MEASURE_H
#define BENCH_MEASURE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "row.h"

#if defined(__x86_64__) || defined(__i386__)
#define cpu_relax() __builtin_ia32_pause()
#elif defined(__aarch64__)
#define cpu_relax() __asm__ volatile("isb" ::: "memory")
#else
#define cpu_relax() ((void)0)
#endif

enum { LINE = 128 }; /* two cache lines: the prefetcher of x86 fetches pairs */

/* CLOCK_MONOTONIC in ns: the same clock in every process. */
int64_t clock_now(void);
/* Pass time without sleeping, so that this core stays awake. */
void clock_spin(int64_t ns);

/*
 * Two processors on different cores, of those this process may use.  cpu_pair_find() is
 * called once, before anything is pinned.  With one processor both numbers are the
 * same.
 */
void cpu_pair_find(void);
bool cpu_is_single(void);
void cpu_pin(int which); /* 0 or 1 of the pair */
void cpu_pin_other(pid_t pid, int which);
void cpu_unpin(void); /* all that the process had at cpu_pair_find() */

/*
 * Zeroed, present (no page faults later), shared with later children.  Exits without
 * memory.
 */
void *shared_new(size_t size);
void *private_new(size_t size); /* the same for this process only, in small pages */
void private_done(void *p, size_t size);

/*
 * Fork, sample the row there in a process group of its own, kill the group after
 * `limit` ns. 0 and *ret; or -errno and why in `failure`.
 */
int sample_in_child(const struct row *row, int64_t limit, double *ret, char *failure,
                    size_t failure_size);

/*
 * Two processes that do the same number of things, each its own half: put and get, ping
 * and pong, lock and lock.  The number is raised until one round lasts `target`.
 */
struct duel {
    int (*side[2])(void *arg, uint64_t count); /* 0 or -errno */
    int (*prepare)(void *arg, int side);       /* in each child, before; may be NULL */
    void *arg;
    bool one_core;  /* both on one; else on different ones */
    int64_t target; /* ns; 0: DUEL_TARGET */
    uint64_t count; /* not 0: just one round of this many */
};
#define DUEL_TARGET INT64_C(40000000)

/*
 * ns a thing, from the common start until both are done; -EOPNOTSUPP without two cores.
 */
int duel_run(const struct duel *duel, double *ret);

/* ns a call of body(arg, count), alone and pinned, raised until it lasts long enough. */
int solo_run(void (*body)(void *arg, uint64_t count), void *arg, double *ret);

/*
 * Longer than any side spins before it sleeps; and how many trips are timed one by one.
 */
#define TRIP_PAUSE INT64_C(200000)
#define TRIPS      200

#define LARGE_PARENT ((size_t)1 << 30)

/*
 * The trips of a duel that times each by itself: kept in shared memory, told as a
 * median.
 */
enum { TRIPS_MAX = 4096 };
struct trips {
    uint64_t count;
    int64_t ns[TRIPS_MAX];
};
void trips_add(struct trips *t, int64_t ns);
double trips_quantile(struct trips *t, double part); /* 0.5: the median; sorts */

#endif
