/* The zygote: it is killed, or its starter, or the child before it is a member. */
#include "kill.h"

#include "broken/programs.h"

#include <piu.h>

struct state {
    struct piu_process process; /* in shared memory, as the zygote needs it */
    _Atomic int ran, cancelled;
};

static int count_and_give_7(void *state)
{
    ((struct state *)state)->ran++;
    return 7;
}

static void describe(void *state)
{
    struct state *s = state;

    s->process.target = count_and_give_7;
    s->process.argument = s;
}

static int start(struct state *s)
{
    return piu_process_start(&s->process, .how = PIU_ZYGOTE);
}

static int join(struct state *s)
{
    int code;

    CHECK_EQ(piu_process_join(&s->process, PIU_FOREVER), 0);
    CHECK_EQ(piu_process_exitcode(&s->process, &code), 0);
    CHECK_EQ(piu_process_close(&s->process), 0);
    return code;
}

/* Its zygote ends with the starter.  An order stays for a child that may still come for it. */
static void in_a_starter(void (*starts)(struct state *s), void *state)
{
    CHECK_EQ(in_child({ starts(state); }), 0);
    kill_all_end();
    CHECK(kill_blocks() <= ((struct state *)state)->cancelled);
}

#define START .size = sizeof(struct state), .set_up = describe

/* ---- The zygote ------------------------------------------------------------------------------ */

/* A start that says so has run nothing, and another zygote serves. */
static void start_and_join(struct state *s)
{
    int r;

    CHECK_EQ(piu_init(.zygote = true), 0);
    r = start(s);
    if (r < 0) {
        CHECK_EQ(r, -ECHILD);
        s->cancelled++;
        CHECK_EQ(piu_init(.zygote = true), 0);
        CHECK_EQ(start(s), 0);
    }
    CHECK_EQ(join(s), 7);
    CHECK_EQ(s->ran, 1);
}

static void starts_are_told(void *state)
{
    in_a_starter(start_and_join, state);
}

#define STARTS START, .inside = ROLE_ZYGOTE, .check = starts_are_told

KILL(zygote, starts, STARTS, .most = 2000);

TWIN(zygote, speaks_for_the_child, STARTS, .instead.zygote = zygote_speaks_for_the_child);

/* ---- Its child, from the fork on ---------------------------------------------------------------- */

static void start_a_victim(struct state *s)
{
    int code;

    CHECK_EQ(piu_init(.zygote = true), 0);
    victim_inside_opens();
    CHECK_EQ(start(s), 0);
    code = join(s);
    CHECK(code == 7 || code == -SIGKILL || (code == 0 && kill_now.how == DEATH_EXIT));
    CHECK(code != 7 || s->ran == 1);
    s->ran = 0;
    CHECK_EQ(start(s), 0);
    CHECK_EQ(join(s), 7);
    CHECK_EQ(s->ran, 1);
}

static void its_end_is_told(void *state)
{
    in_a_starter(start_a_victim, state);
}

KILL(zygote, child, START, .most = 4000, .inside = ROLE_CHILD, .waits = true,
     .check = its_end_is_told);

/* ---- Who starts -------------------------------------------------------------------------------- */

static void make_a_zygote(void *state)
{
    (void)state;
    CHECK_EQ(piu_init(.zygote = true), 0);
}

static void start_by_it(void *state)
{
    CHECK_EQ(start(state), 0);
    CHECK_EQ(join(state), 7);
}

/*
 * What it could not close goes when the next one starts the same, but for a block that it was killed
 * at between allocating and linking, or unlinking and freeing.
 */
static void another_starts_it(void *state)
{
    struct state *s = state;

    kill_all_end();
    CHECK(s->ran <= 1);
    CHECK(s->ran == 1 || !kill_now.ended);
    s->ran = 0;
    CHECK_EQ(piu_process_start(&s->process), 0);
    CHECK_EQ(join(s), 7);
    CHECK_EQ(s->ran, 1);
    CHECK(kill_blocks() <= 1);
}

KILL(zygote, starter, START, .forks = true, .most = 600, .prepare = make_a_zygote,
     .operation = start_by_it, .check = another_starts_it);
