/* Blocks, members, handles and names that are wrong, each in one way. */
#include "kill.h"

#include "shm/arena.h"
#include "shm/block.h"
#include "shm/owner.h"

#include <piu.h>

/* ---- A block is the family's before its address is stored --------------------------------- */

struct state {
    _Atomic uint64_t into;
    volatile uint64_t used, who, refs, entry; /* in this order */
    owner_word word;
    char name[32];
};

#define BROKEN .size = sizeof(struct state)

static void give_before_the_store(void *state)
{
    struct state *s = state;
    void *block;

    CHECK_EQ(block_new(300, BLOCK_SCRATCH, NULL, &block), 0);
    block_give(block);
    s->into = arena_offset(block);
}

static void what_is_not_there_is_free(void *state)
{
    member_sweep_dead(true);
    CHECK_EQ(kill_blocks(), ((struct state *)state)->into != 0);
}

TWIN(block, given_before_it_is_stored, BROKEN, .operation = give_before_the_store,
     .check = what_is_not_there_is_free);

/* ---- The word is cleared, and the block freed after that ------------------------------------- */

static void one_is_there(void *state)
{
    void *block;

    CHECK_EQ(block_new_into(300, &((struct state *)state)->into, &block), 0);
}

static void clear_before_the_free(void *state)
{
    struct state *s = state;
    void *block = arena_at(s->into, 1);

    s->into = 0;
    block_free(block);
}

TWIN(block, cleared_before_it_is_free, BROKEN, .set_up = one_is_there,
     .operation = clear_before_the_free, .check = what_is_not_there_is_free);

/* ---- A slot is taken before it says by whom ---------------------------------------------------- */

static void take_a_slot(void *state)
{
    struct state *s = state;

    s->used = 1;
    s->who = kill_who();
}

static void a_taken_slot_has_an_owner(void *state)
{
    struct state *s = state;

    CHECK(!s->used || s->who);
}

TWIN(member, slot_without_owner, BROKEN, .operation = take_a_slot,
     .check = a_taken_slot_has_an_owner);

/* ---- A sweeper takes the record away before it has done what it says ----------------------------- */

static void one_died(void *state)
{
    struct state *s = state;

    s->used = 1; /* its record: a block to free */
    one_is_there(state);
}

static void record_first(void *state)
{
    struct state *s = state;

    if (s->used) {
        s->used = 0;
        block_free_from(&s->into);
    }
}

static void swept_in_the_end(void *state)
{
    record_first(state);
    member_sweep_dead(true);
    CHECK_EQ(kill_blocks(), 0);
}

TWIN(member, record_gone_before_the_sweep, BROKEN, .set_up = one_died,
     .operation = record_first, .check = swept_in_the_end);

/* ---- A count and what it counts, without a record of both ----------------------------------------- */

static void hold_one(void *state)
{
    struct state *s = state;

    s->refs++;
    s->entry = 1;
}

static void entries_are_counted(void *state)
{
    struct state *s = state;

    CHECK_EQ(s->refs, s->entry);
}

TWIN(handle, count_and_entry_apart, BROKEN, .operation = hold_one,
     .check = entries_are_counted);

/* ---- A name written where others may read it ---------------------------------------------------------- */

static void old_name(void *state)
{
    strcpy(((struct state *)state)->name, "the old name of it");
}

static void overwrite_name(void *state)
{
    volatile char *name = ((struct state *)state)->name;

    for (const char *from = "another one"; *from; from++)
        *name++ = *from;
    *name = '\0';
}

static void one_or_the_other(void *state)
{
    const char *name = ((struct state *)state)->name;

    CHECK(strcmp(name, "the old name of it") == 0 || strcmp(name, "another one") == 0);
}

TWIN(name, half_and_half, BROKEN, .set_up = old_name, .operation = overwrite_name,
     .check = one_or_the_other);

/* ---- A section that is left before its last store ------------------------------------------------------ */

static void leave_too_early(void *state)
{
    struct state *s = state;

    CHECK(owner_enter(&s->word, kill_who()) >= 0);
    s->used++;
    owner_leave(&s->word);
    s->who++;
}

static void dead_inside_is_told(void *state)
{
    struct state *s = state;
    int r = owner_enter(&s->word, kill_who());

    CHECK(s->used == s->who || r == OWNER_DIED);
}

TWIN(owner, left_before_the_last_store, BROKEN, .operation = leave_too_early,
     .check = dead_inside_is_told);

/* ---- A task that is given out before it says to whom ---------------------------------------------------- */

static void a_task(void *state)
{
    ((struct state *)state)->used = 1; /* one is to be done */
}

static void take_and_do(void *state)
{
    struct state *s = state;

    if (s->used) {
        s->used = 0;
        s->who = kill_who(); /* whose it is: for whoever buries him */
        s->entry++;          /* done */
    }
}

static void it_is_to_do_or_done_or_lost(void *state)
{
    struct state *s = state;

    CHECK(s->used || s->entry || s->who);
}

TWIN(pool, leased_to_nobody, BROKEN, .set_up = a_task, .operation = take_and_do,
     .check = it_is_to_do_or_done_or_lost);

/* ---- A child that is known to its starter only when it runs already -------------------------------------- */

static void start_and_note(void *state)
{
    struct state *s = state;
    pid_t pid = fork();

    if (pid == 0)
        for (;;)
            pause();
    s->who = (uint64_t)pid;
    kill((pid_t)s->who, SIGKILL);
    child_wait((pid_t)s->who);
}

/* Nothing of it ends by itself, so there must be a note of it. */
static void it_can_be_ended(void *state)
{
    struct state *s = state;

    CHECK(!kill_has_orphans() || s->who);
}

TWIN(process, started_before_it_is_noted, BROKEN, .operation = start_and_note,
     .check = it_can_be_ended);
