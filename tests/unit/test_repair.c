/*
 * What the dead left in the heap and in the table of members, and what somebody wrote over there:
 * who sweeps, takes over or asks goes on, and touches nothing that is somebody's.
 */
#include "meanwhile.h"
#include "scarce.h"

#include "shm/block.h"
#include "shm/fate.h"
#include "shm/heap.h"
#include "shm/history.h"
#include "shm/life.h"
#include "shm/slot.h"
#include "shm/span.h"

#define LARGE (UINT64_C(65) << 20) /* gives its memory back */

struct told {
    _Atomic uint64_t id, block, into;
    _Atomic int go;
};

static struct told *told_new(void)
{
    struct told *told = piu_shared_new(1, sizeof(*told));

    CHECK(told);
    return told;
}

/* By a member that is killed then, if not by ourselves. */
static void *new_block(struct told *told, size_t size)
{
    void *block = NULL;

    CHECK_EQ(block_new(size, BLOCK_SCRATCH, NULL, &block), 0);
    told->id = me() & ID_MASK;
    told->block = arena_offset(block);
    return block;
}

/* ---- Blocks ----------------------------------------------------------------------------------- */

TEST(where_no_block_can_be_nothing_is_settled_inherited_or_reaped)
{
    struct told *told = told_new();
    unsigned char *inside = (unsigned char *)new_block(told, 256) + 64;
    uint64_t before = block_count();

    CHECK(!block_settle(inside));
    CHECK_EQ(block_inherit(inside, told->id, BLOCK_SCRATCH), -ESTALE);
    block_reap(inside, told->id);
    CHECK_EQ(block_count(), before);
    CHECK_EQ(block_free(inside - 64), 0);
}

TEST(a_block_that_a_dead_one_was_giving_back_goes_to_nobody_and_then_it_is_free)
{
    struct told *told = told_new();
    uint64_t before = block_count();
    void *block;

    in_child_killed({
        block = new_block(told, LARGE);
        *block_word(block) =
            word_owned_by(*block_word(block), PURPOSE_PUNCHING, told->id & ID_OWNER);
    });
    block = arena_at(told->block, 1);
    CHECK_EQ(block_take(block, BLOCK_SCRATCH, NULL), -ESTALE);
    CHECK(!block_settle(block));
    CHECK_EQ(block_inherit(block, told->id, BLOCK_SCRATCH), -ESTALE);
    sweep_one(&told->id);
    CHECK_EQ(block_count(), before);
    CHECK(block_check());
}

TEST(a_block_whose_purpose_is_none_is_freed_with_its_owner)
{
    struct told *told = told_new();
    uint64_t before = block_count();

    in_child_killed({
        void *block = new_block(told, 64);

        *block_word(block) =
            word_owned_by(*block_word(block), BLOCK_PURPOSES, told->id & ID_OWNER);
    });
    sweep_one(&told->id);
    CHECK_EQ(block_count(), before);
}

/* Its slot is 0, where nobody is. */
TEST(the_block_of_an_owner_that_cannot_be_is_taken)
{
    void *block = new_block(told_new(), 64);

    *block_word(block) = word_owned_by(*block_word(block), BLOCK_SCRATCH, 5);
    CHECK_EQ(block_free(block), -EINVAL);
    CHECK_EQ(block_take(block, BLOCK_SCRATCH, NULL), 0);
    CHECK_EQ(block_free(block), 0);
}

static void pass_on(int i, void *block)
{
    uint64_t owner = me() & ID_OWNER;

    begin_together(i);
    for (int n = 0; n < 2000000; n++)
        CHECK(word_pass_on(block_word(block), owner, (unsigned)i, owner));
}

TEST(threads_that_change_a_block_at_once_both_have_their_way)
{
    void *block = new_block(told_new(), 64);

    test_threads(2, pass_on, block);
    CHECK_EQ(block_free(block), 0);
}

TEST(a_word_that_a_dead_one_aimed_between_words_received_nothing)
{
    struct told *told = told_new();
    uint64_t before = block_count();

    in_child_killed({
        struct holder h;
        void *block = new_block(told, 64);

        CHECK_EQ(holder_get(&h), 0);
        held_aim(&h, told->block, arena_offset((void *)&told->into) + 4);
        told->into = arena_offset(block);
    });
    sweep_one(&told->id);
    CHECK_EQ(block_count(), before);
}

TEST(lists_of_spans_that_were_written_over_end_the_sweep_too)
{
    struct told *told = told_new();
    struct block_class *class = &arena_header()->classes[span_class(64)];
    uint32_t spans = atomic_load(&class->spans);
    const struct shape *shape;
    struct span *s = span_at(spans - 1, &shape);
    uint32_t next = atomic_load(&s->next);

    for (int way = 0; way < 2; way++) {
        in_child_killed({ new_block(told, 64); });
        if (way)
            s->next = spans; /* a ring */
        else
            class->spans = 12345;
        sweep_one(&told->id);
        class->spans = spans;
        s->next = next;
        CHECK(!block_is(arena_at(told->block, 1)));
        CHECK(block_check());
    }
}

/* ---- Who cannot be a member --------------------------------------------------------------------- */

TEST(who_cannot_be_a_member_leaves_the_sweep_to_others)
{
    struct told *told = told_new();
    void *block;

    in_child_killed({ new_block(told, 64); });
    block = arena_at(told->block, 1);
    CHECK_EQ(in_child({
                 use_up_descriptors();
                 CHECK_EQ(member_fate(told->id), FATE_DIED);
                 block_reap(block, told->id);
                 CHECK(block_inherit(block, told->id, BLOCK_SCRATCH) < 0);
                 CHECK(block_is(block));
                 have_descriptors();
             }),
             0);
    CHECK_EQ(block_owner(block), told->id & ID_OWNER);
    sweep_one(&told->id);
    CHECK(!block_is(block));
}

