/* The cases of all pages, and which of them are due. */
#ifndef STEP_CASES_H
#define STEP_CASES_H

#include "kill.h"

#define CASE_NAME 200

/* The next that is due behind it, the first behind NULL; NULL: there is no more. */
struct kill_case *case_next(const struct kill_case *c);
/* Some few pairs beside the kills of --quick, out of its budget. */
bool case_is_extra(const struct kill_case *c);
void case_name(const struct kill_case *c, char name[CASE_NAME]);
void cases_list(void);

#endif
