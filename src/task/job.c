/* Jobs: made by the user's process, worked on by all. */
#include "task/job.h"

#include "os/clock.h"
#include "os/futex.h"

#include <limits.h>
#include <string.h>

#define SHARES_PER_WORKER \
    8 /* automatic chunks: enough to even out, few enough to cost nothing */
#define CHUNKS_MOST UINT32_MAX
#define BATCH_MOST  63 /* and one */
#define BATCH_TIME  (10 * INT64_C(1000))

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

    return count > parts ? (count - 1) / parts + 1 : 1;
}

/* In the arena: used where it lies; else `size` bytes an item are copied. */
static int array_in(const void *array, uint64_t count, uint64_t size, bool copy,
                    uint64_t *ret_offset, uint32_t *ret_copied)
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
    void *states, *finished;
    int r = code_address_of((void (*)(void))task->run, &j->code);

    if (r == 0)
        r = array_in(task->in, task->count, task->in_size, true, &j->in, &j->in_copied);
    if (r == 0)
        r = array_in(task->out, task->count, task->out_size, false, &j->out,
                     &j->out_copied);
    if (r == 0)
        r = block_new(j->chunks * sizeof(uint16_t) + 1, BLOCK_SCRATCH, NULL, &states);
    if (r < 0)
        return r;
    memset(states, 0, j->chunks * sizeof(uint16_t));
    j->states = arena_offset(states);
    if (wish->unordered) {
        r = block_new(j->chunks * sizeof(uint32_t) + 1, BLOCK_SCRATCH, NULL, &finished);
        if (r < 0)
            return r;
        memset(finished, 0, j->chunks * sizeof(uint32_t));
        j->finished = arena_offset(finished);
    }
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
    give_at(j->finished);
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
        struct loss_node *node =
            arena_at(offset, sizeof(node->next)); /* all begin with next */

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
    free_at(j->finished);
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
static bool chunk_start(struct job *j, uint64_t chunk, unsigned place,
                        _Atomic uint64_t *record)
{
    _Atomic uint16_t *state = &job_states(j)[chunk];
    uint16_t old = atomic_load_explicit(state, memory_order_relaxed);

    atomic_store_explicit(record, chunk, memory_order_relaxed);
    return is_open(old) &&
           atomic_compare_exchange_strong(state, &old, (uint16_t)(CHUNK_STARTED + place));
}

static uint64_t range_of(uint64_t next, uint64_t end)
{
    return end << 32 | next;
}

static uint64_t range_next(uint64_t range)
{
    return range & UINT32_MAX;
}

static uint64_t range_end(const struct job *j, uint64_t range)
{
    return min_u64(range >> 32, j->chunks);
}

/* From the front of our own share; past the look-ahead nothing is taken. */
static bool share_pop(struct job *j, unsigned place, uint64_t wanted)
{
    struct share *share = &j->shares[place];
    uint64_t old = atomic_load_explicit(&share->range, memory_order_relaxed);

    for (;;) {
        uint64_t next = range_next(old);
        uint64_t end = min_u64(range_end(j, old),
                               atomic_load_explicit(&j->limit, memory_order_relaxed));
        uint64_t taken = next < end ? min_u64(wanted, (end - next + 1) / 2) : 0;

        if (taken == 0)
            return false;
        if (atomic_compare_exchange_weak(&share->range, &old, old + taken)) {
            atomic_store(&share->held, range_of(next, next + taken));
            share->moved |= taken > 1;
            return true;
        }
    }
}

/* Chunks of some ns in batches of up to 64; those of more than 10 us one by one. */
static uint64_t batch_size(struct share *share)
{
    int64_t now = clock_now();

    if (share->popped && now - share->popped < BATCH_TIME)
        share->batch = min_u64(2 * share->batch + 1, BATCH_MOST);
    else
        share->batch /= 2;
    share->popped = now;
    return share->batch + 1;
}

