/* What both sides of a queue need: creation, entering and repair, looking. */
#include "flow/queue.h"
#include "flow/wait.h"
#include "os/keywords.h"
#include "shm/heap.h"

#include <string.h>

#define CHUNK_FIRST 16384u /* bytes; doubled with each new one */

/* ---- Making and freeing ---------------------------------------------------------- */

static void put_repair(struct piu_queue *q);

/* All but the locks, which are held, and the generation. */
static void queue_clear(struct piu_queue *q)
{
    unsigned char *put = (unsigned char *)&q->put, *get = (unsigned char *)&q->get;

    q->maxsize = q->counts_tasks = q->declares_putters = 0;
    atomic_store(&q->shut, 0);
    atomic_store(&q->had_putter, 0);
    atomic_store(&q->pollers, 0);
    memset(put + sizeof(q->put.lock), 0, sizeof(q->put) - sizeof(q->put.lock));
    memset(get + sizeof(q->get.lock), 0, sizeof(q->get) - sizeof(q->get.lock));
}

static void queue_begin(struct piu_queue *q, const struct piu_queue_keywords *keywords)
{
    struct chunk *first = queue_first(q);

    queue_clear(q);
    q->generation++;
    q->maxsize = keywords->maxsize;
    q->counts_tasks = keywords->tasks;
    q->declares_putters = keywords->putters;
    q->put.chunk_size = CHUNK_FIRST;
    chunk_begin(first, (QUEUE_BLOCK - sizeof(*q) - sizeof(struct chunk)) / 8, 0);
    atomic_store(&q->first_chunk, arena_offset(first));
    atomic_store(&q->put_chunk, arena_offset(first));
    atomic_store(&q->get_chunk, arena_offset(first));
    atomic_store(&q->stamp, QUEUE_STAMP);
}

struct piu_queue *piu_queue_create(const struct piu_queue_keywords *keywords)
{
    struct piu_queue_keywords k;
    struct piu_queue *q;
    uint64_t who;
    void *block;
    int r = keywords_read(&k, sizeof(k), keywords);

    if (r == 0)
        r = member_who(&who);
    if (r == 0)
        r = block_new_lasting(BLOCK_SCRATCH, &block);
    if (r < 0) {
        errno = -r;
        return NULL;
    }
    q = block;
    /* who came too late for the queue that was here may be inside yet (Q8) */
    owner_enter(&q->put.lock, who);
    owner_enter(&q->get.lock, who);
    queue_begin(q, &k);
    owner_leave(&q->get.lock);
    owner_leave(&q->put.lock);
    block_give(q);
    return q;
}

/*
 * The block is the caller's, to be freed: that was the commit.  What is begun here is gone on
 * with by the sweep, so each step may have been done, or begun, before.
 */
static void queue_end(struct piu_queue *q, uint64_t who)
{
    struct chunk *c;

    atomic_store(&q->stamp, 0);
    bell_ring_all(&q->getters);
    bell_ring_all(&q->putters);
    bell_ring_all(&q->joiners);
    /* who is inside leaves; who comes now leaves at once */
    if (owner_enter(&q->put.lock, who) == OWNER_DIED)
        put_repair(q);
    if (owner_enter(&q->get.lock, who) == OWNER_DIED)
        get_repair(q);
    queue_empty(q);
    atomic_store(&q->get_chunk,
                 0); /* or else one that begins again would read freed chunks */
    atomic_store(&q->put_chunk, 0);
    for (uint64_t bound = heap_blocks_most();
         bound && (c = queue_chunk(atomic_load(&q->first_chunk))) && chunk_forget(q, c);
         bound--)
        ;
    queue_free_pollers(q, who);
    block_free_from(&q->put.putters);
    block_free_from(&q->get.got_by);
    owner_leave(&q->get.lock);
    owner_leave(&q->put.lock);
    block_free(q);
}

/* The sweep found a queue that an ended member was freeing. */
static bool freeing_orphan(void *block, uint64_t dead_id, bool died)
{
    (void)died;
    if (block_inherit(block, dead_id, BLOCK_FREEING) == 0) /* else another sweep has it */
        queue_end(block, member_who_again());
    return true;
}

__attribute__((constructor)) static void orphans_register(void)
{
    block_on_orphan(BLOCK_FREEING, freeing_orphan);
}

struct piu_queue *piu_queue_free(struct piu_queue *q)
{
    uint64_t who;
    int r = q ? queue_use(q, &who) : 0;

    if (q && r == 0)
        r = block_take(q, BLOCK_FREEING, NULL);
    if (r < 0)
        errno = -r;
    else if (q)
        queue_end(q, who);
    return NULL;
}

/* ---- Entering, and repair --------------------------------------------------------- */

static void repair_pending(struct piu_queue *q)
{
    uint64_t offset = atomic_load(&q->put.pending);
    struct chunk *last = queue_chunk(atomic_load(&q->put_chunk));
    struct chunk *c = queue_chunk(offset);

    if (!offset)
        return;
    if (offset == atomic_load(&q->put_chunk) || offset == atomic_load(&q->first_chunk) ||
        !c || !last || (c != queue_first(q) && !block_settle(c)))
        atomic_store(&q->put.pending, 0); /* done already, or not begun */
    else {
        chunk_begin(c, c->capacity, count_of(atomic_load(&last->tail)));
        chunk_link(q, c);
    }
}

/* A block that nobody else answers for, named by `word`, goes. */
void queue_discard(_Atomic uint64_t *word)
{
    void *block = arena_at(atomic_load(word), 1);
    bool ours = block && block_take(block, BLOCK_SCRATCH, word) == 0;

    atomic_store(word, 0);
    if (ours)
        block_free(block);
}

