/* What a member leaves behind: woken, freed, passed on.  Idempotent; any number at once. */
#ifndef PIU_SHM_SWEEP_H
#define PIU_SHM_SWEEP_H

#include "shm/member.h"

/*
 * -errno: not all is done, because the caller is no member and cannot become one, or (-EAGAIN)
 * something of the member's is still in use.
 */
int sweep_member(struct member *m, uint64_t id, bool died);

#endif
