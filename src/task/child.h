/*
 * A forked member and its end: what a process, a nursery, a worker and a zygote have in common.
 */
#ifndef PIU_TASK_CHILD_H
#define PIU_TASK_CHILD_H

#include "os/clock.h"
#include "shm/member.h"

#include <piu.h>

#include <sys/resource.h>

/* Private to the starter. */
struct child {
    uint64_t id; /* of the member */
    pid_t pid;
    int pidfd;           /* -1: somebody else had reaped it before we looked */
    int64_t started;     /* clock_now() */
    uint64_t oom_kills;  /* of the cgroup, when it started */
    _Atomic bool ended;  /* `death` is set; the pidfd stays open until child_done() */
    _Atomic bool ending; /* one thread is about to set it */
    struct piu_death death;
};

/*
 * Fork.  1: in the child, which is a member by this name already and, if `bound`, dies with
 * its starter (life pipe);  0: in the starter, *ret is set;  < 0: there is no child (-EAGAIN:
 * RLIMIT_NPROC; -EMFILE; -ENOMEM; -ENOSPC).
 * Standard output and error are flushed first.  A child that cannot join or be bound, or
 * whose starter is gone already, ends with CHILD_UNBORN.
 */
int child_fork(struct child *ret, const char *name, bool bound);

#define CHILD_UNBORN 127 /* the exit code of a child that ended before it began */

/* The end of such a child by its own will: flushes, leaves the family, _exit()s. */
_Noreturn void child_end(int exitcode);

/*
 * 0: it has ended, is reaped and swept, and `death` tells how; -ETIMEDOUT, -EINTR.
 * Any thread of the starter.
 */
int child_join(struct child *c, int64_t timeout);
/* Only after its end, or in a forked child: closes the descriptor. */
void child_done(struct child *c);

/* ---- The parts, for children that are started or reaped in another way --------------- */

/*
 * Before the child is made: claims the id.  The witness is for child_be(); the starter closes
 * it behind the fork, and so has a descriptor for the pidfd.
 */
int child_prepare(struct child *ret, const char *name, int *ret_witness);
/* In the new process: be that member. */
void child_be(uint64_t id, int witness);
/*
 * The process is there: watch it.  < 0: no descriptor was left for that, and it was killed and
 * swept.  By then it may have begun: what it held passes on, what it did is done.
 */
int child_watch(struct child *c, pid_t pid);
/* Like child_join() without reaping: 0: it has ended. */
int child_wait_end(const struct child *c, int64_t timeout);
/* Its process runs on as another program: as a member it has died, and is swept. */
bool child_has_execed(const struct child *c);
/* It has ended, and this is known: NULL where it is not. */
void child_set_death(struct child *c, const int *exitcode, const struct rusage *usage);

#endif
