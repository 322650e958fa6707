/* Members: join, leave, fork, and the sweep of one that died. */
#include "kill.h"

#include "shm/arena.h"
#include "shm/block.h"
#include "shm/member.h"

#include <piu.h>

#include <sys/stat.h>

struct state {
    _Atomic uint64_t id; /* of the victim, or of the dead one */
    _Atomic uint64_t into;
    _Atomic uint64_t claimed;
    _Atomic uint32_t committed; /* records before */
};

/* Blocks in all conditions, and a wake that is owed; the last is half given away. */
static void leave_a_mess(struct state *s, int small)
{
    uint64_t who = kill_who();
    void *block;

    s->id = who & ID_MASK;
    for (int i = 0; i < small; i++)
        CHECK_EQ(block_new(i % 5 ? 64 : 20000, BLOCK_SCRATCH, NULL, &block), 0);
    CHECK_EQ(block_new(64, BLOCK_SCRATCH, &s->into, &block), 0);
    s->into = arena_offset(block);
    operation_about_to_wake(who, (const _Atomic uint32_t *)(const void *)&s->into);
}

static void dead_with_a_mess(void *state)
{
    in_child_killed({ leave_a_mess(state, 6); });
}

static void dead_with_more_than_entries(void *state)
{
    in_child_killed({ leave_a_mess(state, HELD_ENTRIES + 3); });
}

/* Once an exec'ed victim's process has ended, too, the survivor is alone. */
static void it_is_dead(void *state)
{
    struct state *s = state;

    if (s->id)
        CHECK_EQ(member_fate(s->id), FATE_DIED);
    member_sweep_dead(true);
    CHECK_EQ(kill_living(), 1);
}

static void what_it_had_is_back(void *state)
{
    struct state *s = state;

    it_is_dead(state);
    CHECK(block_check());
    CHECK_EQ(kill_blocks(), s->into != 0);
    if (s->into)
        CHECK_EQ(block_free_from(&s->into), 0);
}

#define MEMBER .size = sizeof(struct state)

/* ---- The sweep ---------------------------------------------------------------------------- */

static void ask_for_its_fate(void *state)
{
    CHECK_EQ(member_fate(((struct state *)state)->id), FATE_DIED);
}

static void sweep(void *state)
{
    (void)state;
    member_sweep_dead(true);
}

KILL(member, sweeper, MEMBER, .set_up = dead_with_a_mess, .operation = ask_for_its_fate,
     .check = what_it_had_is_back);
KILL(member, sweeper_of_many, MEMBER, .set_up = dead_with_more_than_entries, .most = 4000,
     .operation = ask_for_its_fate, .check = what_it_had_is_back);
KILL(member, two_sweepers, MEMBER, .set_up = dead_with_a_mess, .operation = sweep,
     .other = sweep, .check = what_it_had_is_back);

/* ---- The same in a family of its own: the arena would be long to put back ------------------- */

struct large {
    _Atomic uint64_t id;
    uint64_t blocks; /* before */
};

static void dead_with_a_large_block(void *state)
{
    struct large *l = state;
    void *block;

    CHECK(kill_who());
    l->blocks = block_count();
    in_child_killed({
        l->id = kill_who() & ID_MASK;
        CHECK_EQ(block_new(UINT64_C(65) << 20, BLOCK_SCRATCH, NULL, &block), 0);
    });
}

static void join_first(void *state)
{
    (void)state;
    CHECK(kill_who());
}

static void ask_for_that_fate(void *state)
{
    CHECK_EQ(member_fate(((struct large *)state)->id), FATE_DIED);
}

static void all_memory_is_back(void *state)
{
    struct large *l = state;
    struct stat st;

    ask_for_that_fate(state);
    member_sweep_dead(true);
    CHECK(block_check());
    CHECK_EQ(block_count(), l->blocks);
    CHECK_EQ(fstat(arena.fd, &st), 0);
    CHECK(st.st_blocks * 512 < 32 << 20);
}

