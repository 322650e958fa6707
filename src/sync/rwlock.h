/* The read-write lock's inside, for tests. */
#ifndef PIU_SYNC_RWLOCK_H
#define PIU_SYNC_RWLOCK_H

#include "os/base.h"

#include <piu.h>

bool rwlock_check(const struct piu_rwlock *l); /* nobody is inside a call */

#endif
