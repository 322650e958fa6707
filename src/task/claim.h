/*
 * Claiming: which chunk a worker takes next.  Own range first, then half of another's, then what
 * stands open in somebody's batch; a job of a few chunks, one with a look-ahead and one that had
 * a death are looked through state by state.  All of it is hints (J1): a chunk is had by the
 * CAS on its state, after the worker's record has named it.
 */
#ifndef PIU_TASK_CLAIM_H
#define PIU_TASK_CLAIM_H

#include "task/job.h"

/* To begin with: the same number of chunks for each. */
void job_share_out(struct job *j);
/* The next chunk for the worker at `place`; false: there is none (now). */
bool job_claim(struct job *j, unsigned place, bool batches, _Atomic uint64_t *record,
               uint64_t *ret_chunk);
/*
 * Chunks of this worker may have been passed over by one that looked while they moved: true
 * once after each such claim.
 */
bool job_moved(struct job *j, unsigned place);
bool job_has_work(struct job *j); /* a look, for pickers */
/* Chunks came back to AGAIN, or a worker's part may be lost: look at all states. */
void job_look_at_all(struct job *j);

#endif
