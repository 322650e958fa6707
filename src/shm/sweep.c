/* The sweep: everything here may be done twice, and be cut off anywhere. */
#include "shm/sweep.h"

#include "os/futex.h"
#include "shm/block.h"
#include "shm/walk.h"

#include <limits.h>

static block_orphan *orphan_functions[BLOCK_PURPOSES];

void block_on_orphan(enum block_purpose purpose, block_orphan *function)
{
    orphan_functions[purpose] = function;
}

struct sweep {
    const struct member *member;
    uint64_t id;
    bool died;
};

/* false: to be asked again. */
static bool sweep_block(const struct sweep *sweep, void *block)
{
    _Atomic uint64_t *word = block_word(block);
    uint64_t old = word ? atomic_load(word) : 0;
    unsigned purpose = word_purpose(old);

    if (!word_is_of(old, sweep->id & ID_OWNER))
        return true;
    if (purpose != PURPOSE_PUNCHING && held_received(sweep->member, arena_offset(block)))
        word_pass_on(word, sweep->id & ID_OWNER, BLOCK_SCRATCH, 0);
    else if (purpose < BLOCK_PURPOSES && orphan_functions[purpose])
        return orphan_functions[purpose](block, sweep->id, sweep->died);
    else
        block_reap(block, sweep->id);
    return true;
}

/* Every block of the heap. */
static bool sweep_heap(const struct sweep *sweep)
{
    struct heap_walk walk = {0};
    bool done = true;

    while (heap_walk_next(&walk)) {
        for (uint32_t i = 0; walk.span && i < walk.blocks; i++) {
            if (word_is_of(atomic_load(&walk.span->words[i]), sweep->id & ID_OWNER))
                done &= sweep_block(sweep, heap_walk_block(&walk, i));
        }
        if (!walk.span && word_kind(walk.word) == KIND_USED)
            done &= sweep_block(sweep, unit_address(walk.unit));
    }
    return done;
}

static int sweep_blocks(const struct member *m, uint64_t id, bool died)
{
    struct sweep sweep = {.member = m, .id = id, .died = died};
    bool done = true;
    uint64_t who;
    int r = member_who(&who);

    if (r < 0)
        return r;
    /* the entries stay as they are: who takes the slot next clears them */
    for (unsigned i = 0; i < HELD_ENTRIES; i++) {
        void *block = arena_at(held_block(&m->held[i]), 1);

        if (block)
            done &= sweep_block(&sweep, block);
    }
    if (atomic_load(&m->held_overflow))
        done &= sweep_heap(&sweep);
    if (died)
        spans_reopen();
    return done ? 0 : -EAGAIN;
}

static void wake_owed(struct member *m)
{
    for (unsigned i = 0; i < OPERATIONS; i++) {
        uint64_t offset = atomic_load(&m->operations[i].wake);

        if (offset && offset < arena.range - sizeof(uint32_t) && offset % 4 == 0)
            futex_wake((const _Atomic uint32_t *)(const void *)(arena.base + offset),
                       INT_MAX);
    }
}

int sweep_member(struct member *m, uint64_t id, bool died)
{
    int r = sweep_blocks(m, id, died);

    wake_owed(m);
    return r;
}
