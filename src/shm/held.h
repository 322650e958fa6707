/*
 * Held entries: what a member owns, or is about to own, so that its sweep need not look through the
 * whole heap (member.h has the entries).
 *
 * Only the member's own threads change its entries, one at a time, under held_lock; sweepers
 * read those of a dead one, so what counts is the order in which its stores were made: all are
 * release.  An entry's `into` comes before its `block`.
 *
 *    block = thread | offset; 0: the entry is free.  The thread is in it because two may name one
 *    block: one that frees it, and one that is about to get it.
 *
 *    into = 0               nothing more is known than that the block may be ours
 *    into | INTO_PENDING    the block is for that word; this entry alone tells so (B4)
 *    into                   the block came from that word; once it is gone from there, as 0
 *
 * B3  a block owned by a member stands in one of its held entries, or held_overflow is set:
 *     entries may say too much, never too little
 * B4  a block with `into` belongs to the family from the moment *into has its offset; it has an
 *     entry for sure
 */
#ifndef PIU_SHM_HELD_H
#define PIU_SHM_HELD_H

#include "shm/member.h"

#define INTO_PENDING UINT64_C(1)
#define HELD_THREAD  (UINT64_C(0xffff) << 48)

/* Who calls, and its entries. */
struct holder {
    uint64_t who;
    struct member *m;
};

int holder_get(struct holder *ret); /* 0 or -errno, as member_who() */

static inline uint64_t held_block(const struct held *c)
{
    return atomic_load_explicit(&c->block, memory_order_relaxed) & ~HELD_THREAD;
}

/* By offset of the block: before its word is written. */
void held_take(const struct holder *h, uint64_t block, uint64_t into);
/* The caller's own block, which another thread of it may have taken: before it goes. */
void held_adopt(const struct holder *h, uint64_t block);
/* When it is gone. */
void held_drop(const struct holder *h, uint64_t block);
/* The block has another `into` from now on. */
void held_aim(const struct holder *h, uint64_t block, uint64_t into);

/*
 * Of a member that ended: did the block reach the word that it was for (B4)?  Several entries may
 * name it: that of a thread that only was about to get it knows nothing.
 */
bool held_received(const struct member *m, uint64_t block);

#endif
