/* What is printed: a line a case, a sum a structure, and the closing lines. */
#ifndef STEP_REPORT_H
#define STEP_REPORT_H

#include "plan.h"

void report_begin(void);
/* Behind a case that took so many ns; `sound`: as it was to be. */
void report_case(const struct kill_case *c, const struct kill_count *count, int64_t took,
                 bool sound);
/* The closing lines; false: something was not as it was to be, or nothing was done. */
bool report_end(void);

#endif
