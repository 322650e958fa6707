/* piu_shared_new and its kin. */
#include "shm/block.h"
#include "shm/name.h"

#include <piu.h>

static int shared_new(size_t bytes, void **ret)
{
    int r = block_new_family(bytes, ret);

    if (r != -ENOMEM || !arena.base)
        return r;
    member_sweep_dead(true); /* what the dead held, nobody may have noticed yet */
    return block_new_family(bytes, ret);
}

void *piu_shared_new(size_t count, size_t size)
{
    size_t bytes;
    void *block;
    int r;

    if (__builtin_mul_overflow(count, size, &bytes))
        r = -ENOMEM;
    else
        r = bytes > 0 ? shared_new(bytes, &block) : -EINVAL;
    if (r < 0)
        errno = -r;
    return r < 0 ? NULL : block;
}

void *piu_shared_free(void *shared)
{
    int r = 0;

    if (shared && (r = member_looks(shared)) == 0) {
        name_forget(shared, block_size(shared));
        r = block_free(shared);
    }
    if (r < 0)
        errno = -r;
    return NULL;
}

bool piu_is_shared(const void *address)
{
    return member_looks(address) == 0 && arena_has(address, 1);
}
