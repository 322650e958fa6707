/* Names: an object has the old one, the new one, or none, and never half of one. */
#include "kill.h"

#include "shm/block.h"
#include "shm/member.h"

#include <piu.h>

struct state {
    struct piu_lock objects[100];
};

#define OLD "the name that it had at first"
#define NEW "a new one"

static void rename_it(void *state)
{
    CHECK_EQ(piu_name(state, NEW), 0);
}

static void it_has_a_name(void *state)
{
    CHECK_EQ(piu_name(state, OLD), 0);
}

static void others_have_many(void *state)
{
    struct state *s = state;
    uint64_t before;

    it_has_a_name(state);
    do { /* the next one makes the table grow */
        before = block_count();
        for (int i = 1; i < 48; i++)
            CHECK_EQ(piu_name(&s->objects[i], "another"), 0);
    } while (block_count() != before);
}

static void name_one_more(void *state)
{
    CHECK_EQ(piu_name(&((struct state *)state)->objects[50], NEW), 0);
}

static const char *name_of(const void *object)
{
    static char name[32];

    return piu_name_of(object, name, sizeof(name));
}

static bool one_of(const char *name, const char *a, const char *b)
{
    return strcmp(name, a) == 0 || strcmp(name, b) == 0 || strcmp(name, "") == 0;
}

static void the_name_is_whole(void *state)
{
    struct state *s = state;

    member_sweep_dead(true);
    CHECK(one_of(name_of(s), OLD, NEW));
    CHECK(one_of(name_of(&s->objects[50]), "", NEW));
    rename_it(state);
    name_one_more(state);
    CHECK_STR(name_of(s), NEW);
    CHECK_STR(name_of(&s->objects[50]), NEW);
    member_sweep_dead(true);
    CHECK_EQ(kill_blocks(), 1); /* the table */
}

#define NAMES .size = sizeof(struct state), .check = the_name_is_whole

KILL(name, first, NAMES, .operation = rename_it);
KILL(name, another, NAMES, .set_up = it_has_a_name, .operation = rename_it);
KILL(name, table_grows, NAMES, .set_up = others_have_many, .operation = name_one_more);
