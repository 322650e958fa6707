/* The heap: runs of units, and spans of equal blocks.  One word allocates, one word frees. */
#include "shm/block.h"

#include "os/memfd.h"
#include "shm/owner.h"

#include <sched.h>
#include <string.h>

#define SPAN_UNITS  4u
#define SPAN_SIZE   (SPAN_UNITS * UNIT_SIZE)
#define SMALL_MAX   8192u
#define PIECE_UNITS (UINT64_C(16) << 20 >> 14) /* growth: at most 16 MB at once */
#define PIECE_FIRST 16u
#define PUNCH_UNITS (UINT64_C(64) << 20 >> 14) /* runs this long give their memory back */

enum kind { KIND_FREE, KIND_USED, KIND_SPAN, KIND_PUNCHED };

/* ---- The word ------------------------------------------------------------------- */

static uint64_t word_make(enum kind kind, uint64_t units, unsigned purpose, uint64_t owner)
{
    return (uint64_t)kind << 58 | units << 34 | (uint64_t)purpose << 31 | owner;
}

static enum kind word_kind(uint64_t word)
{
    return (enum kind)(word >> 58 & 3);
}

static uint64_t word_units(uint64_t word)
{
    return word >> 34 & 0xffffff;
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

/* ---- Where things are ------------------------------------------------------------- */

/*
 *    0          64                64 + 8 count (rounded up to 128)
 *    | header   | a word a block   | blocks                              64 KB |
 */
struct span {
    uint32_t size;  /* of a block */
    uint32_t count; /* of blocks */
    uint32_t first; /* offset of block 0 */
    uint32_t class;
    _Atomic uint32_t next; /* unit of the next span of this class; 0: the last */
    _Atomic uint32_t cursor; /* hint: where the last one was found */
    alignas(64) _Atomic uint64_t words[];
};

static const uint16_t class_sizes[BLOCK_CLASSES] = {64,  128,  192,  256,  384,  512,  768, 1024,
                                                    1536, 2048, 3072, 4096, 6144, 8192, LASTING_SIZE, 0};
#define CLASSES       15u
#define CLASS_LASTING 14u /* its blocks never become anything else, see block_new_lasting() */

static unsigned class_of(size_t size)
{
    unsigned class = 0;

    while (class_sizes[class] < size)
        class++;
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

static uint64_t committed(void)
{
    /* acquire, for the release in grow(): those units have memory */
    return atomic_load_explicit(&arena_header()->committed, memory_order_acquire);
}

static struct span *span_at(uint64_t unit)
{
    struct span *s;

    if (unit % SPAN_UNITS || unit + SPAN_UNITS > committed() ||
        word_kind(atomic_load(unit_word(unit))) != KIND_SPAN)
        return NULL;
    s = (struct span *)(void *)unit_address(unit);
    if (s->class >= CLASSES || s->size != class_sizes[s->class] || s->count == 0 ||
        s->first + (uint64_t)s->size * s->count > SPAN_SIZE)
        return NULL; /* somebody wrote over it */
    return s;
}

/* The word of the block at `address`; NULL: no block can be there. */
static _Atomic uint64_t *word_of(const void *address)
{
    struct arena_header *h = arena_header();
    uint64_t at, unit, place;
    struct span *s;

    if (!arena_has(address, 1))
        return NULL;
    at = arena_offset(address) - h->heap;
    unit = at / UNIT_SIZE;
    if (unit >= committed())
        return NULL;
    s = span_at(unit - unit % SPAN_UNITS);
    if (!s)
        return at % UNIT_SIZE ? NULL : unit_word(unit);
    place = at % SPAN_SIZE;
    if (place < s->first || (place - s->first) % s->size || (place - s->first) / s->size >= s->count)
        return NULL;
    return &s->words[(place - s->first) / s->size];
}

/* ---- Held cells (B3) --------------------------------------------------------------- */

/*
 *    0 --take--> CLAIMED --take--> thread | offset --drop--> CLAIMED --drop--> 0
 *                                        `--another's take, if it has no `into`--> CLAIMED
 *
 * Each step from a known value by CAS: threads of a member share the cells.  The thread is in
 * it because two may name one block: one that frees it, and one that is about to get it.
 */
#define CELL_CLAIMED   UINT64_C(1) /* no block is there */
#define CELL_OFFSET(c) ((c) & ~(UINT64_C(0xffff) << 48))

static uint64_t cell_value(uint64_t who, uint64_t block)
{
    return (who & UINT64_C(0xffff) << 48) | block;
}

static bool cell_move(struct held *cell, uint64_t from, uint64_t to)
{
    return atomic_compare_exchange_strong(&cell->block, &from, to);
}

static struct held *cell_set(struct held *cell, uint64_t from, uint64_t value, uint64_t into)
{
    if (!cell_move(cell, from, CELL_CLAIMED))
        return NULL;
    atomic_store(&cell->into, into);
    atomic_store(&cell->block, value);
    return cell;
}

/*
 * NULL: all are in use, and the sweep goes through the whole heap.  It would not find `into`
 * there, so a block that has one always gets a cell, in place of one that has none.
 */
static struct held *cell_take(struct member *m, uint64_t who, uint64_t block, uint64_t into)
{
    uint64_t value = cell_value(who, block);
    struct held *cell = NULL;

    for (;;) {
        for (unsigned i = 0; i < HELD_CELLS && !cell; i++) {
            if (!atomic_load_explicit(&m->held[i].block, memory_order_relaxed))
                cell = cell_set(&m->held[i], 0, value, into);
        }
        if (cell)
            return cell;
        atomic_store(&m->held_overflow, 1);
        for (unsigned i = 0; i < HELD_CELLS && into && !cell; i++) {
            uint64_t old = atomic_load(&m->held[i].block);

            if (old > CELL_CLAIMED && !atomic_load(&m->held[i].into))
                cell = cell_set(&m->held[i], old, value, into);
        }
        if (cell || !into)
            return cell;
        sched_yield(); /* 24 threads are giving blocks away: some will have done so */
    }
}

/* The caller's cell of a block; another thread's becomes the caller's. */
static struct held *cell_find(struct member *m, uint64_t who, uint64_t block)
{
    struct held *other = NULL;
    uint64_t value = 0;

    for (unsigned i = 0; i < HELD_CELLS; i++) {
        uint64_t old = atomic_load_explicit(&m->held[i].block, memory_order_relaxed);

        if (old == cell_value(who, block))
            return &m->held[i];
        if (CELL_OFFSET(old) == block) {
            other = &m->held[i];
            value = old;
        }
    }
    return other && cell_move(other, value, cell_value(who, block)) ? other : NULL;
}

static void cell_drop(struct held *cell, uint64_t who, uint64_t block)
{
    if (!cell || !cell_move(cell, cell_value(who, block), CELL_CLAIMED))
        return;
    atomic_store(&cell->into, 0);
    atomic_store(&cell->block, 0);
}

/* ---- Growth, under the heap lock ------------------------------------------------ */

static int back_units(uint64_t first, uint64_t end)
{
    struct arena_header *h = arena_header();
    int r = arena_back(h->unit_table + first * sizeof(uint64_t), (end - first) * sizeof(uint64_t));

    return r < 0 ? r : arena_back(h->heap + first * UNIT_SIZE, (end - first) * UNIT_SIZE);
}

/* At least up to `end` units. */
static int grow(uint64_t end)
{
    struct arena_header *h = arena_header();

    if (end > h->units_max)
        return -ENOMEM;
    for (uint64_t now = committed(); now < end; now = committed()) {
        uint64_t piece = min_u64(max_u64(now, PIECE_FIRST), PIECE_UNITS);
        uint64_t to = min_u64(now + piece, h->units_max);
        int r = back_units(now, to);

        if (r < 0 && to > end)
            r = back_units(now, to = end); /* less will do */
        if (r < 0)
            return r;
        /* release, for the acquire in committed() */
        atomic_store_explicit(&h->committed, to, memory_order_release);
    }
    return 0;
}

/* ---- Runs ------------------------------------------------------------------------ */

static uint64_t run_length(uint64_t word)
{
    return word_kind(word) == KIND_USED || word_kind(word) == KIND_SPAN
               ? max_u64(word_units(word), 1)
               : 0;
}

static uint64_t to_multiple(uint64_t n, uint64_t align)
{
    return (n + align - 1) / align * align;
}

/* The first `units` free ones in a row, `first` a multiple of `align`; may end past committed. */
static uint64_t find_run(uint64_t units, uint64_t align, bool *ret_punched)
{
    struct arena_header *h = arena_header();
    uint64_t end = committed();
    uint64_t hint = atomic_load(&h->first_free);
    uint64_t unit = hint;
    uint64_t start = to_multiple(unit, align);
    bool lowest = true;

    *ret_punched = false;
    while (unit < end && (unit < start || unit - start < units)) {
        uint64_t word = atomic_load(unit_word(unit));
        uint64_t length = run_length(word);

        if (length) {
            unit += length;
            start = to_multiple(unit, align);
            *ret_punched = false;
        } else {
            /* only if nobody has freed one below it meanwhile */
            if (lowest)
                atomic_compare_exchange_strong(&h->first_free, &hint, unit);
            lowest = false;
            *ret_punched |= word_kind(word) == KIND_PUNCHED && unit >= start;
            unit++;
        }
    }
    return start;
}

static void unpunch(uint64_t first, uint64_t units)
{
    for (uint64_t unit = first + 1; unit < first + units; unit++)
        atomic_store_explicit(unit_word(unit), 0, memory_order_relaxed);
}

struct wish {
    uint64_t units, align;
    uint64_t word; /* what the head shall be */
    struct member *member;
    uint64_t who;
    uint64_t into;
};

/* The heap lock is held.  *ret_clean: never used, so all zero. */
static int run_new(const struct wish *wish, uint64_t *ret_unit, bool *ret_clean)
{
    struct arena_header *h = arena_header();
    bool punched;
    uint64_t first = find_run(wish->units, wish->align, &punched);
    uint64_t end = first + wish->units;
    int r = grow(end);

    if (r == 0 && punched)
        r = back_units(first, min_u64(end, committed()));
    if (r < 0)
        return r;
    *ret_clean = first >= atomic_load(&h->used_top);
    if (end > atomic_load(&h->used_top))
        atomic_store(&h->used_top, end);
    if (wish->member)
        cell_take(wish->member, wish->who, arena_offset(unit_address(first)), wish->into);
    atomic_store(unit_word(first), wish->word);
    if (punched)
        unpunch(first, wish->units);
    *ret_unit = first;
    return 0;
}

/* The run is ours until its head word goes: the words behind it may be written. */
static uint64_t run_punch(uint64_t first, uint64_t units)
{
    for (uint64_t unit = first + 1; unit < first + units; unit++)
        atomic_store_explicit(unit_word(unit), word_make(KIND_PUNCHED, 0, 0, 0),
                              memory_order_relaxed);
    memfd_punch(arena.fd, arena_offset(unit_address(first)), units * UNIT_SIZE);
    return word_make(KIND_PUNCHED, 0, 0, 0);
}

static void first_free_lower(uint64_t unit)
{
    struct arena_header *h = arena_header();
    uint64_t old = atomic_load(&h->first_free);

    while (unit < old && !atomic_compare_exchange_weak(&h->first_free, &old, unit))
        ;
}

/* ---- Spans ----------------------------------------------------------------------- */

/* A used word between the search and the header: nobody takes it for a span yet. */
static int span_new(unsigned class, uint64_t who)
{
    struct arena_header *h = arena_header();
    struct block_class *c = &h->classes[class];
    struct wish wish = {
        .units = SPAN_UNITS, .align = SPAN_UNITS, .member = member_of(who), .who = who};
    struct span *s;
    uint64_t unit;
    bool clean;
    int r;

    wish.word = word_make(KIND_USED, SPAN_UNITS, BLOCK_SCRATCH, who & ID_OWNER);
    r = run_new(&wish, &unit, &clean);
    if (r < 0)
        return r;
    s = (struct span *)(void *)unit_address(unit);
    if (!clean)
        memset(s, 0, SPAN_SIZE);
    s->class = class;
    s->size = class_sizes[class];
    s->count = (uint32_t)((SPAN_SIZE - 128) / (s->size + sizeof(uint64_t)));
    s->first = (uint32_t)round_up(sizeof(*s) + s->count * sizeof(uint64_t), 128);
    while (s->first + (uint64_t)s->count * s->size > SPAN_SIZE)
        s->count--;
    atomic_store(&s->next, atomic_load(&c->spans));
    /* from here a span; killed before the next line it is in no list, until heap_enter() */
    atomic_store(unit_word(unit), word_make(KIND_SPAN, SPAN_UNITS, 0, 0));
    atomic_store(&c->spans, (uint32_t)unit + 1);
    atomic_store(&c->cursor, (uint32_t)unit + 1);
    cell_drop(cell_find(member_of(who), who, arena_offset(s)), who, arena_offset(s));
    return 0;
}

/* All lists anew: somebody was killed in span_new().  Those who walk a list meanwhile may miss
   spans, and look again. */
static void spans_relink(void)
{
    struct arena_header *h = arena_header();

    for (unsigned class = 0; class < CLASSES; class++)
        atomic_store(&h->classes[class].spans, 0);
    for (uint64_t unit = 0; unit < committed();) {
        struct span *s = span_at(unit);

        if (s) {
            atomic_store(&s->next, atomic_load(&h->classes[s->class].spans));
            atomic_store(&h->classes[s->class].spans, (uint32_t)unit + 1);
        }
        unit += max_u64(run_length(atomic_load(unit_word(unit))), 1);
    }
}

static void heap_enter(uint64_t who)
{
    if (owner_enter(&arena_header()->heap_lock, who) == OWNER_DIED)
        spans_relink();
}

/* One block of this span: the index, or -1. */
static int span_take(struct span *s, uint64_t word, uint64_t who, uint64_t into)
{
    uint32_t from = atomic_load_explicit(&s->cursor, memory_order_relaxed) % s->count;
    struct member *m = word_owner(word) ? member_of(who) : NULL;
    struct held *cell = NULL;
    uint64_t named = 0; /* what our cell says */

    for (uint32_t n = 0; n < s->count; n++) {
        uint32_t i = from + n < s->count ? from + n : from + n - s->count;
        uint64_t offset = arena_offset(s) + s->first + (uint64_t)i * s->size;
        uint64_t old = 0;

        if (atomic_load_explicit(&s->words[i], memory_order_relaxed))
            continue;
        if (m && !(cell && cell_move(cell, cell_value(who, named), cell_value(who, offset))))
            cell = cell_take(m, who, offset, into);
        named = offset;
        if (atomic_compare_exchange_strong(&s->words[i], &old, word)) {
            atomic_store_explicit(&s->cursor, i, memory_order_relaxed);
            return (int)i;
        }
    }
    cell_drop(cell, who, named);
    return -1;
}

static void *span_search(unsigned class, uint64_t word, uint64_t who, uint64_t into)
{
    struct block_class *c = &arena_header()->classes[class];
    uint64_t steps = committed() / SPAN_UNITS + 1; /* a list that runs in a ring ends too */
    uint32_t unit = atomic_load(&c->cursor);
    bool again = unit != atomic_load(&c->spans);

    while (unit && steps--) {
        struct span *s = span_at(unit - 1);
        int i = s ? span_take(s, word, who, into) : -1;

        if (i >= 0) {
            atomic_store_explicit(&c->cursor, unit, memory_order_relaxed);
            return (unsigned char *)s + s->first + (size_t)i * s->size;
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

static int small_new(unsigned class, uint64_t word, uint64_t who, uint64_t into, void **ret)
{
    for (;;) {
        uint32_t newest = atomic_load(&arena_header()->classes[class].spans);
        void *block = span_search(class, word, who, into);
        int r = 0;

        if (block) {
            *ret = block;
            return 0;
        }
        heap_enter(who);
        if (atomic_load(&arena_header()->classes[class].spans) == newest)
            r = span_new(class, who);
        owner_leave(&arena_header()->heap_lock);
        if (r < 0)
            return r;
    }
}

static int large_new(size_t size, uint64_t word, uint64_t who, uint64_t into, void **ret,
                     bool *ret_clean)
{
    struct wish wish = {.align = 1, .who = who, .into = into};
    uint64_t unit;
    int r;

    if (size > arena.range)
        return -ENOMEM;
    wish.units = round_up(size, UNIT_SIZE) / UNIT_SIZE;
    if (wish.units > 0xffffff)
        return -ENOMEM;
    wish.member = word_owner(word) ? member_of(who) : NULL;
    wish.word = word_make(KIND_USED, wish.units, word_purpose(word), word_owner(word));
    heap_enter(who);
    r = run_new(&wish, &unit, ret_clean);
    owner_leave(&arena_header()->heap_lock);
    if (r == 0)
        *ret = unit_address(unit);
    return r;
}

static int new_with(size_t size, unsigned purpose, bool mine, _Atomic uint64_t *into, void **ret,
                    bool *ret_clean)
{
    uint64_t who, word;
    int r = member_who(&who);

    if (r < 0)
        return r;
    *ret_clean = false;
    word = word_make(KIND_USED, 0, purpose, mine ? who & ID_OWNER : 0);
    if (size <= SMALL_MAX)
        return small_new(class_of(size), word, who, arena_offset((void *)into), ret);
    return large_new(size, word, who, arena_offset((void *)into), ret, ret_clean);
}

int block_new(size_t size, enum block_purpose purpose, _Atomic uint64_t *into, void **ret)
{
    bool clean;

    return new_with(size, purpose, true, into, ret, &clean);
}

int block_new_lasting(enum block_purpose purpose, void **ret)
{
    uint64_t who;
    int r = member_who(&who);

    if (r < 0)
        return r;
    return small_new(CLASS_LASTING, word_make(KIND_USED, 0, purpose, who & ID_OWNER), who, 0, ret);
}

int block_new_family(size_t size, void **ret)
{
    bool clean;
    int r = new_with(size, BLOCK_SCRATCH, true, NULL, ret, &clean);

    if (r < 0)
        return r;
    if (!clean)
        memset(*ret, 0, size);
    block_give(*ret);
    return 0;
}

int block_new_into(size_t size, _Atomic uint64_t *into, void **ret)
{
    bool clean;
    int r = new_with(size, BLOCK_SCRATCH, true, into, ret, &clean);

    if (r < 0)
        return r;
    if (!clean)
        memset(*ret, 0, size);
    /* release: who finds the block through *into finds it zeroed */
    atomic_store_explicit(into, arena_offset(*ret), memory_order_release);
    block_give(*ret);
    return 0;
}

/* owner -> owner, if it is `from`. */
static bool pass_on(_Atomic uint64_t *word, uint64_t from, unsigned purpose, uint64_t to)
{
    uint64_t old = atomic_load(word);

    while (word_kind(old) == KIND_USED && word_owner(old) == from) {
        if (atomic_compare_exchange_strong(word, &old, word_owned_by(old, purpose, to)))
            return true;
    }
    return false;
}

void block_give(void *block)
{
    _Atomic uint64_t *word = word_of(block);
    uint64_t who, offset = arena_offset(block);
    struct held *cell;

    if (!word || member_who(&who) < 0)
        return;
    cell = cell_find(member_of(who), who, offset);
    pass_on(word, who & ID_OWNER, BLOCK_SCRATCH, 0);
    cell_drop(cell, who, offset);
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

    while (word_kind(old) == KIND_USED && !(word_owner(old) && owner_lives(word_owner(old)))) {
        if (atomic_compare_exchange_strong(word, &old, word_owned_by(old, purpose, to)))
            return true;
    }
    return false;
}

int block_take(void *block, enum block_purpose purpose, const _Atomic uint64_t *into)
{
    _Atomic uint64_t *word = word_of(block);
    uint64_t who, offset = arena_offset(block);
    struct held *cell;
    int r = member_who(&who);

    if (r < 0 || !word)
        return r < 0 ? r : -ESTALE;
    cell = cell_take(member_of(who), who, offset, arena_offset((const void *)into));
    if (take_over(word, purpose, who & ID_OWNER))
        return 0;
    cell_drop(cell, who, offset);
    return -ESTALE;
}

void block_aim(void *block, const _Atomic uint64_t *into)
{
    uint64_t who, offset = arena_offset(block);
    struct held *cell;

    if (member_who(&who) < 0)
        return;
    cell = cell_find(member_of(who), who, offset);
    if (cell)
        atomic_store(&cell->into, arena_offset((const void *)into));
    else if (into)
        cell_take(member_of(who), who, offset, arena_offset((const void *)into));
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

    return word_kind(old) == KIND_USED &&
           (word_owner(old) == 0 || take_over(word, BLOCK_SCRATCH, 0));
}

/* `punches`: the caller alone may come here, so it may write behind the head. */
static int free_word(void *block, _Atomic uint64_t *word, uint64_t owner, bool punches)
{
    uint64_t old = atomic_load(word);
    uint64_t units, unit = (arena_offset(block) - arena_header()->heap) / UNIT_SIZE;
    uint64_t after = 0;

    if (word_kind(old) != KIND_USED || word_owner(old) != owner)
        return -EINVAL;
    units = word_units(old);
    if (units >= PUNCH_UNITS && punches)
        after = run_punch(unit, units);
    if (!atomic_compare_exchange_strong(word, &old, after))
        return -EINVAL;
    if (units)
        first_free_lower(unit);
    return 0;
}

int block_free(void *block)
{
    _Atomic uint64_t *word = word_of(block);
    uint64_t who, offset = arena_offset(block);
    struct held *cell;
    int r = member_who(&who);

    if (r < 0 || !word)
        return r < 0 ? r : -EINVAL;
    if (word_owner(atomic_load(word)) == 0 && block_take(block, BLOCK_SCRATCH, NULL) < 0)
        return -EINVAL;
    if (word_owner(atomic_load(word)) != (who & ID_OWNER))
        return -EINVAL;
    cell = cell_find(member_of(who), who, offset);
    r = free_word(block, word, who & ID_OWNER, true);
    cell_drop(cell, who, offset);
    return r;
}

int block_free_from(_Atomic uint64_t *into)
{
    uint64_t offset = atomic_load(into);
    void *block = offset ? arena_at(offset, 1) : NULL;

    /* while *into has it the sweep gives it back to the family (B4), afterwards it frees it */
    if (!block || block_take(block, BLOCK_SCRATCH, into) < 0)
        return -EINVAL;
    atomic_store(into, 0);
    return block_free(block);
}

int block_inherit(void *block, uint64_t dead_id, enum block_purpose purpose)
{
    _Atomic uint64_t *word = word_of(block);
    uint64_t who, offset = arena_offset(block);
    struct held *cell;
    int r = member_who(&who);

    if (r < 0 || !word)
        return r < 0 ? r : -ESTALE;
    cell = cell_take(member_of(who), who, offset, 0);
    if (pass_on(word, dead_id & ID_OWNER, purpose, who & ID_OWNER))
        return 0;
    cell_drop(cell, who, offset);
    return -ESTALE;
}

/* Ours first: of two sweepers that both punched, one would clear what the next owner wrote. */
void block_reap(void *block, uint64_t dead_id)
{
    uint64_t who, offset = arena_offset(block);

    if (block_inherit(block, dead_id, BLOCK_SCRATCH) < 0 || member_who(&who) < 0)
        return;
    free_word(block, word_of(block), who & ID_OWNER, (dead_id & ID_OWNER) != (who & ID_OWNER));
    cell_drop(cell_find(member_of(who), who, offset), who, offset);
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
    struct span *s;
    uint64_t unit;

    if (word_kind(old) != KIND_USED)
        return 0;
    if (word_units(old))
        return word_units(old) * UNIT_SIZE;
    unit = (arena_offset(block) - arena_header()->heap) / UNIT_SIZE;
    s = span_at(unit - unit % SPAN_UNITS);
    return s ? s->size : 0;
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

    return word_kind(old) == KIND_USED ? (enum block_purpose)word_purpose(old) : BLOCK_PURPOSES;
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

static bool names(uint64_t into, uint64_t block)
{
    const _Atomic uint64_t *word;

    if (!into || into % 8 || into > arena.range - 8)
        return false;
    word = (const _Atomic uint64_t *)(const void *)(arena.base + into);
    return atomic_load(word) == block;
}

/* B4.  Several cells may name it: that of a thread that only was about to get it knows nothing. */
static bool was_received(const struct member *m, uint64_t block)
{
    for (unsigned i = 0; i < HELD_CELLS; i++) {
        if (CELL_OFFSET(atomic_load(&m->held[i].block)) == block &&
            names(atomic_load(&m->held[i].into), block))
            return true;
    }
    return false;
}

static void sweep_block(void *block, uint64_t dead_id, bool died)
{
    _Atomic uint64_t *word = word_of(block);
    uint64_t old = word ? atomic_load(word) : 0;
    uint64_t owner = dead_id & ID_OWNER;
    unsigned purpose = word_purpose(old);

    if (word_kind(old) != KIND_USED || word_owner(old) != owner)
        return;
    if (was_received(member_of(dead_id), arena_offset(block)))
        pass_on(word, owner, BLOCK_SCRATCH, 0); /* B4 */
    else if (purpose < BLOCK_PURPOSES && orphan_functions[purpose])
        orphan_functions[purpose](block, dead_id, died);
    else
        block_reap(block, dead_id);
}

static void sweep_span(struct span *s, uint64_t dead_id, bool died)
{
    for (uint32_t i = 0; i < s->count; i++) {
        if (word_owner(atomic_load_explicit(&s->words[i], memory_order_relaxed)))
            sweep_block((unsigned char *)s + s->first + (size_t)i * s->size, dead_id, died);
    }
}

static void sweep_heap(uint64_t dead_id, bool died)
{
    for (uint64_t unit = 0; unit < committed();) {
        uint64_t word = atomic_load(unit_word(unit));
        struct span *s = word_kind(word) == KIND_SPAN ? span_at(unit) : NULL;

        if (s)
            sweep_span(s, dead_id, died);
        else
            sweep_block(unit_address(unit), dead_id, died);
        unit += max_u64(run_length(word), 1);
    }
}

void block_sweep(uint64_t dead_id, bool died)
{
    struct member *m = member_of(dead_id);

    /* the cells stay as they are: who takes the slot next clears them */
    for (unsigned i = 0; i < HELD_CELLS; i++) {
        uint64_t offset = CELL_OFFSET(atomic_load(&m->held[i].block));
        void *block = offset ? arena_at(offset, 1) : NULL;

        if (block)
            sweep_block(block, dead_id, died);
    }
    if (atomic_load(&m->held_overflow))
        sweep_heap(dead_id, died);
}

/* ---- Looking ----------------------------------------------------------------------- */

bool block_check(void)
{
    uint64_t end = committed();
    uint64_t unit = 0;

    while (unit < end) {
        uint64_t word = atomic_load(unit_word(unit));

        if (word_kind(word) == KIND_SPAN && !span_at(unit))
            return false;
        unit += max_u64(run_length(word), 1);
    }
    return unit == end;
}

uint64_t block_in_use(void)
{
    uint64_t units = 0;

    for (uint64_t unit = 0; unit < committed();) {
        uint64_t length = run_length(atomic_load(unit_word(unit)));

        units += length;
        unit += max_u64(length, 1);
    }
    return units * UNIT_SIZE;
}

uint64_t block_count(void)
{
    uint64_t count = 0;

    for (uint64_t unit = 0; unit < committed();) {
        uint64_t word = atomic_load(unit_word(unit));
        struct span *s = word_kind(word) == KIND_SPAN ? span_at(unit) : NULL;

        for (uint32_t i = 0; s && i < s->count; i++)
            count += atomic_load(&s->words[i]) != 0;
        count += word_kind(word) == KIND_USED;
        unit += max_u64(run_length(word), 1);
    }
    return count;
}
