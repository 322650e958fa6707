/* Spans: a search without a lock, one CAS a block. */
#include "shm/walk.h"

#include "shm/block.h"

#include <string.h>

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
#define CLASS_LASTING (CLASSES - 1) /* the last of them */
static_assert(array_size(shapes) <= BLOCK_CLASSES, "shared layout: raise ARENA_STAMP");

unsigned span_class(size_t size)
{
    unsigned class = 0;

    while (shapes[class].size < size)
        class ++;
    return class;
}

unsigned span_class_lasting(void)
{
    return CLASS_LASTING;
}

struct span *span_at(uint64_t unit, const struct shape **ret_shape)
{
    uint64_t word;

    if (unit % SPAN_UNITS || unit + SPAN_UNITS > heap_committed())
        return NULL;
    word = atomic_load(unit_word(unit));
    if (word_kind(word) != KIND_SPAN || word_owner(word) >= CLASSES)
        return NULL;
    *ret_shape = &shapes[word_owner(word)];
    return (struct span *)(void *)unit_address(unit);
}

void *span_block(struct span *s, const struct shape *shape, uint32_t i)
{
    return (unsigned char *)s + shape->first + (size_t)i * shape->size;
}

/* A used word between the search and the header: nobody takes it for a span yet. */
int span_new(unsigned class, const struct holder *h)
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
    held_drop(h, arena_offset(s));
    return 0;
}

void spans_relink(void)
{
    struct arena_header *h = arena_header();
    struct heap_walk walk = {0};

    for (unsigned class = 0; class < CLASSES; class ++)
        atomic_store(&h->classes[class].spans, 0);
    while (heap_walk_next(&walk)) {
        struct block_class *c = walk.span ? &h->classes[walk.shape - shapes] : NULL;

        if (c) {
            atomic_store(&walk.span->next, atomic_load(&c->spans));
            atomic_store(&c->spans, (uint32_t)walk.unit + 1);
        }
    }
}

/*
 * A block of a full span was freed.  It says so, and is where the next search begins.  seq_cst
 * (all of it) for span_find(): either we see `full`, or it sees our free word.
 */
void span_reopen(void *block)
{
    const struct shape *shape;
    uint64_t unit = unit_of(block) / SPAN_UNITS * SPAN_UNITS;
    struct span *s = span_at(unit, &shape);

    if (!s || !atomic_load(&s->full))
        return;
    atomic_store(&s->full, 0);
    atomic_store(&arena_header()->classes[shape - shapes].cursor, (uint32_t)unit + 1);
}

void spans_reopen(void)
{
    const struct shape *shape;

    for (unsigned class = 0; class < CLASSES; class ++) {
        uint32_t unit = atomic_load(&arena_header()->classes[class].spans);
        uint64_t bound = heap_committed() / SPAN_UNITS;
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

        held_take(&wish->holder, arena_offset(block), wish->into);
        if (likely(atomic_compare_exchange_strong(&s->words[i], &old, wish->word))) {
            atomic_store_explicit(&s->cursor, (uint32_t)i, memory_order_relaxed);
            return block;
        }
        held_drop(&wish->holder, arena_offset(block)); /* another was faster */
    }
    return NULL;
}

void *span_search(unsigned class, const struct wish *wish)
{
    struct block_class *c = &arena_header()->classes[class];
    uint64_t bound =
        heap_committed() / SPAN_UNITS * 2 + 2; /* a list that runs in a ring ends too */
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

bool span_check(const struct span *s, const struct shape *shape)
{
    for (uint32_t i = 0; i < shape->count; i++) {
        uint64_t word = atomic_load(&s->words[i]);

        if (word && (word_kind(word) != KIND_USED || word_units(word)))
            return false;
    }
    return true;
}

uint64_t spans_count(void)
{
    uint64_t count = 0;

    for (unsigned class = 0; class < CLASSES; class ++) {
        uint32_t unit = atomic_load(&arena_header()->classes[class].spans);

        while (unit) {
            const struct shape *shape;
            struct span *s = span_at(unit - 1, &shape);

            if (!s || shape != &shapes[class] || count++ > heap_committed())
                return UINT64_MAX;
            unit = atomic_load(&s->next);
        }
    }
    return count;
}
