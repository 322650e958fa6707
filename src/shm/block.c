/* Blocks: one word allocates, one word frees, whatever they lie in. */
#include "shm/block.h"

#include "shm/owner.h"
#include "shm/span.h"

#include <string.h>

static_assert(BLOCK_PURPOSES <= PURPOSE_PUNCHING, "three bits of a word");

_Atomic uint64_t *block_word(const void *address)
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

/* Of the span that it lies in; NULL: in none. */
static const struct shape *shape_of(const void *block)
{
    uint64_t unit = unit_of(block);
    const struct shape *shape;

    return span_at(unit - unit % SPAN_UNITS, &shape) ? shape : NULL;
}

/* ---- New ones -------------------------------------------------------------------- */

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
        return small_new(span_class(size), &wish, ret);
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

    return r < 0 ? r : small_new(span_class_lasting(), &wish, ret);
}

int block_new_family(size_t size, void **ret)
{
    void *block = NULL;
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
    void *block = NULL;
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

/* ---- From one owner to another --------------------------------------------------- */

void block_give(void *block)
{
    _Atomic uint64_t *word = block_word(block);
    struct holder h;

    if (!word || holder_get(&h) < 0)
        return;
    held_adopt(&h, arena_offset(block));
    word_pass_on(word, h.who & ID_OWNER, BLOCK_SCRATCH, 0);
    held_drop(&h, arena_offset(block));
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
    _Atomic uint64_t *word = block_word(block);
    struct holder h;
    int r = holder_get(&h);

    if (r < 0 || !word)
        return r < 0 ? r : -ESTALE;
    held_take(&h, arena_offset(block), arena_offset((const void *)into));
    if (take_over(word, purpose, h.who & ID_OWNER))
        return 0;
    held_drop(&h, arena_offset(block));
    return -ESTALE;
}

void block_aim(void *block, const _Atomic uint64_t *into)
{
    struct holder h;

    if (holder_get(&h) == 0)
        held_aim(&h, arena_offset(block),
                 into ? arena_offset((const void *)into) | INTO_PENDING : 0);
}

void block_set_purpose(void *block, enum block_purpose purpose)
{
    _Atomic uint64_t *word = block_word(block);
    uint64_t who;

    if (word && member_who(&who) == 0)
        word_pass_on(word, who & ID_OWNER, purpose, who & ID_OWNER);
}

bool block_settle(void *block)
{
    _Atomic uint64_t *word = block_word(block);
    uint64_t old = word ? atomic_load(word) : 0;

    return word_is_of(old, 0) || (word && take_over(word, BLOCK_SCRATCH, 0));
}

int block_inherit(void *block, uint64_t dead_id, enum block_purpose purpose)
{
    _Atomic uint64_t *word = block_word(block);
    struct holder h;
    int r = word ? holder_get(&h) : -ESTALE;

    if (r < 0)
        return r;
    held_take(&h, arena_offset(block), 0);
    if (word_pass_on(word, dead_id & ID_OWNER, purpose, h.who & ID_OWNER))
        return 0;
    held_drop(&h, arena_offset(block));
    return -ESTALE;
}

/* ---- Freeing ----------------------------------------------------------------------- */

/* From `old`, used, to free, if nobody is faster. */
static bool word_free(const struct holder *h, void *block, _Atomic uint64_t *word,
                      uint64_t old)
{
    if (shape_of(block)) {
        if (!atomic_compare_exchange_strong(word, &old, 0))
            return false;
        span_reopen(block);
        return true;
    }
    if (!word_units(old) || word_units(old) > heap_committed() - unit_of(block))
        return false; /* somebody wrote over it */
    return run_free(h, block, word, old);
}

int block_free(void *block)
{
    _Atomic uint64_t *word = block_word(block);
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
        held_adopt(&h, arena_offset(block));
    r = word_free(&h, block, word, old) ? 0 : -EINVAL;
    if (mine && r == 0)
        held_drop(&h, arena_offset(block));
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

void block_reap(void *block, uint64_t dead_id)
{
    _Atomic uint64_t *word = block_word(block);
    uint64_t old = word ? atomic_load(word) : 0;
    struct holder h;

    if (word_is_of(old, dead_id & ID_OWNER) && holder_get(&h) == 0)
        word_free(&h, block, word, old);
}

/* ---- Looking ----------------------------------------------------------------------- */

bool block_is(const void *address)
{
    _Atomic uint64_t *word = block_word(address);

    return word && word_kind(atomic_load(word)) == KIND_USED;
}

size_t block_size(const void *block)
{
    _Atomic uint64_t *word = block_word(block);
    uint64_t old = word ? atomic_load(word) : 0;
    const struct shape *shape;

    if (word_kind(old) != KIND_USED)
        return 0;
    /* the span first: what somebody wrote into the word of a block in it is not a length */
    shape = shape_of(block);
    return shape
               ? shape->size
               : min_u64(word_units(old), heap_committed() - unit_of(block)) * UNIT_SIZE;
}

uint64_t block_owner(const void *block)
{
    _Atomic uint64_t *word = block_word(block);

    return word ? word_owner(atomic_load(word)) : 0;
}

enum block_purpose block_purpose(const void *block)
{
    _Atomic uint64_t *word = block_word(block);
    uint64_t old = word ? atomic_load(word) : 0;

    return word_kind(old) == KIND_USED ? (enum block_purpose)word_purpose(old)
                                       : BLOCK_PURPOSES;
}

bool block_is_mine(const void *block, enum block_purpose purpose)
{
    _Atomic uint64_t *word = block_word(block);
    uint64_t old = word ? atomic_load(word) : 0;
    uint64_t who;

    return word_kind(old) == KIND_USED && member_who(&who) == 0 &&
           word_owner(old) == (who & ID_OWNER) && word_purpose(old) == (unsigned)purpose;
}
