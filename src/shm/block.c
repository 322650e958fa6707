/* The heap: runs of units, and spans of equal blocks.  One word allocates, one word frees. */
#include "shm/block.h"

#include "os/machine.h"
#include "os/memfd.h"
#include "shm/owner.h"

#include <pthread.h>
#include <sched.h>
#include <string.h>

#define SPAN_UNITS  4u
#define SPAN_SIZE   (SPAN_UNITS * UNIT_SIZE)
#define SMALL_MAX   8192u
#define PIECE_UNITS (UINT64_C(16) << 20 >> 14) /* growth: 16 MB at once */
#define PIECE_FIRST 16u
#define PUNCH_UNITS (UINT64_C(64) << 20 >> 14) /* runs this long give their memory back */
#define RUN_MAX     0xffffffu

/* What stands in a word beside enum block_purpose: its owner is about to punch it (B5). */
#define PURPOSE_PUNCHING 7u
static_assert(BLOCK_PURPOSES <= PURPOSE_PUNCHING, "three bits of a word");

enum kind { KIND_FREE, KIND_USED, KIND_SPAN, KIND_PUNCHED };

/* ---- The word ------------------------------------------------------------------- */

static uint64_t word_make(enum kind kind, uint64_t units, unsigned purpose,
                          uint64_t owner)
{
    return (uint64_t)kind << 58 | units << 34 | (uint64_t)purpose << 31 | owner;
}

static enum kind word_kind(uint64_t word)
{
    return (enum kind)(word >> 58 & 3);
}

static uint64_t word_units(uint64_t word)
{
    return word >> 34 & RUN_MAX;
}

static unsigned word_purpose(uint64_t word)
{
    return (unsigned)(word >> 31 & 7);
}

static uint64_t word_owner(uint64_t word)
{
    return word & ID_OWNER;
}

static uint64_t word_owned_by(uint64_t word, unsigned purpose, uint64_t owner)
{
    return word_make(word_kind(word), word_units(word), purpose, owner);
}

static bool word_is_of(uint64_t word, uint64_t owner)
{
    return word_kind(word) == KIND_USED && word_owner(word) == owner;
}

/* ---- Where things are ------------------------------------------------------------- */

/*
 *    0          64                64 + 8 count (rounded up to 128)
 *    | header   | a word a block   | blocks                              64 KB |
 *
 * Once a span, always a span of that class: threads look through it without a lock.  Its class
 * stands in the unit table, as the owner in its word, so that nobody can write over it by
 * running out of a block.
 */
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

#define COUNT(size) ((SPAN_SIZE - 64 - 127) / ((size) + 8))
#define SHAPE(size)                                                   \
    {                                                                 \
        (size), COUNT(size), (64 + 8 * COUNT(size) + 127) / 128 * 128 \
    }

static const struct shape shapes[] = {
    SHAPE(64),   SHAPE(128),  SHAPE(192),  SHAPE(256),  SHAPE(384),
    SHAPE(512),  SHAPE(768),  SHAPE(1024), SHAPE(1536), SHAPE(2048),
    SHAPE(3072), SHAPE(4096), SHAPE(6144), SHAPE(8192), SHAPE(LASTING_SIZE),
};
#define CLASSES       ((unsigned)array_size(shapes))
#define CLASS_LASTING (CLASSES - 1) /* see block_new_lasting() */
static_assert(array_size(shapes) <= BLOCK_CLASSES, "shared layout: raise ARENA_STAMP");

static unsigned class_of(size_t size)
{
    unsigned class = 0;

    while (shapes[class].size < size)
        class ++;
    return class;
}

static _Atomic uint64_t *unit_word(uint64_t unit)
{
    return (_Atomic uint64_t *)(void *)(arena.base + arena_header()->unit_table) + unit;
}

static unsigned char *unit_address(uint64_t unit)
{
    return arena.base + arena_header()->heap + unit * UNIT_SIZE;
}

/* Of an address that arena_has(). */
static uint64_t unit_of(const void *address)
{
    return (arena_offset(address) - arena_header()->heap) / UNIT_SIZE;
}

static uint64_t committed(void)
{
    /* acquire, for the release in grow(): those units have memory */
    return atomic_load_explicit(&arena_header()->committed, memory_order_acquire);
}

/* The span that begins with this unit, and its shape; NULL: none does. */
static struct span *span_at(uint64_t unit, const struct shape **ret_shape)
{
    uint64_t word;

    if (unit % SPAN_UNITS || unit + SPAN_UNITS > committed())
        return NULL;
    word = atomic_load(unit_word(unit));
    if (word_kind(word) != KIND_SPAN || word_owner(word) >= CLASSES)
        return NULL;
    *ret_shape = &shapes[word_owner(word)];
    return (struct span *)(void *)unit_address(unit);
}

