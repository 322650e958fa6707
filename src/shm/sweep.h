/* What a member leaves behind: woken, freed, passed on.  Idempotent; any number at once. */
#ifndef PIU_SHM_SWEEP_H
#define PIU_SHM_SWEEP_H

#include "shm/member.h"

void sweep_member(struct member *m, uint64_t id, bool died);

#endif
