/* An arena without any room, for tests of what then happens. */
#ifndef TEST_FULL_ARENA_H
#define TEST_FULL_ARENA_H

#include "test.h"

#include "shm/arena.h"

#include <piu.h>

#include <sys/resource.h>

/* The arena's file must not grow any more, neither by us nor by whom we start. */
static inline void limit_arena(void)
{
    uint64_t size = arena.heap + (arena_header()->committed + 1024) * UNIT_SIZE;
    struct rlimit limit = {size, RLIM_INFINITY};

    CHECK_EQ(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

enum { FILLERS = 1 << 16 };

struct filler {
    void *blocks[FILLERS];
    size_t count;
};

static inline void fill_with(struct filler *f, size_t size)
{
    while (f->count < FILLERS && (f->blocks[f->count] = piu_shared_new(1, size)))
        f->count++;
}

static inline void fill_arena(struct filler *f)
{
    f->count = 0;
    for (size_t size = 1 << 20; size >= UNIT_SIZE; size /= 2)
        fill_with(f, size);
    for (size_t size = UNIT_SIZE / 2; size >= 64; size -= 64)
        fill_with(f, size);
    CHECK(!piu_shared_new(1, 1) && errno == ENOMEM);
}

static inline void empty_arena(struct filler *f)
{
    while (f->count)
        piu_shared_free(f->blocks[--f->count]);
}

#endif
