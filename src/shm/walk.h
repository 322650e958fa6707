/* A walk over the heap, from run to run, and over the blocks of each. */
#ifndef PIU_SHM_WALK_H
#define PIU_SHM_WALK_H

#include "shm/span.h"

struct heap_walk {
    uint64_t unit, length; /* of the run; length 0: one free unit */
    uint64_t word;         /* its first unit's */
    struct span *span;     /* NULL: it is none */
    const struct shape *shape;
    uint32_t blocks; /* a span's places, used or not; else 1, which may be free */
    uint64_t next;
};

/* From {0}; false: that was the last. */
bool heap_walk_next(struct heap_walk *walk);
void *heap_walk_block(const struct heap_walk *walk, uint32_t i);

#endif
