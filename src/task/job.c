/* Jobs: made and freed by the user's process, ended by all. */
#include "task/job.h"

#include "os/futex.h"
#include "task/claim.h"
#include "task/engine.h"
#include "task/note.h"

#include <limits.h>
#include <string.h>

#define SHARES_PER_WORKER \
    8 /* automatic chunks: enough to even out, few enough to cost nothing */
#define CHUNKS_MOST UINT32_MAX
#define INSIDE_MOST 4096u /* bytes of an array that is copied into the job's own block */

struct job *job_at(uint64_t offset)
{
    struct job *j = arena_within(offset, sizeof(*j), alignof(struct job));

    return j && j->chunk && j->chunks < CHUNKS_MOST &&
                   arena_has(j->shares, j->shares_count * sizeof(j->shares[0])) &&
                   arena_within(j->states, j->chunks * sizeof(uint16_t),
                                alignof(uint16_t)) &&
                   (!j->finished || arena_at(j->finished, j->chunks * sizeof(uint32_t)))
               ? j
               : NULL;
}

/* ---- Where things are ---------------------------------------------------------------- */

static uint64_t auto_chunk(uint64_t count, unsigned places)
{
    uint64_t parts = (uint64_t)places * SHARES_PER_WORKER;

    return count > parts ? (count - 1) / parts + 1 : 1;
}

/* Bytes to be copied: 0 where the array is used where it lies, in the arena, or is none. */
static int array_bytes(const void *array, uint64_t count, uint64_t size, uint64_t *ret)
{
    uint64_t bytes;

    *ret = 0;
    if (!array || count == 0)
        return 0;
    if (__builtin_mul_overflow(count, size, &bytes))
        return -ENOMEM;
    if (arena_has(array, bytes ? bytes : 1))
        return 0;
    if (size == 0)
        return -EFAULT;
    *ret = bytes;
    return 0;
}

static uint64_t plan_part(struct job_plan *plan, uint64_t size)
{
    uint64_t at = plan->size;

    plan->size = round_up(at + size, 64);
    return at;
}

static uint64_t wished_count(const struct job_wish *wish)
{
    return wish->range ? wish->range->last - wish->range->first : wish->task->count;
}

static uint64_t wished_chunk(const struct job_wish *wish, uint64_t count)
{
    return wish->range         ? count
           : wish->task->chunk ? wish->task->chunk
                               : auto_chunk(count, wish->places);
}

/* They may come to mean something: who leaves them alone then means nothing by them. */
static bool reserved_are_zero(const struct piu_task *task)
{
    uint64_t all = 0;

    for (size_t i = 0; i < array_size(task->reserved); i++)
        all |= task->reserved[i];
    return all == 0;
}

int job_plan(const struct job_wish *wish, struct job_plan *ret)
{
    const struct piu_task *task = wish->task;
    uint64_t count = wished_count(wish);
    struct job_plan plan = {.count = count, .chunk = wished_chunk(wish, count)};
    int r = reserved_are_zero(task)
                ? array_bytes(task->in, count, task->in_size, &plan.in_bytes)
                : -EINVAL;

    if (r == 0)
        r = array_bytes(task->out, count, task->out_size, &plan.out_bytes);
    if (r < 0)
        return r;
    plan.task_size = task->struct_size ? task->struct_size : sizeof(*task);
    plan.chunks = count ? (count - 1) / plan.chunk + 1 : 0;
    if (plan.task_size < sizeof(*task) || plan.task_size > UINT32_MAX / 2 ||
        plan.chunks >= CHUNKS_MOST)
        return -EINVAL;
    plan.shares = plan.chunks > JOB_FEW ? wish->places : 0;
    plan.size = sizeof(struct job) + plan.shares * sizeof(struct share);
    plan_part(&plan, plan.task_size);
    if (plan.chunks > JOB_FEW)
        plan.states = plan_part(&plan, plan.chunks * sizeof(uint16_t));
    if (wish->unordered)
        plan.finished = plan_part(&plan, plan.chunks * sizeof(uint32_t) + 1);
    if (plan.in_bytes && plan.in_bytes <= INSIDE_MOST)
        plan.in = plan_part(&plan, plan.in_bytes);
    if (plan.out_bytes && plan.out_bytes <= INSIDE_MOST)
        plan.out = plan_part(&plan, plan.out_bytes);
    *ret = plan;
    return 0;
}

/* ---- Making ------------------------------------------------------------------------ */

