/* Results: waiting, copying out, iterating, ending. */
#include "os/clock.h"
#include "os/fd.h"
#include "os/futex.h"
#include "shm/heap.h"
#include "task/note.h"
#include "task/remote.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>

#define SPIN_MOST   (50 * INT64_C(1000))
#define SPIN_LEAST  (3 * INT64_C(1000))
#define SLICE_FIRST (20 * MSEC)
#define SLICE_LAST  (100 * MSEC)

static _Thread_local int64_t spin_time = SPIN_MOST;

/* ---- Waiting -------------------------------------------------------------------------------- */

static bool spin_while(const _Atomic uint32_t *word, uint32_t value, int64_t timeout)
{
    int64_t end;
    uint64_t who;

    for (int i = 0; i < 32; i++) {
        if (atomic_load_explicit(word, memory_order_acquire) != value)
            return true;
        cpu_relax();
    }
    if (member_who(&who) < 0 || !member_worth_spinning(who, 0))
        return false;
    end = clock_now() + min_timeout(spin_time, timeout);
    do {
        for (int i = 0; i < 16; i++) {
            if (atomic_load_explicit(word, memory_order_acquire) != value)
                return true;
            cpu_relax();
        }
    } while (clock_now() < end);
    return false;
}

/* 0, -EINVAL, -ECHILD: a copy of the private struct in a forked child. */
static int result_use(const struct piu_result *r)
{
    uint64_t who;
    int e = r ? member_who(&who) : -EINVAL;

    return e < 0 ? e : r->owner == (who & ID_MASK) ? 0 : -ECHILD;
}

static bool pool_lives(const struct piu_result *r)
{
    return arena_has(r->pool, sizeof(*r->pool)) && r->pool->stamp == POOL_STAMP &&
           pool_shared_of(r->pool);
}

/* A slice, after which who waits looks again; it looks after nursery or engine too.  -EINTR */
static int wait_slice(struct piu_result *r, const _Atomic uint32_t *word, uint32_t value,
                      int64_t timeout)
{
    bool lives = pool_lives(r);

    if (unlikely(r->remote) && lives)
        return remote_wait(r->pool, word, value, timeout);
    if (lives)
        pool_look_after(r->pool);
    return timeout == 0 ? 0 : futex_wait(word, value, timeout);
}

/*
 * May the job be followed?  What it said of itself when it was submitted stands here: somebody
 * who wrote over it leads nobody past the end of a private array.
 */
static bool job_is_sound(const struct piu_result *r)
{
    const struct job *j = r->job;
    const struct job_shape *s = &r->shape;

    return job_at(arena_offset(j)) && j->count == s->count && j->chunk == s->chunk &&
           j->chunks == s->chunks && j->out_size == s->out_size &&
           (!r->out || arena_within(j->out, s->count * s->out_size, 1));
}

/* Until the word has another value. */
static int wait_while(struct piu_result *r, const _Atomic uint32_t *word, uint32_t value,
                      int64_t timeout)
{
    int64_t deadline, slice = SLICE_FIRST, began;

    if (timeout > 0 && !r->remote && spin_while(word, value, timeout))
        return 0;
    deadline = deadline_after(timeout);
    began = clock_now();
    while (atomic_load(word) == value) {
        int64_t left = deadline_left(deadline);
        int e;

        atomic_store(&r->job->waited, 1);          /* whoever wakes takes it back */
        atomic_thread_fence(memory_order_seq_cst); /* for the one in wake_waiters() */
        if (atomic_load(word) != value)
            break;
        e = wait_slice(r, word, value, min_timeout(left, slice));
        if (left == 0)
            return atomic_load(word) == value ? -ETIMEDOUT : 0;
        if (e == -EINTR && atomic_load(word) == value)
            return -EINTR;
        slice = min_timeout(slice * 2, SLICE_LAST);
    }
    if (clock_now() - began < 2 * SPIN_MOST)
        spin_time = min_timeout(spin_time * 2, SPIN_MOST);
    else
        spin_time = spin_time / 2 > SPIN_LEAST ? spin_time / 2 : SPIN_LEAST;
    return 0;
}

static bool is_ended(const struct piu_result *r)
{
    return atomic_load_explicit(&r->job->state, memory_order_acquire) == JOB_ENDED;
}

/* With an engine nothing ends but under the hands of who asks or waits. */
static void look(const struct piu_result *r)
{
    if (unlikely(r->remote) && pool_lives(r))
        remote_look(r->pool);
}

