/* The lock of a life: held, marked, taken over. */
#include "shm/life.h"

#include <unistd.h>

void life_lock_hold(struct member *m, bool forked)
{
    pthread_mutexattr_t attributes;

    if (PIU_TSAN)
        return;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    pthread_mutex_init(&m->life_lock, &attributes);
    pthread_mutex_lock(&m->life_lock);
    pthread_mutexattr_destroy(&attributes);
    /* after a raw clone() glibc does not know who we are, and the kernel not its list */
    if (!forked && (atomic_load(life_futex(m)) & FUTEX_TID_MASK) != (uint32_t)gettid())
        atomic_fetch_or(life_futex(m), FUTEX_OWNER_DIED);
}

void member_renew(uint64_t who)
{
    struct member *m = member_of(who);

    if (!PIU_TSAN && m && life_is_marked(m) && (who & ID_MASK) == member_self_id() &&
        pthread_mutex_trylock(&m->life_lock) == EOWNERDEAD)
        pthread_mutex_consistent(&m->life_lock);
}

const _Atomic uint32_t *member_life_futex(uint64_t id, uint32_t *ret_expected)
{
    struct member *m = member_of(id);
    uint32_t old;

    if (!m || PIU_TSAN)
        return NULL;
    old = atomic_load(life_futex(m));
    if (old == 0 || old & FUTEX_OWNER_DIED)
        return NULL;
    /* the kernel wakes (one, who wakes the next) only where this bit is set */
    *ret_expected = atomic_fetch_or(life_futex(m), FUTEX_WAITERS) | FUTEX_WAITERS;
    return life_futex(m);
}
