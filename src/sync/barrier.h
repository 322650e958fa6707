/* The barrier's inside, for tests. */
#ifndef PIU_SYNC_BARRIER_H
#define PIU_SYNC_BARRIER_H

#include "os/base.h"

#include <piu.h>

bool barrier_check(const struct piu_barrier *b); /* nobody is inside a call */

#endif
