/*
 * Kill a child after its N-th instruction (x86-64, where ptrace is allowed).
 *
 *     step_record()   runs the operation once, an instruction at a time, and notes where
 *     step_kill()     runs it again, to a hardware breakpoint at the N-th, and kills it there;
 *                     a run that took another way is killed at its end
 *
 * A repeated string instruction (rep movsb) and a system call count as one each: kills inside
 * those come from random tests.  The operation is to take the same way each time: same
 * state, nobody else about.
 */
#ifndef TEST_STEP_H
#define TEST_STEP_H

#include "test.h"

struct step {
    void (*prepare)(void *argument); /* in the child, before it is traced; may be NULL */
    void (*operation)(void *argument);
    void *argument;
};

struct step_trace {
    uint64_t *at; /* the instruction that is next after n of them */
    size_t count;
    size_t room;
};

bool step_is_possible(void);
/* Runs it to its end, and kills it there. */
void step_record(const struct step *step, struct step_trace *ret);
/* Killed after `n` instructions, n <= count; false: it came to its end before that. */
bool step_kill(const struct step *step, const struct step_trace *trace, size_t n);
/* "0x1234 in function": for people and addr2line -e. */
const char *step_name(const struct step_trace *trace, size_t n);
void step_done(struct step_trace *trace);

#endif
