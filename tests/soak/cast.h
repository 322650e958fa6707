/* The actors of all subjects: their processes. */
#ifndef SOAK_CAST_H
#define SOAK_CAST_H

#include "soak.h"

/* Places in ledger->actors for all of its roles. */
void cast_add(const struct subject *s);
void actor_start(struct actor *a);
/* SIGKILL; it is noted before, so that nobody counts on what it holds. */
void actor_kill(struct actor *a);
/* Its end is waited for, and what was in its hands is noted. */
void actor_bury(struct actor *a);
/* One that is to end: 1 it has, by its own will; 0 not yet. */
bool actor_has_ended(struct actor *a);

/* A worker of the pool of this actor, or the nursery (`nursery`), dies; false: not found. */
bool worker_kill(const struct actor *owner, unsigned which, bool nursery);

/* Processes that have been orphaned, or not reaped: reaps; true while there are some. */
bool anybody_is_left(void);

#endif
