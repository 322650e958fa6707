/*
 * Spans: blocks of one size, with a word for each.
 *
 *    0          64                64 + 8 count (rounded up to 128)
 *    | header   | a word a block   | blocks                              64 KB |
 *
 * Once a span, always a span of that class: threads look through it without a lock.  Its class
 * stands in the unit table, as the owner in its word, so that nobody can write over it by
 * running out of a block.
 *
 * B6  hints may be wrong after a death (first_free too high, a span `full` that is not): before the
 *     heap grows all is looked through again, and the sweep takes `full` away
 */
#ifndef PIU_SHM_SPAN_H
#define PIU_SHM_SPAN_H

#include "shm/run.h"

#define SPAN_UNITS 4u /* and aligned to as many */
#define SPAN_SIZE  (SPAN_UNITS * UNIT_SIZE)
#define SMALL_MAX  8192u

struct span {
    _Atomic uint32_t next;   /* 1 + unit of the next span of this class; 0: the last */
    _Atomic uint32_t cursor; /* hint: where the last one was found */
    _Atomic uint32_t full;   /* hint: not worth a look (B6) */
    alignas(64) _Atomic uint64_t words[];
};

struct shape {
    uint32_t size;  /* of a block */
    uint32_t count; /* of blocks */
    uint32_t first; /* offset of block 0 */
};

unsigned span_class(size_t size);  /* of blocks with room for that */
unsigned span_class_lasting(void); /* see block_new_lasting() */

/* The span that begins with this unit, and its shape; NULL: none does. */
struct span *span_at(uint64_t unit, const struct shape **ret_shape);
void *span_block(struct span *s, const struct shape *shape, uint32_t i);

/* A block of the class, or NULL: all are full. */
void *span_search(unsigned class, const struct wish *wish);
/* The heap lock is held: one span more.  0 or -ENOMEM. */
int span_new(unsigned class, const struct holder *h);
/*
 * The heap lock is held: all lists anew, somebody was killed.  Those who walk a list meanwhile may
 * miss spans, and look again.
 */
void spans_relink(void);
/* A block of it was freed. */
void span_reopen(void *block);
/* For what a dead member had freed, and had not reopened (B6). */
void spans_reopen(void);

bool span_check(const struct span *s, const struct shape *shape);
/* How many spans the lists have; a ring, or a span in a list that is not its own: UINT64_MAX. */
uint64_t spans_count(void);

#endif
