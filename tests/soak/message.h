/*
 * Messages that tell which they are, and what became of each.
 *
 *    fate of a number    BEGUN    its put has begun             by its putter
 *                        PUT      the put said that it is in    by its putter
 *                        REFUSED  the put said no               by its putter
 *                        GOT      it came                       by a getter
 *                        AGAIN    it came with the news that a dead one had taken it
 *                        HELD     a getter was killed that had it in its hand, or nearly
 *                        TAKEN    one was killed that had taken it, and not begun to drop it
 */
#ifndef SOAK_MESSAGE_H
#define SOAK_MESSAGE_H

#include "soak.h"

#define PUTTERS 4
#define BATCH   8

#define SIZE_LEAST 16u /* of the head */
#define SIZE_FIXED 64u
#define SIZE_MOST  20000u

struct message_head {
    uint64_t id; /* putter, number; 0: none */
    uint32_t size;
    uint32_t sum;
};

/* What a getter has in its hands, where the checker can look after its death. */
struct hand {
    uint64_t ids[BATCH]; /* of what it has taken */
    uint64_t taken;      /* in place, and not yet being dropped */
    _Atomic bool unseen; /* it may have one that is only in memory of its own */
    alignas(64) unsigned char bytes[SIZE_MOST]; /* where its gets go to */
};

void messages_set_up(void);
/* No number is left for another burst like those before. */
bool messages_run_low(void);
uint64_t messages_all(void);  /* that were got, in all rounds */
uint64_t messages_held(void); /* of them: that only a dead one can have got */

/* By a putter: the next message, of `size` bytes at `bytes`; its id. */
uint64_t message_make(unsigned putter, unsigned char *bytes, size_t size);
void message_was_put(uint64_t id, bool in);

/* By a getter: it is whole, and what it says it is?  Its id; 0: no, and that was said. */
uint64_t message_read(const void *bytes, size_t size);
void message_was_got(uint64_t id, bool again);
/* In the checker: its getter was killed; and, which one it was cannot be told. */
void message_was_held(uint64_t id);
void message_was_held_unseen(void);
void message_was_taken(uint64_t id); /* so it has to come again */

/* When all putters and getters have ended, and the queues are empty. */
void messages_check(void);

#endif
