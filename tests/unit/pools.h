/* What the tests of the pool have in common. */
#ifndef TEST_POOLS_H
#define TEST_POOLS_H

#include "waits.h"

#include "shm/block.h"
#include "task/engine.h"

#include <dirent.h>

static inline int square(int x)
{
    return x * x;
}

static inline struct piu_pool *pool_of(unsigned processes)
{
    struct piu_pool *pool = piu_pool_new(.processes = processes);

    CHECK(pool);
    return pool;
}

static inline int do_nothing(void *unused)
{
    (void)unused;
    return 0;
}

static inline _Noreturn void stand_still(void)
{
    for (;;)
        pause();
}

static inline int wait_for_ever(void *told)
{
    if (told)
        *(_Atomic pid_t *)told = getpid();
    stand_still();
}

/* A task that does one thing to each item, and what it may meet. */
struct trouble {
    struct piu_task task;
    _Atomic int *runs;   /* shared: how often each item was begun */
    _Atomic pid_t *told; /* shared: by who stands in a bad item */
    _Atomic int *open;   /* shared: bad items wait for it to be set, where it is there */
    size_t bad, every;   /* items that are bad: `bad`, or each `every`th; */
    void (*what)(void);  /* what a bad one does */
};

static inline int trouble_run(struct piu_task *self, size_t first, size_t last)
{
    struct trouble *t = (struct trouble *)(void *)self;
    const int *in = self->in;
    int *out = self->out;

    for (size_t i = first; i < last; i++) {
        piu_task_progress(self, i);
        if (t->runs)
            t->runs[i]++;
        if (t->what && (t->every ? i % t->every == 0 : i == t->bad)) {
            if (t->told)
                *t->told = getpid();
            while (t->open && !*t->open)
                usleep(100);
            t->what();
        }
        if (out)
            out[i] = in[i] * in[i];
    }
    return 0;
}

/* in[i] = i, of which out[i] becomes the square; until then it is -1. */
static inline struct piu_task squares_task(int *in, int *out, size_t count, size_t chunk)
{
    for (size_t i = 0; i < count; i++) {
        in[i] = (int)i;
        out[i] = -1;
    }
    return (struct piu_task){.run = trouble_run,
                             .struct_size = sizeof(struct trouble),
                             .count = count,
                             .chunk = chunk,
                             .in = in,
                             .in_size = sizeof(int),
                             .out = out,
                             .out_size = sizeof(int)};
}

static inline void go_on(void)
{
}

static inline void die_killed(void)
{
    raise(SIGKILL);
}

/* One worker at work: waits until it says so, and gives its pid. */
static inline pid_t wait_told(_Atomic pid_t *told)
{
    test_wait_until(*told);
    return *told;
}

static inline size_t count_workers(struct piu_pool *pool)
{
    size_t count;

    CHECK_EQ(piu_pool_workers(pool, NULL, 0, &count), 0);
    return count;
}

static inline pid_t parent_of_pid(pid_t pid)
{
    char path[64], line[256];
    FILE *file;
    int parent = 0;

    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    file = fopen(path, "re");
    if (!file)
        return 0;
    if (fgets(line, sizeof(line), file) && strrchr(line, ')'))
        sscanf(strrchr(line, ')') + 1, " %*c %d", &parent);
    fclose(file);
    return parent;
}

static inline pid_t a_worker(struct piu_pool *pool)
{
    pid_t pid;
    size_t count;

    test_wait_until(count_workers(pool));
    CHECK_EQ(piu_pool_workers(pool, &pid, 1, &count), 0);
    return pid;
}

/* Its nursery's parent is this process or, where the pool has an engine, a child of it. */
static inline bool is_ours(pid_t nursery)
{
    pid_t parent = parent_of_pid(nursery);

    return pool_engine() ? parent > 1 && parent_of_pid(parent) == getpid()
                         : parent == getpid();
}

/* The nursery of a living worker: never the one that orphans go to. */
static inline pid_t nursery_of(struct piu_pool *pool)
{
    pid_t pid;

    do {
        /* whoever waits starts another, if it was killed and nobody has noticed */
        CHECK(piu_pool_apply(pool, do_nothing, NULL, 0) >= 0);
        pid = parent_of_pid(a_worker(pool));
    } while (pid <= 1 || pid == getpid() || !is_ours(pid));
    return pid;
}

static inline int count_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    int count = 0;

    CHECK(dir);
    while (readdir(dir))
        count++;
    closedir(dir);
    return count;
}

#endif