static void *span_block(struct span *s, const struct shape *shape, uint32_t i)
{
    return (unsigned char *)s + shape->first + (size_t)i * shape->size;
}

/* The word of the block at `address`; NULL: no block can be there. */
static _Atomic uint64_t *word_of(const void *address)
{
    const struct shape *shape;
    uint64_t unit;
    uint32_t place;
    struct span *s;

    if (!arena_has(address, 1))
        return NULL;
    unit = unit_of(address);
    s = span_at(unit - unit % SPAN_UNITS, &shape);
    if (!s)
        return arena_offset(address) % UNIT_SIZE ? NULL : unit_word(unit);
    place = (uint32_t)((const unsigned char *)address - (unsigned char *)s);
    if (place < shape->first || (place - shape->first) % shape->size)
        return NULL;
    place = (place - shape->first) / shape->size;
    return place < shape->count ? &s->words[place] : NULL;
}

/* ---- Held cells (B3) --------------------------------------------------------------- */
/*
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
 */
#define INTO_PENDING UINT64_C(1)
#define CELL_THREAD  (UINT64_C(0xffff) << 48)

struct holder {
    uint64_t who;
    struct member *m;
};

static int holder_get(struct holder *ret)
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
    return arena_at(into, sizeof(uint64_t));
}

/* The word `into` has the block's offset. */
static bool is_in(uint64_t block, uint64_t into)
{
    const _Atomic uint64_t *word = into_word(into);

    return word && atomic_load(word) == block;
}

static uint64_t cell_block(const struct held *c)
{
    return atomic_load_explicit(&c->block, memory_order_relaxed) & ~CELL_THREAD;
}

static uint64_t cell_value(const struct holder *h, uint64_t block)
{
    return (h->who & CELL_THREAD) | block;
}

static void cell_fill(struct held *c, uint64_t value, uint64_t into)
{
    atomic_store_explicit(&c->block, 0, memory_order_release);
    atomic_store_explicit(&c->into, into, memory_order_release);
    atomic_store_explicit(&c->block, value, memory_order_release);
}

/* What it says, the walk over the whole heap finds as well. */
static bool cell_is_spare(const struct held *c)
{
    uint64_t into = atomic_load_explicit(&c->into, memory_order_relaxed);

    return into == 0 || (!(into & INTO_PENDING) && !is_in(cell_block(c), into));
}

static struct held *cell_with(struct member *m, uint64_t value)
{
    for (unsigned i = 0; i < HELD_CELLS; i++) {
        if (atomic_load_explicit(&m->held[i].block, memory_order_relaxed) == value)
            return &m->held[i];
    }
    return NULL;
}

/* A cell for one more block; one without `into` needs none, if the sweep is told to walk. */
static struct held *cell_choose(struct member *m, uint64_t into)
{
    struct held *free = cell_with(m, 0);

    if (likely(free))
        return free;
    atomic_store_explicit(&m->held_overflow, 1, memory_order_release);
    for (unsigned i = 0; into && i < HELD_CELLS; i++) {
        if (cell_is_spare(&m->held[i]))
            return &m->held[i];
    }
    return NULL;
}

static void cell_take(const struct holder *h, uint64_t block, uint64_t into)
{
    struct held *c;

    for (;;) {
        owner_enter(&h->m->held_lock, h->who);
        c = cell_choose(h->m, into);
        if (likely(c))
            cell_fill(c, cell_value(h, block), into);
        owner_leave(&h->m->held_lock);
        if (likely(c || !into))
            return;
        sched_yield(); /* as many threads as there are cells give a block away just now */
    }
}

/*
 * The caller's cell of a block, under held_lock; another thread's becomes the caller's.  Before
 * the block goes: after that a cell of another thread may be for its next life.
 */
static struct held *cell_own(const struct holder *h, uint64_t block)
{
    struct held *c = cell_with(h->m, cell_value(h, block));

    for (unsigned i = 0; !c && i < HELD_CELLS; i++) {
        if (cell_block(&h->m->held[i]) == block)
            c = &h->m->held[i];
    }
    if (c)
        atomic_store_explicit(&c->block, cell_value(h, block), memory_order_release);
    return c;
}

static void cell_adopt(const struct holder *h, uint64_t block)
{
    if (likely(cell_with(h->m, cell_value(h, block))))
        return;
    owner_enter(&h->m->held_lock, h->who);
    cell_own(h, block);
    owner_leave(&h->m->held_lock);
}

static void cell_drop(const struct holder *h, uint64_t block)
{
    struct held *c;

    owner_enter(&h->m->held_lock, h->who);
    c = cell_with(h->m, cell_value(h, block));
    if (c)
        atomic_store_explicit(&c->block, 0, memory_order_release);
    owner_leave(&h->m->held_lock);
}

