#ifndef STEP_TRACE_H
#define STEP_TRACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Where an operation leads, in memory that children share.  A way to the n-th is to `from[n]`
 * by a breakpoint, at its hits[]-th time, and the rest in single steps: whatever is less.
 */
struct trace {
    uint64_t *at; /* the instruction that is next after n of them */
    uint32_t *from, *hits;
    size_t *count;
    bool *ended; /* it leads to the operation's end */
};

#define TRACE_MAX (UINT32_C(1) << 20)

struct trace trace_new(void);
void trace_plan(const struct trace *t); /* from[] and hits[], when at[] is there */
/* "symbol+0x12, file.c:34" of the n-th; static memory. */
const char *trace_name(const struct trace *t, size_t n);

#endif
