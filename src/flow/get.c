/* The getters' side of a queue. */
#include "flow/entry.h"
#include "flow/wait.h"
#include "shm/heap.h"

#include <stdlib.h>

/* ---- Finding the next entry, under get.lock -------------------------------------- */

#define PREFETCH_AT_ONCE 128u /* units: 1 KB */

/* Lines of the putter's that we are about to read: their ways here are one. */
static inline void entries_prefetch(const struct chunk *c, uint64_t place, uint64_t end)
{
    end = min_u64(end, place + PREFETCH_AT_ONCE);
    for (; place < end; place += 8)
        __builtin_prefetch(&c->entries[place]);
}

/* The chunk that head is in; NULL: there is nothing.  Moves on to the next chunk when one is drained. */
static struct chunk *chunk_with_entry(struct piu_queue *q, uint64_t *ret_head)
{
    uint64_t passed = 0;

    for (;;) {
        struct chunk *c =
            queue_chunk(atomic_load_explicit(&q->get_chunk, memory_order_relaxed));
        uint64_t next;

        if (unlikely(!c))
            return NULL;
        *ret_head = atomic_load_explicit(&c->head, memory_order_relaxed);
        if (likely(place_of(*ret_head) < place_of(q->get.tail_seen)))
            return c;
        next = atomic_load_explicit(&c->next, memory_order_acquire);
        /* acquire, for the release in tail_move(); after `next`: then it is final (Q2) */
        q->get.tail_seen = atomic_load_explicit(&c->tail, memory_order_acquire);
        if (place_of(*ret_head) < place_of(q->get.tail_seen)) {
            entries_prefetch(c, place_of(*ret_head), place_of(q->get.tail_seen));
            return c;
        }
        q->get.tail_seen = 0;
        if (!next || unlikely(passed++ > heap_blocks_most()))
            return NULL;
        /* release: the chunk is retired, whoever sees that may use it (Q4) */
        atomic_store_explicit(&q->get_chunk, next, memory_order_release);
    }
}

static int entry_returned(struct piu_queue *q, struct entry *ret)
{
    struct message *m = arena_at(atomic_load(&q->get.returned), sizeof(*m));

    if (!m || !arena_has(m->bytes, m->size))
        return -EBADMSG;
    *ret = (struct entry){.size = m->size, .bytes = m->bytes, .message = m};
    return 0;
}

/* 0, -EAGAIN: none, -EBADMSG: somebody wrote over it. */
static int entry_find(struct piu_queue *q, struct entry *ret)
{
    uint64_t head, place, end, word;
    struct chunk *c;

    if (unlikely(atomic_load_explicit(&q->get.returned, memory_order_relaxed)))
        return entry_returned(q, ret);
    c = chunk_with_entry(q, &head);
    if (!c)
        return -EAGAIN;
    place = place_of(head);
    end = place_of(q->get.tail_seen);
    if (unlikely(end > c->capacity))
        return -EBADMSG;
    word = c->entries[place];
    if (unlikely(word & ENTRY_LARGE)) {
        struct message *m =
            place + 2 <= end ? arena_at(c->entries[place + 1], sizeof(*m)) : NULL;

        if (!m || m->size != (word & ~ENTRY_LARGE) || !arena_has(m->bytes, m->size))
            return -EBADMSG;
        *ret = (struct entry){c, head, word_plus(head, 1, 2), m->size, m->bytes, m};
        return 0;
    }
    if (unlikely(word > INLINE_MAX || place + 1 + units_of(word) > end))
        return -EBADMSG;
    *ret = (struct entry){
        c,   head, word_plus(head, 1, 1 + units_of(word)), word, &c->entries[place + 1],
        NULL};
    return 0;
}

/* Small, into the caller's memory. */
static void bytes_get(struct piu_queue *q, struct entry *e, void *data)
{
    bytes_copy(data, e->bytes, e->size);
    if (likely(!q->counts_tasks)) {
        head_move(e);
        return;
    }
    q->get.before = e->head;
    tasks_begin(q);
    head_move(e);
    tasks_apply(q);
    tasks_end(q);
}

/* ---- One get ------------------------------------------------------------------------ */

enum how { INTO_BUFFER, INTO_MALLOC, IN_PLACE };

struct request {
    enum how how;
    bool exactly; /* `size` bytes and no other length */
    void *data;
    size_t size; /* room, then length */
    struct message *message;
};

/* get.lock is held, `e` is next.  Large ones are copied after the lock, from ret->message. */
static int entry_get(struct piu_queue *q, uint64_t who, struct entry *e,
                     struct request *ret)
{
    int r = 0;