/* The block has another `into` from now on. */
static void cell_aim(const struct holder *h, uint64_t block, uint64_t into)
{
    struct held *c;

    owner_enter(&h->m->held_lock, h->who);
    c = cell_own(h, block);
    if (c)
        atomic_store_explicit(&c->into, into, memory_order_release);
    owner_leave(&h->m->held_lock);
    if (!c && into)
        cell_take(h, block, into);
}

/* ---- Growth, under the heap lock ------------------------------------------------ */

static int back_units(uint64_t first, uint64_t end)
{
    struct arena_header *h = arena_header();
    int r = arena_back(h->unit_table + first * sizeof(uint64_t),
                       (end - first) * sizeof(uint64_t));

    for (uint64_t to; r == 0 && first < end; first = to) {
        to = min_u64(first + PIECE_UNITS, end);
        r = arena_back(h->heap + first * UNIT_SIZE, (to - first) * UNIT_SIZE);
    }
    return r;
}

/* Asked for the whole at once: piece by piece we would take all memory before we gave up. */
static bool machine_allows(uint64_t units)
{
    return units <= PIECE_UNITS ||
           min_u64(machine_memory_available(), machine_memory_headroom()) / UNIT_SIZE >
               units;
}

/* At least up to `end` units; in a small heap as much again, in a large one 16 MB. */
static int grow(uint64_t end)
{
    struct arena_header *h = arena_header();
    uint64_t now = committed();
    uint64_t piece = min_u64(max_u64(now, PIECE_FIRST), PIECE_UNITS);
    uint64_t most = min_u64(max_u64(end, now + piece), h->units_max);
    uint64_t to = most;
    int r;

    if (end <= now)
        return 0;
    if (end > h->units_max || !machine_allows(end - now))
        return -ENOMEM;
    r = back_units(now, most);
    if (r < 0 && most > end)
        r = back_units(now, to = end); /* less will do */
    if (r < 0) {
        arena_unback(h->heap + now * UNIT_SIZE, (most - now) * UNIT_SIZE);
        return r;
    }
    /* release, for the acquire in committed() */
    atomic_store_explicit(&h->committed, to, memory_order_release);
    return 0;
}

/* ---- Runs ------------------------------------------------------------------------ */

static uint64_t run_length(uint64_t word)
{
    return word_kind(word) == KIND_USED || word_kind(word) == KIND_SPAN
               ? max_u64(word_units(word), 1)
               : 0;
}

struct run {
    uint64_t first, units;
    bool punched; /* some of it has no memory now */
};

/*
 * The first place at or above `from` for so many free units in a row, the first a multiple of
 * `align`; it may end past committed.  *ret_lowest: the first free unit that was seen.
 */
static void find_run(struct run *run, uint64_t from, uint64_t align, uint64_t *ret_lowest)
{
    uint64_t end = committed();
    uint64_t unit = from;

    *ret_lowest = UINT64_MAX;
    run->first = round_up(unit, align);
    run->punched = false;
    while (unit < end && (unit < run->first || unit - run->first < run->units)) {
        uint64_t word = atomic_load(unit_word(unit));
        uint64_t length = run_length(word);

        if (length) {
            unit += length;
            run->first = round_up(unit, align);
            run->punched = false;
        } else {
            *ret_lowest = min_u64(*ret_lowest, unit);
            run->punched |= word_kind(word) == KIND_PUNCHED && unit >= run->first;
            unit++;
        }
    }
}

/*
 * first_free is a hint that may be too high: a free races with the search, or was cut off
 * before it said so.  Before the heap grows, the search begins at 0.
 */
static void place_run(struct run *run, uint64_t align)
{
    struct arena_header *h = arena_header();
    uint64_t from = atomic_load(&h->first_free);
    uint64_t lowest;

    find_run(run, from, align, &lowest);
    if (from && run->first + run->units > committed())
        find_run(run, 0, align, &lowest);
    atomic_store(&h->first_free, min_u64(lowest, committed()));
}

static void first_free_lower(uint64_t unit)
{
    struct arena_header *h = arena_header();
    uint64_t old = atomic_load(&h->first_free);

    while (unit < old && !atomic_compare_exchange_weak(&h->first_free, &old, unit))
        ;
}

static void words_behind(uint64_t first, uint64_t units, uint64_t word)
{
    for (uint64_t unit = first + 1; unit < first + units; unit++)
        atomic_store_explicit(unit_word(unit), word, memory_order_relaxed);
}

struct wish {
    struct holder holder;
    uint64_t word; /* what the head, or the block's word, shall be */
    uint64_t into;
};

