/*
 * A job: a case, or a share of one, kill by kill, in a process of its own with a family of its own.
 *
 *    job.c         begins and ends; the family              alone.c      at each instruction of one
 *    run.c         one kill: from the arena put back to     pairs.c      of two
 *                  the survivor's check                     inside.c     a victim that piu starts
 *    snapshot.c    the arena put back                       cast.c       the peers, the victim's pid
 *    offspring.c   children, and orphans that came to us    violation.c  told, and the end of it
 */
#ifndef STEP_JOB_H
#define STEP_JOB_H

#include "plan.h"

struct job {
    const struct kill_case *c;
    const struct kill_plan *plan;
    struct kill_count *count;
    void *state;
    struct trace trace, other_trace; /* A's way, and B's */
    pid_t pid;                       /* the survivor's */
};

extern struct job job;

/* What is being done, for a violation to tell. */
struct here {
    const char *phase;
    bool judged; /* what goes wrong now is the structure's doing, not the harness's */
    size_t n, m;
    bool stepped;
};

extern struct here here;

void become_member(void); /* in a child: if the page wants it to be one */

/* ---- violation.c --------------------------------------------------------------------- */

void violations_begin(void);
void violation_forget(void); /* what children have said */
_Noreturn void violation(const char *text);

/* ---- snapshot.c ---------------------------------------------------------------------- */

void snapshot_take(void);
void snapshot_restore(void);

/* ---- cast.c -------------------------------------------------------------------------- */

void cast_begin(void);
void cast_enter(void); /* the peers come, and sleep; there is no victim yet */
void cast_leave(void); /* the peers are ended */
bool cast_has(pid_t pid);

/* ---- offspring.c --------------------------------------------------------------------- */

void children_kill(void);

/* ---- run.c --------------------------------------------------------------------------- */

enum how_to { RECORD, BREAKPOINT, STEPS };

/* A alone: killed after its n-th.  One that went another way is done again in single steps. */
void run_one(enum how_to to, size_t n);
/* The survivor does all of it, and somebody is killed meanwhile; SIZE_MAX: nobody. */
void run_inside(size_t n);
/*
 * Of two: false, somebody went another way.
 *     grid   B stands at its m-th while A is killed at its n-th
 *     then   A is killed at its n-th; B comes, and is killed at its m-th
 * RECORD: A's whole way, B's of then.
 */
bool run_grid(enum how_to to, size_t n, size_t m);
bool run_then(enum how_to to, size_t n, size_t m);
/* A's way, or B's, while nobody else is about. */
void record_a(void);
void record_b(void);

/* ---- alone.c, pairs.c ---------------------------------------------------------------- */

void all_alone(void);
void all_inside(void);
void all_pairs(void);

/* ---- plan.c -------------------------------------------------------------------------- */

/* The i-th of 0 .. most, spread; each once if i goes to most. */
size_t spread(size_t i, size_t most);
bool time_is_up(void);
/* The next of 0 .. many - 1 for this share; false: no more, or no time. */
bool share_next(size_t many, size_t *ret);

#endif
