/* Claiming: shares, batches, theft, and the look at all states. */
#include "task/claim.h"

#include "os/clock.h"

#define BATCH_MOST 63 /* and one */
#define BATCH_TIME (10 * INT64_C(1000))

/* J1.  The record names the chunk before the state names us. */
static bool chunk_start(struct job *j, uint64_t chunk, unsigned place,
                        _Atomic uint64_t *record)
{
    _Atomic uint16_t *state = &job_states(j)[chunk];
    uint16_t old = atomic_load_explicit(state, memory_order_relaxed);

    atomic_store_explicit(record, chunk, memory_order_relaxed);
    return chunk_is_open(old) &&
           atomic_compare_exchange_strong(state, &old, (uint16_t)(CHUNK_STARTED + place));
}

static uint64_t extent_of(uint64_t next, uint64_t end)
{
    return end << 32 | next;
}

static uint64_t extent_next(uint64_t range)
{
    return range & UINT32_MAX;
}

static uint64_t extent_end(const struct job *j, uint64_t range)
{
    return min_u64(range >> 32, j->chunks);
}

void job_share_out(struct job *j)
{
    uint64_t each = j->chunks / j->shares_count, rest = j->chunks % j->shares_count,
             next = 0;

    for (unsigned i = 0; i < j->shares_count; i++) {
        uint64_t end = next + each + (i < rest);

        atomic_store(&j->shares[i].range, extent_of(next, end));
        next = end;
    }
}

/* From the front of our own share; past the look-ahead nothing is taken. */
static bool share_pop(struct job *j, unsigned place, uint64_t wanted)
{
    struct share *share = &j->shares[place];
    uint64_t old = atomic_load_explicit(&share->range, memory_order_relaxed);

    for (;;) {
        uint64_t next = extent_next(old);
        uint64_t end = min_u64(extent_end(j, old),
                               atomic_load_explicit(&j->limit, memory_order_relaxed));
        uint64_t taken = next < end ? min_u64(wanted, (end - next + 1) / 2) : 0;

        if (taken == 0)
            return false;
        if (atomic_compare_exchange_weak(&share->range, &old, old + taken)) {
            atomic_store(&share->held, extent_of(next, next + taken));
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

    if (extent_next(own) < extent_end(j, own))
        return false; /* it lies past the look-ahead, and is not to be overwritten */
    for (unsigned i = 1; i < j->shares_count; i++) {
        _Atomic uint64_t *range = &j->shares[(place + i) % j->shares_count].range;
        uint64_t old = atomic_load(range);
        uint64_t next = extent_next(old), end = extent_end(j, old);
        uint64_t middle = next + (end - next) / 2;

        if (next >= end || middle >= atomic_load(&j->limit))
            continue;
        if (atomic_compare_exchange_strong(range, &old, extent_of(next, middle))) {
            atomic_store(&j->shares[place].range, extent_of(middle, end));
            j->shares[place].moved |= end - middle > 1;
            return true;
        }
    }
    return false;
}

/* A chunk that stands open in somebody's batch, from its end; j->chunks: none. */
static uint64_t find_held(struct job *j)
{
    for (unsigned i = 0; i < j->shares_count; i++) {
        uint64_t held = atomic_load_explicit(&j->shares[i].held, memory_order_relaxed);

        for (uint64_t chunk = extent_end(j, held); chunk-- > extent_next(held);) {
            if (chunk_is_open(
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

    while (chunk < end && !chunk_is_open(atomic_load_explicit(&job_states(j)[chunk],
                                                              memory_order_relaxed)))
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

/* Few chunks have no shares; the look-ahead makes shares uneven, and deaths lose them. */
static bool needs_looking(struct job *j)
{
    return !j->shares_count || atomic_load(&j->rescan) ||
           atomic_load(&j->limit) < j->chunks;
}

/* The rest of our batch. */
static bool claim_held(struct job *j, unsigned place, _Atomic uint64_t *record,
                       uint64_t *ret_chunk)
{
    _Atomic uint64_t *held = &j->shares[place].held;
    uint64_t old = atomic_load_explicit(held, memory_order_relaxed);

    while (extent_next(old) < extent_end(j, old)) {
        *ret_chunk = extent_next(old);
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

/* From cancel on, and from an end that came from outside, nothing more is begun. */
static bool is_shut(const struct job *j)
{
    return atomic_load_explicit(&j->cancelled, memory_order_relaxed) ||
           atomic_load_explicit(&j->stopped, memory_order_relaxed);
}

bool job_claim(struct job *j, unsigned place, bool batches, _Atomic uint64_t *record,
               uint64_t *ret_chunk)
{
    if (unlikely(is_shut(j)))
        return false;
    if (place >= j->shares_count)
        return claim_found(j, place, record, ret_chunk);
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
    if (place >= j->shares_count || !j->shares[place].moved)
        return false;
    j->shares[place].moved = false;
    return true;
}

bool job_has_work(struct job *j)
{
    if (is_shut(j))
        return false;
    if (atomic_load(&j->limit) >= j->chunks) { /* else a share may be out of reach */
        for (unsigned i = 0; i < j->shares_count; i++) {
            uint64_t range =
                atomic_load_explicit(&j->shares[i].range, memory_order_relaxed);

            if (extent_next(range) < extent_end(j, range))
                return true;
        }
    }
    return find_held(j) < j->chunks || (needs_looking(j) && find_open(j) < j->chunks);
}
