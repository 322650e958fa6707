/*
 * The queue: a chain of chunks, two locks, one commit word a side.
 *
 *    struct piu_queue: one block of 8 KB, its first chunk inside
 *      first_chunk         put_chunk                     get_chunk
 *          v                                                 v
 *      [retired] -> [retired] ->  ...  -> [head  ....tail, full] -> [      ..tail] <- put_chunk
 *
 *    chunk   0        128      256      384                    384 + 8 capacity
 *            | next   | tail   | head   | entries              |
 *            | ...    | putter | getter |                      |
 *    tail, head      63..28 messages, counted for ever   27..0 place, in units of 8 bytes
 *    entry           a word {63 large, 62..0 size}, then the bytes, or the offset of a message block
 *
 * Q1  a put happened when tail moved, a get when head moved; nothing else decides
 * Q2  [head, tail) of a chunk holds whole entries; next is set once nothing more is put there
 * Q3  only who holds put.lock moves tail, next, put.*, put_chunk, first_chunk; only
 *     get.lock: head, get.*, get_chunk
 * Q4  chunks from first_chunk up to get_chunk, that one left out, are retired: the putter's
 * Q5  while put.message (get.taking) has a block's offset, whoever repairs that side answers
 *     for the block; at any other time the block's word says whose it is
 * Q6  no member's fate is swept inside the locks: the sweep enters them (member_fate_unswept)
 * Q7  who holds both locks took put.lock first
 * Q8  a queue's block never becomes anything else (block_new_lasting), so who comes too late
 *     finds locks and bells; who comes for a message compares the generation
 * Crash: bytes past tail belong to nobody.  Whoever enters after a dead holder repairs first
 * (put_repair, get_repair): what is pending is completed if its word had moved, else undone.
 */
#ifndef PIU_FLOW_QUEUE_H
#define PIU_FLOW_QUEUE_H

#include "os/clock.h"
#include "shm/block.h"
#include "shm/owner.h"

#include <piu.h>

#include <string.h>

#define QUEUE_STAMP   UINT64_C(0x7069752d71756575)
#define INLINE_MAX    4096u /* longer messages get a block of their own */
#define PLACE_BITS    28
#define PLACE_MASK    ((UINT64_C(1) << PLACE_BITS) - 1)
#define COUNT_MASK    (UINT64_MAX >> PLACE_BITS)
#define ENTRY_LARGE   (UINT64_C(1) << 63)
#define FROM_RETURNED UINT64_MAX

struct chunk {
    _Atomic uint64_t next; /* offset */
    uint64_t capacity;     /* in units of 8 bytes; set before the chunk is linked */
    alignas(128) _Atomic uint64_t tail;
    alignas(128) _Atomic uint64_t head;
    alignas(128) uint64_t entries[];
};
static_assert(offsetof(struct chunk, entries) == 384, "shared layout: raise ARENA_STAMP");

/* The head of a block that holds one message: 64 bytes, then the message. */
struct message {
    uint64_t queue;      /* offset */
    uint64_t generation; /* of the queue (Q8) */
    uint64_t size;
    uint64_t next; /* in get.returned */
    uint64_t redelivered;
    alignas(64) unsigned char bytes[];
};
static_assert(offsetof(struct message, bytes) == 64, "shared layout: raise ARENA_STAMP");

/* Sleepers set the word; who has news clears it and wakes one, who wakes the next. */
struct bell {
    alignas(64) _Atomic uint32_t asleep;
};

struct put_side {
    owner_word lock;
    _Atomic uint64_t last;    /* who was here last, for who waits for it */
    _Atomic uint64_t pending; /* offset of a chunk that is being linked; 0 */
    _Atomic uint64_t message; /* offset of a large message that is being put; 0 */
    uint64_t before;          /* tail, before that */
    uint64_t
        got_seen; /* messages got, as last seen: spares a look at the getters' line */
    _Atomic uint64_t reserved; /* units of maxsize */
    _Atomic uint64_t
        reserving;           /* offset of a block that becomes or ends a reservation; 0 */
    uint64_t reserved_after; /* what `reserved` is after that, or after `message` */
    uint64_t spends;         /* `message` was reserved */
    uint64_t chunk_size;     /* of the next one, bytes */
    _Atomic uint64_t putters; /* offset of a tally; 0 */
};