/* The heap lock is held.  *ret_clean: never used, so all zero. */
static int run_new(const struct wish *wish, uint64_t align, uint64_t *ret_unit,
                   bool *ret_clean)
{
    struct arena_header *h = arena_header();
    struct run run = {.units = word_units(wish->word)};
    uint64_t end;
    int r;

    place_run(&run, align);
    end = run.first + run.units;
    r = grow(end);
    if (r == 0 && run.punched)
        r = back_units(run.first, end);
    if (r < 0)
        return r;
    *ret_clean = run.first >= atomic_load(&h->used_top);
    if (end > atomic_load(&h->used_top))
        atomic_store(&h->used_top, end);
    cell_take(&wish->holder, arena_offset(unit_address(run.first)), wish->into);
    atomic_store(unit_word(run.first), wish->word);
    if (run.punched)
        words_behind(run.first, run.units, 0);
    *ret_unit = run.first;
    return 0;
}

/* ---- Freeing ------------------------------------------------------------------------ */

static void span_reopen(void *block);

/*
 * A long run gives its memory back.  Two may think that it is theirs to do (a sweep by two
 * survivors, a double free), and what the slower one punched might be somebody else's by then:
 * so one of them makes the run its own first (B5).
 */
static bool run_punch(const struct holder *h, void *block, _Atomic uint64_t *word,
                      uint64_t old)
{
    uint64_t me = h->who & ID_OWNER;
    uint64_t first = unit_of(block), units = word_units(old);
    bool mine = word_owner(old) == me;

    if (mine && word_purpose(old) == PURPOSE_PUNCHING)
        return false; /* another thread of ours is at it */
    if (!mine)
        cell_take(h, arena_offset(block), 0);
    if (!atomic_compare_exchange_strong(word, &old,
                                        word_owned_by(old, PURPOSE_PUNCHING, me))) {
        if (!mine)
            cell_drop(h, arena_offset(block));
        return false;
    }
    words_behind(first, units, word_make(KIND_PUNCHED, 0, 0, 0));
    arena_unback(arena_offset(block), units * UNIT_SIZE);
    atomic_store(word, word_make(KIND_PUNCHED, 0, 0, 0));
    first_free_lower(first);
    if (!mine)
        cell_drop(h, arena_offset(block));
    return true;
}

/* From `old`, used, to free, if nobody is faster. */
static bool word_free(const struct holder *h, void *block, _Atomic uint64_t *word,
                      uint64_t old)
{
    uint64_t units = word_units(old);

    if (units > committed() - unit_of(block))
        return false; /* somebody wrote over it */
    if (units >= PUNCH_UNITS)
        return run_punch(h, block, word, old);
    if (!atomic_compare_exchange_strong(word, &old, 0))
        return false;
    if (units)
        first_free_lower(unit_of(block));
    else
        span_reopen(block);
    return true;
}

/* ---- Spans ----------------------------------------------------------------------- */

/* A used word between the search and the header: nobody takes it for a span yet. */
static int span_new(unsigned class, const struct holder *h)
{
    struct block_class *c = &arena_header()->classes[class];
    struct wish wish = {.holder = *h};
    struct span *s;
    uint64_t unit;
    bool clean;
    int r;

    wish.word = word_make(KIND_USED, SPAN_UNITS, BLOCK_SCRATCH, h->who & ID_OWNER);
    r = run_new(&wish, SPAN_UNITS, &unit, &clean);
    if (r < 0)
        return r;
    s = (struct span *)(void *)unit_address(unit);
    if (!clean)
        memset(s, 0, SPAN_SIZE);
    atomic_store(&s->next, atomic_load(&c->spans));
    /* from here a span; killed before the next line it is in no list, until heap_enter() */
    atomic_store(unit_word(unit), word_make(KIND_SPAN, SPAN_UNITS, 0, class));
    atomic_store(&c->spans, (uint32_t)unit + 1);
    atomic_store(&c->cursor, (uint32_t)unit + 1);
    cell_drop(h, arena_offset(s));
    return 0;
}

/*
 * All lists anew, and all worth a look: somebody was killed.  Those who walk a list meanwhile
 * may miss spans, and look again.
 */
static void spans_relink(void)
{
    struct arena_header *h = arena_header();

    for (unsigned class = 0; class < CLASSES; class ++)
        atomic_store(&h->classes[class].spans, 0);
    for (uint64_t unit = 0; unit < committed();) {
        const struct shape *shape;
        struct span *s = span_at(unit, &shape);

        if (s) {
            struct block_class *c = &h->classes[shape - shapes];

            atomic_store(&s->next, atomic_load(&c->spans));
            atomic_store(&c->spans, (uint32_t)unit + 1);
        }
        unit += max_u64(run_length(atomic_load(unit_word(unit))), 1);
    }
}

/* A thread that is cancelled (fallocate is a place for that) would keep the lock for ever. */
static void heap_enter(uint64_t who, int *ret_cancel)
{
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, ret_cancel);
    if (owner_enter(&arena_header()->heap_lock, who) == OWNER_DIED)
        spans_relink();
}

static void heap_leave(int cancel)
{
    owner_leave(&arena_header()->heap_lock);
    pthread_setcancelstate(cancel, NULL);
}

