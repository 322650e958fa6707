/*
 * Images: what a family's arena looks like after a member was killed half-way through something.
 *
 * The objects below are made once, by this process.  An image is made when it is first asked
 * for: a child does one of the scenes and is killed after so many instructions.
 */
#ifndef FUZZ_IMAGE_H
#define FUZZ_IMAGE_H

#include "flow/queue.h"
#include "task/pool.h"

#include <piu.h>

#define SMALL   24u
#define LARGE   (INLINE_MAX + 1000u)
#define BLOCKS  6u
#define QUEUES  4u
#define WORKERS 2u

struct objects {
    struct piu_lock lock;
    struct piu_rlock rlock;
    struct piu_rwlock rwlock;
    struct piu_semaphore semaphore, bounded;
    struct piu_condition condition;
    struct piu_event event;
    struct piu_barrier barrier;
};

/* In shared memory; their addresses are good in every image. */
extern struct objects *objects;
extern struct piu_queue *queues[QUEUES]; /* plain, bounded, that counts, large messages */
extern struct pool_shared *pool;
extern struct job *jobs[3]; /* of a few chunks, of many, iterated over */
extern void *blocks[BLOCKS];
extern struct piu_hold holds[3];

void image_begin(void); /* once */
unsigned image_count(void);
/* The arena is that image from now on, to the byte. */
void image_restore(unsigned number);
/* Words worth changing: header, members, unit table, heads of spans and of blocks. */
size_t image_words(void);
uint64_t *image_word(size_t n);
/* No internal lock names a live member: such a one would be waited for, and rightly. */
void image_open_locks(void);

/* What a scene or an input does, by number; arguments choose the object. */
unsigned operation_count(void);
void operation_do(unsigned number, unsigned argument);

/* One input: an image, changes, operations. */
int fuzz_one(const unsigned char *data, size_t size);

#endif
