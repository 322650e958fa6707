/* Blocks: what a dead one had comes back, what arrived stays, the heap is sound. */
#include "kill.h"

#include "shm/arena.h"
#include "shm/block.h"
#include "shm/heap.h"

#include <piu.h>

#include <sys/stat.h>

#define LARGE (UINT64_C(64) << 20) /* its memory is given back when it is freed */

struct state {
    _Atomic uint64_t into, given; /* offsets of blocks */
};

static void *block_of(size_t size)
{
    void *block = NULL;

    CHECK_EQ(block_new(size, BLOCK_SCRATCH, NULL, &block), 0);
    return block;
}

/* Spans of these sizes are there. */
static void warm(void *state)
{
    (void)state;
    CHECK_EQ(block_free(block_of(64)), 0);
    CHECK_EQ(block_free(block_of(300)), 0);
    CHECK_EQ(block_free(block_of(20000)), 0);
}

static void small(void *state)
{
    (void)state;
    CHECK_EQ(block_free(block_of(64)), 0);
}

static void run(void *state)
{
    (void)state;
    CHECK_EQ(block_free(block_of(20000)), 0);
}

/* What is freed gives its memory back (B7). */
static void enough_is_kept(void *state)
{
    warm(state);
    arena_header()->kept = INT32_MAX;
}

static void new_span(void *state)
{
    void *block;

    (void)state;
    CHECK_EQ(block_new_lasting(BLOCK_SCRATCH, &block), 0);
}

static void grow(void *state)
{
    uint64_t before = heap_committed();

    (void)state;
    block_of((size_t)(before * UNIT_SIZE));
    CHECK(heap_committed() > before);
}

static void into_a_word_and_out(void *state)
{
    struct state *s = state;
    void *block;

    CHECK_EQ(block_new_into(300, &s->into, &block), 0);
    CHECK_EQ(block_free_from(&s->into), 0);
}

static void give(void *state)
{
    struct state *s = state;
    void *block = block_of(64);

    block_aim(block, &s->given);
    s->given = arena_offset(block);
    block_give(block);
}

static void take_from_the_family(void *state)
{
    struct state *s = state;
    void *block = arena_at(s->into, 1);

    CHECK_EQ(block_take(block, BLOCK_SCRATCH, &s->into), 0);
    s->into = 0;
    block_aim(block, NULL);
}

static void one_is_there(void *state)
{
    struct state *s = state;
    void *block;

    warm(state);
    CHECK_EQ(block_new_into(300, &s->into, &block), 0);
}

static void hold_more_than_entries(void *state)
{
    (void)state;
    for (int i = 0; i < HELD_ENTRIES + 3; i++)
        block_of(64);
}

/* Nothing is lost, and what arrived is there. */
static void nothing_is_lost(void *state)
{
    struct state *s = state;
    void *block = NULL;

    member_sweep_dead(true);
    CHECK(block_check());
    CHECK_EQ(kill_blocks(), (s->into != 0) + (s->given != 0));
    if (s->into)
        CHECK_EQ(block_free_from(&s->into), 0);
    if (s->given)
        CHECK_EQ(block_free_from(&s->given), 0);
    CHECK_EQ(block_new_family(64, &block), 0);
    CHECK_EQ(block_free(block), 0);
    CHECK_EQ(kill_blocks(), 0);
}

#define BLOCK .size = sizeof(struct state), .check = nothing_is_lost

KILL(block, small, BLOCK, .set_up = warm, .operation = small);
KILL(block, small_holding_many, BLOCK, .set_up = warm, .prepare = hold_more_than_entries,
     .operation = small);
KILL(block, run, BLOCK, .set_up = warm, .operation = run);
KILL(block, run_beyond_what_is_kept, BLOCK, .set_up = enough_is_kept, .operation = run);
KILL(block, new_span, BLOCK, .operation = new_span);
KILL(block, first_of_its_size, BLOCK, .operation = small);
KILL(block, arena_grows, BLOCK, .operation = grow);
KILL(block, into_a_word_and_out, BLOCK, .set_up = warm, .operation = into_a_word_and_out);
KILL(block, into_a_word_and_out_holding_many, BLOCK, .set_up = warm,
     .prepare = hold_more_than_entries, .operation = into_a_word_and_out);
KILL(block, give, BLOCK, .set_up = warm, .operation = give);
KILL(block, take, BLOCK, .set_up = one_is_there, .operation = take_from_the_family);

/* ---- A large one, in a family of its own: the arena would be long to put back ------------------ */

struct large {
    uint64_t blocks; /* before */
};

static void *large;

static void count_before(void *state)
{
    CHECK(kill_who());
    ((struct large *)state)->blocks = block_count();
}

static void large_comes(void *state)
{
    (void)state;
    large = block_of(LARGE);
}

static void large_goes(void *state)
{
    (void)state;
    CHECK_EQ(block_free(large), 0);
}

static void its_memory_is_back(void *state)
{
    struct large *l = state;
    struct stat st;

    member_sweep_dead(true);
    CHECK(block_check());
    CHECK_EQ(block_count(), l->blocks);
    CHECK_EQ(fstat(arena.fd, &st), 0);
    CHECK((uint64_t)st.st_blocks * 512 < LARGE / 2);
    large_comes(state);
    large_goes(state);
}

KILL(block, large, .size = sizeof(struct large), .fresh = true, .most = 300,
     .set_up = count_before, .prepare = large_comes, .operation = large_goes,
     .check = its_memory_is_back);

/* ---- The family's memory as programs see it ---------------------------------------------------- */

static void shared_new_and_free(void *state)
{
    void *memory = piu_shared_new(3, 100);

    (void)state;
    CHECK(memory);
    piu_shared_free(memory);
}

/* One that was finished, and not yet freed, is the family's: only its address is gone. */
static void one_may_be_left(void *state)
{
    (void)state;
    member_sweep_dead(true);
    CHECK(kill_blocks() == 0 || (kill_blocks() == 1 && !kill_now.ended));
}

KILL(block, shared, .size = sizeof(struct state), .set_up = warm,
     .operation = shared_new_and_free, .check = one_may_be_left);

/* ---- Two ------------------------------------------------------------------------------------- */

KILL(block, two_small, BLOCK, .set_up = warm, .operation = small, .other = small);
KILL(block, small_and_new_span, BLOCK, .set_up = warm, .operation = new_span,
     .other = small);
KILL(block, two_runs, BLOCK, .set_up = warm, .operation = run, .other = run);
KILL(block, giver_and_small, BLOCK, .set_up = warm, .operation = give, .other = small);
