/*
 * One death and what follows it: a victim that owns something is killed, a survivor that waits for it
 * goes on, and beside them the kernel's own news of the victim's end, from the same kill.
 */
#ifndef BENCH_RECOVERY_TRIAL_H
#define BENCH_RECOVERY_TRIAL_H

#include "measure.h"

enum victim {
    VICTIM_HOLDER, /* of a lock; the survivor acquires it */
    VICTIM_GETTER, /* inside get, holding the queue's lock; the survivor gets the message */
    VICTIM_WORKER, /* of a pool, in a task; the survivor is told what was lost */
    VICTIMS
};

struct trials { /* ms from the kill */
    unsigned count;
    double survivor[TRIPS]; /* until it went on */
    double kernel[TRIPS];   /* until the victim's pidfd was readable */
};

/* `count` of them, at most TRIPS; the victims have touched `memory` bytes of their own. */
int trials_run(enum victim victim, size_t memory, unsigned count, struct trials *ret);

#endif