/*
 * The caller knows now whether it has ended: piu_pool_fd() is readable while there are ends that
 * he does not know.  What ends behind the look at all of them is told by who ends it.
 */
static void note_seen(const struct piu_result *r, bool ended)
{
    if (!pool_lives(r) ||
        !atomic_load_explicit(&r->pool->shared->ended_wanted, memory_order_relaxed))
        return;
    if (ended)
        atomic_store(&r->job->seen, 1);
    if (fd_event_drain(r->pool->ended))
        pool_tell_unseen(r->pool);
}

int piu_result_wait(struct piu_result *r, int64_t timeout)
{
    int e = result_use(r);

    if (e < 0)
        return e;
    if (timeout <= 0)
        look(r);
    if (!is_ended(r))
        e = wait_while(r, &r->job->state, JOB_RUNNING, timeout);
    note_seen(r, e == 0);
    return e;
}

bool piu_result_ready(const struct piu_result *r)
{
    bool ended;

    if (!r)
        return false;
    look(r);
    ended = is_ended(r);
    note_seen(r, ended);
    return ended;
}

static int verdict(const struct piu_result *r)
{
    const struct job *j = r->job;
    int error = atomic_load(&j->error);

    if (error)
        return error;
    if (atomic_load(&r->cancelled))
        return -ECANCELED;
    return atomic_load(&j->lost_items) ? PIU_LOSSES
           : atomic_load(&j->failures) ? PIU_FAILED
                                       : 0;
}

bool piu_result_successful(const struct piu_result *r)
{
    return piu_result_ready(r) && verdict(r) == 0;
}

size_t piu_result_done(const struct piu_result *r)
{
    if (r)
        look(r);
    return r && job_is_sound(r) ? job_items_done(r->job) : 0;
}

/* ---- Copying out ---------------------------------------------------------------------------- */

/* [first, last) of the out array; what was lost stays as the caller had it. */
static void copy_out(struct piu_result *r, uint64_t first, uint64_t last)
{
    const struct job *j = r->job;
    unsigned char *from = arena.base + j->out;
    unsigned char *to = r->out;

    if (!to)
        return;
    for (uint64_t offset = atomic_load(&j->losses), bound = heap_blocks_most();
         offset && bound; bound--) {
        const struct loss_note *note = arena_at(offset, sizeof(*note));
        uint64_t a, b;

        if (!note)
            break;
        a = max_u64(first, note->loss.first);
        b = min_u64(last, note->loss.last);
        if (a < b)
            memcpy(from + a * j->out_size, to + a * j->out_size, (b - a) * j->out_size);
        offset = atomic_load(&note->next);
    }
    memcpy(to + first * j->out_size, from + first * j->out_size,
           (last - first) * j->out_size);
}

enum copying { NOT_COPIED, IS_COPIED, WAS_COPIED };

/*
 * By the first thread that comes; who returns finds all there, and nobody writes behind it.  false:
 * somebody wrote over the job.
 */
static bool copy_out_once(struct piu_result *r)
{
    uint32_t now = NOT_COPIED;

    if (!atomic_compare_exchange_strong(&r->copying, &now, IS_COPIED)) {
        while (atomic_load(&r->copying) == IS_COPIED)
            sched_yield();
        return atomic_load(&r->copying) == WAS_COPIED;
    }
    if (!job_is_sound(r)) {
        atomic_store(&r->copying, NOT_COPIED);
        return false;
    }
    copy_out(r, 0, r->job->count);
    atomic_store(&r->copying, WAS_COPIED);
    return true;
}

int piu_result_get(struct piu_result *r, int64_t timeout)
{
    int e = piu_result_wait(r, timeout);

    if (e < 0)
        return e;
    e = verdict(r);
    return e >= 0 && r->out && !copy_out_once(r) ? -EBADMSG : e;
}

/* ---- Iterating ------------------------------------------------------------------------------ */

static bool chunk_is_ready(const struct job *j, uint64_t chunk)
{
    uint16_t state = atomic_load_explicit(&job_states(j)[chunk], memory_order_acquire);

    return chunk_is_ended(state);
}

static bool was_seen(const struct piu_result *r, uint64_t chunk)
{
    return r->was_seen[chunk / 8] & 1 << chunk % 8;
}

/*
 * The next chunk that can be given out; chunks: none yet.  `ended`: so the job was before this look.
 * Then all states say it, though a worker may still be about to note its chunk among the finished.
 */
