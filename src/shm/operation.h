/*
 * Operation records: what each thread of a member is about.
 */
#ifndef PIU_SHM_OPERATION_H
#define PIU_SHM_OPERATION_H

#include "os/base.h"

/* What a thread is doing.  `wake` is correctness' helper, the rest is for people. */
struct operation {
    _Atomic uint64_t wake;   /* offset of a futex whose sleepers are still to be woken */
    _Atomic uint64_t object; /* offset of what it waits for; 0: it does not wait */
};

#define OPERATIONS 12 /* threads of a member that have one each */

/*
 * A thread's operation record, only in slow ways: waits_for() for people, about_to_wake() and
 * woken() around a release that has to wake somebody.
 */
void operation_waits(uint64_t who, const void *object); /* NULL: no longer */
void operation_about_to_wake(uint64_t who, const _Atomic uint32_t *futex);
void operation_woke(uint64_t who);

#endif
