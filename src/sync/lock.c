#include "sync/lock.h"

/*
 *    0        8                       64
 *    | owner  | zero                  |
 *
 * L1  `owner` is an owner word (shm/owner.h), and there is nothing else: what two words could
 *     disagree about cannot be left half done
 * Crash: the word names the dead one until the next acquirer, or releaser, sees that it died.
 */
struct lock {
    alignas(64) owner_word owner;
    uint64_t reserved[7];
};
static_assert(sizeof(struct lock) == sizeof(struct piu_lock), "the public size");
static_assert(OWNER_DIED == PIU_OWNER_DIED, "results of shm/owner.h are handed on");

owner_word *lock_word(struct piu_lock *l)
{
    return &((struct lock *)(void *)l)->owner;
}

int piu_lock_acquire(struct piu_lock *l, int64_t timeout)
{
    uint64_t who;
    int r;

    if (unlikely(!l))
        return -EINVAL;
    r = member_who(&who);
    if (unlikely(r < 0))
        return r;
    return owner_acquire(lock_word(l), who, timeout);
}

int piu_lock_release(struct piu_lock *l)
{
    uint64_t who, old;
    int r;

    if (unlikely(!l))
        return -EINVAL;
    r = member_who(&who);
    if (unlikely(r < 0))
        return r;
    old = who;
    /* release, for the acquire in owner_try() */
    if (likely(atomic_compare_exchange_strong_explicit(
            lock_word(l), &old, 0, memory_order_release, memory_order_relaxed)))
        return 0;
    /* waiters, or not ours: any member may release, and may do so at this moment */
    return owner_release_any(lock_word(l), who);
}

pid_t piu_lock_owner(const struct piu_lock *l)
{
    uint64_t id = member_looks(l) == 0
                      ? owner_of(&((const struct lock *)(const void *)l)->owner)
                      : 0;

    return id ? member_pid(id) : 0;
}

static uint64_t word_read(const struct piu_lock *l)
{
    return atomic_load(&((const struct lock *)(const void *)l)->owner);
}

bool piu_lock_is_locked(const struct piu_lock *l)
{
    uint64_t word = member_looks(l) == 0 ? word_read(l) : 0;

    return word != 0 && word != OWNER_NEWS;
}

bool piu_lock_is_mine(const struct piu_lock *l)
{
    uint64_t who;

    return l && member_who(&who) == 0 && (word_read(l) & WHO_MASK) == who;
}

bool lock_check(const struct piu_lock *l)
{
    return owner_check(&((const struct lock *)(const void *)l)->owner);
}
