/*
 * Taking turns among the threads of one process, at private memory.  A child that was forked
 * while a thread had its turn does not wait for that thread, which it has not got: it sees
 * by the member id that turn and data are its parent's, and begins with its own.
 */
#ifndef PIU_TASK_TURN_H
#define PIU_TASK_TURN_H

#include "os/base.h"

#include <sched.h>

struct turn {
    _Atomic uint64_t holder; /* member id; 0: nobody */
    uint64_t owner;          /* of the data; written by who has the turn */
};

/* false: the data are not the caller's, but inherited or never used: to be made empty. */
static inline bool turn_take(struct turn *t, uint64_t id)
{
    uint64_t old = 0;
    bool ours;

    while (!atomic_compare_exchange_strong(&t->holder, &old, id)) {
        if (old != id)
            continue; /* a parent's: `old` is what to take it from */
        sched_yield();
        old = 0;
    }
    ours = t->owner == id;
    t->owner = id;
    return ours;
}

static inline void turn_give(struct turn *t)
{
    atomic_store(&t->holder, 0);
}

/* Has the caller ever taken a turn?  Reads without one: enough to know that there is nothing. */
static inline bool turn_is_ours(const struct turn *t, uint64_t id)
{
    return id && t->owner == id;
}

#endif
