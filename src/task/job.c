/* Jobs: made by the user's process, worked on by all. */
#include "task/job.h"

#include "os/clock.h"
#include "os/futex.h"

#include <limits.h>
#include <string.h>

#define SHARES_PER_WORKER 8 /* automatic chunks: enough to even out, few enough to cost nothing */
#define CHUNKS_MOST       UINT32_MAX

struct job *job_at(uint64_t offset)
{
    struct job *j = offset % 64 ? NULL : arena_at(offset, sizeof(*j));

    return j && arena_has(j->shares, j->places * sizeof(j->shares[0])) &&
                   arena_at(j->states, j->chunks * sizeof(uint16_t))
               ? j
               : NULL;
}

/* ---- Making ------------------------------------------------------------------------ */

static uint64_t auto_chunk(uint64_t count, unsigned places)
{
    uint64_t parts = (uint64_t)places * SHARES_PER_WORKER;

    return count > parts ? (count + parts - 1) / parts : 1;
}

/* In the arena: used where it lies; else `size` bytes an item are copied. */
static int array_in(const void *array, uint64_t count, uint64_t size, bool copy, uint64_t *ret_offset,
                    uint32_t *ret_copied)
{
    uint64_t bytes;
    void *block;
    int r;

    if (!array || count == 0)
        return 0;
    if (__builtin_mul_overflow(count, size, &bytes))
        return -ENOMEM;
    if (arena_has(array, bytes ? bytes : 1)) {
        *ret_offset = arena_offset(array);
        return 0;
    }
    if (size == 0)
        return -EFAULT;
    r = block_new(bytes, BLOCK_SCRATCH, NULL, &block);
    if (r < 0)
        return r;
    if (copy)
        memcpy(block, array, bytes);
    else
        memset(block, 0, bytes);
    *ret_offset = arena_offset(block);
    *ret_copied = 1;
    return 0;
}

static void share_out(struct job *j)
{
    uint64_t each = j->chunks / j->places, rest = j->chunks % j->places, next = 0;

    for (unsigned i = 0; i < j->places; i++) {
        uint64_t end = next + each + (i < rest);

        atomic_store(&j->shares[i].range, end << 32 | next);
        next = end;
    }
}

static int job_fill(struct job *j, const struct job_wish *wish)
{
    const struct piu_task *task = wish->task;
    void *states;
    int r = code_address_of((void (*)(void))task->run, &j->code);

    if (r == 0)
        r = array_in(task->in, task->count, task->in_size, true, &j->in, &j->in_copied);
    if (r == 0)
        r = array_in(task->out, task->count, task->out_size, false, &j->out, &j->out_copied);
    if (r == 0)
        r = block_new(j->chunks * sizeof(uint16_t) + 1, BLOCK_SCRATCH, NULL, &states);
    if (r < 0)
        return r;
    memset(states, 0, j->chunks * sizeof(uint16_t));
    j->states = arena_offset(states);
    j->in_size = task->in_size;
    j->out_size = task->out_size;
    memcpy((char *)j + j->task, task, j->task_size);
    share_out(j);
    return 0;
}

static void give_at(uint64_t offset)
{
    if (offset)
        block_give(arena.base + offset);
}

static void free_at(uint64_t offset)
{
    void *block = offset ? arena_at(offset, 1) : NULL;

    if (block)
        block_free(block);
}

int job_new(const struct job_wish *wish, struct job **ret)
{
    const struct piu_task *task = wish->task;
    uint64_t task_size = task->struct_size ? task->struct_size : sizeof(*task);
    uint64_t shares = sizeof(struct job) + wish->places * sizeof(struct share);
    struct job *j;
    void *block;
    int r;

    if (task_size < sizeof(*task) || task_size > arena.range / 2 || !task->run)
        return -EINVAL;
    r = block_new(round_up(shares + task_size, 128), BLOCK_SCRATCH, NULL, &block);
    if (r < 0)
        return r;
    j = block;
    memset(j, 0, shares);
    j->places = wish->places;
    j->count = task->count;
    j->chunk = task->chunk ? task->chunk : auto_chunk(task->count, wish->places);
    j->chunks = task->count ? (task->count - 1) / j->chunk + 1 : 0;
    j->timeout = task->timeout;
    j->retries = task->retries;
    j->iterated = wish->iterated;
    j->task = shares;
    j->task_size = task_size;
    atomic_store(&j->limit, wish->lookahead ? wish->lookahead : UINT64_MAX);
    r = j->chunks < CHUNKS_MOST ? job_fill(j, wish) : -EINVAL;
    if (r < 0) {
        job_free(j);
        return r;
    }
    give_at(j->states);
    if (j->in_copied)
        give_at(j->in);
    if (j->out_copied)
        give_at(j->out);
    block_give(j);
    *ret = j;
    return 0;
}

static void free_nodes(uint64_t offset)
{
    while (offset) {
        struct loss_node *node = arena_at(offset, sizeof(node->next)); /* all begin with next */

        if (!node)
            return;
        offset = atomic_load(&node->next);
        block_free(node);
    }
}

