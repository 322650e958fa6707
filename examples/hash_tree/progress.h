/* One live line that says how far a long job is. */
#ifndef PROGRESS_H
#define PROGRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct progress {
    const char *label;
    uint64_t bytes; /* to do */
    size_t files;
    int64_t began, shown; /* ns of the monotonic clock */
    bool terminal;
    size_t drawn; /* columns that stand on the terminal's line now */
};

void progress_begin(struct progress *p, const char *label, uint64_t bytes, size_t files);

/*
 * So much is done.  On a terminal the line is rewritten in place, at most ten times a second
 * and no wider than the window; elsewhere it is a plain line every second.
 */
void progress_show(struct progress *p, uint64_t bytes, size_t files);

/* A line of its own, above the live one. */
__attribute__((format(printf, 2, 3))) void progress_say(struct progress *p,
                                                        const char *format, ...);

/* The last word on the job; returns its seconds. */
double progress_end(struct progress *p, uint64_t bytes, size_t files);

#endif
