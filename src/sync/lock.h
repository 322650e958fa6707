/* The lock's inside, for condition variables and tests. */
#ifndef PIU_SYNC_LOCK_H
#define PIU_SYNC_LOCK_H

#include "shm/owner.h"

#include <piu.h>

owner_word *lock_word(struct piu_lock *l);
bool lock_check(const struct piu_lock *l);

#endif