void job_free(struct job *j)
{
    free_nodes(atomic_load(&j->losses));
    free_nodes(atomic_load(&j->failures));
    free_nodes(atomic_load(&j->resumes));
    free_at(j->states);
    if (j->in_copied)
        free_at(j->in);
    if (j->out_copied)
        free_at(j->out);
    block_free(j);
}

/* ---- Claiming ------------------------------------------------------------------------ */

static bool is_open(uint16_t state)
{
    return state == CHUNK_TODO || state == CHUNK_AGAIN;
}

/* J1.  The record names the chunk before the state names us. */
static bool chunk_start(struct job *j, uint64_t chunk, unsigned place, _Atomic uint64_t *record)
{
    _Atomic uint16_t *state = &job_states(j)[chunk];
    uint16_t old = atomic_load_explicit(state, memory_order_relaxed);

    atomic_store_explicit(record, chunk, memory_order_relaxed);
    return is_open(old) && atomic_compare_exchange_strong(state, &old, (uint16_t)(CHUNK_STARTED + place));
}

/* From the front of our own share; past the look-ahead nothing is taken. */
static bool share_pop(struct job *j, unsigned place, uint64_t *ret_chunk)
{
    _Atomic uint64_t *range = &j->shares[place].range;
    uint64_t old = atomic_load_explicit(range, memory_order_relaxed);

    for (;;) {
        uint64_t next = old & UINT32_MAX;

        if (next >= old >> 32 || next >= atomic_load_explicit(&j->limit, memory_order_relaxed))
            return false;
        if (atomic_compare_exchange_weak(range, &old, old + 1)) {
            *ret_chunk = next;
            return next < j->chunks;
        }
    }
}

/* Half of what another has left becomes ours.  Killed between: `rescan` finds it. */
static bool share_steal(struct job *j, unsigned place)
{
    for (unsigned i = 1; i < j->places; i++) {
        _Atomic uint64_t *range = &j->shares[(place + i) % j->places].range;
        uint64_t old = atomic_load(range);
        uint64_t next = old & UINT32_MAX, end = old >> 32;
        uint64_t middle = next + (end - next) / 2;

        if (next >= end || end > j->chunks || middle >= atomic_load(&j->limit))
            continue;
        if (atomic_compare_exchange_strong(range, &old, middle << 32 | next)) {
            atomic_store(&j->shares[place].range, end << 32 | middle);
            return true;
        }
    }
    return false;
}

static bool claim_by_looking(struct job *j, unsigned place, _Atomic uint64_t *record,
                             uint64_t *ret_chunk)
{
    uint64_t end = min_u64(j->chunks, atomic_load(&j->limit));

    for (uint64_t chunk = atomic_load(&j->look); chunk < end; chunk++) {
        uint64_t looked = chunk;

        if (!is_open(atomic_load_explicit(&job_states(j)[chunk], memory_order_relaxed)))
            continue;
        if (chunk_start(j, chunk, place, record)) {
            atomic_compare_exchange_strong(&j->look, &looked, chunk + 1);
            *ret_chunk = chunk;
            return true;
        }
    }
    return false;
}

bool job_claim(struct job *j, unsigned place, _Atomic uint64_t *record, uint64_t *ret_chunk)
{
    if (unlikely(atomic_load_explicit(&j->cancelled, memory_order_relaxed) ||
                 atomic_load_explicit(&j->state, memory_order_relaxed) == JOB_ENDED))
        return false;
    do {
        while (share_pop(j, place, ret_chunk)) {
            if (likely(chunk_start(j, *ret_chunk, place, record)))
                return true;
        }
    } while (share_steal(j, place));
    /* the look-ahead makes shares uneven, and deaths lose them */
    return (atomic_load(&j->rescan) || atomic_load(&j->limit) < j->chunks) &&
           claim_by_looking(j, place, record, ret_chunk);
}

bool job_has_work(struct job *j)
{
    uint64_t limit = atomic_load(&j->limit);

    if (atomic_load(&j->cancelled) || atomic_load(&j->state) == JOB_ENDED)
        return false;
    for (unsigned i = 0; i < j->places; i++) {
        uint64_t range = atomic_load_explicit(&j->shares[i].range, memory_order_relaxed);

        if ((range & UINT32_MAX) < range >> 32 && (range & UINT32_MAX) < limit)
            return true;
    }
    if (!atomic_load(&j->rescan) && limit >= j->chunks)
        return false;
    for (uint64_t chunk = atomic_load(&j->look); chunk < min_u64(j->chunks, limit); chunk++) {
        if (is_open(atomic_load_explicit(&job_states(j)[chunk], memory_order_relaxed)))
            return true;
    }
    return false;
}

/* ---- Ends --------------------------------------------------------------------------- */

