/* How much of each case: a budget of kills, or of time, shared out by weight. */
#ifndef STEP_BUDGET_H
#define STEP_BUDGET_H

#include "plan.h"

void budget_begin(void);
/* The part of this one goes into `plan`; what it has not used is for those behind it. */
void budget_give(const struct kill_case *c);
void budget_take_back(const struct kill_case *c, const struct kill_count *count);

#endif
