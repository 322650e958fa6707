/* System calls, counted by a tracer. */
#ifndef BENCH_CALLS_H
#define BENCH_CALLS_H

#include <stdint.h>

/*
 * How many system calls both sides of a stream make for `count` messages together, once
 * `warm` have gone through.  A traced call takes long, and the other side may fall asleep
 * over it: the number is the upper bound.
 */
int calls_count(int (*side[2])(void *arg, uint64_t count), void *arg, uint64_t warm,
                uint64_t count, uint64_t *ret);

#endif
