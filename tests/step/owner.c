/* The owner word: piu's own sections, and a release that wakes. */
#include "kill.h"

#include "shm/owner.h"

struct state {
    owner_word word;
    volatile int before, after; /* two instructions */
};

static void write_guarded(struct state *s)
{
    s->before++;
    s->after++;
}

/* Whoever gets in behind a dead one is told, and makes sound what it guards. */
static void repair(struct state *s, int r)
{
    CHECK(r >= 0);
    CHECK(s->before == s->after || r == OWNER_DIED);
    s->after = s->before;
}

static void section(void *state)
{
    struct state *s = state;

    repair(s, owner_enter(&s->word, kill_who()));
    write_guarded(s);
    owner_leave(&s->word);
}

static void acquire(void *state)
{
    struct state *s = state;

    repair(s, owner_acquire(&s->word, kill_who(), CLOCK_FOREVER));
}

static void release_waking(void *state)
{
    struct state *s = state;

    s->word |= ID_WAITERS; /* as if somebody slept */
    owner_release(&s->word, kill_who());
}

static void acquire_and_release(void *state)
{
    struct state *s = state;

    acquire(state);
    write_guarded(s);
    owner_release(&s->word, kill_who());
}

static void dead_in_the_section(void *state)
{
    in_child_killed({ acquire(state); });
}

/* Another one too, that sleeps for it: the wake that the dead one owed is made good. */
static void goes_on(void *state)
{
    struct state *s = state;

    repair(s, owner_acquire(&s->word, kill_who(), 10 * SEC));
    owner_release(&s->word, kill_who());
    CHECK_EQ(owner_enter(&s->word, kill_who()), 0);
    owner_leave(&s->word);
    CHECK_EQ(s->word, 0);
}

#define OWNER .size = sizeof(struct state), .check = goes_on

KILL(owner, section, OWNER, .operation = section);
KILL(owner, section_of_a_dead_one, OWNER, .set_up = dead_in_the_section,
     .operation = section);
KILL(owner, release_that_wakes, OWNER, .prepare = acquire, .operation = release_waking);
KILL(owner, two_sections, OWNER, .operation = section, .other = section);
KILL(owner, user_and_section, OWNER, .operation = acquire_and_release, .other = section);
