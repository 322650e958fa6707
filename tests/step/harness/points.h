/*
 * Crash points: where the kernel refuses ptrace, and on machines other than x86-64.
 *
 * The library, the pages and the twins are compiled once more with -fsanitize=thread, but linked
 * with points.c instead of ThreadSanitizer's runtime: so the compiler itself puts a call in front
 * of every atomic operation and every plain store to memory that others may see, and no source
 * knows of it.  Calls of libc that may enter the kernel are wrapped by the linker.  A victim counts
 * all of these, and stops itself at the n-th.
 */
#ifndef STEP_POINTS_H
#define STEP_POINTS_H

/* In front of what may change what others see: `where` is its address. */
void crash_point(void *where);
/* A call that waits: where a way is only recorded until it would sleep, it ends here. */
void crash_point_waits(void *where);

#endif