/*
 * A block of a full span was freed.  It says so, and is where the next search begins.  seq_cst
 * (all of it) for span_find(): either we see `full`, or it sees our free word.
 */
static void span_reopen(void *block)
{
    const struct shape *shape;
    uint64_t unit = unit_of(block) / SPAN_UNITS * SPAN_UNITS;
    struct span *s = span_at(unit, &shape);

    if (!s || !atomic_load(&s->full))
        return;
    atomic_store(&s->full, 0);
    atomic_store(&arena_header()->classes[shape - shapes].cursor, (uint32_t)unit + 1);
}

/* For what a dead member had freed, and had not reopened (B6). */
static void spans_reopen(void)
{
    const struct shape *shape;

    for (unsigned class = 0; class < CLASSES; class ++) {
        uint32_t unit = atomic_load(&arena_header()->classes[class].spans);
        uint64_t bound = committed() / SPAN_UNITS;
        struct span *s;

        for (; unit && bound-- && (s = span_at(unit - 1, &shape));
             unit = atomic_load(&s->next))
            atomic_store(&s->full, 0);
    }
}

static int words_find(const struct span *s, const struct shape *shape)
{
    uint32_t from = atomic_load_explicit(&s->cursor, memory_order_relaxed) % shape->count;

    for (uint32_t i = from; i < shape->count; i++) {
        if (!atomic_load_explicit(&s->words[i], memory_order_relaxed))
            return (int)i;
    }
    for (uint32_t i = 0; i < from; i++) {
        if (!atomic_load_explicit(&s->words[i], memory_order_relaxed))
            return (int)i;
    }
    return -1;
}

/* A word of the span that looks free, or -1. */
static int span_find(struct span *s, const struct shape *shape)
{
    int i;

    if (atomic_load_explicit(&s->full, memory_order_relaxed))
        return -1;
    i = words_find(s, shape);
    if (i >= 0)
        return i;
    atomic_store(&s->full, 1);
    i = words_find(s, shape); /* freed before they could see it */
    if (i >= 0)
        atomic_store(&s->full, 0);
    return i;
}

static void *span_take(struct span *s, const struct shape *shape, const struct wish *wish)
{
    int i;

    while ((i = span_find(s, shape)) >= 0) {
        void *block = span_block(s, shape, (uint32_t)i);
        uint64_t old = 0;

        cell_take(&wish->holder, arena_offset(block), wish->into);
        if (likely(atomic_compare_exchange_strong(&s->words[i], &old, wish->word))) {
            atomic_store_explicit(&s->cursor, (uint32_t)i, memory_order_relaxed);
            return block;
        }
        cell_drop(&wish->holder, arena_offset(block)); /* another was faster */
    }
    return NULL;
}

static void *span_search(unsigned class, const struct wish *wish)
{
    struct block_class *c = &arena_header()->classes[class];
    uint64_t bound =
        committed() / SPAN_UNITS * 2 + 2; /* a list that runs in a ring ends too */
    uint32_t cursor = atomic_load_explicit(&c->cursor, memory_order_acquire);
    bool again = cursor != atomic_load(&c->spans);

    for (uint32_t unit = cursor; unit && bound--;) {
        const struct shape *shape;
        struct span *s = span_at(unit - 1, &shape);
        void *block = s && shape == &shapes[class] ? span_take(s, shape, wish) : NULL;

        if (block) {
            if (unit != cursor)
                atomic_store_explicit(&c->cursor, unit, memory_order_release);
            return block;
        }
        unit = s ? atomic_load(&s->next) : 0;
        if (!unit && again) {
            again = false;
            unit = atomic_load(&c->spans);
        }
    }
    return NULL;
}

/* ---- The interface ----------------------------------------------------------------- */

static int small_new(unsigned class, const struct wish *wish, void **ret)
{
    _Atomic uint32_t *spans = &arena_header()->classes[class].spans;

    for (;;) {
        uint32_t newest = atomic_load(spans);
        void *block = span_search(class, wish);
        int r = 0, cancel;

        if (likely(block)) {
            *ret = block;
            return 0;
        }
        heap_enter(wish->holder.who, &cancel);
        if (atomic_load(spans) == newest)
            r = span_new(class, &wish->holder);
        heap_leave(cancel);
        if (r < 0)
            return r;
    }
}

static int large_new(size_t size, struct wish *wish, void **ret, bool *ret_clean)
{
    uint64_t unit;
    int r, cancel;

    if (size > (uint64_t)RUN_MAX * UNIT_SIZE)
        return -ENOMEM;
    wish->word |= round_up(size, UNIT_SIZE) / UNIT_SIZE << 34;
    heap_enter(wish->holder.who, &cancel);
    r = run_new(wish, 1, &unit, ret_clean);
    heap_leave(cancel);
    if (r == 0)
        *ret = unit_address(unit);
    return r;
}

