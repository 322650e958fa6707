/* Descendants of a process that is their subreaper: once their own parents ended, its children. */
#ifndef SOAK_ORPHANS_H
#define SOAK_ORPHANS_H

#include <sys/types.h>

/* The first child of the caller; 0: there is none. */
pid_t orphan_first(void);
/* SIGKILL to all descendants, and those that follow, until none is left. */
void orphans_end(void);

#endif