/* Half of what another has left becomes ours.  Killed between: `rescan` finds it. */
static bool share_steal(struct job *j, unsigned place)
{
    uint64_t own = atomic_load(&j->shares[place].range);

    if (range_next(own) < range_end(j, own))
        return false; /* it lies past the look-ahead, and is not to be overwritten */
    for (unsigned i = 1; i < j->places; i++) {
        _Atomic uint64_t *range = &j->shares[(place + i) % j->places].range;
        uint64_t old = atomic_load(range);
        uint64_t next = range_next(old), end = range_end(j, old);
        uint64_t middle = next + (end - next) / 2;

        if (next >= end || middle >= atomic_load(&j->limit))
            continue;
        if (atomic_compare_exchange_strong(range, &old, range_of(next, middle))) {
            atomic_store(&j->shares[place].range, range_of(middle, end));
            j->shares[place].moved |= end - middle > 1;
            return true;
        }
    }
    return false;
}

/* A chunk that stands open in somebody's batch, from its end; j->chunks: none. */
static uint64_t find_held(struct job *j)
{
    for (unsigned i = 0; i < j->places; i++) {
        uint64_t held = atomic_load_explicit(&j->shares[i].held, memory_order_relaxed);

        for (uint64_t chunk = range_end(j, held); chunk-- > range_next(held);) {
            if (is_open(
                    atomic_load_explicit(&job_states(j)[chunk], memory_order_relaxed)))
                return chunk;
        }
    }
    return j->chunks;
}

/*
 * The first open chunk within the look-ahead, in all of the job; j->chunks: none.  The hint
 * moves only if no chunk came back since it was read.
 */
static uint64_t find_open(struct job *j)
{
    uint64_t end = min_u64(j->chunks, atomic_load(&j->limit));
    uint64_t look = atomic_load(&j->look);
    uint64_t chunk = look & UINT32_MAX;

    while (chunk < end &&
           !is_open(atomic_load_explicit(&job_states(j)[chunk], memory_order_relaxed)))
        chunk++;
    if (chunk > (look & UINT32_MAX))
        atomic_compare_exchange_strong(&j->look, &look,
                                       (look & ~(uint64_t)UINT32_MAX) | chunk);
    return chunk < end ? chunk : j->chunks;
}

void job_look_at_all(struct job *j)
{
    uint64_t look = atomic_load(&j->look);

    atomic_store(&j->recount, 1);
    atomic_store(&j->rescan, 1);
    while (!atomic_compare_exchange_strong(&j->look, &look, ((look >> 32) + 1) << 32))
        ;
}

/* The look-ahead makes shares uneven, and deaths lose them. */
static bool needs_looking(struct job *j)
{
    return atomic_load(&j->rescan) || atomic_load(&j->limit) < j->chunks;
}

/* The rest of our batch. */
static bool claim_held(struct job *j, unsigned place, _Atomic uint64_t *record,
                       uint64_t *ret_chunk)
{
    _Atomic uint64_t *held = &j->shares[place].held;
    uint64_t old = atomic_load_explicit(held, memory_order_relaxed);

    while (range_next(old) < range_end(j, old)) {
        *ret_chunk = range_next(old);
        if (likely(chunk_start(j, *ret_chunk, place, record))) {
            atomic_store_explicit(held, old + 1, memory_order_relaxed);
            return true;
        }
        atomic_store_explicit(held, ++old, memory_order_relaxed);
    }
    return false;
}

static bool claim_found(struct job *j, unsigned place, _Atomic uint64_t *record,
                        uint64_t *ret_chunk)
{
    while ((*ret_chunk = find_held(j)) < j->chunks ||
           (needs_looking(j) && (*ret_chunk = find_open(j)) < j->chunks)) {
        if (chunk_start(j, *ret_chunk, place, record))
            return true;
    }
    return false;
}

