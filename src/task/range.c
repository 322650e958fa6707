#include "task/range.h"

#include <stdlib.h>
#include <string.h>

/* ---- Beginning --------------------------------------------------------------------------- */

static bool has_bytes(size_t bytes, uint64_t count, size_t size)
{
    size_t all;

    return !__builtin_mul_overflow(count, size, &all) && all == bytes;
}

/* An address goes without bytes only where the task does not give their size. */
static bool array_is_sound(bool goes, size_t bytes, const void *array, uint64_t count,
                           size_t size)
{
    return goes ? has_bytes(bytes, count, size) : !array || !size;
}

static bool range_is_sound(const struct range *range, const struct piu_task *task)
{
    uint64_t count = range->last - range->first;

    return range->first < range->last && range->last <= task->count &&
           range->task_size == (task->struct_size ? task->struct_size : sizeof(*task)) &&
           array_is_sound(range->in, range->in_bytes, task->in, count, task->in_size) &&
           array_is_sound(range->out_bytes, range->out_bytes, task->out, count,
                          task->out_size) &&
           (!range->call_at ||
            (range->call_at >= sizeof(*task) && range->call_at <= UINT16_MAX &&
             range->call_at % alignof(uint64_t) == 0 &&
             range->call_at <= range->task_size - sizeof(uint64_t)));
}

/* In the arena, for workers to use in place. */
static int array_new(const void *from, size_t bytes, void **ret)
{
    int r = bytes ? block_new(bytes, BLOCK_SCRATCH, NULL, ret) : 0;

    if (r < 0 || !bytes)
        return r;
    if (from)
        memcpy(*ret, from, bytes);
    else
        memset(*ret, 0, bytes);
    return 0;
}

static int arrays_new(struct range_work *work, const struct range *range)
{
    int r = range->in ? array_new(range->in, range->in_bytes, &work->in) : 0;

    if (r == 0)
        r = array_new(range->out, range->out_bytes, &work->out);
    if (work->in)
        work->task->in = work->in;
    if (work->out)
        work->task->out = work->out;
    return r;
}

static void arrays_free(struct range_work *work)
{
    if (work->in)
        block_free(work->in);
    if (work->out)
        block_free(work->out);
}

/*
 * From now on the job's: freed with it, when no worker is in them any more (J3).  It may have ended
 * before, where the pool broke.  Given first: killed between, they stay with the arena.
 */
static void array_hand_over(void *array, uint32_t *copied)
{
    if (!array)
        return;
    block_give(array);
    atomic_signal_fence(memory_order_seq_cst);
    *copied = 1;
}

static void work_done(struct range_work *work)
{
    piu_report_free(work->report);
    free(work->task);
    free(work);
}

static int task_copy(struct range_work *work, const struct range *range)
{
    if (range->task_size < sizeof(*work->task))
        return -EINVAL;
    work->task = malloc(range->task_size);
    if (!work->task)
        return -ENOMEM;
    memcpy((void *)work->task, range->task, range->task_size);
    return range_is_sound(range, work->task) ? 0 : -EINVAL;
}

int range_begin(struct piu_pool *pool, const struct range *range, struct range_work **ret)
{
    struct range_work *work = calloc(1, sizeof(*work));
    int r = work ? task_copy(work, range) : -ENOMEM;

    if (r == 0)
        r = arrays_new(work, range);
    if (r == 0)
        r = pool_submit_range(pool, work->task, range, &work->result);
    if (r < 0) {
        if (work) {
            arrays_free(work);
            work_done(work);
        }
        return r;
    }
    array_hand_over(work->in, &work->result.job->in_copied);
    array_hand_over(work->out, &work->result.job->out_copied);
    work->ticket = range->ticket;
    work->out_bytes = range->out_bytes;
    *ret = work;
    return 0;
}

/* ---- Ending -------------------------------------------------------------------------------- */

int range_outcome(struct range_work *work, struct outcome *ret)
{
    int r = piu_result_get(&work->result, PIU_NOW);

    *ret = (struct outcome){.ticket = work->ticket,
                            .how = r == -ECANCELED ? RANGE_CANCELLED
                                   : r < 0         ? RANGE_REFUSED
                                                   : RANGE_FINISHED,
                            .error = r < 0 ? r : 0};
    if (r < 0)
        return 0;
    r = piu_result_report(&work->result, &work->report);
    if (r < 0)
        return r;
    ret->out = work->out;
    ret->out_bytes = work->out_bytes;
    ret->losses_count = piu_report_losses(work->report, &ret->losses);
    ret->tries_count = piu_report_retries(work->report, &ret->tries);
    ret->failures_count = piu_report_failures(work->report, &ret->failures);
    return 0;
}

struct range_work *range_free(struct range_work *work)
{
    result_done(&work->result);
    work_done(work);
    return NULL;
}