static int wish_make(struct wish *ret, unsigned purpose, _Atomic uint64_t *into)
{
    int r = holder_get(&ret->holder);

    ret->into = into ? arena_offset((void *)into) | INTO_PENDING : 0;
    ret->word = r < 0 ? 0 : word_make(KIND_USED, 0, purpose, ret->holder.who & ID_OWNER);
    return r;
}

static int new_with(size_t size, unsigned purpose, _Atomic uint64_t *into, void **ret,
                    bool *ret_clean)
{
    struct wish wish;
    int r = wish_make(&wish, purpose, into);

    if (r < 0)
        return r;
    *ret_clean = false;
    if (likely(size <= SMALL_MAX))
        return small_new(class_of(size), &wish, ret);
    return large_new(size, &wish, ret, ret_clean);
}

int block_new(size_t size, enum block_purpose purpose, _Atomic uint64_t *into, void **ret)
{
    bool clean;

    return new_with(size, purpose, into, ret, &clean);
}

int block_new_lasting(enum block_purpose purpose, void **ret)
{
    struct wish wish;
    int r = wish_make(&wish, purpose, NULL);

    return r < 0 ? r : small_new(CLASS_LASTING, &wish, ret);
}

int block_new_family(size_t size, void **ret)
{
    void *block;
    bool clean;
    int r = new_with(size, BLOCK_SCRATCH, NULL, &block, &clean);

    if (r < 0)
        return r;
    if (!clean)
        memset(block, 0, size);
    block_give(block);
    *ret = block;
    return 0;
}

int block_new_into(size_t size, _Atomic uint64_t *into, void **ret)
{
    void *block;
    bool clean;
    int r = new_with(size, BLOCK_SCRATCH, into, &block, &clean);

    if (r < 0)
        return r;
    if (!clean)
        memset(block, 0, size);
    /* release: who finds the block through *into finds it zeroed */
    atomic_store_explicit(into, arena_offset(block), memory_order_release);
    block_give(block);
    *ret = block;
    return 0;
}

/* owner -> owner, if it is `from`. */
static bool pass_on(_Atomic uint64_t *word, uint64_t from, unsigned purpose, uint64_t to)
{
    uint64_t old = atomic_load(word);

    while (word_is_of(old, from) && word_purpose(old) != PURPOSE_PUNCHING) {
        if (atomic_compare_exchange_strong(word, &old, word_owned_by(old, purpose, to)))
            return true;
    }
    return false;
}

void block_give(void *block)
{
    _Atomic uint64_t *word = word_of(block);
    struct holder h;

    if (!word || holder_get(&h) < 0)
        return;
    cell_adopt(&h, arena_offset(block));
    pass_on(word, h.who & ID_OWNER, BLOCK_SCRATCH, 0);
    cell_drop(&h, arena_offset(block));
}

/* The id of the slot's member as far as the word tells: enough while it is not swept (M3). */
static bool owner_lives(uint64_t owner)
{
    uint32_t cursor = id_slot(owner);
    uint64_t id = cursor ? member_next(&cursor) : 0;

    return (id & ID_OWNER) == owner && member_fate_unswept(id) == FATE_ALIVE;
}

/* From the family, or from whom the dead left it to: in one step, so it is never nobody's. */
static bool take_over(_Atomic uint64_t *word, unsigned purpose, uint64_t to)
{
    uint64_t old = atomic_load(word);

    while (word_kind(old) == KIND_USED && word_purpose(old) != PURPOSE_PUNCHING &&
           !(word_owner(old) && owner_lives(word_owner(old)))) {
        if (atomic_compare_exchange_strong(word, &old, word_owned_by(old, purpose, to)))
            return true;
    }
    return false;
}

int block_take(void *block, enum block_purpose purpose, const _Atomic uint64_t *into)
{
    _Atomic uint64_t *word = word_of(block);
    struct holder h;
    int r = holder_get(&h);

    if (r < 0 || !word)
        return r < 0 ? r : -ESTALE;
    cell_take(&h, arena_offset(block), arena_offset((const void *)into));
    if (take_over(word, purpose, h.who & ID_OWNER))
        return 0;
    cell_drop(&h, arena_offset(block));
    return -ESTALE;
}

void block_aim(void *block, const _Atomic uint64_t *into)
{
    struct holder h;

    if (holder_get(&h) == 0)
        cell_aim(&h, arena_offset(block),
                 into ? arena_offset((const void *)into) | INTO_PENDING : 0);
}

void block_set_purpose(void *block, enum block_purpose purpose)
{
    _Atomic uint64_t *word = word_of(block);
    uint64_t who;

    if (word && member_who(&who) == 0)
        pass_on(word, who & ID_OWNER, purpose, who & ID_OWNER);
}

bool block_settle(void *block)
{
    _Atomic uint64_t *word = word_of(block);
    uint64_t old = word ? atomic_load(word) : 0;

    return word_is_of(old, 0) || (word && take_over(word, BLOCK_SCRATCH, 0));
}