/* Where workers find an array: at home, in the job's block, or in one of its own. */
static int array_place(struct job *j, const void *array, uint64_t inside, uint64_t bytes,
                       uint64_t *ret_offset, uint32_t *ret_copied)
{
    void *block;
    int r;

    if (!bytes) {
        *ret_offset = j->count ? arena_offset(array) : 0;
        return 0;
    }
    if (inside) {
        *ret_offset = arena_offset(j) + inside;
        return 0;
    }
    r = block_new(bytes, BLOCK_SCRATCH, NULL, &block);
    if (r < 0)
        return r;
    *ret_offset = arena_offset(block);
    *ret_copied = 1;
    return 0;
}

static void job_fill(struct job *j, const struct job_plan *plan,
                     const struct job_wish *wish)
{
    const struct piu_task *task = wish->task;

    j->code = wish->code;
    j->call_at = wish->call_at;
    j->first = unlikely(wish->range) ? wish->range->first : 0;
    j->count = plan->count;
    j->chunk = plan->chunk;
    j->chunks = plan->chunks;
    j->shares_count = (uint16_t)plan->shares;
    j->retries = unlikely(wish->range) ? wish->range->retries : task->retries;
    j->timeout = task->timeout;
    j->task_size = (uint32_t)plan->task_size;
    j->in_size = task->in_size;
    j->out_size = task->out_size;
    j->iterated = wish->iterated;
    j->small = job_is_small(plan);
    atomic_store_explicit(&j->limit, wish->lookahead ? wish->lookahead : UINT64_MAX,
                          memory_order_relaxed);
    memcpy((void *)job_task(j), task, plan->task_size);
    j->states = arena_offset(plan->states ? (void *)((char *)j + plan->states) : j->few);
    if (plan->states)
        memset((char *)j + plan->states, 0, plan->chunks * sizeof(uint16_t));
    if (plan->finished) {
        j->finished = arena_offset((char *)j + plan->finished);
        memset((char *)j + plan->finished, 0, plan->chunks * sizeof(uint32_t));
    }
    memset(j->shares, 0, plan->shares * sizeof(j->shares[0]));
    if (plan->shares)
        job_share_out(j);
}

static int job_place_arrays(struct job *j, const struct job_plan *plan,
                            const struct job_wish *wish)
{
    const struct piu_task *task = wish->task;
    int r = array_place(j, task->in, plan->in, plan->in_bytes, &j->in, &j->in_copied);

    if (r == 0)
        r = array_place(j, task->out, plan->out, plan->out_bytes, &j->out,
                        &j->out_copied);
    if (r < 0)
        return r;
    if (plan->in_bytes)
        memcpy(arena.base + j->in, task->in, plan->in_bytes);
    if (plan->out_bytes)
        memset(arena.base + j->out, 0, plan->out_bytes);
    return 0;
}

int job_new(const struct job_wish *wish, const struct job_plan *plan, uint64_t spare,
            struct job **ret)
{
    size_t size = job_is_small(plan) ? JOB_SMALL : round_up(plan->size, 128);
    void *block = arena_at(spare, JOB_SMALL);
    int r = spare ? 0 : block_new(size, BLOCK_SCRATCH, NULL, &block);
    struct job *j = block;

    if (r < 0)
        return r;
    if (!spare)
        memset(j, 0, sizeof(*j));
    job_fill(j, plan, wish);
    r = job_place_arrays(j, plan, wish);
    if (r < 0 && spare)
        job_strip(j);
    else if (r < 0)
        job_free(j);
    if (r < 0)
        return r;
    if (j->in_copied)
        block_give(arena.base + j->in);
    if (j->out_copied)
        block_give(arena.base + j->out);
    *ret = j;
    return 0;
}

static void free_at(uint64_t offset)
{
    void *block = offset ? arena_at(offset, 1) : NULL;

    if (block)
        block_free(block);
}

/* What says that a block is there goes first: killed between, it stays with the arena. */
static void array_free(uint64_t offset, uint32_t *copied)
{
    bool ours = *copied;

    *copied = 0;
    atomic_signal_fence(memory_order_seq_cst);
    if (ours)
        free_at(offset);
}

void job_strip(struct job *j)
{
    job_free_notes(j);
    array_free(j->in, &j->in_copied);
    array_free(j->out, &j->out_copied);
}

/*
 * Here and not when it is used: that these lines come back from the workers' cores takes as
 * long for the jobs that are cleared in a row as for one.
 */
void job_clear(struct job *j)
{
    memset(j, 0, sizeof(*j));
}

void job_free(struct job *j)
{
    job_strip(j);
    block_free(j);
}

