/*
 * What the pages of the queue have in common: numbered messages, and a survivor that knows
 * which of them there must be, there may be, and there cannot be.
 */
#ifndef STEP_QUEUE_H
#define STEP_QUEUE_H

#include "kill.h"

#include "flow/queue.h"

#include <piu.h>

#define NUMBERS 512u
#define MINE    350u /* and the next ones: what the victim puts */
#define HIS     300u /* what the second victim puts */
#define SMALL   24u
#define LARGE   (INLINE_MAX + 1000u)

enum expected { NEVER, MUST, MAY };

struct world {
    struct piu_queue *q;
    unsigned char expected[NUMBERS]; /* enum expected, by number */
    size_t maxsize;
    size_t size;       /* of the messages of set_up */
    unsigned many;     /* how many those are */
    unsigned may_miss; /* so many of MUST may have been received by the dead */
    bool tasks;
    bool
        receives; /* the victim gets into `received`: there it is, or it is not missing */
    void *held;   /* the victim's message, taken or reserved */
    long left;    /* blocks that are not the queue's */
    _Atomic int about_to_wait, result; /* of a peer */
    unsigned char received[LARGE];
};

void message_fill(unsigned char *bytes, size_t size, unsigned number);
unsigned message_number(const unsigned char *bytes,
                        size_t size); /* CHECKs that it is whole */
int message_put(struct piu_queue *q, unsigned number, size_t size);

void put_all(struct world *w, unsigned from, unsigned count, size_t size);
void queue_with(struct world *w, size_t maxsize, size_t size, unsigned many);
/* `many` from MINE on: whole or not at all, and surely if the call had come back. */
void may_be_put(struct world *w, unsigned many);

/* Messages from MINE on, made by may_be_put(): so that the making is not stepped through. */
extern unsigned char flight[5][LARGE];

/* Until it is empty, or the end; with tasks each is done. */
void drain(struct world *w, unsigned *seen, int64_t timeout);
void look_at_messages(struct world *w, const unsigned *seen);

/* The check of all pages; three ways: the sweep first, or the locks (which repair), or both. */
void survive(void *world);

/* States that several pages use. */
void three_small(void *world);
void three_large(void *world);
void bounded(void *world);
void with_tasks(void *world);
void with_large_tasks(void *world);
void last_chunk_full(void *world); /* the next put has to have a new chunk */
void retired_chunk(void *world);   /* the same, and there is a used one */
void one_returned(
    void *world); /* one message lies in the list of those whose taker died */
void one_may_miss(struct world *w); /* the victim may have received one */

/* A second victim, that mends what the first one left, and is killed at that itself. */
void then_sweeps(void *world);
void then_puts(void *world);
void then_gets(void *world);
void expect_his(void *world);
void expect_a_miss(void *world);

#define QUEUE .size = sizeof(struct world), .ways = 3

#define QUEUE_CASE(name_, ...)                                                          \
    KILL(queue, name_, QUEUE, .check = survive, __VA_ARGS__);                           \
    KILL(queue, name_##_then_sweep, QUEUE, .check = survive, .then = then_sweeps,       \
         __VA_ARGS__);                                                                  \
    KILL(queue, name_##_then_put, QUEUE, .check = survive, .other_prepare = expect_his, \
         .then = then_puts, __VA_ARGS__);                                               \
    KILL(queue, name_##_then_get, QUEUE, .check = survive,                              \
         .other_prepare = expect_a_miss, .then = then_gets, __VA_ARGS__)

#endif
