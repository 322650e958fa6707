/*
 * Fault injection.  The library under test is libpiu.a with the imports of calls.h renamed to
 * fault_<name>, which are here: each counts, and fails when it is told to.  What the test
 * itself calls is not touched.
 *
 * Counts and orders lie in memory that the whole family shares, exec'ed children included, so
 * "the 3rd open" is the 3rd in any of its processes.
 */
#ifndef FAULT_H
#define FAULT_H

#include "calls.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <sys/types.h>

#define FAULT_FRAMES 16

struct fault_plan {
    _Atomic bool armed; /* count, and fail */
    int call;           /* enum fault_call; CALLS: none fails */
    int error;
    long nth;   /* from 1 */
    bool lasts; /* the nth and all behind it */
    _Atomic long count[CALLS];
    _Atomic long fired;
    _Atomic pid_t fired_in;
    void *frames[FAULT_FRAMES]; /* where it fired first */
    int frame_count;
    char said[512]; /* by the process that found something wrong */
};

extern struct fault_plan *fault_plan; /* never NULL */

/* Once, in the first process; inherited by fork, and by exec through the environment. */
void fault_begin(void);
/* Allocations of the library's that it has not freed, in this process. */
long fault_heap(void);

const char *fault_name(int call);
const int *fault_errors(int call); /* ends with 0 */

#endif
