/*
 * The life of a member: one word that says whose slot it is and what became of it, and one lock
 * that the kernel marks.
 *
 *    life word   63        31  30        9  8    3   2..0
 *                | generation | pid        |  0    | state |
 *
 *    FREE --claim--> CLAIMED(pid of the claimer) --join--> LIVE(pid) --leave--> LEFT(pid)
 *     ^                 |                                    |                    |
 *     |                 | claimer died: any                  | died: any          | its process
 *     |                 v                                    v                    v has ended: any
 *     `--- generation + 1 ------------------------------- DIED(pid) --- swept: any ---'
 *
 * The lock is a robust mutex that stays locked for life: the kernel marks it when the thread that
 * took it ends, or its process, or execs.  It is never unlocked, for that would follow pointers
 * that lie in shared memory.
 */
#ifndef PIU_SHM_LIFE_H
#define PIU_SHM_LIFE_H

#include "shm/member.h"

#include <linux/futex.h>

enum member_state { MEMBER_FREE, MEMBER_CLAIMED, MEMBER_LIVE, MEMBER_LEFT, MEMBER_DIED };

static inline uint64_t life_make(uint64_t generation, uint32_t pid,
                                 enum member_state state)
{
    return generation << 31 | (uint64_t)pid << 9 | (uint64_t)state;
}

static inline uint64_t life_generation(uint64_t life)
{
    return life >> 31;
}

static inline uint32_t life_pid(uint64_t life)
{
    return (uint32_t)(life >> 9) & 0x3fffff; /* Linux: pid numbers have 22 bits at most */
}

static inline enum member_state life_state(uint64_t life)
{
    return (enum member_state)(life & 7);
}

static inline bool life_move(struct member *m, uint64_t from, uint32_t pid,
                             enum member_state state)
{
    return atomic_compare_exchange_strong(&m->life, &from,
                                          life_make(life_generation(from), pid, state));
}

/* glibc: the futex is the first word of a mutex. */
static inline _Atomic uint32_t *life_futex(struct member *m)
{
    return (_Atomic uint32_t *)(void *)&m->life_lock;
}

/* The kernel has said that the thread which joined has ended, or that it never will say so. */
static inline bool life_is_marked(struct member *m)
{
    return (atomic_load(life_futex(m)) & FUTEX_OWNER_DIED) != 0;
}

/* By the thread that joins; `forked`: by glibc's fork(), not by a bare clone(). */
void life_lock_hold(struct member *m, bool forked);

#endif
