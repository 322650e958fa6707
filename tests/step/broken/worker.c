/* A worker that is wrong: see programs.h. */
#include "programs.h"

#include "task/claim.h"

/* Not before the claim, where it would be of use: killed in between, nobody knows who had it. */
static bool claim_then_name(struct job *j, struct worker *w, unsigned place, bool batches,
                            _Atomic uint64_t *record, uint64_t *ret_chunk)
{
    uint64_t name = atomic_exchange(&w->job, 0);
    bool claimed = job_claim(j, place, batches, record, ret_chunk);

    atomic_store(&w->job, name);
    return claimed;
}

#define job_claim(j, place, batches, record, ret_chunk) \
    claim_then_name(j, w, place, batches, record, ret_chunk)
#define worker_main       worker_named_late
#define piu_task_progress progress_of_broken_worker

void piu_task_progress(struct piu_task *self, size_t item);

#include "task/worker.c"