struct get_side {
    owner_word lock;
    _Atomic uint64_t last;
    uint64_t tail_seen;         /* of that chunk; 0: look */
    _Atomic uint64_t taking;    /* offset of a block that is being taken; 0 */
    _Atomic uint64_t returning; /* offset of a dead taker's block that comes back; 0 */
    uint64_t before;            /* head, before the get; FROM_RETURNED */
    _Atomic uint64_t returned;  /* messages of dead takers, a list */
    _Atomic uint64_t returned_count;
    _Atomic uint64_t
        counting;            /* 1 + index of a mark that gets a new count with this; 0 */
    uint64_t counting_index; /* that, before it is under way */
    uint64_t count_before;
    uint64_t count_after;
    /* what a getter does that has caught up: see lag.c */
    _Atomic uint32_t lag, lag_try_in, lag_try_after;
    _Atomic uint64_t got_by;   /* offset of a tally; 0 */
    _Atomic uint64_t finished; /* messages said to be done, or lost with their getters */
    _Atomic uint64_t
        finishing; /* 1 + index of the mark whose task_done is under way; 0 */
    uint64_t finished_after;
    uint64_t finishing_count;
    _Atomic uint32_t lost; /* news for join: something was lost */
};

struct piu_queue {
    _Atomic uint64_t stamp; /* 0: it is free, or being freed */
    uint64_t generation;    /* counts the queues that were in this block */
    uint64_t maxsize;       /* 0: none */
    uint32_t counts_tasks;
    uint32_t declares_putters;
    _Atomic uint32_t shut;
    _Atomic uint32_t had_putter;
    _Atomic uint64_t first_chunk;
    _Atomic uint64_t pollers; /* offset of the roll of descriptors; 0 */
    /* Offsets, here since both sides look at both, and they seldom change: */
    _Atomic uint64_t put_chunk; /* where tail moves */
    _Atomic uint64_t get_chunk; /* where head moves */
    alignas(128) struct put_side put;
    alignas(128) struct get_side get;
    alignas(128) struct bell getters;
    alignas(128) struct bell putters; /* who wait for room */
    alignas(128) struct bell joiners;
};

#define QUEUE_BLOCK LASTING_SIZE /* the first chunk takes what the struct leaves */

static inline struct chunk *queue_first(struct piu_queue *q)
{
    return (struct chunk *)(void *)(q + 1);
}

static inline uint64_t place_of(uint64_t word)
{
    return word & PLACE_MASK;
}

static inline uint64_t count_of(uint64_t word)
{
    return word >> PLACE_BITS;
}

/* The word after `messages` more, which take `units`. */
static inline uint64_t word_plus(uint64_t word, uint64_t messages, uint64_t units)
{
    return word + (messages << PLACE_BITS) +
           units; /* the count wraps at 2^36 by itself */
}

static inline uint64_t units_of(uint64_t bytes)
{
    return (bytes + 7) / 8;
}

/* An address, a number: not worth a call of memcpy(). */
static inline void bytes_copy(void *to, const void *from, size_t size)
{
    if (size == sizeof(uint64_t))
        memcpy(to, from, sizeof(uint64_t));
    else
        memcpy(to, from, size);
}

/* 0, -EINVAL, -EFAULT, -ESTALE. */
static inline int queue_use(struct piu_queue *q, uint64_t *ret_who)
{
    int r = q ? member_who(ret_who) : -EINVAL;

    if (unlikely(r < 0))
        return r;
    if (unlikely((uint64_t)((unsigned char *)q - arena.base) >=
                     arena.range - sizeof(*q) ||
                 (uintptr_t)q % alignof(struct piu_queue) ||
                 !arena_reaches(arena_offset(q + 1))))
        return -EFAULT;
    return likely(atomic_load_explicit(&q->stamp, memory_order_relaxed) == QUEUE_STAMP)
               ? 0
               : -ESTALE;
}

/* The head of a chunk; NULL: none can be there. */
static inline struct chunk *queue_chunk_head(uint64_t offset)
{
    return likely(offset >= arena.heap && offset % alignof(struct chunk) == 0 &&
                  offset < arena.range && arena_reaches(offset + sizeof(struct chunk)))
               ? (struct chunk *)(void *)(arena.base + offset)
               : NULL;
}

