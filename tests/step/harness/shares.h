/* A case in so many processes at once: a share each. */
#ifndef STEP_SHARES_H
#define STEP_SHARES_H

#include "plan.h"

/* By `plan`, all of it; false: the harness itself failed. */
bool shares_run(const struct kill_case *c, struct kill_count *count);

#endif
