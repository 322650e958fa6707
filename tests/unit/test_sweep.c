/* The sweep: what a member leaves is dealt with once, by whoever comes, however often. */
#include "waits.h"

#include "os/clock.h"
#include "os/futex.h"
#include "shm/arena.h"
#include "shm/block.h"
#include "shm/owner.h"

static uint64_t me(void)
{
    uint64_t who = 0;

    CHECK_EQ(member_who(&who), 0);
    return who;
}

struct told {
    _Atomic uint64_t id;
    _Atomic uint64_t into;
    _Atomic uint32_t futex;
    _Atomic int woken;
};

static struct told *told_new(void)
{
    struct told *told = piu_shared_new(1, sizeof(*told));

    CHECK(told);
    return told;
}

/* Blocks in all conditions; the last is half given away. */
static void leave_a_mess(struct told *told)
{
    void *block;

    told->id = me() & ID_MASK;
    for (int i = 0; i < 40; i++)
        CHECK_EQ(block_new(i % 5 ? 64 : 30000, BLOCK_SCRATCH, NULL, &block), 0);
    CHECK_EQ(block_new(UINT64_C(65) << 20, BLOCK_SCRATCH, NULL, &block), 0);
    CHECK_EQ(block_new(64, BLOCK_SCRATCH, &told->into, &block), 0);
    told->into = arena_offset(block);
}

static void check_clean(struct told *told, uint64_t before)
{
    CHECK(block_check());
    CHECK_EQ(block_count(), before + 1);
    CHECK_EQ(member_fate(told->id), FATE_DIED);
    CHECK_EQ(block_free_from(&told->into), 0);
}

TEST(any_number_of_survivors_may_sweep_at_once_and_again)
{
    struct told *told = told_new();
    uint64_t before = block_count();

    for (int round = 0; round < 20; round++) {
        pid_t children[6];

        in_child_killed({ leave_a_mess(told); });
        for (int i = 0; i < 6; i++)
            children[i] = child_start({ CHECK_EQ(member_fate(told->id), FATE_DIED); });
        for (int i = 0; i < 6; i++)
            CHECK_EQ(child_wait(children[i]), 0);
        member_fate(told->id);
        check_clean(told, before);
    }
}

TEST(sweepers_that_are_killed_leave_the_rest_to_the_next, .limit = 180)
{
    struct told *told = told_new();
    uint64_t before = block_count(), seed = 11;

    for (int round = 0; round < 60; round++) {
        pid_t child;

        in_child_killed({ leave_a_mess(told); });
        child = child_start({
            me();
            for (;;)
                member_fate(told->id);
        });
        usleep((useconds_t)(random_next(&seed) % 3000));
        kill_and_reap(child);
        member_sweep_dead(false);
        check_clean(told, before);
    }
}

TEST(a_wake_that_the_dead_one_owed_is_made_good)
{
    struct told *told = told_new();
    pid_t waiter;

    me();
    waiter = child_start({
        me();
        told->woken = 1;
        CHECK_EQ(futex_wait(&told->futex, 0, CLOCK_FOREVER), 0);
        told->woken = 2;
    });
    test_wait_until(told->woken == 1 && is_asleep(waiter));
    in_child_killed({
        told->id = me() & ID_MASK;
        operation_about_to_wake(me(), &told->futex);
    });
    member_fate(told->id);
    CHECK_EQ(child_wait(waiter), 0);
    CHECK_EQ(told->woken, 2);
}

/* What it left in its record may be anything. */
TEST(a_record_full_of_nonsense_is_swept_without_harm)
{
    uint64_t seed = 77;

    me();
    for (int round = 0; round < 50; round++) {
        struct told *told = told_new();
        uint64_t before = block_count();

        in_child_killed({
            struct member *m = member_of(me());

            told->id = me() & ID_MASK;
            for (int i = 0; i < HELD_ENTRIES; i++) {
                m->held[i].block = random_next(&seed) >> (random_next(&seed) % 40);
                m->held[i].into = random_next(&seed) >> (random_next(&seed) % 40);
            }
            for (int i = 0; i < OPERATIONS; i++)
                m->operations[i].wake = random_next(&seed) >> (random_next(&seed) % 40);
        });
        random_next(&seed);
        CHECK_EQ(member_fate(told->id), FATE_DIED);
        CHECK_EQ(block_count(), before);
        CHECK(block_check());
        piu_shared_free(told);
    }
}

/* A process whose first call finds the dead one: it is no member yet, and must not wait for itself. */
static bool take_for_ever(void *block, uint64_t dead_id, bool died)
{
    (void)died;
    CHECK(me() != 0);
    block_reap(block, dead_id);
    return true;
}

TEST(who_joins_where_all_slots_are_those_of_the_dead_does_not_wait_for_itself)
{
    uint64_t id, before;

    me();
    while (member_claim("claim", &id) == 0)
        ;
    for (uint32_t slot = 2; slot < 20; slot++)
        member_unclaim(id_make(slot, 0));
    before = block_count();
    block_on_orphan(BLOCK_TAKEN, take_for_ever);
    for (int i = 0; i < 40; i++)
        in_child_killed({
            uint64_t who;
            void *block;

            if (member_who(&who) == 0)
                block_new(64, BLOCK_TAKEN, NULL, &block);
        });
    member_sweep_dead(true);
    CHECK_EQ(block_count(), before);
}
