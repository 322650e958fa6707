/* Processes that piu itself starts, as victims: who becomes what is seen by the linker's --wrap. */
#ifndef STEP_ROLES_H
#define STEP_ROLES_H

#include "kill.h"

#include <sys/types.h>

/* Before any of them is there; what they are to run. */
void roles_new(const struct instead *programs);
void role_is_wanted(enum role role); /* the next that becomes this; ROLE_NONE: nobody */

/* In the one that becomes it: inside.c, victim_points.c. */
void role_begins(void);

/* fork(), whose child may be ROLE_CHILD. */
pid_t role_fork(void);

#endif
