/* Operation records: hints for people, and wakes that are owed. */
#include "shm/operation.h"

#include "shm/member.h"

static struct operation *operation_of(uint64_t who)
{
    struct member *m = member_of(who);

    return m ? &m->operations[(who >> 48) % OPERATIONS] : NULL;
}

void operation_waits(uint64_t who, const void *object)
{
    struct operation *o = operation_of(who);

    if (o)
        atomic_store_explicit(&o->object, arena_offset(object), memory_order_relaxed);
}

void operation_about_to_wake(uint64_t who, const _Atomic uint32_t *futex)
{
    struct operation *o = operation_of(who);

    /* release: before the store that makes the wake due, for the sweep that reads it */
    if (o)
        atomic_store_explicit(&o->wake, arena_offset(futex), memory_order_release);
}

void operation_woke(uint64_t who)
{
    struct operation *o = operation_of(who);

    if (o)
        atomic_store_explicit(&o->wake, 0, memory_order_release);
}
