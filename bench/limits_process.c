/*
 * What the kernel asks for a process and for a page.
 */
#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "measure.h"

extern char **environ;

static int wait_for(pid_t pid)
{
    return pid < 0 || waitpid(pid, NULL, 0) < 0 ? -errno : 0;
}

static int fork_once(void)
{
    pid_t pid = fork();

    if (pid == 0)
        _exit(0);
    return wait_for(pid);
}

static int vfork_once(void)
{
    pid_t pid = vfork();

    if (pid == 0)
        _exit(0);
    return wait_for(pid);
}

static int spawn_once(void)
{
    static char *const argv[] = {(char *)"true", NULL};
    pid_t pid;
    int r = posix_spawnp(&pid, "true", NULL, NULL, argv, environ);

    return r ? -r : wait_for(pid);
}

enum process_way { WAY_FORK, WAY_VFORK, WAY_SPAWN };

/* ms a process from start to end; a parent of `size` bytes, all of them written. */
static int process_sample(const struct row *row, double *ret)
{
    static int (*const ways[])(void) = {fork_once, vfork_once, spawn_once};
    unsigned count = row->size && row->variant == WAY_FORK ? 4 : 50;
    int64_t start;
    int r = 0;

    if (row->size)
        private_new(row->size);
    ways[row->variant](); /* unmeasured: the first pays for page tables and lookups */
    start = clock_now();
    for (unsigned i = 0; i < count && r == 0; i++)
        r = ways[row->variant]();
    *ret = (double)(clock_now() - start) / count / 1e6;
    return r;
}

/* From the child's _exit to the parent's return from poll(pidfd). */
static int exit_sample(const struct row *row, double *ret)
{
    struct trips *trips = shared_new(sizeof(*trips));
    _Atomic int64_t *left = shared_new(sizeof(*left));

    (void)row;
    for (unsigned i = 0; i < 50; i++) {
        pid_t pid = fork();
        struct pollfd p = {.events = POLLIN};

        if (pid == 0) {
            clock_spin(200000); /* the parent sleeps in poll() by then */
            *left = clock_now();
            _exit(0);
        }
        p.fd = (int)syscall(SYS_pidfd_open, pid, 0);
        if (pid < 0 || p.fd < 0 || poll(&p, 1, -1) < 0)
            return -errno;
        trips_add(trips, clock_now() - *left);
        close(p.fd);
        waitpid(pid, NULL, 0);
    }
    *ret = trips_quantile(trips, 0.5) / 1e3;
    return 0;
}

static double pages_touch(volatile char *p, size_t size)
{
    int64_t start = clock_now();

    for (size_t i = 0; i < size; i += 4096)
        p[i] = 1;
    return (double)(clock_now() - start) / (double)(size / 4096) / 1e3;
}

/*
 * us a page of a memfd: never touched before, or present and seen through a new
 * mapping.
 */
static int page_sample(const struct row *row, double *ret)
{
    size_t size = 64 << 20;
    int fd = memfd_create("bench", MFD_CLOEXEC);
    void *first, *second;

    if (fd < 0 || ftruncate(fd, (off_t)size) < 0)
        return -errno;
    first = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    second = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (first == MAP_FAILED || second == MAP_FAILED)
        return -errno;
    *ret = pages_touch(first, size);
    if (row->variant == 1)
        *ret = pages_touch(second, size);
    return 0;
}

static const struct row rows[] = {
    {ROW_FORK, "ms", process_sample, .variant = WAY_FORK},
    {ROW_FORK ", 1 GB parent", "ms", process_sample, LARGE_PARENT, WAY_FORK},
    {"vfork + exit + wait, 1 GB parent", "ms", process_sample, LARGE_PARENT, WAY_VFORK},
    {"posix_spawn of true, 1 GB parent", "ms", process_sample, LARGE_PARENT, WAY_SPAWN},
    {"a child's exit to poll(pidfd)", "us", exit_sample},
    {"memfd page, first touch", "us", page_sample, .variant = 0},
    {"memfd page, present, new mapping", "us", page_sample, .variant = 1},
};

const struct row_set limit_process_rows = ROW_SET("limits: processes and pages", rows);
