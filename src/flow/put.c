/* The putters' side of a queue. */
#include "flow/queue.h"
#include "flow/wait.h"

#include <string.h>

/* Is there a unit of maxsize?  Looks at the getters' line only when it has to. */
static bool has_unit(struct piu_queue *q, uint64_t puts)
{
    uint64_t reserved;

    if (likely(q->maxsize == 0))
        return true;
    reserved = atomic_load_explicit(&q->put.reserved, memory_order_relaxed);
    if (((puts - q->put.got_seen) & COUNT_MASK) + reserved < q->maxsize)
        return true;
    q->put.got_seen = queue_gets(q);
    return ((puts - q->put.got_seen) & COUNT_MASK) + reserved < q->maxsize;
}

/* put.lock is held.  The chunk that takes `units` more, and where: 0, -EPIPE, -EAGAIN, -ENOMEM. */
static int put_prepare(struct piu_queue *q, uint64_t units, bool has_its_unit,
                       struct chunk **ret, uint64_t *ret_tail)
{
    struct chunk *c =
        queue_chunk(atomic_load_explicit(&q->put_chunk, memory_order_relaxed));
    uint64_t tail;
    int r;

    if (unlikely(atomic_load_explicit(&q->shut, memory_order_relaxed)))
        return -EPIPE;
    if (unlikely(!c))
        return -EBADMSG;
    tail = atomic_load_explicit(&c->tail, memory_order_relaxed);
    if (!has_its_unit && !has_unit(q, count_of(tail)))
        return -EAGAIN;
    if (unlikely(place_of(tail) + units > c->capacity)) {
        r = queue_grow(q, units);
        if (r < 0)
            return r;
        c = queue_chunk(atomic_load(&q->put_chunk));
        tail = atomic_load_explicit(&c->tail, memory_order_relaxed);
    }
    *ret = c;
    *ret_tail = tail;
    return 0;
}

static void entry_write(struct chunk *c, uint64_t place, const void *data, size_t size)
{
    c->entries[place] = size;
    bytes_copy(&c->entries[place + 1], data, size);
}

#define LINE  8u   /* units */
#define AHEAD 256u /* units that are taken at once: 2 KB */

/*
 * What getters have read lies in their cache too: the first store to such a line waits until
 * it has left there, and the lock's own operations wait for that store.  Taken in a row,
 * whenever a message [place, end) reaches into the next 2 KB, these waits are one.  Behind
 * `end`, which is tail now, anything may be written.
 */
static inline void lines_take(struct chunk *c, uint64_t place, uint64_t end)
{
    uint64_t last = min_u64((end / AHEAD + 1) * AHEAD, c->capacity);

    if (likely(place / AHEAD == end / AHEAD))
        return;
    for (uint64_t at = round_up(end, LINE); at < last; at += LINE)
        *(volatile uint64_t *)&c->entries[at] = 0;
}

/* The commit (Q1). */
static inline void tail_move(struct piu_queue *q, struct chunk *c, uint64_t tail)
{
    /* before, and under the lock: a putter that dies now owes nobody anything */
    if (unlikely(atomic_load_explicit(&q->pollers, memory_order_relaxed)))
        queue_tell_pollers(q);
    /* release, for the acquire in chunk_with_entry(): who sees this tail sees the bytes (Q2) */
    atomic_store_explicit(&c->tail, tail, memory_order_release);
}

static inline void put_news(struct piu_queue *q)
{
    bell_ring(&q->getters);
}

static int put_small(struct piu_queue *q, uint64_t who, const void *data, size_t size)
{
    struct chunk *c;
    uint64_t tail;
    int r = put_enter(q, who);

    if (unlikely(r < 0))
        return r;
    r = put_prepare(q, 1 + units_of(size), false, &c, &tail);
    if (likely(r == 0)) {
        entry_write(c, place_of(tail), data, size);
        tail_move(q, c, word_plus(tail, 1, 1 + units_of(size)));
        lines_take(c, place_of(tail), place_of(tail) + 1 + units_of(size));
    }
    put_leave(q);
    if (likely(r == 0))
        put_news(q);
    return r;
}

/* A message block of the caller's, whole, is put: from put.message to the entry. */
int put_block(struct piu_queue *q, uint64_t who, struct message *m, bool reserved)
{
    struct chunk *c;
    uint64_t tail;
    int r = put_enter(q, who);

    if (r < 0)
        return r;
    r = put_prepare(q, 2, reserved, &c, &tail);
    if (r == 0) {
        q->put.before = tail;
        q->put.spends = reserved; /* its unit becomes the message's */
        q->put.reserved_after = atomic_load(&q->put.reserved) - 1;
        block_aim(m, &q->put.message);
        atomic_store(&q->put.message, arena_offset(m));
        block_give(m);
        c->entries[place_of(tail)] = ENTRY_LARGE | m->size;
        c->entries[place_of(tail) + 1] = arena_offset(m);
        tail_move(q, c, word_plus(tail, 1, 2));
        if (q->put.spends)
            atomic_store(&q->put.reserved, q->put.reserved_after);
        atomic_store(&q->put.message, 0);
    }
    put_leave(q);
    if (r == 0)
        put_news(q);
    return r;
}

