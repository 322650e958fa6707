#include "sync/rlock.h"

#include "shm/owner.h"

/*
 *    0        8       12              64
 *    | owner  | depth | zero          |
 *
 * L1  `owner` is an owner word (shm/owner.h) and says all about who holds it
 * L2  `depth` counts only while the lock is held, and only the holding thread touches it
 * Crash: whoever takes the word from the dead stores its own depth first thing, so there is
 * nothing to repair.
 */
struct rlock {
    alignas(64) owner_word owner;
    _Atomic uint32_t depth;
    uint32_t reserved[13];
};
static_assert(sizeof(struct rlock) == sizeof(struct piu_rlock), "the public size");

static const struct rlock *inside(const struct piu_rlock *l)
{
    return (const struct rlock *)(const void *)l;
}

owner_word *rlock_word(struct piu_rlock *l)
{
    return &((struct rlock *)(void *)l)->owner;
}

_Atomic uint32_t *rlock_depth(struct piu_rlock *l)
{
    return &((struct rlock *)(void *)l)->depth;
}

static bool is_mine(const struct piu_rlock *l, uint64_t who)
{
    /* relaxed: only this very thread can have stored its own name */
    return (atomic_load_explicit(&inside(l)->owner, memory_order_relaxed) & WHO_MASK) ==
           who;
}

static uint32_t depth_of(const struct piu_rlock *l)
{
    return atomic_load_explicit(&inside(l)->depth, memory_order_relaxed); /* L2 */
}

static void depth_set(struct piu_rlock *l, uint32_t depth)
{
    atomic_store_explicit(rlock_depth(l), depth, memory_order_relaxed); /* L2 */
}

static int acquire_again(struct piu_rlock *l)
{
    uint32_t depth = depth_of(l);

    if (depth == UINT32_MAX)
        return -EOVERFLOW;
    depth_set(l, depth + 1);
    return 0;
}

int piu_rlock_acquire(struct piu_rlock *l, int64_t timeout)
{
    uint64_t who;
    int r;

    if (unlikely(!l))
        return -EINVAL;
    r = member_who(&who);
    if (unlikely(r < 0))
        return r;
    if (is_mine(l, who))
        return acquire_again(l);
    r = owner_acquire(rlock_word(l), who, timeout);
    if (likely(r >= 0))
        depth_set(l, 1);
    return r;
}

int piu_rlock_release(struct piu_rlock *l)
{
    uint64_t who;
    uint32_t depth;
    int r;

    if (unlikely(!l))
        return -EINVAL;
    r = member_who(&who);
    if (unlikely(r < 0))
        return r;
    if (unlikely(!is_mine(l, who)))
        return -EPERM;
    depth = depth_of(l);
    depth_set(l, depth - 1);
    if (depth == 1)
        owner_release(rlock_word(l), who);
    return 0;
}

pid_t piu_rlock_owner(const struct piu_rlock *l)
{
    uint64_t id = member_looks(l) == 0 ? owner_of(&inside(l)->owner) : 0;

    return id ? member_pid(id) : 0;
}

bool piu_rlock_is_locked(const struct piu_rlock *l)
{
    uint64_t word = member_looks(l) == 0 ? atomic_load(&inside(l)->owner) : 0;

    return word != 0 && word != OWNER_NEWS;
}

unsigned piu_rlock_count(const struct piu_rlock *l)
{
    uint64_t who;

    return l && member_who(&who) == 0 && is_mine(l, who) ? depth_of(l) : 0;
}

bool rlock_check(const struct piu_rlock *l)
{
    return owner_check(&inside(l)->owner);
}
