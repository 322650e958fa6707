/*
 * A victim: a child that can be stopped at any instruction of an operation, and die there.
 *
 *    victim_start --> stands before the first --record, to, step_to--> stands at the n-th
 *                     stands ... --die--> dead, and told so to nobody but the kernel
 *                     stands ... --to the end--> has done it all, and still lives
 *
 * By ptrace: the trace of instructions is recorded once by single steps, afterwards a hardware
 * breakpoint brings a victim to any of them (x86-64).
 *
 * A system call and a repeated string instruction count as one.  A victim is to take the
 * same way each time: same state, same addresses, one CPU.
 */
#ifndef STEP_VICTIM_H
#define STEP_VICTIM_H

#include "trace.h"

#include <sys/types.h>

enum death { DEATH_KILL, DEATH_EXIT, DEATH_EXEC, DEATHS };

/* Victims that piu itself starts.  ROLE_CHILD: whatever is forked, from its first instruction. */
enum role { ROLE_NONE, ROLE_NURSERY, ROLE_WORKER, ROLE_ZYGOTE, ROLE_CHILD };

struct work {
    void (*prepare)(void *argument); /* before it can be stopped; may be NULL */
    void (*operation)(void *argument);
    void *argument;
    bool forks; /* or blocks signals */
};

struct victim {
    pid_t pid;    /* 0: reaped */
    uint64_t end; /* where it stands when it has done all */
};

/* victim.c by ptrace, victim_points.c without it. */
const char *victims_way(void);
bool victims_can_stop(const char **ret_reason);
/* Once in a job.  false: two ways of recording do not find the same way. */
bool victims_begin(const struct trace *a, const struct trace *b);

void victim_start(struct victim *v, const struct work *work);
/*
 * Starts one, to its end; false: not in `limit` instructions, or (a limit being given) it would
 * sleep.  All there is to do then is to kill it.
 */
bool victim_record(struct victim *v, const struct work *work, const struct trace *t,
                   size_t limit);
/* Stands at the n-th, n <= count; false: it is at its end already. */
bool victim_to(struct victim *v, const struct trace *t, size_t n);
/* The same in single steps, for one that took another way. */
bool victim_step_to(struct victim *v, const struct trace *t, size_t n);
/* Killed, or calls _exit or exec where it stands.  After exec it lives on as another program. */
void victim_die(struct victim *v, enum death how);
void victim_reap(struct victim *v); /* whatever it is by now */

/* ---- One that piu starts: inside.c, victim_points.c --------------------------------------- */

/* The next one that becomes this is killed at its n-th place. */
struct inside_order {
    enum role role;
    bool waits; /* counted is from victim_inside_opens() on */
    size_t n;   /* SIZE_MAX: its way is recorded, and it lives on */
    enum death how;
};

struct instead;
/* Once, before the survivor is a member. */
void victims_inside_begin(const struct instead *programs);
void victim_inside(const struct inside_order *order, const struct trace *t);
/* By any process.  A ROLE_CHILD is the next to be forked; the others are there, and rest. */
void victim_inside_opens(void);
bool victim_inside_end(void); /* false: it did not come there */
/* Where it can be killed: the n of a trace. */
size_t victim_inside_places(const struct trace *t, uint32_t *ret);
/* Of the survivor's children that which is the harness's own. */
bool victim_is_hangman(pid_t pid);

#endif
