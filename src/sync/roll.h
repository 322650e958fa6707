/*
 * A roll: who has what, in a chain of arena blocks that begins at one word of its owner.
 *
 *    word --> | next | 15 entries | --> | next | 31 entries | --> | next | 63 entries | --> 0
 *
 *    an entry   0       8        16       20       24        32
 *               | who   | order  | value  | state  | not used |
 *
 * R1  an entry is somebody's if and only if `who` is not 0; its other words count only then
 * R2  entries never move and parts are never taken out before roll_done(): an entry's address,
 *     and so its futex, is good as long as its `who` stands
 * R3  part n has 512 << n bytes; nothing in it says so, so nothing in it can be wrong about it
 * All that changes a roll is in its owner's critical section, but for one thing: who owns an
 * entry may give it up (roll_remove) at any time.
 * Crash: a part is on the chain or was never made; an entry whose `who` was not yet stored is
 * free.  Entries of members that ended are found by whoever looks through the roll.
 */
#ifndef PIU_SYNC_ROLL_H
#define PIU_SYNC_ROLL_H

#include "shm/member.h"

#define PART_SIZE \
    UINT64_C(512) /* of the first; each one has twice the size of the last */

typedef _Atomic uint64_t roll_word; /* offset of the first part; 0: none yet */

struct roll_entry {
    _Atomic uint64_t who;
    _Atomic uint64_t order;
    _Atomic uint32_t value;
    _Atomic uint32_t state; /* may be slept on */
    uint64_t reserved;
};
static_assert(sizeof(struct roll_entry) == 32, "shared layout: raise ARENA_STAMP");

struct roll_part {
    _Atomic uint64_t next;
    uint64_t reserved[3];
    struct roll_entry entries[];
};
static_assert(offsetof(struct roll_part, entries) == 32,
              "shared layout: raise ARENA_STAMP");

/*
 * Walk over the entries that are somebody's:
 *     for (e = roll_first(&walk, roll); e; e = roll_next(&walk))
 * Outside the gate an entry may be given up while one looks at it: walk.who stays.
 */
struct roll_walk {
    uint64_t who; /* of the entry that was returned last, as it was then; never 0 */
    struct roll_part *part;
    unsigned number; /* of the part */
    unsigned index;  /* of the next entry */
};

struct roll_entry *roll_first(struct roll_walk *walk, const roll_word *roll);
struct roll_entry *roll_next(struct roll_walk *walk);

struct roll_entry *roll_search(const roll_word *roll, uint64_t who);
struct roll_entry *roll_entry_at(uint64_t offset);     /* NULL: none can be there */
struct roll_entry *roll_vacant(const roll_word *roll); /* NULL: all are taken */
int roll_grow(roll_word *roll);                        /* -ENOMEM */
void roll_done(roll_word *roll);

/* Fill a vacant entry: it is on the roll from the last store on. */
void roll_put(struct roll_entry *e, uint64_t who, uint64_t order, uint32_t value,
              uint32_t state);
void roll_remove(struct roll_entry *e);

bool roll_check(const roll_word *roll); /* the chain is whole, all are or were members */

/* That one's; NULL: none.  Mostly it is the first. */
static inline struct roll_entry *roll_find(const roll_word *roll, uint64_t who)
{
    /* acquire, for the store in block_new_into(): the part's zeroes are seen */
    struct roll_part *first =
        arena_at(atomic_load_explicit(roll, memory_order_acquire), PART_SIZE);

    /* acquire, for the release in roll_put() */
    return first && atomic_load_explicit(&first->entries[0].who, memory_order_acquire) ==
                        who
               ? &first->entries[0]
               : roll_search(roll, who);
}

/* Has this member (an id or a who) ended?  Some ns for one that lives. */
static inline bool who_has_ended(uint64_t who)
{
    uint64_t id = who & ID_MASK;

    return !member_seems_alive(id) && member_fate(id) != FATE_ALIVE;
}

#endif
