/*
 * The heap: units of 16 KB, and one word for each in the unit table.  The head of a run says all,
 * the words behind it count for nothing.
 *
 *    0: a free unit, or block
 *    59..58 kind   57..34 units   33..31 purpose   30..0 owner (0: the family; of a span: class)
 *
 * B1  a block is used if and only if its word is not 0: one CAS allocates, one store frees
 * B2  the word names the owner: a member until it gives the block to the family
 */
#ifndef PIU_SHM_HEAP_H
#define PIU_SHM_HEAP_H

#include "shm/member.h"

#define RUN_MAX 0xffffffu /* units of a run */

/* What stands in a word beside enum block_purpose: its owner is about to punch it (B5). */
#define PURPOSE_PUNCHING 7u

enum word_kind { KIND_FREE, KIND_USED, KIND_SPAN, KIND_PUNCHED };

static inline uint64_t word_make(enum word_kind kind, uint64_t units, unsigned purpose,
                                 uint64_t owner)
{
    return (uint64_t)kind << 58 | units << 34 | (uint64_t)purpose << 31 | owner;
}

static inline enum word_kind word_kind(uint64_t word)
{
    return (enum word_kind)(word >> 58 & 3);
}

static inline uint64_t word_units(uint64_t word)
{
    return word >> 34 & RUN_MAX;
}

static inline unsigned word_purpose(uint64_t word)
{
    return (unsigned)(word >> 31 & 7);
}

static inline uint64_t word_owner(uint64_t word)
{
    return word & ID_OWNER;
}

static inline uint64_t word_owned_by(uint64_t word, unsigned purpose, uint64_t owner)
{
    return word_make(word_kind(word), word_units(word), purpose, owner);
}

static inline bool word_is_of(uint64_t word, uint64_t owner)
{
    return word_kind(word) == KIND_USED && word_owner(word) == owner;
}

/* A used word: owner -> owner, if it is `from`. */
bool word_pass_on(_Atomic uint64_t *word, uint64_t from, unsigned purpose, uint64_t to);

static inline _Atomic uint64_t *unit_word(uint64_t unit)
{
    return (_Atomic uint64_t *)(void *)(arena.base + arena.unit_table) + unit;
}

static inline unsigned char *unit_address(uint64_t unit)
{
    return arena.base + arena.heap + unit * UNIT_SIZE;
}

/* Of an address that arena_has(). */
static inline uint64_t unit_of(const void *address)
{
    return (arena_offset(address) - arena.heap) / UNIT_SIZE;
}

/* Units that have memory (A1). */
static inline uint64_t heap_committed(void)
{
    return arena_units();
}

/* No list of blocks is longer: one that seems so leads in a ring. */
static inline uint64_t heap_blocks_most(void)
{
    return heap_committed() * (UNIT_SIZE / 64);
}

/* The heap lock: entered, repaired.  What enter puts into *ret_cancel is for leave. */
void heap_enter(uint64_t who, int *ret_cancel);
void heap_leave(int cancel);
/* Under the heap lock.  Memory for these units, again where they were punched; 0 or -ENOMEM. */
int heap_back(uint64_t first, uint64_t end);
/* At least up to `end` units; in a small heap as much again, in a large one 16 MB. */
int heap_grow(uint64_t end);
/* Free units that have memory (B7); a hint. */
uint64_t heap_kept(void);
void heap_kept_change(int64_t units);

#endif