int block_free(void *block)
{
    _Atomic uint64_t *word = word_of(block);
    struct holder h;
    uint64_t old;
    bool mine;
    int r = word ? holder_get(&h) : -EINVAL;

    if (r < 0)
        return r;
    old = atomic_load(word);
    mine = word_is_of(old, h.who & ID_OWNER);
    if (!mine && !word_is_of(old, 0))
        return -EINVAL;
    if (mine)
        cell_adopt(&h, arena_offset(block));
    r = word_free(&h, block, word, old) ? 0 : -EINVAL;
    if (mine && r == 0)
        cell_drop(&h, arena_offset(block));
    return r;
}

int block_free_from(_Atomic uint64_t *into)
{
    void *block = arena_at(atomic_load(into), 1);

    /* while *into has it the sweep gives it back to the family (B4), afterwards it frees it */
    if (!block || block_take(block, BLOCK_SCRATCH, into) < 0)
        return -EINVAL;
    atomic_store(into, 0);
    return block_free(block);
}

int block_inherit(void *block, uint64_t dead_id, enum block_purpose purpose)
{
    _Atomic uint64_t *word = word_of(block);
    struct holder h;
    int r = word ? holder_get(&h) : -ESTALE;

    if (r < 0)
        return r;
    cell_take(&h, arena_offset(block), 0);
    if (pass_on(word, dead_id & ID_OWNER, purpose, h.who & ID_OWNER))
        return 0;
    cell_drop(&h, arena_offset(block));
    return -ESTALE;
}

void block_reap(void *block, uint64_t dead_id)
{
    _Atomic uint64_t *word = word_of(block);
    uint64_t old = word ? atomic_load(word) : 0;
    struct holder h;

    if (word_is_of(old, dead_id & ID_OWNER) && holder_get(&h) == 0)
        word_free(&h, block, word, old);
}

bool block_is(const void *address)
{
    _Atomic uint64_t *word = word_of(address);

    return word && word_kind(atomic_load(word)) == KIND_USED;
}

size_t block_size(const void *block)
{
    _Atomic uint64_t *word = word_of(block);
    uint64_t old = word ? atomic_load(word) : 0;
    const struct shape *shape;

    if (word_kind(old) != KIND_USED)
        return 0;
    if (word_units(old))
        return word_units(old) * UNIT_SIZE;
    return span_at(unit_of(block) / SPAN_UNITS * SPAN_UNITS, &shape) ? shape->size : 0;
}

uint64_t block_owner(const void *block)
{
    _Atomic uint64_t *word = word_of(block);

    return word ? word_owner(atomic_load(word)) : 0;
}

enum block_purpose block_purpose(const void *block)
{
    _Atomic uint64_t *word = word_of(block);
    uint64_t old = word ? atomic_load(word) : 0;

    return word_kind(old) == KIND_USED ? (enum block_purpose)word_purpose(old)
                                       : BLOCK_PURPOSES;
}

bool block_is_mine(const void *block, enum block_purpose purpose)
{
    _Atomic uint64_t *word = word_of(block);
    uint64_t old = word ? atomic_load(word) : 0;
    uint64_t who;

    return word_kind(old) == KIND_USED && member_who(&who) == 0 &&
           word_owner(old) == (who & ID_OWNER) && word_purpose(old) == (unsigned)purpose;
}

/* ---- The sweep ------------------------------------------------------------------- */

static block_orphan *orphan_functions[BLOCK_PURPOSES];

void block_on_orphan(enum block_purpose purpose, block_orphan *function)
{
    orphan_functions[purpose] = function;
}

struct sweep {
    struct holder holder; /* who sweeps */
    const struct member *member;
    uint64_t id;
    bool died;
};

/* B4.  Several cells may name it: that of a thread that only was about to get it knows nothing. */
static bool was_received(const struct member *m, uint64_t block)
{
    for (unsigned i = 0; i < HELD_CELLS; i++) {
        if (cell_block(&m->held[i]) == block &&
            is_in(block, atomic_load(&m->held[i].into)))
            return true;
    }
    return false;
}

static void sweep_block(const struct sweep *sweep, void *block)
{
    _Atomic uint64_t *word = word_of(block);
    uint64_t old = word ? atomic_load(word) : 0;
    unsigned purpose = word_purpose(old);

    if (!word_is_of(old, sweep->id & ID_OWNER))
        return;
    if (purpose != PURPOSE_PUNCHING && was_received(sweep->member, arena_offset(block)))
        pass_on(word, sweep->id & ID_OWNER, BLOCK_SCRATCH, 0);
    else if (purpose < BLOCK_PURPOSES && orphan_functions[purpose])
        orphan_functions[purpose](block, sweep->id, sweep->died);
    else
        word_free(&sweep->holder, block, word, old);
}

