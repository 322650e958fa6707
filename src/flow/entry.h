/*
 * The entry that a getter has found: what take.c and get.c say to each other.  All of it under
 * get.lock.
 */
#ifndef PIU_FLOW_ENTRY_H
#define PIU_FLOW_ENTRY_H

#include "flow/queue.h"

struct entry {
    struct chunk *chunk; /* NULL: it is `message`, from get.returned */
    uint64_t head;
    uint64_t after; /* what head is once it is got */
    uint64_t size;
    const void *bytes;
    struct message *message; /* NULL: the bytes lie in the chunk */
};

/* The commit (Q1). */
static inline void head_move(struct entry *e)
{
    /* release, for the acquire in queue_gets(): the place may be used again */
    atomic_store_explicit(&e->chunk->head, e->after, memory_order_release);
}

/*
 * A message block becomes the caller's, and its entry is got: 0, PIU_REDELIVERED, -EBADMSG.
 * Killed half way: see take.c.
 */
int entry_take(struct piu_queue *q, struct entry *e);
/* The same with a small message, which moves into a block of its own: 0, -ENOMEM. */
int entry_take_copy(struct piu_queue *q, struct entry *e, struct message **ret);

#endif
