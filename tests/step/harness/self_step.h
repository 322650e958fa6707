#ifndef STEP_SELF_STEP_H
#define STEP_SELF_STEP_H

#include "victim.h"

/*
 * By a victim that nobody traces: from the next trap() to the one after that it notes its way, then
 * stops.  Not where it forks or blocks SIGTRAP.
 */
void self_step_begin(const struct trace *t, size_t limit);

/* ---- What lies at an instruction (victim.c) ---------------------------------------------- */

#define SYSTEM_CALL_SIZE 2

bool is_system_call(uint64_t at);
/* By number and second argument. */
bool call_would_sleep(uint64_t number, uint64_t second);

#endif
