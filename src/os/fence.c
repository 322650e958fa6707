/* membarrier: the cheap side pays nothing, because the other side pays for both. */
#include "os/fence.h"

#include <linux/membarrier.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

static long membarrier(int command)
{
    return syscall(SYS_membarrier, command, 0, 0);
}

static bool is_refused(void)
{
    static _Atomic int refused = -1; /* read once: getenv races with people's setenv */
    int state = atomic_load_explicit(&refused, memory_order_relaxed);

    if (state < 0) {
        state = getenv("PIU_NO_MEMBARRIER") != NULL;
        atomic_store_explicit(&refused, state, memory_order_relaxed);
    }
    return state;
}

int fence_register(void)
{
    if (PIU_TSAN || is_refused())
        return -ENOSYS;
    return membarrier(MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED) < 0 ? -errno : 0;
}

void fence_seldom(bool light)
{
    atomic_thread_fence(memory_order_seq_cst);
    if (light)
        membarrier(MEMBARRIER_CMD_GLOBAL_EXPEDITED);
}
