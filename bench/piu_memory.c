/*
 * What piu's objects cost in memory.
 */
#include <dirent.h>
#include <piu.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "measure.h"

/*
 * The sum of the lines of /proc/PID/smaps_rollup that begin with `key`, in KB; -1:
 * unknown.
 */
static long rollup_read(pid_t pid, const char *key)
{
    char path[48], line[160];
    long sum = -1, kb;
    FILE *file;

    snprintf(path, sizeof(path), "/proc/%ld/smaps_rollup", (long)pid);
    file = fopen(path, "re");
    while (file && fgets(line, sizeof(line), file))
        if (strncmp(line, key, strlen(key)) == 0 &&
            sscanf(strchr(line, ':'), ": %ld", &kb) == 1)
            sum = (sum < 0 ? 0 : sum) + kb;
    if (file)
        fclose(file);
    return sum;
}

struct memfds { /* of this process, each counted once: two descriptors may be one file */
    ino_t seen[16];
    unsigned count;
    long kb;
};

static void memfds_add(struct memfds *m, int fd)
{
    struct stat st;

    if (fstat(fd, &st) < 0 || m->count == sizeof(m->seen) / sizeof(m->seen[0]))
        return;
    for (unsigned i = 0; i < m->count; i++)
        if (m->seen[i] == st.st_ino)
            return;
    m->seen[m->count++] = st.st_ino;
    m->kb += (long)st.st_blocks / 2;
}

/* KB that the memfds of this process take, mapped or not: the arena is one of them. */
static long memfds_read(void)
{
    DIR *dir = opendir("/proc/self/fd");
    struct memfds memfds = {.kb = 0};
    char link[64];

    for (struct dirent *e; dir && (e = readdir(dir));) {
        ssize_t n = readlinkat(dirfd(dir), e->d_name, link, sizeof(link) - 1);

        link[n > 0 ? n : 0] = '\0';
        if (strncmp(link, "/memfd:", 7) == 0)
            memfds_add(&memfds, atoi(e->d_name));
    }
    if (dir)
        closedir(dir);
    return memfds.kb;
}

/* What this process has of its own, and all that the arena holds, seen yet or not. */
static long memory_read(void)
{
    return rollup_read(getpid(), "Anonymous:") + memfds_read();
}

static int family_sample(const struct row *row, double *ret)
{
    long before = row->variant ? rollup_read(getpid(), "Rss:") : memory_read();
    int r = piu_init(.zygote = false);
    void *first = piu_shared_new(1, 64); /* a member, whatever init leaves for later */

    if (r < 0 || !first)
        return r < 0 ? r : -errno;
    *ret =
        (double)((row->variant ? rollup_read(getpid(), "Rss:") : memory_read()) - before);
    return 0;
}

static int lock_size_sample(const struct row *row, double *ret)
{
    (void)row;
    *ret = sizeof(struct piu_lock);
    return 0;
}

/* Of so many that the pieces by which the arena grows do not matter. */
static int queues_sample(const struct row *row, double *ret)
{
    enum { QUEUES = 4096 };
    void *first = piu_shared_new(1, 64);
    long before = memory_read();

    (void)row;
    if (!first)
        return -errno;
    for (int i = 0; i < QUEUES; i++)
        if (!piu_queue_new(.maxsize = 0))
            return -errno;
    *ret = (double)(memory_read() - before) / QUEUES;
    return 0;
}

static int nothing(struct piu_task *task, size_t first, size_t last)
{
    (void)task, (void)first, (void)last;
    return 0;
}

/*
 * MB that 64 workers share with nobody, once each had a chance to work and went to
 * sleep.
 */
static int workers_sample(const struct row *row, double *ret)
{
    enum { WORKERS = 64 };
    struct piu_pool *pool = piu_pool_new(.processes = WORKERS);
    struct piu_task task = {.run = nothing, .count = 10 * WORKERS, .chunk = 1};
    struct timespec settle = {.tv_nsec = 200000000};
    pid_t pids[WORKERS];
    size_t count = 0;
    long kb = 0;

    (void)row;
    if (!pool || piu_pool_map(pool, &task, NULL) != 0)
        return -ECHILD;
    nanosleep(&settle, NULL);
    if (piu_pool_workers(pool, pids, WORKERS, &count) < 0 || count != WORKERS)
        return -ECHILD;
    for (size_t i = 0; i < count; i++) {
        long own = rollup_read(pids[i], "Private_");

        if (own < 0)
            return -EOPNOTSUPP;
        kb += own;
    }
    *ret = (double)kb / 1024;
    return 0;
}

static const struct row rows[] = {
    {"memory: idle family, resident", "KB", family_sample, 0, 1, {UNDER(1024)}},
    {"memory: idle family, arena in full", "KB", family_sample, 0, 0},
    {"memory: a lock", "B", lock_size_sample, 0, 0, {UNDER(64)}},
    {"memory: an empty queue", "KB", queues_sample, 0, 0, {UNDER(16)}},
    {"memory: 64 idle workers, unshared", "MB", workers_sample, 0, 0, {UNDER(64)}},
};

const struct row_set piu_memory_rows = ROW_SET("piu: memory", rows);