/* All of it, as long as it says; NULL: that is no chunk. */
static inline struct chunk *queue_chunk(uint64_t offset)
{
    struct chunk *c = queue_chunk_head(offset);
    uint64_t capacity = likely(c) ? c->capacity : 0;

    return likely(c && capacity <= PLACE_MASK &&
                  arena_reaches(offset + sizeof(*c) + capacity * 8))
               ? c
               : NULL;
}

uint64_t queue_puts(struct piu_queue *q); /* counted for ever, modulo 2^36 */
uint64_t queue_gets(struct piu_queue *q);

/* The last holder died (`r`): repairs; freed meanwhile: leaves.  0, -ESTALE. */
int put_enter_slowly(struct piu_queue *q, int r);
int get_enter_slowly(struct piu_queue *q, int r);

static inline bool queue_is_free(const struct piu_queue *q)
{
    return atomic_load_explicit(&q->stamp, memory_order_relaxed) != QUEUE_STAMP;
}

static inline int put_enter(struct piu_queue *q, uint64_t who)
{
    int r = owner_enter(&q->put.lock, who);

    atomic_store_explicit(&q->put.last, who, memory_order_relaxed);
    return likely(r == 0 && !queue_is_free(q)) ? 0 : put_enter_slowly(q, r);
}

static inline void put_leave(struct piu_queue *q)
{
    owner_leave(&q->put.lock);
}

static inline int get_enter(struct piu_queue *q, uint64_t who)
{
    int r = owner_enter(&q->get.lock, who);

    atomic_store_explicit(&q->get.last, who, memory_order_relaxed);
    return likely(r == 0 && !queue_is_free(q)) ? 0 : get_enter_slowly(q, r);
}

static inline void get_leave(struct piu_queue *q)
{
    owner_leave(&q->get.lock);
}

bool queue_has_message(struct piu_queue *q); /* a look without locks */
bool queue_has_room(struct piu_queue *q);
/* Would get return at once: a message, or -EPIPE? */
bool queue_is_ready(struct piu_queue *q);
bool queue_has_ended(struct piu_queue *q); /* shut down, or its last putter ended */
/* The futex of those who wait for a message: set before the last look, for piu_wait_any. */
const _Atomic uint32_t *queue_futex(struct piu_queue *q, uint32_t *ret_expected);

/* put.lock is held: before what makes the queue ready. */
void queue_tell_pollers(struct piu_queue *q);
/* It looks empty: their descriptors are readable no longer.  Locks are not held. */
void queue_calm_pollers(struct piu_queue *q, uint64_t who);
void queue_free_pollers(struct piu_queue *q, uint64_t who); /* put.lock is held */

/* Under the side's lock: the block that `word` names and nobody else answers for, goes. */
void queue_discard(_Atomic uint64_t *word);

/* Chunks (chunk.c), under put.lock. */
void chunk_begin(struct chunk *c, uint64_t capacity, uint64_t count); /* empty */
/* The chunk in put.pending becomes the one where tail moves.  May be done twice. */
void chunk_link(struct piu_queue *q, struct chunk *c);
/* Retired and not wanted: out of the chain, then free. */
bool chunk_forget(struct piu_queue *q, struct chunk *c);
/* A chunk behind the last, with room for `units`. */
int queue_grow(struct piu_queue *q, uint64_t units);
bool chunk_check(struct chunk *c); /* Q2, when nobody is inside */

/* Message blocks (message.c). */
int message_new(struct piu_queue *q, size_t size,
                struct message **ret); /* scratch, the caller's */
int put_block(struct piu_queue *q, uint64_t who, struct message *m, bool reserved);
void reservation_repair(struct piu_queue *q);
/* The queue that a message belongs to; NULL: it is gone, or another has its place. */
struct piu_queue *message_queue(const struct message *m);
void get_repair(struct piu_queue *q);
void queue_empty(struct piu_queue *q); /* get.lock is held: all messages go, for good */

/*
 * Tasks (tasks.c), under get.lock; nothing where the queue does not count them.  prepare()
 * finds the mark and what its count will be (-ENOMEM); begin() and end() enclose the commit
 * of the get, then apply(); a repair applies, or undoes, what is under way.
 */
int tasks_prepare(struct piu_queue *q, uint64_t id, int64_t change);
void tasks_begin(struct piu_queue *q);
void tasks_apply(struct piu_queue *q);
void tasks_undo(struct piu_queue *q);
void tasks_end(struct piu_queue *q);
void tasks_repair(struct piu_queue *q); /* task_done */

bool queue_check(struct piu_queue *q);

#endif
