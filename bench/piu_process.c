/*
 * piu's processes, from start to end.
 */
#include <limits.h>
#include <piu.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "fork_turns.h"
#include "measure.h"

static int nothing(struct piu_process *self)
{
    (void)self;
    return 0;
}

static int process_once(struct piu_process *p, enum piu_start how)
{
    int r = piu_process_start(p, .how = how);

    if (r == 0)
        r = piu_process_join(p, PIU_FOREVER);
    if (r == 0)
        r = piu_process_close(p);
    return r;
}

/* ms a process; row->size: what the parent has grown to since piu_init(). */
static int process_sample(const struct row *row, double *ret)
{
    enum piu_start how = (enum piu_start)row->variant;
    unsigned count = row->size && how == PIU_FORK ? 4 : 50;
    struct piu_process *p;
    int64_t start;
    int r = piu_init(.zygote = how == PIU_ZYGOTE);

    p = r < 0 ? NULL : piu_shared_new(1, sizeof(*p));
    if (!p)
        return r < 0 ? r : -errno;
    p->run = nothing;
    if (row->size)
        private_new(row->size);
    r = process_once(p, how); /* the first is not measured, as with fork */
    start = clock_now();
    for (unsigned i = 0; i < count && r == 0; i++)
        r = process_once(p, how);
    *ret = (double)(clock_now() - start) / count / 1e6;
    return r;
}

static int turns_sample(const struct row *row, double *ret)
{
    (void)row;
    return fork_turns(ret);
}

/* The same in the small program that lies beside this one. */
static int turns_alone_sample(const struct row *row, double *ret)
{
    char path[PATH_MAX + 16];
    ssize_t length = readlink("/proc/self/exe", path, PATH_MAX);
    FILE *program;
    int found;

    (void)row;
    while (length > 0 && path[length - 1] != '/')
        length--;
    if (length <= 0)
        return -ENOENT;
    memcpy(path + length, "fork_turns", sizeof("fork_turns"));
    program = popen(path, "re");
    if (!program)
        return -errno;
    found = fscanf(program, "%lf", ret);
    return pclose(program) == 0 && found == 1 ? 0 : -ECHILD;
}

static const struct row rows[] = {
    {"process: fork", "ms", process_sample, 0, PIU_FORK},
    {"process: fork, to bare forks in turn", "times", turns_sample, 0, 0, {UNDER(1.2)}},
    {"process: fork, the same in a small program",
     "times",
     turns_alone_sample,
     0,
     0,
     {UNDER(1.2)}},
    {"process: fork, 1 GB parent", "ms", process_sample, LARGE_PARENT, PIU_FORK},
    {"process: zygote, 1 GB parent",
     "ms",
     process_sample,
     LARGE_PARENT,
     PIU_ZYGOTE,
     {AT_MOST(1.5, ROW_FORK)}},
};

const struct row_set piu_process_rows = ROW_SET("piu: process", rows);
