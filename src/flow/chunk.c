/* The chain of chunks: a new one behind the last, or one that the getters have left. */
#include "flow/queue.h"
#include "shm/heap.h"

#define CHUNK_LAST 131072u /* two or three of them stay in the cache */

void chunk_begin(struct chunk *c, uint64_t capacity, uint64_t count)
{
    uint64_t empty = count << PLACE_BITS;

    c->capacity = capacity;
    atomic_store_explicit(&c->next, 0, memory_order_relaxed);
    atomic_store_explicit(&c->tail, empty, memory_order_relaxed);
    atomic_store_explicit(&c->head, empty, memory_order_relaxed);
}

void chunk_link(struct piu_queue *q, struct chunk *c)
{
    struct chunk *last = queue_chunk(atomic_load(&q->put_chunk));

    /* release, for the acquire in chunk_with_entry(): tail was final before, and c is whole */
    atomic_store_explicit(&last->next, arena_offset(c), memory_order_release);
    atomic_store_explicit(&q->put_chunk, arena_offset(c), memory_order_release);
    atomic_store_explicit(&q->put.pending, 0, memory_order_release);
}

static bool first_is_retired(struct piu_queue *q)
{
    return atomic_load(&q->first_chunk) !=
           atomic_load_explicit(&q->get_chunk, memory_order_acquire);
}

bool chunk_forget(struct piu_queue *q, struct chunk *c)
{
    bool inside = c == queue_first(q);

    if (!inside && block_take(c, BLOCK_SCRATCH, &q->first_chunk) < 0)
        return false;
    atomic_store(&q->first_chunk, atomic_load(&c->next));
    if (!inside)
        block_free(c);
    return true;
}

/* One that the getters have left serves again. */
static struct chunk *chunk_recycle(struct piu_queue *q, uint64_t units, uint64_t count)
{
    for (uint64_t bound = heap_blocks_most(); bound && first_is_retired(q); bound--) {
        struct chunk *c = queue_chunk(atomic_load(&q->first_chunk));

        if (!c)
            return NULL;
        if (c->capacity >= units && c->capacity * 8 >= q->put.chunk_size / 4) {
            atomic_store(&q->put.pending, arena_offset(c));
            atomic_store(&q->first_chunk, atomic_load(&c->next));
            chunk_begin(c, c->capacity, count);
            return c;
        }
        if (!chunk_forget(q, c))
            return NULL;
    }
    return NULL;
}

static int chunk_new(struct piu_queue *q, uint64_t units, uint64_t count,
                     struct chunk **ret)
{
    uint64_t wanted = sizeof(struct chunk) + units * 8;
    uint64_t size = max_u64(q->put.chunk_size, wanted);
    void *block;
    int r = block_new(size, BLOCK_SCRATCH, &q->put.pending, &block);

    if (r < 0)
        return r;
    chunk_begin(block, (block_size(block) - sizeof(struct chunk)) / 8, count);
    atomic_store(&q->put.pending, arena_offset(block));
    block_give(block);
    q->put.chunk_size = min_u64(q->put.chunk_size * 2, CHUNK_LAST);
    *ret = block;
    return 0;
}

int queue_grow(struct piu_queue *q, uint64_t units)
{
    struct chunk *last = queue_chunk(atomic_load(&q->put_chunk));
    uint64_t count = last ? count_of(atomic_load(&last->tail)) : 0;
    struct chunk *c = last ? chunk_recycle(q, units, count) : NULL;
    int r = !last ? -EBADMSG : c ? 0 : chunk_new(q, units, count, &c);

    if (r < 0)
        return r;
    chunk_link(q, c);
    /* what a burst left behind goes back, two for each that is linked */
    for (int i = 0; i < 2 && first_is_retired(q); i++) {
        struct chunk *first = queue_chunk(atomic_load(&q->first_chunk));

        if (!first || atomic_load(&first->next) == atomic_load(&q->get_chunk) ||
            !chunk_forget(q, first))
            break; /* keep one, for the next time */
    }
    return 0;
}

bool chunk_check(struct chunk *c)
{
    uint64_t place = place_of(atomic_load(&c->head));
    uint64_t end = place_of(atomic_load(&c->tail));
    uint64_t count = count_of(atomic_load(&c->head));

    if (place > end || end > c->capacity)
        return false;
    for (; place < end; count++) {
        uint64_t entry = c->entries[place];

        if (!(entry & ENTRY_LARGE) && entry > INLINE_MAX)
            return false;
        place += entry & ENTRY_LARGE ? 2 : 1 + units_of(entry);
    }
    return place == end && (count & COUNT_MASK) == count_of(atomic_load(&c->tail));
}