void job_take(struct job *j)
{
    job_take_notes(j);
    if (j->in_copied)
        block_take(arena.base + j->in, BLOCK_SCRATCH, NULL);
    if (j->out_copied)
        block_take(arena.base + j->out, BLOCK_SCRATCH, NULL);
    block_take(j, BLOCK_SCRATCH, NULL);
}

/* ---- Ends --------------------------------------------------------------------------- */

/* The word that they sleep on was changed by a seq_cst operation: the fence for theirs. */
static void wake_waiters(struct job *j)
{
    if (atomic_load(&j->waited) && atomic_exchange(&j->waited, 0)) {
        futex_wake(&j->state, INT_MAX);
        futex_wake(&j->news, INT_MAX);
    }
}

void job_note_news(struct job *j)
{
    atomic_fetch_add(&j->news, 1);
    wake_waiters(j);
}

/* J5 */
void job_note_finished(struct job *j, uint64_t chunk)
{
    if (j->finished) {
        _Atomic uint32_t *finished =
            (_Atomic uint32_t *)(void *)(arena.base + j->finished);
        uint64_t at = atomic_fetch_add(&j->finished_count, 1);

        if (at < j->chunks)
            atomic_store(&finished[at], (uint32_t)chunk + 1);
    }
    job_note_news(j);
}

/* Only this worker writes its share's counts. */
static void share_count(struct share *share, uint64_t items)
{
    atomic_store_explicit(
        &share->items, atomic_load_explicit(&share->items, memory_order_relaxed) + items,
        memory_order_relaxed);
    atomic_store_explicit(&share->chunks,
                          atomic_load_explicit(&share->chunks, memory_order_relaxed) + 1,
                          memory_order_release);
}

void job_finish_chunk(struct job *j, unsigned place, uint64_t chunk, enum chunk_state how)
{
    /* release, for the acquire of who looks at it: who sees the state sees the results */
    atomic_store_explicit(&job_states(j)[chunk], (uint16_t)how, memory_order_release);
    if (place < j->shares_count)
        share_count(&j->shares[place], chunk_last(j, chunk) - chunk_first(j, chunk));
    if (unlikely(j->iterated))
        job_note_finished(j, chunk);
}

static bool all_ended(struct job *j)
{
    uint64_t sum = 0;

    if (j->shares_count && !atomic_load(&j->recount)) {
        for (unsigned i = 0; i < j->shares_count; i++)
            sum += atomic_load(&j->shares[i].chunks);
        return sum == j->chunks;
    }
    for (uint64_t chunk = 0; chunk < j->chunks; chunk++) {
        if (!chunk_is_ended(
                atomic_load_explicit(&job_states(j)[chunk], memory_order_acquire)))
            return false;
    }
    return true;
}

static void job_end(struct job *j)
{
    uint32_t running = JOB_RUNNING;

    if (atomic_compare_exchange_strong(&j->state, &running, JOB_ENDED)) {
        if (j->iterated)
            atomic_fetch_add(&j->news, 1);
        wake_waiters(j);
    }
}

bool job_try_end(struct job *j)
{
    /* two that end the last chunks at once: at least one sees the other's count */
    if (j->chunks > 1)
        atomic_thread_fence(memory_order_seq_cst);
    if (!all_ended(j))
        return false;
    job_end(j);
    return true;
}

void job_end_with(struct job *j, int error)
{
    int32_t none = 0;

    if (atomic_load(&j->state) == JOB_ENDED)
        return;
    atomic_store(&j->stopped, 1);
    atomic_compare_exchange_strong(&j->error, &none, error);
    job_end(j);
}

/* A job without shares has few chunks. */
static uint64_t items_by_state(const struct job *j)
{
    uint64_t items = 0;

    for (uint64_t chunk = 0; chunk < j->chunks; chunk++) {
        uint16_t state =
            atomic_load_explicit(&job_states(j)[chunk], memory_order_relaxed);

        if (chunk_is_ended(state))
            items += chunk_last(j, chunk) - chunk_first(j, chunk);
    }
    return items;
}

uint64_t job_items_done(struct job *j)
{
    uint64_t items = atomic_load(&j->gone_items);

    if (atomic_load(&j->state) == JOB_ENDED && !atomic_load(&j->error) &&
        !atomic_load(&j->cancelled))
        return j->count; /* a dead worker's count may be short */
    if (!j->shares_count)
        return items_by_state(j);
    for (unsigned i = 0; i < j->shares_count; i++)
        items += atomic_load_explicit(&j->shares[i].items, memory_order_relaxed);
    return min_u64(items, j->count);
}
