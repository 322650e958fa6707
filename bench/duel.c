#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "measure.h"

/* Rounds that count, at most: see ground_judge(). */
enum { ROUNDS = 5 };

/* What the two children share.  `arrived` counts for ever: round n begins at 2 * n. */
struct ground {
    _Alignas(LINE) _Atomic uint64_t arrived;
    _Alignas(LINE) _Atomic uint64_t count; /* of the next round; 0: the end */
    int64_t start[2], end[2];
    long taken[2]; /* times that the kernel took the processor away in this round */
    unsigned rounds;
    double ns[ROUNDS]; /* a thing, of each round that counts */
};

/* Yields now and then: on one core the other side has to run before it can arrive. */
static void ground_meet(struct ground *g, uint64_t round)
{
    atomic_fetch_add(&g->arrived, 1);
    for (unsigned spins = 0; atomic_load(&g->arrived) < 2 * round; spins++)
        if (spins % 256 == 255)
            sched_yield();
        else
            cpu_relax();
}

static int double_compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/*
 * Side 0 judges the round: how many things the next one takes, 0 for the end.  A round
 * that nobody disturbed is the result; else the median of several, for other programs
 * run too.
 */
static uint64_t ground_judge(struct ground *g, const struct duel *duel, uint64_t count)
{
    int64_t target = duel->target ? duel->target : DUEL_TARGET;
    int64_t start = g->start[0] < g->start[1] ? g->start[0] : g->start[1];
    int64_t end = g->end[0] > g->end[1] ? g->end[0] : g->end[1];
    double ns = (double)(end - start) / (double)count, want;

    if (duel->count || end - start >= target / 2) {
        g->ns[g->rounds++] = ns;
        if (duel->count || g->rounds == ROUNDS)
            return 0;
        if (g->taken[0] + g->taken[1] > 0)
            return count;
        g->ns[0] = ns;
        g->rounds = 1;
        return 0;
    }
    want = (double)target / (double)(end - start + 1);
    return (uint64_t)((double)count * (want > 16 ? 16 : want < 2 ? 2 : want));
}

static long switches_now(void)
{
    struct rusage usage;

    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_nivcsw;
}

static int duel_side(const struct duel *duel, struct ground *g, int side)
{
    uint64_t round = 0, count;
    long before;
    int r = 0;

    cpu_pin(duel->one_core ? 0 : side);
    if (duel->prepare)
        r = duel->prepare(duel->arg, side);
    while (r == 0) {
        ground_meet(g, ++round); /* the judge has spoken */
        count = atomic_load(&g->count);
        if (count == 0)
            break;
        before = switches_now();
        ground_meet(g, ++round);
        g->start[side] = clock_now();
        r = duel->side[side](duel->arg, count);
        g->end[side] = clock_now();
        g->taken[side] = switches_now() - before;
        ground_meet(g, ++round);
        if (side == 0)
            atomic_store(&g->count, ground_judge(g, duel, count));
    }
    return r;
}

static pid_t duel_fork(const struct duel *duel, struct ground *g, int side)
{
    pid_t pid = fork();

    if (pid == 0)
        _exit(-duel_side(duel, g, side));
    return pid;
}

/* The first failure ends the other side, which would wait for ever. */
static int duel_wait(pid_t pids[2])
{
    int status, r = 0;

    for (int i = 0; i < 2; i++) {
        pid_t ended = wait(&status);

        if (r == 0 && status != 0) {
            r = WIFEXITED(status) ? -WEXITSTATUS(status) : -ECHILD;
            if (i == 0)
                kill(pids[ended == pids[0]], SIGKILL);
        }
    }
    return r;
}

int duel_run(const struct duel *duel, double *ret)
{
    struct ground *g;
    pid_t pids[2];
    int r;

    if (cpu_is_single() && !duel->one_core)
        return -EOPNOTSUPP;
    g = shared_new(sizeof(*g));
    atomic_store(&g->count, duel->count ? duel->count : 64);
    pids[0] = duel_fork(duel, g, 0);
    pids[1] = pids[0] < 0 ? -1 : duel_fork(duel, g, 1);
    if (pids[1] < 0) {
        r = -errno;
        if (pids[0] > 0)
            kill(pids[0], SIGKILL);
        return r;
    }
    r = duel_wait(pids);
    if (r == 0) {
        qsort(g->ns, g->rounds, sizeof(g->ns[0]), double_compare);
        *ret = g->ns[g->rounds / 2];
    }
    munmap(g, sizeof(*g));
    return r;
}