/* ---- Members -------------------------------------------------------------------------------------- */

TEST(one_whose_life_was_written_over_is_asked_for_and_lives)
{
    struct told *told = told_new();
    struct piu_lock *lock = piu_shared_new(1, sizeof(*lock));
    _Atomic uint32_t *life;
    uint32_t before;
    pid_t child;

    child = child_start({
        CHECK_EQ(piu_lock_acquire(lock, PIU_NOW), 0);
        told->id = me() & ID_MASK;
        test_wait_until(told->go);
    });
    test_wait_until(told->id);
    life = life_futex(member_of(told->id));
    before = atomic_exchange(life, 0);
    CHECK(!member_seems_alive(told->id));
    CHECK_EQ(member_fate(told->id), FATE_ALIVE);
    CHECK_EQ(piu_lock_acquire(lock, PIU_MSEC(30)), -ETIMEDOUT);
    atomic_store(life, before);
    told->go = 1;
    CHECK_EQ(child_wait(child), 0);
}

TEST(nobody_renews_the_life_of_another)
{
    struct told *told = told_new();
    _Atomic uint32_t *life;
    uint32_t before;

    in_child_killed({ told->id = me(); });
    life = life_futex(member_of(told->id));
    before = atomic_load(life);
    CHECK(before & FUTEX_OWNER_DIED);
    member_renew(told->id);
    CHECK_EQ(atomic_load(life), before);
}

/* The next claim, or join, comes to that slot first. */
static void next_slot_is(uint64_t id)
{
    arena_header()->member_cursor = id_slot(id) - 1;
}

TEST(who_joins_takes_the_claim_of_a_dead_one_and_not_that_of_a_living_one)
{
    struct told *told = told_new();
    uint64_t id;

    me();
    for (int way = 0; way < 2; way++) {
        if (way)
            in_child_killed({
                me();
                CHECK_EQ(member_claim("claim", &id), 0);
                told->block = id;
            });
        else
            CHECK_EQ(member_claim("claim", &id), 0);
        id = way ? atomic_load(&told->block) : id;
        next_slot_is(id);
        CHECK_EQ(in_child({ told->id = me() & ID_MASK; }), 0);
        CHECK_EQ(id_slot(told->id) == id_slot(id), way);
        CHECK_EQ(id_generation(told->id) > id_generation(id), way);
        member_unclaim(id);
    }
}

TEST(the_child_of_a_claim_before_is_not_the_child_of_this_one)
{
    uint64_t id, next;

    me();
    CHECK_EQ(member_claim("one", &id), 0);
    member_claim_child(id, getpid());
    CHECK_EQ(slot_child(member_of(id), atomic_load(&member_of(id)->life)), getpid());
    member_unclaim(id);
    next_slot_is(id);
    CHECK_EQ(member_claim("other", &next), 0);
    CHECK_EQ(id_slot(next), id_slot(id));
    CHECK_EQ(slot_child(member_of(next), atomic_load(&member_of(next)->life)), 0);
    member_unclaim(next);
}

TEST(a_child_that_was_told_nonsense_takes_a_slot_of_its_own)
{
    uint64_t claimed, ours = me() & ID_MASK;

    CHECK_EQ(member_claim("claim", &claimed), 0);
    {
        uint64_t ids[] = {id_make(MEMBER_SLOTS - 1, 3), ours,
                          id_make(id_slot(claimed), id_generation(claimed) + 1)};

        for (unsigned i = 0; i < array_size(ids); i++)
            CHECK_EQ(in_child({
                         CHECK_EQ(member_join_as(ids[i], -1), 0);
                         CHECK((me() & ID_MASK) != ids[i]);
                     }),
                     0);
    }
    member_unclaim(claimed);
    CHECK_EQ(member_fate(ours), FATE_ALIVE);
}

/* ---- History ---------------------------------------------------------------------------------------- */

#define ROUND (UINT64_C(48) * HISTORY_WORDS) /* generations until a word is used again */

TEST(a_slot_that_forgot_a_generation_does_not_remember_it_again)
{
    static struct member m;

    history_note_left(&m, 7);
    CHECK_EQ(history_read(&m, 7), FATE_LEFT);
    CHECK_EQ(history_read(&m, 8), FATE_DIED);
    history_note_left(&m, ROUND + 8);
    CHECK_EQ(history_read(&m, 7), FATE_DIED);
    CHECK_EQ(history_read(&m, ROUND + 8), FATE_LEFT);
    history_note_left(&m, 7); /* by a sweep that was very slow */
    CHECK_EQ(history_read(&m, 7), FATE_DIED);
    CHECK_EQ(history_read(&m, ROUND + 8), FATE_LEFT);
}

static void note_a_half(int i, void *argument)
{
    struct member *m = argument;

    begin_together(i);
    /* again and again: in the next round, of the same word */
    for (uint64_t round = 0; round < 100000; round++) {
        for (uint64_t bit = (uint64_t)i; bit < 48; bit += 2)
            history_note_left(m, round / 5000 * ROUND + bit);
    }
}

TEST(generations_that_are_noted_at_once_are_all_remembered)
{
    static struct member m;

    test_threads(2, note_a_half, &m);
    for (uint64_t bit = 0; bit < 48; bit++)
        CHECK_EQ(history_read(&m, 19 * ROUND + bit), FATE_LEFT);
}
