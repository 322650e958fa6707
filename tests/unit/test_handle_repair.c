/*
 * What the dead left in the table of handles and in ledgers, and what somebody wrote over there: each
 * hold is given back once, and what cannot be true is left alone.
 */
#include "meanwhile.h"
#include "scarce.h"

#include "flow/handle.h"
#include "flow/ledger.h"
#include "flow/queue.h"

struct told {
    _Atomic uint64_t id;
    _Atomic int go;
};

static struct told *told_new(void)
{
    struct told *told = piu_shared_new(1, sizeof(*told));

    CHECK(told);
    return told;
}

static struct piu_hold hold_new(void)
{
    struct piu_hold hold;

    CHECK_EQ(piu_hold_new(&hold, PIU_KIND_MEMORY, 64), 0);
    return hold;
}

static struct handle_table *table(void)
{
    struct handle_table *t = handles_enter();

    CHECK(t);
    handles_leave(t);
    return t;
}

static struct cell *cell_of(const struct piu_hold *hold)
{
    return cell_at(table(), hold->handle.number);
}

/* ---- The table -------------------------------------------------------------------------------- */

TEST(what_a_dead_one_would_have_done_to_no_cell_is_not_done)
{
    struct piu_hold hold = hold_new();
    struct handle_table *t = table();

    in_child_killed({
        CHECK_EQ(owner_enter(&t->gate, me()), 0);
        t->redo =
            (struct handle_redo){.cell = 12345, .refs = 7, .entry = 4321, .value = 7};
        t->redo.armed = 1;
    });
    member_sweep_dead(true); /* it held what its starter held */
    CHECK_EQ(piu_hold_drop(&hold), 0);
    CHECK_EQ(handles_in_use(), 0);
    CHECK(handles_check(0));
}

TEST(an_object_that_was_written_over_is_not_freed)
{
    struct piu_hold hold = hold_new();
    void *object = hold.object;
    struct cell *c = cell_of(&hold);

    c->object = 12345;
    CHECK_EQ(piu_hold_drop(&hold), 0);
    CHECK(block_is(object));
}

TEST(a_queue_in_the_place_of_one_that_was_held_lives_on)
{
    struct piu_queue *q = piu_queue_new(), *next;
    struct piu_hold hold;

    CHECK_EQ(piu_hold_queue(&hold, q), 0);
    piu_queue_free(q);
    while ((next = piu_queue_new()) != q)
        CHECK(next);
    CHECK_EQ(piu_hold_drop(&hold), 0);
    CHECK_EQ(piu_queue_put(q, "x", 1, PIU_NOW), 0);
    CHECK_EQ(handles_in_use(), 0);
}

TEST(a_condition_ends_whole)
{
    struct piu_lock *lock = piu_shared_new(1, sizeof(*lock));
    struct piu_hold hold = hold_new();
    uint64_t before = block_count();
    struct piu_hold c;

    CHECK_EQ(piu_hold_new(&c, PIU_KIND_CONDITION, sizeof(struct piu_condition)), 0);
    CHECK_EQ(piu_lock_acquire(lock, PIU_NOW), 0);
    CHECK_EQ(piu_condition_wait(c.object, lock, PIU_NOW), -ETIMEDOUT); /* it has a roll */
    CHECK(block_count() > before + 1);
    CHECK_EQ(piu_hold_drop(&c), 0);
    CHECK_EQ(block_count(), before);
    CHECK_EQ(piu_hold_drop(&hold), 0);
}

/* One that seems to be ending, by that member. */
static struct cell *ending(const struct piu_hold *hold, uint64_t ender)
{
    struct cell *c = cell_of(hold);

    c->refs = 0;
    c->ender = ender;
    return c;
}

TEST(only_what_the_dead_one_was_ending_ends_with_it)
{
    struct told *told = told_new();
    struct piu_hold first = hold_new(), second = hold_new();
    struct cell *its, *another;

    in_child_killed({
        hold_new(); /* it has a ledger */
        told->id = me() & ID_MASK;
    });
    another = ending(&first, id_make(9, 9));
    its = ending(&second, told->id);
    sweep_one(&told->id);
    CHECK_EQ(atomic_load(&its->object), 0);
    CHECK(block_is(arena_at(another->object, 1)));
}

TEST(cells_that_are_out_of_reach_are_passed_over)
{
    struct piu_hold hold = hold_new();
    struct cell *c = ending(&hold, id_make(9, 9));
    struct handle_table *t = table();
    uint64_t part = atomic_load(&t->parts[0]);

    t->parts[0] = 12345;
    cells_end_of(id_make(9, 9));
    t->parts[0] = part;
    CHECK(atomic_load(&c->object));
    cells_end_of(id_make(9, 9));
    CHECK_EQ(atomic_load(&c->object), 0);
}

TEST(who_cannot_be_a_member_has_no_table)
{
    hold_new();
    CHECK_EQ(in_child({
                 use_up_descriptors();
                 member_thread = (struct member_thread){0};
                 member_self->id = 0; /* as in a child of _Fork() */
                 CHECK(!handles_enter());
                 CHECK_EQ(errno, EMFILE);
                 cells_end_of(id_make(9, 9));
                 have_descriptors();
             }),
             0);
}

TEST(without_memory_there_is_no_table)
{
    me();
    use_up_memory();
    CHECK(!handles_enter());
    CHECK_EQ(errno, ENOMEM);
    have_memory();
}

/* ---- Ledgers --------------------------------------------------------------------------------------- */

static struct ledger_block *ledger_of_mine(void)
{
    return container_of(arena_at(ledger_mine.parts[0], 1), struct ledger_block, entries);
}

TEST(entries_that_name_nothing_are_passed_over_and_the_others_given_back)
{
    struct told *told = told_new();
    struct piu_hold hold = hold_new(), dead = hold_new();

    CHECK_EQ(piu_hold_drop(&dead), 0);
    in_child_killed({
        struct piu_hold copy;

        CHECK_EQ(piu_hold_take(&copy, &hold.handle), 0);
        ledger_of_mine()->entries[5] = 100000;                 /* no such cell */
        ledger_of_mine()->entries[6] = dead.handle.number + 1; /* nobody holds it */
        told->id = me() & ID_MASK;
    });
    sweep_one(&told->id);
    CHECK_EQ(piu_hold_drop(&hold), 0);
    CHECK_EQ(handles_in_use(), 0);
    CHECK(handles_check(0));
}
