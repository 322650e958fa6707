/*
 * A range at the place that does it: a job of the pool there, of one chunk, whose items keep their
 * numbers.  So run(), progress, losses and failures say what they would have said at home.
 */
#ifndef PIU_TASK_RANGE_H
#define PIU_TASK_RANGE_H

#include "task/engine.h"
#include "task/pool.h"

struct range_work {
    uint64_t ticket;
    struct piu_result
        result; /* piu_result_ready() and _cancel() are for its owner to call */
    struct piu_task *task;
    void *in, *out; /* blocks of the job's; NULL: none */
    size_t out_bytes;
    struct piu_report *report;
};

/*
 * `range` is copied.  -EINVAL: it contradicts itself; -EFAULT: an address that goes without its
 * bytes is not of this place's memory; else as piu_pool_map().
 */
int range_begin(struct piu_pool *pool, const struct range *range,
                struct range_work **ret);
/* Its result is ready: *ret is set, and good until it is freed.  -ENOMEM */
int range_outcome(struct range_work *work, struct outcome *ret);
struct range_work *range_free(struct range_work *work); /* its job has ended */

#endif
