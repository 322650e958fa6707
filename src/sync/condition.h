/* The condition's inside, for tests. */
#ifndef PIU_SYNC_CONDITION_H
#define PIU_SYNC_CONDITION_H

#include "os/base.h"

#include <piu.h>

bool condition_check(const struct piu_condition *c); /* nobody is inside a call */

#endif
