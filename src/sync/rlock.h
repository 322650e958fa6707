/* The recursive lock's inside, for condition variables and tests. */
#ifndef PIU_SYNC_RLOCK_H
#define PIU_SYNC_RLOCK_H

#include "shm/owner.h"

#include <piu.h>

owner_word *rlock_word(struct piu_rlock *l);
_Atomic uint32_t *rlock_depth(struct piu_rlock *l); /* the holding thread's */
bool rlock_check(const struct piu_rlock *l);

#endif