    if (ret->how == INTO_BUFFER &&
        unlikely(e->size > ret->size || (ret->exactly && e->size < ret->size))) {
        ret->size = e->size;
        return -EMSGSIZE;
    }
    if (ret->how == INTO_MALLOC && !(ret->data = malloc(e->size ? e->size : 1)))
        return -ENOMEM;
    if (unlikely(q->counts_tasks) && (r = tasks_prepare(q, who & ID_MASK, 1)) < 0)
        return r;
    if (likely(!e->message && ret->how != IN_PLACE)) {
        bytes_get(q, e, ret->data);
    } else if (e->message) {
        r = entry_take(q, e);
        ret->message = e->message;
    } else {
        r = entry_take_copy(q, e, &ret->message);
    }
    ret->size = e->size;
    return r;
}

#define PREFETCH_FROM 128u /* bytes; smaller ones are there with the line before */
#define PREFETCH_MOST 1024u

/* Its lines come from the putter's cache while the caller is busy with this one. */
static inline void prefetch_next(struct piu_queue *q, const struct entry *e)
{
    uint64_t place = place_of(e->after);
    const unsigned char *next;

    if (likely(e->size < PREFETCH_FROM) || place >= place_of(q->get.tail_seen))
        return;
    next = (const unsigned char *)&e->chunk->entries[place];
    for (size_t at = 0; at < min_u64(e->size, PREFETCH_MOST); at += 64)
        __builtin_prefetch(next + at);
}

static int get_once(struct piu_queue *q, uint64_t who, struct request *ret)
{
    struct entry e;
    int r = get_enter(q, who);

    if (unlikely(r < 0))
        return r;
    ret->message = NULL;
    r = entry_find(q, &e);
    if (likely(r == 0))
        r = entry_get(q, who, &e, ret);
    if (r >= 0 && !e.message)
        prefetch_next(q, &e);
    get_leave(q);
    if (r < 0 && ret->how == INTO_MALLOC) {
        free(ret->data);
        ret->data = NULL;
    }
    if (r >= 0 && q->maxsize)
        bell_ring(&q->putters);
    return r;
}

/* Killed before the block is free: the message comes again, to another. */
static void copy_out(struct request *ret)
{
    memcpy(ret->data, ret->message->bytes, ret->size);
    block_free(ret->message);
}

/* Nothing is left, nor comes: but what a dead one had taken is to come first. */
static bool look_for_end(struct piu_queue *q)
{
    if (!queue_has_ended(q) || queue_has_message(q))
        return false;
    member_sweep_dead(true);
    return !queue_has_message(q);
}

static noinline int get_waiting(struct piu_queue *q, uint64_t who,
                                struct request *request, int64_t timeout)
{
    struct waiting w = waiting_begin(timeout);
    int r = -EAGAIN;

    while (r == -EAGAIN) {
        if (look_for_end(q)) {
            r = -EPIPE;
            break;
        }
        r = wait_at(&q->getters, q, queue_is_ready, who, &w);
        if (r == 0 && !w.slept)
            getter_lags(q);
        if (r == 0)
            r = get_once(q, who, request);
    }
    waiting_end(&w, q, &q->getters, queue_has_message);
    return r;
}

/* A descriptor that stays readable would lead its owner into a get that waits. */
static inline void get_emptied(struct piu_queue *q, uint64_t who)
{
    if (unlikely(atomic_load_explicit(&q->pollers, memory_order_relaxed)) &&
        !queue_has_message(q))
        queue_calm_pollers(q, who);
}

static int get(struct piu_queue *q, struct request *request, int64_t timeout)
{
    uint64_t who;
    int r = queue_use(q, &who);

    if (unlikely(r < 0))
        return r;
    r = get_once(q, who, request);
    if (unlikely(r == -EAGAIN)) {
        get_emptied(q, who);
        r = get_waiting(q, who, request, timeout);
    }
    if (r >= 0)
        get_emptied(q, who);
    if (unlikely(r >= 0 && request->message && request->how != IN_PLACE))
        copy_out(request);
    return r;
}

static char nothing[1]; /* where 0 bytes are: memcpy wants an address */

int piu_queue_get(struct piu_queue *q, void *data, size_t *size, int64_t timeout)
{
    struct request request = {.how = INTO_BUFFER, .data = data};
    int r;

    if (unlikely(!size || (!data && *size)))
        return -EINVAL;
    if (unlikely(!data))
        request.data = nothing;
    request.size = *size;
    r = get(q, &request, timeout);
    if (likely(r >= 0) || r == -EMSGSIZE)
        *size = request.size;
    return r;
}

