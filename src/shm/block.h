/*
 * Blocks: the heap's allocator, in which every step is one word.
 *
 *    heap.h   the unit table, its words                      B1 B2
 *    held.h   what a member owns, for its sweep              B3 B4
 *    run.h    units in a row: a large block, or a span       B5
 *    span.h   small blocks of one size                       B6
 *
 * Crash: what a dead member owned is freed by the sweep, or passed on by its purpose (B4 first);
 * whoever finds such an offset in a dead member's word calls block_settle() before using it.
 */
#ifndef PIU_SHM_BLOCK_H
#define PIU_SHM_BLOCK_H

#include "shm/member.h"

enum block_purpose {
    BLOCK_SCRATCH,  /* its owner's own: freed when the owner ends, in any way */
    BLOCK_RESERVED, /* a queue's: reserved, not committed */
    BLOCK_TAKEN,    /* a queue's: taken, not dropped */
    BLOCK_FREEING, /* an object whose free is under way: whoever sweeps goes on with it */
    BLOCK_POOL,    /* a pool, with all that hangs on it: see task/estate.c */
    BLOCK_LEDGER, /* what a member holds by handles (flow/ledger.h): given back when it ends */
    BLOCK_PURPOSES
};

/*
 * A block of at least `size` bytes, aligned to 64 (to 128 if `size` is a multiple of it), not
 * zeroed, owned by the caller (`into` NULL), or to be given to the word `into` (in shared
 * memory).  -ENOMEM.
 */
int block_new(size_t size, enum block_purpose purpose, _Atomic uint64_t *into,
              void **ret);
/* The family's from now on (after *into was stored, where there is one). */
void block_give(void *block);
/* All in one: allocate, zero, store the offset in *into (was 0), give. */
int block_new_into(size_t size, _Atomic uint64_t *into, void **ret);
int block_new_family(size_t size, void **ret); /* zeroed, the family's at once */
/*
 * LASTING_SIZE bytes for an object with words that latecomers may touch after its free (a
 * lock, a futex): this memory never becomes anything else.  Zeroed only the first time.
 */
#define LASTING_SIZE 8192u
int block_new_lasting(enum block_purpose purpose, void **ret);

/*
 * From the family, or from a dead owner, to the caller; while *into (NULL: none) has its
 * offset it goes back to the family when the caller ends.  -ESTALE: somebody else's, or free.
 */
int block_take(void *block, enum block_purpose purpose, const _Atomic uint64_t *into);
/* The caller's own block is from now on to be given to the word `into`. */
void block_aim(void *block, const _Atomic uint64_t *into);
/* The caller's own block gets another purpose. */
void block_set_purpose(void *block, enum block_purpose purpose);
/* Found in a dead member's words: make it the family's.  false: it is not there any more. */
bool block_settle(void *block);
/*
 * In the sweep, where many may do the same at once: from the dead owner to the caller (-ESTALE:
 * it is not the dead one's any more), or free.
 */
int block_inherit(void *block, uint64_t dead_id, enum block_purpose purpose);
void block_reap(void *block, uint64_t dead_id);
/* By its owner, or by anybody if it is the family's.  -EINVAL: not a block, free, another's. */
int block_free(void *block);
/*
 * The other way of block_new_into(): the family's block that *into names is freed, and *into
 * is 0.  Killed half way: both, or neither.  -EINVAL: *into names none.
 */
int block_free_from(_Atomic uint64_t *into);

/* The word of the block at `address`; NULL: no block can be there. */
_Atomic uint64_t *block_word(const void *address);
bool block_is(const void *address);      /* the address of a used block */
size_t block_size(const void *block);    /* its room; 0: not a block */
uint64_t block_owner(const void *block); /* low 31 bits of a member id; 0: the family */
/* Its purpose, whoever owns it; BLOCK_PURPOSES: not a used block. */
enum block_purpose block_purpose(const void *block);
bool block_is_mine(const void *block, enum block_purpose purpose);

/*
 * Called by the sweep for each block that an ended member owned with this purpose.  false: not
 * yet; the member's slot stays taken, and the next sweep asks again.
 */
typedef bool block_orphan(void *block, uint64_t dead_id, bool died);
void block_on_orphan(enum block_purpose purpose, block_orphan *function); /* sweep.c */

/* Is the whole heap sound?  Enters the heap lock, which repairs what a dead one left. */
bool block_check(void);
/* For checks: each used block of that purpose, with its owner (low 31 bits of an id). */
void block_each(enum block_purpose purpose,
                void (*function)(void *block, uint64_t owner, void *argument),
                void *argument);
/* For tests. */
uint64_t block_in_use(void); /* bytes in used runs, and in spans, whether used or not */
uint64_t block_count(void);  /* used blocks */

#endif
