#include "measure.h"

#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define SOLO_TARGET INT64_C(5000000)

static cpu_set_t cpus_allowed;
static int cpu_of_pair[2];

int64_t clock_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

void clock_spin(int64_t ns)
{
    for (int64_t end = clock_now() + ns; clock_now() < end;)
        cpu_relax();
}

/* Threads of one core share its caches: a pair of them would flatter every row. */
static bool cpu_is_sibling(int a, int b)
{
    char path[96];
    int first[2] = {a, b};

    for (int i = 0; i < 2; i++) {
        FILE *file;

        snprintf(path, sizeof(path),
                 "/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list",
                 i ? b : a);
        file = fopen(path, "re");
        if (!file || fscanf(file, "%d", &first[i]) != 1)
            first[i] = i ? b : a;
        if (file)
            fclose(file);
    }
    return first[0] == first[1];
}

void cpu_pair_find(void)
{
    int found = 0;

    if (sched_getaffinity(0, sizeof(cpus_allowed), &cpus_allowed) < 0)
        CPU_ZERO(&cpus_allowed); /* more than 1024 processors: left unpinned */
    for (int cpu = 0; cpu < CPU_SETSIZE && found < 2; cpu++) {
        if (!CPU_ISSET(cpu, &cpus_allowed))
            continue;
        if (found == 1 && cpu_is_sibling(cpu_of_pair[0], cpu))
            continue;
        cpu_of_pair[found++] = cpu;
    }
    if (found < 2)
        cpu_of_pair[1] = cpu_of_pair[0];
}

bool cpu_is_single(void)
{
    return cpu_of_pair[0] == cpu_of_pair[1];
}

void cpu_pin_other(pid_t pid, int which)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET((size_t)cpu_of_pair[which], &set);
    sched_setaffinity(pid, sizeof(set), &set);
}

void cpu_pin(int which)
{
    cpu_pin_other(0, which);
}

void cpu_unpin(void)
{
    sched_setaffinity(0, sizeof(cpus_allowed), &cpus_allowed);
}

static void *map_or_exit(size_t size, int flags)
{
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1, 0);

    if (p == MAP_FAILED)
        _exit(ENOMEM);
    return p;
}

void *shared_new(size_t size)
{
    return map_or_exit(size, MAP_SHARED | MAP_POPULATE);
}

void *private_new(size_t size)
{
    char *p = map_or_exit(size, MAP_PRIVATE);

    /*
     * Huge pages would make the fork of a large parent look cheap on some machines
     * only.
     */
    madvise(p, size, MADV_NOHUGEPAGE);
    for (size_t i = 0; i < size; i += 4096)
        p[i] = 1;
    return p;
}

void private_done(void *p, size_t size)
{
    munmap(p, size);
}

int solo_run(void (*body)(void *arg, uint64_t count), void *arg, double *ret)
{
    int64_t start, spent = 0, best = INT64_MAX;
    uint64_t count;

    cpu_pin(0);
    for (count = 16; spent < SOLO_TARGET; count *= 2) {
        start = clock_now();
        body(arg, count);
        spent = clock_now() - start;
    }
    for (int i = 0; i < 3;
         i++) { /* alone, only the rest of the machine can make it slower */
        start = clock_now();
        body(arg, count);
        spent = clock_now() - start;
        best = spent < best ? spent : best;
    }
    *ret = (double)best / (double)count;
    return 0;
}

void trips_add(struct trips *t, int64_t ns)
{
    if (t->count < TRIPS_MAX)
        t->ns[t->count++] = ns;
}

static int ns_compare(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

double trips_quantile(struct trips *t, double part)
{
    qsort(t->ns, t->count, sizeof(t->ns[0]), ns_compare);
    return t->count ? (double)t->ns[(uint64_t)(part * (double)(t->count - 1))] : 0;
}