bool job_claim(struct job *j, unsigned place, bool batches, _Atomic uint64_t *record,
               uint64_t *ret_chunk)
{
    if (unlikely(atomic_load_explicit(&j->cancelled, memory_order_relaxed) ||
                 atomic_load_explicit(&j->state, memory_order_relaxed) == JOB_ENDED))
        return false;
    if (claim_held(j, place, record, ret_chunk))
        return true;
    do {
        while (share_pop(j, place, batches ? batch_size(&j->shares[place]) : 1)) {
            if (claim_held(j, place, record, ret_chunk))
                return true;
        }
    } while (share_steal(j, place));
    return claim_found(j, place, record, ret_chunk);
}

bool job_moved(struct job *j, unsigned place)
{
    bool moved = j->shares[place].moved;

    j->shares[place].moved = false;
    return moved;
}

bool job_has_work(struct job *j)
{
    if (atomic_load(&j->cancelled) || atomic_load(&j->state) == JOB_ENDED)
        return false;
    if (atomic_load(&j->limit) >= j->chunks) { /* else a share may be out of reach */
        for (unsigned i = 0; i < j->places; i++) {
            uint64_t range =
                atomic_load_explicit(&j->shares[i].range, memory_order_relaxed);

            if (range_next(range) < range_end(j, range))
                return true;
        }
    }
    return find_held(j) < j->chunks || (needs_looking(j) && find_open(j) < j->chunks);
}

/* ---- Ends --------------------------------------------------------------------------- */

static void wake_waiters(struct job *j)
{
    atomic_thread_fence(memory_order_seq_cst);
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

void job_finish_chunk(struct job *j, unsigned place, uint64_t chunk, enum chunk_state how)
{
    struct share *share = &j->shares[place];
    uint64_t items = chunk_last(j, chunk) - chunk_first(j, chunk);

    /* release, for the acquire in is_ended(): who sees the state sees the results */
    atomic_store_explicit(&job_states(j)[chunk], (uint16_t)how, memory_order_release);
    /* only this worker writes its share's counts */
    atomic_store_explicit(
        &share->items, atomic_load_explicit(&share->items, memory_order_relaxed) + items,
        memory_order_relaxed);
    atomic_store_explicit(&share->chunks,
                          atomic_load_explicit(&share->chunks, memory_order_relaxed) + 1,
                          memory_order_release);
    if (unlikely(j->iterated))
        job_note_finished(j, chunk);
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
    uint64_t items = atomic_load(&j->gone_items);

    if (atomic_load(&j->state) == JOB_ENDED && !atomic_load(&j->error) &&
        !atomic_load(&j->cancelled))
        return j->count; /* a dead worker's count may be short */
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
    int32_t none = 0;
    int r = block_new(sizeof(*node), BLOCK_SCRATCH, NULL, &block);

    if (r < 0) {
        atomic_compare_exchange_strong(&j->error, &none, r);
        return r;
    }
    node = block;
    node->failure = (struct piu_failure){.first = first, .last = last, .code = code};
    node_push(&j->failures, &node->next, node);
    return 0;
}

int job_add_loss(struct job *j, const struct piu_loss *loss)
{
    struct loss_node *node;
    void *block;
    int32_t none = 0;
    uint64_t offset = atomic_load(&j->losses);
    const struct loss_node *newest = offset ? arena_at(offset, sizeof(*newest)) : NULL;
    int r;

    /* who buried it before us was killed before it had said so in the state */
    if (newest && newest->loss.first == loss->first)
        return 0;
    r = block_new(sizeof(*node), BLOCK_SCRATCH, NULL, &block);
    atomic_fetch_add(&j->lost_items, loss->last - loss->first);
    if (r < 0) { /* a loss that cannot be named: the job's result is not to be had */
        atomic_compare_exchange_strong(&j->error, &none, r);
        return r;
    }
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

void job_resume_of(const struct job *j, uint64_t chunk, uint64_t *item,
                   uint32_t *attempts)
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
