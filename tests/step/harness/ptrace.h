/* What victim.c and inside.c share: a process that is traced. */
#ifndef STEP_PTRACE_H
#define STEP_PTRACE_H

#include "victim.h"

/* An int3: behind it a victim stands at its begin and end. */
void trap(void);
/* Until it stops for the first time, where it was seized; false: it has ended. */
bool victim_stands(struct victim *v);
/* Its way from where it stands, in single steps. */
void steps_record(struct victim *v, const struct trace *t, size_t limit);

#endif