static void wake_waiters(struct job *j)
{
    atomic_thread_fence(memory_order_seq_cst);
    if (atomic_load(&j->waited)) {
        futex_wake(&j->state, INT_MAX);
        futex_wake(&j->news, INT_MAX);
    }
}

void job_finish_chunk(struct job *j, unsigned place, uint64_t chunk, enum chunk_state how)
{
    struct share *share = &j->shares[place];
    uint64_t items = chunk_last(j, chunk) - chunk_first(j, chunk);

    /* release, for the acquire in is_ended(): who sees the state sees the results */
    atomic_store_explicit(&job_states(j)[chunk], (uint16_t)how, memory_order_release);
    /* only this worker writes its share's counts */
    atomic_store_explicit(&share->items,
                          atomic_load_explicit(&share->items, memory_order_relaxed) + items,
                          memory_order_relaxed);
    atomic_store_explicit(&share->chunks,
                          atomic_load_explicit(&share->chunks, memory_order_relaxed) + 1,
                          memory_order_release);
    if (unlikely(j->iterated)) {
        atomic_fetch_add(&j->news, 1);
        wake_waiters(j);
    }
}

static bool is_ended(uint16_t state)
{
    return state == CHUNK_DONE || state == CHUNK_FAILED || state == CHUNK_LOST;
}

static bool all_ended(struct job *j)
{
    uint64_t sum = 0;

    if (!atomic_load(&j->recount)) {
        for (unsigned i = 0; i < j->places; i++)
            sum += atomic_load(&j->shares[i].chunks);
        return sum == j->chunks;
    }
    for (uint64_t chunk = 0; chunk < j->chunks; chunk++) {
        if (!is_ended(atomic_load_explicit(&job_states(j)[chunk], memory_order_acquire)))
            return false;
    }
    return true;
}

static void job_end(struct job *j)
{
    uint32_t running = JOB_RUNNING;

    if (atomic_compare_exchange_strong(&j->state, &running, JOB_ENDED)) {
        atomic_fetch_add(&j->news, 1);
        wake_waiters(j);
    }
}

bool job_try_end(struct job *j)
{
    /* two that end the last chunks at once: at least one sees the other's count */
    atomic_thread_fence(memory_order_seq_cst);
    if (atomic_load(&j->state) == JOB_ENDED)
        return true;
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
    atomic_compare_exchange_strong(&j->error, &none, error);
    job_end(j);
}

uint64_t job_items_done(struct job *j)
{
    uint64_t items = atomic_load(&j->lost_items);

    for (unsigned i = 0; i < j->places; i++)
        items += atomic_load_explicit(&j->shares[i].items, memory_order_relaxed);
    return min_u64(items, j->count);
}

/* ---- Nodes --------------------------------------------------------------------------- */

/*
 * J4: the node is whole; the move of *list is its commit.  It is the family's before, for
 * others may push behind us: killed in between, 64 bytes stay with the arena.
 */
static void node_push(_Atomic uint64_t *list, _Atomic uint64_t *next, void *node)
{
    uint64_t old = atomic_load(list);

    block_give(node);
    do
        atomic_store(next, old);
    while (!atomic_compare_exchange_weak(list, &old, arena_offset(node)));
}

int job_add_failure(struct job *j, uint64_t first, uint64_t last, int code)
{
    struct failure_node *node;
    void *block;
    int r = block_new(sizeof(*node), BLOCK_SCRATCH, NULL, &block);

    if (r < 0)
        return r;
    node = block;
    node->failure = (struct piu_failure){.first = first, .last = last, .code = code};
    node_push(&j->failures, &node->next, node);
    return 0;
}

int job_add_loss(struct job *j, const struct piu_loss *loss)
{
    struct loss_node *node;
    void *block;
    int r = block_new(sizeof(*node), BLOCK_SCRATCH, NULL, &block);

    atomic_fetch_add(&j->lost_items, loss->last - loss->first);
    if (r < 0)
        return r;
    node = block;
    node->loss = *loss;
    node_push(&j->losses, &node->next, node);
    return 0;
}

int job_add_resume(struct job *j, uint64_t chunk, uint64_t item, uint32_t attempts)
{
    struct resume_node *node;
    void *block;
    int r = block_new(sizeof(*node), BLOCK_SCRATCH, NULL, &block);

    if (r < 0)
        return r;
    node = block;
    node->chunk = chunk;
    node->item = item;
    node->attempts = attempts;
    node_push(&j->resumes, &node->next, node);
    return 0;
}

void job_resume_of(const struct job *j, uint64_t chunk, uint64_t *item, uint32_t *attempts)
{
    uint64_t offset = atomic_load(&j->resumes);

    *item = chunk_first(j, chunk);
    *attempts = 0;
    while (offset) {
        const struct resume_node *node = arena_at(offset, sizeof(*node));

        if (!node)
            return;
        if (node->chunk == chunk) { /* the newest stands first */
            *item = node->item;
            *attempts = node->attempts;
            return;
        }
        offset = atomic_load(&node->next);
    }
}
