/*
 * A pair of fences for "publish, then look whether anybody sleeps" against "say that we
 * sleep, then look whether anything was published": one side must see the other.  The side
 * that runs for each message costs nothing; the one that goes to sleep has the kernel run a
 * barrier on every CPU where a member runs (membarrier, Linux 4.16: some us).
 */
#ifndef PIU_OS_FENCE_H
#define PIU_OS_FENCE_H

#include "os/base.h"

/* This process may be fenced by others.  -ENOSYS, -EPERM: then `light` must not be used. */
int fence_register(void);

/* The same `light` on both sides. */
static inline void fence_often(bool light)
{
    if (likely(light))
        atomic_signal_fence(memory_order_seq_cst); /* the compiler only */
    else
        atomic_thread_fence(memory_order_seq_cst);
}

void fence_seldom(bool light);

#endif
