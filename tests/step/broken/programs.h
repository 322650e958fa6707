/*
 * What piu starts, each wrong in one way: its own source once more, with macros where the mistake
 * is.  A page puts one in place of the right one (`.instead`), and its own check is to notice.
 */
#ifndef STEP_BROKEN_PROGRAMS_H
#define STEP_BROKEN_PROGRAMS_H

#include "task/child.h"
#include "task/offspring.h"
#include "task/pool.h"

/* worker.c: its record says which job it is in only when it has begun a chunk of it. */
_Noreturn void worker_named_late(struct pool_shared *p, unsigned place);

/* nursery.c */
/* It reaps those that have told their pid, and not who was killed before. */
_Noreturn void nursery_forgets_the_unborn(struct pool_shared *p);
/* Its workers are not bound to it. */
_Noreturn void nursery_is_outlived(struct pool_shared *p);
/* It goes by what is cancelled in its own time: what its forerunner was told is lost. */
_Noreturn void nursery_forgets_cancels(struct pool_shared *p);

/* offspring.c: the zygote says that a child runs, and not the child. */
_Noreturn void zygote_speaks_for_the_child(struct zygote *z);

/* child.c: the claim of a child that never came stays. */
int child_fork_claimed_for_ever(struct child *ret, const char *name, bool bound);
int child_join_claimed_for_ever(struct child *c, int64_t timeout);

#endif
