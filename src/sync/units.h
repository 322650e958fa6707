/*
 * The units of a semaphore: where they are, and whose.
 *
 *    0       4     8       12        16     20     24        32
 *    | value | tag | flags | initial | debt | left | holders | zero                      |
 *    64     72      80                                                            128
 *    | gate | armed | change: what is about to happen to all of the above             |
 *
 *    value   31 sleepers   30..0 units that nobody has
 *    tag     of the last change
 *
 * A plain semaphore is its value and nothing else: acquire and release are one
 * compare-and-swap.  One that gives units of the dead back (flags, or a first piu_semaphore_
 * enter) keeps a roll of holders (a member's id and its units), and then
 *
 * S1  debt, left and the roll change only inside the gate, with the value as one: the change
 *     is written down and armed, committed by the one store that gives the value's word its
 *     tag, then applied.  With flags the word changes in no other way but for the sleepers bit,
 *     that also inside the gate
 * S2  an entry's units are never more than what its member acquired; with flags a release by
 *     one who has none counts for those that left, else for the first on the roll
 * S3  left: the units of members that left; they stay out until somebody releases them
 * S4  debt: units that were given back for the dead and are still owed by a late release
 * S5  flags and initial are set by init and stay
 * S6  who sleeps saw the sleepers bit in the word it sleeps on; who takes a unit after a sleep
 *     sets the bit again, and wakes the next one if units are left
 * Crash: inside the gate, an armed change that has its tag in the word is applied by the next
 * one in; any other never was.  Killed before its wake: sleepers look at the value after each
 * slice.
 */
#ifndef PIU_SYNC_UNITS_H
#define PIU_SYNC_UNITS_H

#include "shm/owner.h"
#include "sync/roll.h"

#include <piu.h>

struct change {
    uint64_t entry; /* offset of the roll's entry; 0: none is concerned */
    uint64_t who;   /* 0: the entry becomes vacant */
    uint32_t held;
    uint32_t debt, left;
    int32_t units; /* to be added to the value */
    uint32_t tag;
    uint32_t awake;    /* the sleepers bit, where it is to be cleared */
    uint32_t sleepers; /* where it is to be set */
    uint32_t reserved;
};

struct semaphore {
    alignas(64) _Atomic uint64_t word; /* value below, tag above */
    uint32_t flags;
    uint32_t initial;
    _Atomic uint32_t debt;
    _Atomic uint32_t left;
    roll_word holders;
    alignas(64) owner_word gate;
    _Atomic uint32_t armed;
    struct change change;
};
static_assert(sizeof(struct semaphore) == sizeof(struct piu_semaphore),
              "the public size");
static_assert(offsetof(struct semaphore, change) == 80,
              "shared layout: raise ARENA_STAMP");

#define SLEEPERS  (UINT32_C(1) << 31)
#define VALUE_MAX (SLEEPERS - 1)
#define TAG_SHIFT 32

static inline bool recovers(const struct semaphore *s)
{
    return s->flags != 0;
}

static inline uint64_t word_now(const struct semaphore *s)
{
    return atomic_load_explicit(&s->word, memory_order_relaxed);
}

static inline uint32_t value_now(const struct semaphore *s)
{
    return (uint32_t)word_now(s);
}

static inline uint32_t units(const struct semaphore *s)
{
    return value_now(s) & ~SLEEPERS;
}

static inline uint64_t word_with(uint64_t word, uint32_t value)
{
    return (word & ~(uint64_t)UINT32_MAX) | value;
}

/* What a user had begun who was killed in the gate: it is done, or never was. */
void change_recover(struct semaphore *s);

/* The gate, entered and repaired.  All below is called inside it. */
static inline void units_enter(struct semaphore *s, uint64_t who)
{
    if (unlikely(owner_enter(&s->gate, who) == OWNER_DIED))
        change_recover(s);
}

static inline void units_leave(struct semaphore *s)
{
    owner_leave(&s->gate);
}

/* The entries of all holders that ended become vacant. */
void units_settle(struct semaphore *s);
/* One for `id`.  -EBUSY: there is none; `sleeps`: and the sleepers bit is set. */
int units_take(struct semaphore *s, uint64_t id, bool sleeps);
/* One that `id` brings.  > 0: somebody is to be woken. */
int units_give(struct semaphore *s, uint64_t id);
/* Of a plain semaphore: it may be owed, but is no holder's. */
int units_give_bare(struct semaphore *s);

static inline uint32_t held_by(const struct roll_entry *e)
{
    return atomic_load_explicit(&e->value, memory_order_relaxed);
}

#endif
