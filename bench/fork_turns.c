/*
 * How many times a bare fork + exit + wait a process of piu costs, one of each in turn: what the
 * machine is about, and where the scheduler likes to put a child, is the same for both.
 *
 * A program of its own as well, without all that the bench is linked with: the smaller the
 * program, the cheaper its bare fork, and the more weighs what piu adds.
 */
#include "fork_turns.h"

#include <errno.h>
#include <piu.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { TURNS = 1000 };

static int nothing(struct piu_process *self)
{
    (void)self;
    return 0;
}

static int piu_once(void)
{
    struct piu_process p = {.run = nothing};
    int r = piu_process_start(&p);

    if (r == 0)
        r = piu_process_join(&p, PIU_FOREVER);
    return r == 0 ? piu_process_close(&p) : r;
}

static int bare_once(void)
{
    pid_t pid = fork();

    if (pid == 0)
        _exit(0);
    return pid < 0 || waitpid(pid, NULL, 0) < 0 ? -errno : 0;
}

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static double median(double *values)
{
    qsort(values, TURNS, sizeof(*values), compare);
    return values[TURNS / 2];
}

int fork_turns(double *ret)
{
    static double bare[TURNS], ours[TURNS];
    int r = piu_once(); /* the first makes the family */

    for (int i = 0; i < TURNS && r == 0; i++) {
        double start = now(), middle;

        r = bare_once();
        middle = now();
        if (r == 0)
            r = piu_once();
        ours[i] = now() - middle;
        bare[i] = middle - start;
    }
    *ret = median(ours) / median(bare);
    return r;
}

#ifdef FORK_TURNS_ALONE
int main(void)
{
    double times;
    int r = fork_turns(&times);

    if (r < 0)
        return -r;
    printf("%.3f\n", times);
    return 0;
}
#endif
