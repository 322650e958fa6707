/*
 * The witness: a description that exec closes, with a lock on a byte of ours (os/fd.h).  The byte
 * is that of a slot and a generation: a stray description bars nobody else.
 */
#ifndef PIU_SHM_WITNESS_H
#define PIU_SHM_WITNESS_H

#include "shm/member.h"

/* The caller's, under this id: `given`, which is the witness's from now on, or one that it opens. */
int witness_take(uint64_t id, int given);
bool witness_is(int fd); /* the caller's, so it must stay open */
void witness_close(void);
/*
 * For children to be.  A child that another thread forks meanwhile has them too, and must close
 * them, or the one that they are for would seem to live on after an exec.
 */
int witness_open_ahead(int *ret_fd);
void witness_close_ahead(int fd);
void witnesses_close_but(int given); /* in the child: all, its starter's too */
bool witness_is_held(uint64_t id);   /* true where it cannot be told */

#endif
