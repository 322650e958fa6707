/* Held entries: before a word says so, an entry does. */
#include "shm/held.h"

#include "os/clock.h"
#include "shm/owner.h"

#include <sched.h>

/*
 * All entries the same for so long, in looks at them: nobody is at them.  Of the time between two
 * looks no more counts than LOOK_MOST: when the process was stopped, so were those who are at them.
 */
#define STANDSTILL (1 * SEC)
#define LOOK_MOST  (10 * MSEC)

int holder_get(struct holder *ret)
{
    int r = member_who(&ret->who);

    if (r == 0)
        ret->m = member_of(ret->who);
    return r;
}

/* The word at `into`, wherever words that name blocks may stand; NULL: that is no place. */
static const _Atomic uint64_t *into_word(uint64_t into)
{
    into &= ~INTO_PENDING;
    if (into % sizeof(uint64_t))
        return NULL;
    if (into <= sizeof(struct arena_header) - sizeof(uint64_t))
        return into ? (const _Atomic uint64_t *)(const void *)(arena.base + into) : NULL;
    return arena_within(into, sizeof(uint64_t), sizeof(uint64_t));
}

/* The word `into` has the block's offset. */
static bool is_in(uint64_t block, uint64_t into)
{
    const _Atomic uint64_t *word = into_word(into);

    return word && atomic_load(word) == block;
}

static uint64_t held_value(const struct holder *h, uint64_t block)
{
    return (h->who & HELD_THREAD) | block;
}

/*
 * Each store is release: its partners are sweep_blocks() and held_received(), which read what one
 * killed between two of them has left.  An entry that names a block has the `into` of that block.
 */
static void held_fill(struct held *c, uint64_t value, uint64_t into)
{
    atomic_store_explicit(&c->block, 0, memory_order_release);
    atomic_store_explicit(&c->into, into, memory_order_release);
    atomic_store_explicit(&c->block, value, memory_order_release);
}

/*
 * What it says, the walk over the whole heap finds as well; or it cannot be, and somebody wrote
 * over it.
 */
static bool held_is_spare(const struct held *c)
{
    uint64_t into = atomic_load_explicit(&c->into, memory_order_relaxed);
    uint64_t block = held_block(c);

    return !into_word(into) || !arena_at(block, 1) ||
           (!(into & INTO_PENDING) && !is_in(block, into));
}

static struct held *held_with(struct member *m, uint64_t value)
{
    for (unsigned i = 0; i < HELD_ENTRIES; i++) {
        if (atomic_load_explicit(&m->held[i].block, memory_order_relaxed) == value)
            return &m->held[i];
    }
    return NULL;
}

/* An entry for one more block; one without `into` needs none, if the sweep is told to walk. */
static struct held *held_choose(struct member *m, uint64_t into)
{
    struct held *free = held_with(m, 0);

    if (likely(free))
        return free;
    /* release, for sweep_blocks(): it is set before the block is the member's (B3) */
    atomic_store_explicit(&m->held_overflow, 1, memory_order_release);
    for (unsigned i = 0; into && i < HELD_ENTRIES; i++) {
        if (held_is_spare(&m->held[i]))
            return &m->held[i];
    }
    return NULL;
}

struct look { /* at all entries of a member */
    uint64_t seen;
    int64_t last;  /* when */
    int64_t stood; /* ns for which it was the same */
};

/*
 * As many threads as there are entries give a block away just now, and come on; or what the entries say
 * was written over them.
 */
static bool held_stands_still(const struct member *m, struct look *look)
{
    int64_t now = clock_now(), passed = now - look->last;
    uint64_t seen = 1;

    for (unsigned i = 0; i < HELD_ENTRIES; i++)
        seen =
            seen * 31 + (atomic_load(&m->held[i].block) ^ atomic_load(&m->held[i].into));
    look->stood += passed < LOOK_MOST ? passed : LOOK_MOST;
    look->last = now;
    if (seen != look->seen)
        *look = (struct look){.seen = seen, .last = now};
    return look->stood >= STANDSTILL;
}

void held_take(const struct holder *h, uint64_t block, uint64_t into)
{
    struct look look = {0};
    struct held *c;

    for (;;) {
        owner_enter(&h->m->held_lock, h->who);
        c = held_choose(h->m, into);
        if (unlikely(!c && into) && held_stands_still(h->m, &look))
            c = &h->m->held[0];
        if (likely(c))
            held_fill(c, held_value(h, block), into);
        owner_leave(&h->m->held_lock);
        if (likely(c || !into))
            return;
        sched_yield();
    }
}

/*
 * The caller's entry of a block, under held_lock; another thread's becomes the caller's.  Before
 * the block goes: after that an entry of another thread may be for its next life.
 */
static struct held *held_own(const struct holder *h, uint64_t block)
{
    struct held *c = held_with(h->m, held_value(h, block));

    for (unsigned i = 0; !c && i < HELD_ENTRIES; i++) {
        if (held_block(&h->m->held[i]) == block)
            c = &h->m->held[i];
    }
    if (c) /* release, as in held_fill() */
        atomic_store_explicit(&c->block, held_value(h, block), memory_order_release);
    return c;
}

void held_adopt(const struct holder *h, uint64_t block)
{
    if (likely(held_with(h->m, held_value(h, block))))
        return;
    owner_enter(&h->m->held_lock, h->who);
    held_own(h, block);
    owner_leave(&h->m->held_lock);
}

void held_drop(const struct holder *h, uint64_t block)
{
    struct held *c;

    owner_enter(&h->m->held_lock, h->who);
    c = held_with(h->m, held_value(h, block));
    if (c) /* release, for sweep_blocks(): the block went before its entry (B3) */
        atomic_store_explicit(&c->block, 0, memory_order_release);
    owner_leave(&h->m->held_lock);
}

void held_aim(const struct holder *h, uint64_t block, uint64_t into)
{
    struct held *c;

    owner_enter(&h->m->held_lock, h->who);
    c = held_own(h, block);
    if (c) /* release, for held_received(): the entry named the block before */
        atomic_store_explicit(&c->into, into, memory_order_release);
    owner_leave(&h->m->held_lock);
    if (!c && into)
        held_take(h, block, into);
}

bool held_received(const struct member *m, uint64_t block)
{
    for (unsigned i = 0; i < HELD_ENTRIES; i++) {
        if (held_block(&m->held[i]) == block &&
            is_in(block, atomic_load(&m->held[i].into)))
            return true;
    }
    return false;
}
