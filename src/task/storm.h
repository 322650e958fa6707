/*
 * Storms: workers that die one after the other, or that cannot be started.  How long the nursery
 * waits before it starts the next, and when the pool is not a pool any more.
 *
 * A series of deaths begins with one that was not asked for and not in a task.  It ends with a
 * finished task, or with a second in which no worker that was born has died.  Longer than
 * max(3, workers):
 *
 *     they end by themselves (a fault, an exit code)   broken at once: so will the next
 *     somebody kills them                              births slow down; broken if it goes on
 *                                                      for 5 s, without one finished task
 *
 * Starts that fail are tried again, more and more slowly; after 5 s without a worker the pool is
 * of no use to who waits for it.  Private to the nursery: another one begins with calm.
 */
#ifndef PIU_TASK_STORM_H
#define PIU_TASK_STORM_H

#include <piu.h>

#include "os/base.h"

struct storm {
    unsigned deaths, own; /* in a series; those that ended by themselves */
    int64_t began, last;  /* clock_now() of the series' deaths */
    uint64_t tasks;       /* finished by all, when it began */
    unsigned failures;    /* starts, in a row */
    int64_t failing;      /* since then; 0: the last went well */
    int64_t next;         /* no birth before; 0: at once */
};

/* One death of `places` workers that have finished `tasks` so far.  true: the pool is broken. */
bool storm_note_death(struct storm *s, const struct piu_death *death, bool was_born,
                      unsigned places, uint64_t tasks, int64_t now);

/* A worker was started (r == 0), or not.  true: none could be for long. */
bool storm_note_start(struct storm *s, int r, int64_t now);

/* ns until the next birth; 0: now. */
int64_t storm_pause(const struct storm *s, int64_t now);

#endif