KILL(member, sweeper_of_a_large_block, .size = sizeof(struct large), .fresh = true,
     .most = 300, .set_up = dead_with_a_large_block, .prepare = join_first,
     .operation = ask_for_that_fate, .check = all_memory_is_back);

/* ---- Join ------------------------------------------------------------------------------------ */

static void join(void *state)
{
    ((struct state *)state)->id = kill_who() & ID_MASK;
}

static void claim(void *state)
{
    uint64_t id;

    CHECK_EQ(member_claim("child", &id), 0);
    ((struct state *)state)->claimed = id;
}

static void claim_and_unclaim(void *state)
{
    claim(state);
    member_unclaim(((struct state *)state)->claimed);
}

static void join_as_claimed(void *state)
{
    struct state *s = state;

    CHECK_EQ(member_join_as(s->claimed, -1), 0);
    join(state);
    CHECK_EQ(s->id, s->claimed);
}

/* No record is left but the last of those that have memory. */
static void records_are_used_up(void *state)
{
    struct state *s = state;
    uint64_t id;

    s->committed = atomic_load(&arena_header()->members_committed);
    do
        CHECK_EQ(member_claim("claim", &id), 0);
    while (id_slot(id) + 1 < s->committed);
    CHECK_EQ(arena_header()->members_committed, s->committed);
}

static void the_dead_fill_the_table(void *state)
{
    for (int i = 0; i < 5; i++)
        in_child_killed({ join(state); });
}

KILL(member, join, MEMBER, .stranger = true, .operation = join, .check = it_is_dead);
KILL(member, join_as_claimed, MEMBER, .stranger = true, .set_up = claim,
     .operation = join_as_claimed, .check = it_is_dead);
KILL(member, join_among_the_dead, MEMBER, .stranger = true,
     .set_up = the_dead_fill_the_table, .operation = join, .check = it_is_dead);
KILL(member, join_in_new_memory, MEMBER, .stranger = true, .set_up = records_are_used_up,
     .operation = join, .check = it_is_dead);
KILL(member, two_join, MEMBER, .stranger = true, .operation = join, .other = join,
     .check = it_is_dead);
KILL(member, claim, MEMBER, .operation = claim_and_unclaim, .check = it_is_dead);

/* ---- Leave ----------------------------------------------------------------------------------- */

static void have_a_block(void *state)
{
    void *block;

    join(state);
    CHECK_EQ(block_new(64, BLOCK_SCRATCH, NULL, &block), 0);
}

static void leave(void *state)
{
    (void)state;
    member_leave();
}

static void it_left_or_died(void *state)
{
    struct state *s = state;
    enum fate fate = member_fate(s->id);

    CHECK(fate == FATE_LEFT || (fate == FATE_DIED && !kill_now.ended));
    member_sweep_dead(true);
    CHECK_EQ(member_fate(s->id), fate);
    CHECK_EQ(kill_living(), 1);
    CHECK_EQ(kill_blocks(), 0);
}

KILL(member, leave, MEMBER, .prepare = have_a_block, .operation = leave,
     .check = it_left_or_died);

/* ---- Fork: the victim is the starter; its child joins, and leaves ------------------------------ */

static void fork_one(void *state)
{
    pid_t pid = fork();

    CHECK(pid >= 0);
    if (pid == 0) {
        join(state);
        exit(0);
    }
    child_wait(pid);
}

static void the_child_has_left(void *state)
{
    struct state *s = state;

    kill_orphans_end();
    if (s->id && s->id != s->claimed)
        CHECK_EQ(member_fate(s->id), FATE_LEFT);
    member_sweep_dead(true);
    CHECK_EQ(kill_living(), 1);
}

static void note_self(void *state)
{
    ((struct state *)state)->claimed = kill_who() & ID_MASK;
}

KILL(member, fork, MEMBER, .forks = true, .prepare = note_self, .operation = fork_one,
     .check = the_child_has_left);