static uint64_t find_ready(struct piu_result *r, bool ended)
{
    const struct job *j = r->job;
    const _Atomic uint32_t *finished =
        (const _Atomic uint32_t *)(void *)(arena.base + j->finished);
    uint64_t end = min_u64(j->chunks, atomic_load(&j->limit));

    if (!r->unordered)
        return r->cursor < end && chunk_is_ready(j, r->cursor) ? r->cursor : j->chunks;
    for (; r->cursor < j->chunks && finished[r->cursor]; r->cursor++) {
        uint64_t chunk = finished[r->cursor] - 1;

        if (chunk < j->chunks && !was_seen(r, chunk))
            return chunk;
    }
    for (uint64_t chunk = 0; chunk < end && (ended || atomic_load(&j->recount));
         chunk++) { /* J5 */
        if (!was_seen(r, chunk) && chunk_is_ready(j, chunk))
            return chunk;
    }
    return j->chunks;
}

static int chunk_verdict(const struct job *j, uint64_t chunk)
{
    uint64_t first = chunk_first(j, chunk), last = chunk_last(j, chunk);

    for (uint64_t offset = atomic_load(&j->losses), bound = heap_blocks_most();
         offset && bound; bound--) {
        const struct loss_note *note = arena_at(offset, sizeof(*note));

        if (!note)
            break;
        if (note->loss.first < last && note->loss.last > first)
            return PIU_LOSSES;
        offset = atomic_load(&note->next);
    }
    return atomic_load(&job_states(j)[chunk]) == CHUNK_FAILED ? PIU_FAILED : 0;
}

/* One more may be begun for each that was seen. */
static void let_begin(struct piu_result *r)
{
    struct pool_shared *p = r->pool->shared;
    uint64_t who;

    if (!r->lookahead || !pool_lives(r) || member_who(&who) < 0)
        return;
    atomic_store(&r->job->limit, r->seen + min_u64(r->lookahead, UINT64_MAX - r->seen));
    pool_wake(p, 1);
    if (unlikely(r->remote))
        remote_push(r->pool);
}

static int give_out(struct piu_result *r, uint64_t chunk, size_t *ret_first,
                    size_t *ret_last)
{
    const struct job *j = r->job;

    *ret_first = chunk_first(j, chunk);
    *ret_last = chunk_last(j, chunk);
    copy_out(r, *ret_first, *ret_last);
    if (r->unordered)
        r->was_seen[chunk / 8] |= (uint8_t)(1 << chunk % 8);
    else
        r->cursor++;
    r->seen++;
    let_begin(r);
    return chunk_verdict(j, chunk);
}

int piu_result_next(struct piu_result *r, size_t *ret_first, size_t *ret_last,
                    int64_t timeout)
{
    int64_t deadline = deadline_after(timeout);

    int use = result_use(r);

    if (use < 0)
        return use;
    if (!ret_first || !ret_last || !r->job->iterated)
        return -EINVAL;
    for (;;) {
        uint32_t news = atomic_load(&r->job->news);
        bool ended = is_ended(r);
        uint64_t chunk;
        int e;

        if (ended)
            note_seen(r, true);
        if (!job_is_sound(r))
            return -EBADMSG;
        if (r->seen == r->job->chunks)
            return -ENODATA;
        chunk = find_ready(r, ended);
        if (chunk < r->job->chunks)
            return give_out(r, chunk, ret_first, ret_last);
        if (ended)
            return verdict(r) < 0 ? verdict(r) : -ENODATA;
        e = wait_while(r, &r->job->news, news, deadline_left(deadline));
        if (e < 0)
            return e;
    }
}

/* ---- Ending --------------------------------------------------------------------------------- */

int piu_result_cancel(struct piu_result *r)
{
    int e = result_use(r);

    if (e < 0 || is_ended(r))
        return e;
    atomic_store(&r->cancelled,
                 true); /* here too: who waits does not touch the workers' lines */
    atomic_store(&r->job->cancelled, 1);
    if (pool_lives(r)) {
        atomic_fetch_add(&r->pool->shared->cancels, 1);
        if (unlikely(r->remote))
            remote_push(r->pool);
        else
            pool_poke(r->pool->shared);
    }
    return 0;
}

void result_done(struct piu_result *r)
{
    if (result_use(r) < 0)
        ; /* a forked child's copy: the job is its parent's */
    else if (pool_lives(r)) {
        note_seen(r, is_ended(r));
        pool_give_up(r->pool, r->job);
    } else
        job_free(r->job);
    free(r->was_seen);
}

struct piu_result *piu_result_free(struct piu_result *r)
{
    if (!r)
        return NULL;
    result_done(r);
    free(r);
    return NULL;
}
