/* The sweep: everything here may be done twice, and be cut off anywhere. */
#include "shm/sweep.h"

#include "os/futex.h"
#include "shm/block.h"

#include <limits.h>

static void wake_owed(struct member *m)
{
    for (unsigned i = 0; i < OPERATIONS; i++) {
        uint64_t offset = atomic_load(&m->operations[i].wake);

        if (offset && offset < arena.range - sizeof(uint32_t) && offset % 4 == 0)
            futex_wake((const _Atomic uint32_t *)(const void *)(arena.base + offset),
                       INT_MAX);
    }
}

int sweep_member(struct member *m, uint64_t id, bool died)
{
    int r = block_sweep(id, died);

    wake_owed(m);
    return r;
}