/* Every block of the heap. */
static void sweep_heap(const struct sweep *sweep)
{
    for (uint64_t unit = 0; unit < committed();) {
        uint64_t word = atomic_load(unit_word(unit));
        const struct shape *shape;
        struct span *s = span_at(unit, &shape);

        for (uint32_t i = 0; s && i < shape->count; i++) {
            if (word_is_of(atomic_load(&s->words[i]), sweep->id & ID_OWNER))
                sweep_block(sweep, span_block(s, shape, i));
        }
        if (!s && word_kind(word) == KIND_USED)
            sweep_block(sweep, unit_address(unit));
        unit += max_u64(run_length(word), 1);
    }
}

int block_sweep(uint64_t id, bool died)
{
    struct member *m = member_of(id);
    struct sweep sweep = {.member = m, .id = id, .died = died};
    int r = holder_get(&sweep.holder);

    if (r < 0)
        return r;
    /* the cells stay as they are: who takes the slot next clears them */
    for (unsigned i = 0; i < HELD_CELLS; i++) {
        void *block = arena_at(cell_block(&m->held[i]), 1);

        if (block)
            sweep_block(&sweep, block);
    }
    if (atomic_load(&m->held_overflow))
        sweep_heap(&sweep);
    if (died)
        spans_reopen();
    return 0;
}

/* ---- Looking ----------------------------------------------------------------------- */

static bool run_check(uint64_t unit, uint64_t length)
{
    if (length > committed() - unit)
        return false;
    for (uint64_t behind = unit + 1; behind < unit + length; behind++) {
        enum kind kind = word_kind(atomic_load(unit_word(behind)));

        if (kind != KIND_FREE && kind != KIND_PUNCHED)
            return false;
    }
    return true;
}

static bool span_check(const struct span *s, const struct shape *shape)
{
    for (uint32_t i = 0; i < shape->count; i++) {
        uint64_t word = atomic_load(&s->words[i]);

        if (word && (word_kind(word) != KIND_USED || word_units(word)))
            return false;
    }
    return true;
}

/* How many spans the lists have; a ring, or a span in a list that is not its own: UINT64_MAX. */
static uint64_t lists_count(void)
{
    uint64_t count = 0;

    for (unsigned class = 0; class < CLASSES; class ++) {
        uint32_t unit = atomic_load(&arena_header()->classes[class].spans);

        while (unit) {
            const struct shape *shape;
            struct span *s = span_at(unit - 1, &shape);

            if (!s || shape != &shapes[class] || count++ > committed())
                return UINT64_MAX;
            unit = atomic_load(&s->next);
        }
    }
    return count;
}

static bool heap_check(void)
{
    uint64_t end = committed();
    uint64_t unit = 0, spans = 0;

    while (unit < end) {
        uint64_t word = atomic_load(unit_word(unit));
        uint64_t length = max_u64(run_length(word), 1);
        const struct shape *shape;
        struct span *s = span_at(unit, &shape);

        if ((word_kind(word) == KIND_SPAN) != (s != NULL) || !run_check(unit, length) ||
            (s && !span_check(s, shape)))
            return false;
        spans += s != NULL;
        unit += length;
    }
    return unit == end && lists_count() == spans;
}

bool block_check(void)
{
    uint64_t who;
    int cancel;
    bool sound;

    if (member_who(&who) < 0)
        return false;
    heap_enter(who, &cancel);
    sound = heap_check();
    heap_leave(cancel);
    return sound;
}

void block_each(enum block_purpose purpose,
                void (*function)(void *block, uint64_t owner, void *argument),
                void *argument)
{
    for (uint64_t unit = 0; unit < committed();) {
        const struct shape *shape;
        struct span *s = span_at(unit, &shape);

        for (uint32_t i = 0; s && i < shape->count; i++) {
            void *block = span_block(s, shape, i);

            if (block_purpose(block) == purpose)
                function(block, block_owner(block), argument);
        }
        if (!s && block_purpose(unit_address(unit)) == purpose)
            function(unit_address(unit), block_owner(unit_address(unit)), argument);
        unit += max_u64(run_length(atomic_load(unit_word(unit))), 1);
    }
}

struct tally {
    uint64_t units, blocks;
};

static struct tally heap_tally(void)
{
    struct tally t = {0, 0};

    for (uint64_t unit = 0; unit < committed();) {
        uint64_t length = run_length(atomic_load(unit_word(unit)));
        const struct shape *shape;
        struct span *s = span_at(unit, &shape);

        for (uint32_t i = 0; s && i < shape->count; i++)
            t.blocks += atomic_load(&s->words[i]) != 0;
        t.blocks += length && !s;
        t.units += length;
        unit += max_u64(length, 1);
    }
    return t;
}

uint64_t block_in_use(void)
{
    return heap_tally().units * UNIT_SIZE;
}

uint64_t block_count(void)
{
    return heap_tally().blocks;
}