static int put_large(struct piu_queue *q, uint64_t who, const void *data, size_t size,
                     int64_t timeout)
{
    struct waiting w = waiting_begin(timeout);
    struct message *m;
    int r = message_new(q, size, &m);

    if (r < 0)
        return r;
    memcpy(m->bytes, data, size);
    do
        r = put_block(q, who, m, false);
    while (r == -EAGAIN && (r = wait_for_room(q, who, &w)) == 0);
    waiting_end(&w, q, &q->putters, queue_has_room);
    if (r < 0)
        block_free(m);
    return r;
}

static noinline int put_small_waiting(struct piu_queue *q, uint64_t who, const void *data,
                                      size_t size, int64_t timeout)
{
    struct waiting w = waiting_begin(timeout);
    int r;

    while ((r = wait_for_room(q, who, &w)) == 0 &&
           (r = put_small(q, who, data, size)) == -EAGAIN)
        ;
    waiting_end(&w, q, &q->putters, queue_has_room);
    return r;
}

int piu_queue_put(struct piu_queue *q, const void *data, size_t size, int64_t timeout)
{
    uint64_t who;
    int r = queue_use(q, &who);

    if (unlikely(r < 0))
        return r;
    if (unlikely(!data)) {
        if (size)
            return -EINVAL;
        data = ""; /* memcpy wants an address */
    }
    if (unlikely(size > INLINE_MAX))
        return put_large(q, who, data, size, timeout);
    r = put_small(q, who, data, size);
    return likely(r != -EAGAIN) ? r : put_small_waiting(q, who, data, size, timeout);
}

/* ---- Many ------------------------------------------------------------------------- */

/* As many as fit into what is left of one chunk and of maxsize, with one commit. */
static int put_run(struct piu_queue *q, uint64_t who, const unsigned char *data,
                   size_t size, size_t count, size_t *done)
{
    uint64_t units = 1 + units_of(size);
    struct chunk *c;
    uint64_t tail, n = 0;
    int r = put_enter(q, who);

    if (r < 0)
        return r;
    r = put_prepare(q, units, false, &c, &tail);
    if (r == 0) {
        uint64_t fit = (c->capacity - place_of(tail)) / units;
        uint64_t out = (count_of(tail) - q->put.got_seen) & COUNT_MASK;

        if (q->maxsize)
            fit = min_u64(fit, q->maxsize - out - atomic_load(&q->put.reserved));
        for (; n < min_u64(fit, count); n++)
            entry_write(c, place_of(tail) + n * units, data + n * size, size);
        tail_move(q, c, word_plus(tail, n, n * units));
        lines_take(c, place_of(tail), place_of(tail) + n * units);
    }
    put_leave(q);
    if (r == 0)
        put_news(q);
    *done += n;
    return r;
}

static int put_many_small(struct piu_queue *q, uint64_t who, const unsigned char *data,
                          size_t size, size_t count, size_t *done)
{
    int r = 0;

    while (r == 0 && *done < count)
        r = put_run(q, who, data + *done * size, size, count - *done, done);
    return r;
}

static int put_many_large(struct piu_queue *q, uint64_t who, const unsigned char *data,
                          size_t size, size_t count, size_t *done)
{
    int r = 0;

    while (*done < count && (r = put_large(q, who, data + *done * size, size, 0)) == 0)
        (*done)++;
    return r == -ETIMEDOUT ? -EAGAIN : r;
}

int piu_queue_put_many(struct piu_queue *q, const void *data, size_t size, size_t count,
                       size_t *ret_count, int64_t timeout)
{
    struct waiting w = waiting_begin(timeout);
    size_t done = 0, bytes;
    uint64_t who;
    int r = queue_use(q, &who);

    if (r < 0)
        return r;
    if (!ret_count || (!data && size && count) ||
        __builtin_mul_overflow(size, count, &bytes))
        return -EINVAL;
    if (!data)
        data = "";
    do
        r = size <= INLINE_MAX ? put_many_small(q, who, data, size, count, &done)
                               : put_many_large(q, who, data, size, count, &done);
    while (r == -EAGAIN && done == 0 && (r = wait_for_room(q, who, &w)) == 0);
    waiting_end(&w, q, &q->putters, queue_has_room);
    if (done == 0 && count && r < 0)
        return r;
    *ret_count = done;
    return 0;
}
