/* What is wanted, and what has been done: between the program and its jobs. */
#ifndef STEP_PLAN_H
#define STEP_PLAN_H

#include "kill.h"

/* What of a case to do; all shares together do all of it. */
struct kill_plan {
    unsigned share, shares;
    size_t budget;   /* of kills, in all shares; 0: no limit */
    size_t at, with; /* SIZE_MAX: all */
    int way;         /* < 0: all */
    int how;         /* < 0: all */
    int guard;       /* seconds until it hangs */
    bool only_size;  /* of the grid: is all that is wanted */
    int64_t until;   /* clock_now() at which to end */
    _Atomic bool *stop;
};

#define SHARES_MOST 64

struct kill_count {
    _Atomic size_t points;               /* instructions of all shares */
    _Atomic size_t size;                 /* points, or pairs, that there are */
    _Atomic size_t kills, pairs, missed; /* that went well, and ways that were others */
    _Atomic size_t violations;
    _Atomic size_t troubles;          /* of the harness's own: no proof of anything */
    _Atomic size_t next[SHARES_MOST]; /* by share: where to go on behind a violation */
};

extern const char *const death_names[DEATHS]; /* as --by has them */

static inline bool kill_is_of_two(const struct kill_case *c)
{
    return c->other || c->then;
}

/* Never returns: 0 all done, 1 ended by a violation, 2 the harness itself failed. */
_Noreturn void kill_job(const struct kill_case *c, const struct kill_plan *plan,
                        struct kill_count *count);

#endif
