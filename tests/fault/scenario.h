/*
 * Scenarios: programs that use a part of the API, in steps.  A step cleans up behind itself in
 * every case, so that it can be done again: 0, or -errno when some call said so.
 *
 * What the calls do is checked as in every test, with WANT: only an error may be excused by a
 * fault, a wrong result never is.
 */
#ifndef FAULT_SCENARIO_H
#define FAULT_SCENARIO_H

#include "fault.h"

#include <piu.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef int step_function(void);

struct scenario {
    const char *name;
    bool cold;    /* the family itself is begun under faults */
    int may_lose; /* blocks that a death may cost by design */
    step_function *steps[16];
};

extern const struct scenario scenario_family, scenario_sync, scenario_queue,
    scenario_process, scenario_exec, scenario_zygote, scenario_pool;

/* Wrong whatever failed: the run is over. */
#define WANT(expr) \
    ((expr) ? (void)0 : scenario_wrong("%s:%d: %s", __FILE__, __LINE__, #expr))
_Noreturn void scenario_wrong(const char *format, ...)
    __attribute__((format(printf, 1, 2)));

/* For the end of a step, which has to come whatever happens: tried again when it fails. */
#define INSIST(expr)                                                                    \
    __extension__({                                                                     \
        int insisted_ = (expr);                                                         \
                                                                                        \
        for (int i_ = 0; insisted_ < 0 && fault_plan->fired && i_ < 3; i_++)            \
            insisted_ = (expr);                                                         \
        if (insisted_ < 0 && !fault_plan->lasts)                                        \
            scenario_wrong("%s:%d: %s: %d, again and again", __FILE__, __LINE__, #expr, \
                           insisted_);                                                  \
        insisted_;                                                                      \
    })

/* A pointer as a result: 0, or -errno. */
#define GOT(pointer) ((pointer) ? 0 : -errno)

/* A child that fails for the fault's sake ends with this. */
#define CHILD_FAILED 77

/*
 * Starts `p`, does `meanwhile` (NULL: nothing), and joins it.  -ECHILD: the child came to
 * nothing because of a fault; else its exit code must be `exitcode`.
 */
int scenario_with_child(struct piu_process *p, const struct piu_start_keywords *keywords,
                        int (*meanwhile)(struct piu_process *), int exitcode);

/* Waits until the word is set, or the process has ended: -ECHILD. */
int scenario_await(_Atomic int *word, struct piu_process *p);

#endif