static void repair_message(struct piu_queue *q)
{
    struct chunk *c = queue_chunk(atomic_load(&q->put_chunk));

    if (!atomic_load(&q->put.message))
        return;
    if (q->put
            .spends) /* put, or lost with its owner: the unit is not reserved any more */
        atomic_store(&q->put.reserved, q->put.reserved_after);
    if (c && atomic_load(&c->tail) == q->put.before)
        queue_discard(&q->put.message); /* it was never put */
    /* else it was the family's before tail moved; it may be another's block by now */
    atomic_store(&q->put.message, 0);
}

static void put_repair(struct piu_queue *q)
{
    struct chunk *first = queue_chunk(atomic_load(&q->first_chunk));

    if (first && first != queue_first(q))
        block_settle(first);
    repair_pending(q);
    repair_message(q);
    reservation_repair(q);
    q->put.got_seen = queue_gets(q);
}

/* A free one is repaired too: who is freeing it may be dead, and its heir is to find it whole. */
static int enter_slowly(struct piu_queue *q, int r, owner_word *lock,
                        void (*repair)(struct piu_queue *q))
{
    if (r == OWNER_DIED)
        repair(q);
    if (!queue_is_free(q))
        return 0;
    owner_leave(lock);
    return -ESTALE;
}

noinline int put_enter_slowly(struct piu_queue *q, int r)
{
    return enter_slowly(q, r, &q->put.lock, put_repair);
}

noinline int get_enter_slowly(struct piu_queue *q, int r)
{
    return enter_slowly(q, r, &q->get.lock, get_repair);
}

/* ---- Looking ----------------------------------------------------------------------- */

/* Counts are read without locks: a chunk that is recycled meanwhile is seen by its pointer. */
static uint64_t count_in(_Atomic uint64_t *chunk, size_t word)
{
    for (;;) {
        uint64_t offset = atomic_load_explicit(chunk, memory_order_acquire);
        struct chunk *c = queue_chunk_head(offset);
        uint64_t value;

        if (!c)
            return 0;
        value = atomic_load_explicit((_Atomic uint64_t *)(void *)((char *)c + word),
                                     memory_order_acquire);
        if (offset == atomic_load(chunk))
            return count_of(value);
    }
}

uint64_t queue_puts(struct piu_queue *q)
{
    return count_in(&q->put_chunk, offsetof(struct chunk, tail));
}

uint64_t queue_gets(struct piu_queue *q)
{
    return count_in(&q->get_chunk, offsetof(struct chunk, head));
}

bool queue_has_message(struct piu_queue *q)
{
    struct chunk *c =
        queue_chunk_head(atomic_load_explicit(&q->get_chunk, memory_order_relaxed));
    uint64_t head;

    if (unlikely(!c))
        return false;
    head = atomic_load_explicit(&c->head, memory_order_relaxed);
    if (atomic_load_explicit(&c->tail, memory_order_acquire) != head) {
        /* who asks is about to get it */
        __builtin_prefetch(&c->entries[place_of(head)]);
        return true;
    }
    return atomic_load_explicit(&c->next, memory_order_relaxed) ||
           atomic_load_explicit(&q->get.returned, memory_order_relaxed);
}

bool queue_has_room(struct piu_queue *q)
{
    uint64_t out = (queue_puts(q) - queue_gets(q)) & COUNT_MASK;

    return atomic_load(&q->shut) || q->maxsize == 0 ||
           out + atomic_load(&q->put.reserved) < q->maxsize;
}

bool queue_is_ready(struct piu_queue *q)
{
    return queue_has_message(q) || atomic_load(&q->shut) ||
           atomic_load(&q->stamp) != QUEUE_STAMP || queue_has_ended(q);
}

const _Atomic uint32_t *queue_futex(struct piu_queue *q, uint32_t *ret_expected)
{
    atomic_store(&q->getters.asleep, 1);
    fence_seldom(arena_fences_lightly());
    *ret_expected = 1;
    return &q->getters.asleep;
}

size_t piu_queue_qsize(const struct piu_queue *q)
{
    struct piu_queue *used = (struct piu_queue *)(uintptr_t)q;
    uint64_t who, gets;

    if (queue_use(used, &who) < 0)
        return 0;
    gets = queue_gets(used); /* first: a get that comes between makes it no less than 0 */
    return ((queue_puts(used) - gets) & COUNT_MASK) + atomic_load(&q->get.returned_count);
}

int piu_queue_shutdown(struct piu_queue *q)
{
    uint64_t who;
    int r = queue_use(q, &who);

    if (r == 0)
        r = put_enter(q, who);
    if (r < 0)
        return r;
    queue_tell_pollers(q);
    atomic_store(&q->shut, 1);
    put_leave(q);
    bell_ring_all(&q->getters);
    bell_ring_all(&q->putters);
    return 0;
}

/* When nobody is inside: Q2, Q4, and the chain leads from the first to the last. */
bool queue_check(struct piu_queue *q)
{
    uint64_t offset = atomic_load(&q->first_chunk);
    bool seen_get = false;

    for (uint64_t bound = heap_blocks_most(); offset && bound; bound--) {
        struct chunk *c = queue_chunk(offset);

        if (!c)
            return false;
        seen_get = seen_get || offset == atomic_load(&q->get_chunk);
        if (seen_get && !chunk_check(c))
            return false;
        if (offset == atomic_load(&q->put_chunk))
            return seen_get;
        offset = atomic_load(&c->next);
    }
    return false;
}