int piu_queue_get_new(struct piu_queue *q, void **ret, size_t *ret_size, int64_t timeout)
{
    struct request request = {.how = INTO_MALLOC};
    int r = ret && ret_size ? get(q, &request, timeout) : -EINVAL;

    if (r < 0)
        return r;
    *ret = request.data;
    *ret_size = request.size;
    return r;
}

int piu_queue_take(struct piu_queue *q, void **ret, size_t *ret_size, int64_t timeout)
{
    struct request request = {.how = IN_PLACE};
    int r = ret && ret_size ? get(q, &request, timeout) : -EINVAL;

    if (r < 0)
        return r;
    block_aim(request.message,
              NULL); /* it may be held for long: the entry may give way */
    *ret = request.message->bytes;
    *ret_size = request.size;
    return r;
}

/* ---- Many ---------------------------------------------------------------------------- */

#define AHEAD 80 /* units of 8 bytes: their lines come while those before are copied */

/* From one chunk, with one commit: as many of `size` bytes as there are. */
static int get_run(struct piu_queue *q, uint64_t who, unsigned char *data, size_t size,
                   size_t count, size_t *done)
{
    struct entry e;
    size_t n = 0;
    int r = get_enter(q, who);

    if (r < 0)
        return r;
    r = entry_find(q, &e);
    if (r == 0 && e.message)
        r = -ENOTBLK; /* not this way */
    if (r == 0 && e.size != size)
        r = -EMSGSIZE;
    if (r == 0) {
        uint64_t units = 1 + units_of(size);
        uint64_t place = place_of(e.head), end = place_of(q->get.tail_seen);

        while (n < count && place + units <= end && e.chunk->entries[place] == size) {
            if (place + AHEAD < end)
                __builtin_prefetch(&e.chunk->entries[place + AHEAD]);
            bytes_copy(data + n++ * size, &e.chunk->entries[place + 1], size);
            place += units;
        }
        if (q->counts_tasks)
            r = tasks_prepare(q, who & ID_MASK, (int64_t)n);
        if (r == 0) {
            e.after = word_plus(e.head, n, n * units);
            q->get.before = e.head;
            tasks_begin(q);
            head_move(&e);
            tasks_apply(q);
            tasks_end(q);
        }
    }
    get_leave(q);
    if (r == 0 && q->maxsize)
        bell_ring(&q->putters);
    *done += r == 0 ? n : 0;
    return r;
}

static int get_large_run(struct piu_queue *q, uint64_t who, unsigned char *data,
                         size_t size)
{
    struct request request = {
        .how = INTO_BUFFER, .exactly = true, .data = data, .size = size};
    int r = get_once(q, who, &request);

    if (r >= 0 && request.message)
        copy_out(&request);
    return r;
}

static int get_some(struct piu_queue *q, uint64_t who, unsigned char *data, size_t size,
                    size_t count, size_t *done, int *news)
{
    int r = 0;

    while (r >= 0 && *done < count) {
        r = get_run(q, who, data + *done * size, size, count - *done, done);
        if (r == -ENOTBLK &&
            (r = get_large_run(q, who, data + *done * size, size)) >= 0) {
            *news = r > 0 ? r : *news;
            (*done)++;
        }
    }
    return r;
}

int piu_queue_get_many(struct piu_queue *q, void *data, size_t size, size_t count,
                       size_t *ret_count, int64_t timeout)
{
    struct waiting w = waiting_begin(timeout);
    size_t done = 0, bytes;
    uint64_t who;
    int news = 0;
    int r = queue_use(q, &who);

    if (r < 0)
        return r;
    if (!ret_count || (!data && size && count) ||
        __builtin_mul_overflow(size, count, &bytes))
        return -EINVAL;
    if (!data)
        data = nothing;
    while ((r = get_some(q, who, data, size, count, &done, &news)) == -EAGAIN &&
           done == 0) {
        if (look_for_end(q)) {
            r = -EPIPE;
            break;
        }
        r = wait_at(&q->getters, q, queue_is_ready, who, &w);
        if (r < 0)
            break;
        if (!w.slept)
            getter_lags(q);
    }
    waiting_end(&w, q, &q->getters, queue_has_message);
    get_emptied(q, who);
    if (done == 0 && count && r < 0)
        return r;
    *ret_count = done;
    return news;
}

/* ---- All, for good ---------------------------------------------------------------------- */

void queue_empty(struct piu_queue *q)
{
    struct entry e;

    q->get.counting_index = 0; /* nobody's tasks */
    while (entry_find(q, &e) == 0) {
        if (!e.message)
            head_move(&e);
        else if (entry_take(q, &e) < 0 || block_free(e.message) < 0)
            return;
    }
}
