/*
 * The gate to a pool's engine: which thread of the user's process has it, and which are inside at
 * all (R4, R6 and R7 of remote.h).
 *
 *    outside --gate_arrive--> inside --gate_try, gate_enter--> busy --gate_leave--> inside
 *            <--gate_depart---
 *
 * Crash: all of it is the user's process's own, and goes with it.
 */
#ifndef PIU_TASK_GATE_H
#define PIU_TASK_GATE_H

#include "task/pool.h"

#define GATE_NAP MSEC /* before another try to be next */

/* All zero at first. */
struct gate {
    _Atomic uint32_t busy;    /* R4 */
    _Atomic uint32_t wanted;  /* something new was said since whoever is busy looked */
    _Atomic uint32_t guests;  /* threads that must have it next */
    _Atomic uint32_t turns;   /* counts those who were busy; others wait for the next */
    _Atomic uint32_t waiting; /* for that */
    _Atomic uint32_t inside;  /* R7 */
    _Atomic uint32_t ending;
};

bool gate_arrive(struct gate *g); /* false: it ends, and we are not inside */
void gate_depart(struct gate *g);
/* Waits until nobody is inside, and lets nobody in any more.  Once; `p`: where others wait. */
void gate_end(struct gate *g, struct pool_shared *p);

bool gate_try(struct gate *g);
void gate_leave(struct gate *g); /* the next one of those who wait goes on */
/* As a guest: whoever is busy is told, and gone soon.  At least one try; 0, -ETIMEDOUT */
int gate_enter(struct gate *g, struct pool_shared *p, int64_t deadline);

/*
 * A slice of waiting while *word == value and `turns` is as given, which was read before
 * somebody else was seen to be busy, or to be a guest.  0: look again; -EINTR.
 */
int gate_wait(struct gate *g, uint32_t turns, const _Atomic uint32_t *word,
              uint32_t value, int64_t timeout);

#endif
