/*
 * Held cells: what a member owns, or is about to own, so that its sweep need not look through the
 * whole heap (member.h has the cells).
 *
 * Only the member's own threads change its cells, one at a time, under held_lock; sweepers
 * read those of a dead one, so what counts is the order in which its stores were made: all are
 * release.  A cell's `into` comes before its `block`.
 *
 *    block = thread | offset; 0: the cell is free.  The thread is in it because two may name one
 *    block: one that frees it, and one that is about to get it.
 *
 *    into = 0               nothing more is known than that the block may be ours
 *    into | INTO_PENDING    the block is for that word; this cell alone tells so (B4)
 *    into                   the block came from that word; once it is gone from there, as 0
 *
 * B3  a block owned by a member stands in one of its held cells, or held_overflow is set:
 *     cells may say too much, never too little
 * B4  a block with `into` belongs to the family from the moment *into has its offset; it has a
 *     cell for sure
 */
#ifndef PIU_SHM_CELL_H
#define PIU_SHM_CELL_H

#include "shm/member.h"

#define INTO_PENDING UINT64_C(1)
#define CELL_THREAD  (UINT64_C(0xffff) << 48)

/* Who calls, and its cells. */
struct holder {
    uint64_t who;
    struct member *m;
};

int holder_get(struct holder *ret); /* 0 or -errno, as member_who() */

static inline uint64_t cell_block(const struct held *c)
{
    return atomic_load_explicit(&c->block, memory_order_relaxed) & ~CELL_THREAD;
}

/* By offset of the block: before its word is written. */
void cell_take(const struct holder *h, uint64_t block, uint64_t into);
/* The caller's own block, which another thread of it may have taken: before it goes. */
void cell_adopt(const struct holder *h, uint64_t block);
/* When it is gone. */
void cell_drop(const struct holder *h, uint64_t block);
/* The block has another `into` from now on. */
void cell_aim(const struct holder *h, uint64_t block, uint64_t into);

/*
 * Of a member that ended: did the block reach the word that it was for (B4)?  Several cells may
 * name it: that of a thread that only was about to get it knows nothing.
 */
bool cells_received(const struct member *m, uint64_t block);

#endif
