/* The whole heap, looked at: for the sweep, for checks and for tests. */
#include "shm/walk.h"

#include "shm/block.h"

bool heap_walk_next(struct heap_walk *walk)
{
    walk->unit = walk->next;
    if (walk->unit >= heap_committed())
        return false;
    walk->word = atomic_load(unit_word(walk->unit));
    walk->length = run_length(walk->word);
    walk->next = walk->unit + max_u64(walk->length, 1);
    walk->span = span_at(walk->unit, &walk->shape);
    walk->blocks = walk->span ? walk->shape->count : 1;
    return true;
}

void *heap_walk_block(const struct heap_walk *walk, uint32_t i)
{
    return walk->span ? span_block(walk->span, walk->shape, i) : unit_address(walk->unit);
}

static bool heap_check(void)
{
    struct heap_walk walk = {0};
    uint64_t spans = 0;

    while (heap_walk_next(&walk)) {
        if ((word_kind(walk.word) == KIND_SPAN) != (walk.span != NULL) ||
            !run_check(walk.unit, walk.next - walk.unit) ||
            (walk.span && !span_check(walk.span, walk.shape)))
            return false;
        spans += walk.span != NULL;
    }
    return walk.unit == heap_committed() && spans_count() == spans;
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
    struct heap_walk walk = {0};

    while (heap_walk_next(&walk)) {
        for (uint32_t i = 0; i < walk.blocks; i++) {
            void *block = heap_walk_block(&walk, i);

            if (block_purpose(block) == purpose)
                function(block, block_owner(block), argument);
        }
    }
}

uint64_t block_in_use(void)
{
    struct heap_walk walk = {0};
    uint64_t units = 0;

    while (heap_walk_next(&walk))
        units += walk.length;
    return units * UNIT_SIZE;
}

uint64_t block_count(void)
{
    struct heap_walk walk = {0};
    uint64_t count = 0;

    while (heap_walk_next(&walk)) {
        for (uint32_t i = 0; walk.span && i < walk.blocks; i++)
            count += atomic_load(&walk.span->words[i]) != 0;
        count += walk.length && !walk.span;
    }
    return count;
}
