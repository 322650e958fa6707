/* Memory and descriptors that are used up, for as long as a test says. */
#ifndef TEST_SCARCE_H
#define TEST_SCARCE_H

#include "test.h"

#include "shm/block.h"

#include <sys/resource.h>

static inline void limit_set(int resource, rlim_t limit)
{
    struct rlimit now;

    CHECK_EQ(getrlimit(resource, &now), 0);
    now.rlim_cur = limit < now.rlim_max ? limit : now.rlim_max;
    CHECK_EQ(setrlimit(resource, &now), 0);
}

static inline void use_up_descriptors(void)
{
    int fd = 0;

    limit_set(RLIMIT_NOFILE, 64);
    while (fd >= 0)
        fd = dup(0);
    CHECK_EQ(errno, EMFILE);
}

static inline void have_descriptors(void)
{
    limit_set(RLIMIT_NOFILE, 1024);
}

/* All that there is becomes the caller's, and the arena cannot grow. */
static inline void use_up_memory(void)
{
    void *block;

    signal(SIGXFSZ, SIG_IGN);
    limit_set(RLIMIT_FSIZE, 0);
    for (size_t size = 1 << 20; size >= 64; size = size > 256 ? size / 2 : size - 64)
        while (block_new(size, BLOCK_SCRATCH, NULL, &block) == 0)
            ;
}

static inline void have_memory(void)
{
    limit_set(RLIMIT_FSIZE, RLIM_INFINITY);
}

#endif
