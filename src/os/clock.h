/*
 * Time: CLOCK_MONOTONIC in nanoseconds.  A timeout is relative, a deadline absolute.
 * A timeout <= 0 is "now"; CLOCK_FOREVER, and a sum that overflows, never passes.
 */
#ifndef PIU_OS_CLOCK_H
#define PIU_OS_CLOCK_H

#include "os/base.h"

#include <time.h>

#define CLOCK_FOREVER INT64_MAX
#define MSEC          INT64_C(1000000)
#define SEC           INT64_C(1000000000)

int64_t clock_now(void);
int64_t deadline_after(int64_t timeout); /* no system call for 0 and CLOCK_FOREVER */
int64_t deadline_left(int64_t deadline); /* >= 0; 0: passed; CLOCK_FOREVER: never */

static inline int64_t min_timeout(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

struct timespec timespec_of(int64_t ns);

#endif
