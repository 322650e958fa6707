/* Processes whose starter is killed, or they themselves: nothing of them is left. */
#include "kill.h"

#include "broken/programs.h"

#include <piu.h>

struct state {
    struct piu_lock lock;
    _Atomic int ran;
};

/* Daemons and workers go with their starter, busy or not; others go on to their end. */
static void nothing_is_left(void *state)
{
    struct state *s = state;

    kill_all_end();
    CHECK_EQ(kill_blocks(), 0);
    CHECK(piu_lock_acquire(&s->lock, PIU_SEC(10)) >= 0);
    CHECK_EQ(piu_lock_release(&s->lock), 0);
}

#define STARTER .size = sizeof(struct state), .forks = true, .check = nothing_is_left

/* ---- Process ------------------------------------------------------------------------------- */

static int use_the_lock(void *state)
{
    struct state *s = state;

    CHECK(piu_lock_acquire(&s->lock, PIU_FOREVER) >= 0);
    s->ran++;
    CHECK_EQ(piu_lock_release(&s->lock), 0);
    return 7;
}

static int hold_for_ever(void *state)
{
    CHECK(piu_lock_acquire(&((struct state *)state)->lock, PIU_FOREVER) >= 0);
    for (;;)
        pause();
}

static void start_and_join(void *state)
{
    struct piu_process p = {.target = use_the_lock, .argument = state};
    int code;

    CHECK_EQ(piu_process_start(&p), 0);
    CHECK_EQ(piu_process_join(&p, PIU_FOREVER), 0);
    CHECK_EQ(piu_process_exitcode(&p, &code), 0);
    CHECK_EQ(code, 7);
    CHECK_EQ(piu_process_close(&p), 0);
}

static void start_a_daemon_and_kill_it(void *state)
{
    struct piu_process p = {.target = hold_for_ever, .argument = state, .daemon = true};

    CHECK_EQ(piu_process_start(&p), 0);
    CHECK_EQ(piu_process_kill(&p), 0);
    CHECK_EQ(piu_process_join(&p, PIU_FOREVER), 0);
    CHECK_EQ(piu_process_close(&p), 0);
}

KILL(process, start_and_join, STARTER, .operation = start_and_join);
KILL(process, daemon, STARTER, .most = 2000, .operation = start_a_daemon_and_kill_it);

/* ---- The child, from the fork on: it is not yet a member ----------------------------------------- */

/* Its end is told as it was, and nothing that it had stays. */
static void its_end_is_told(void *state)
{
    struct state *s = state;
    struct piu_process p = {.target = use_the_lock, .argument = state};
    int code;

    CHECK_EQ(piu_process_start(&p), 0);
    CHECK_EQ(piu_process_join(&p, PIU_FOREVER), 0);
    CHECK_EQ(piu_process_exitcode(&p, &code), 0);
    CHECK(code == 7 || code == -SIGKILL || (code == 0 && kill_now.how == DEATH_EXIT));
    CHECK(code != 7 || s->ran == 1);
    CHECK_EQ(piu_process_close(&p), 0);
    nothing_is_left(state);
}

KILL(process, child, .size = sizeof(struct state), .inside = ROLE_CHILD, .most = 4000,
     .check = its_end_is_told);

static void a_claim_for_ever(void *state)
{
    struct child child;
    int r = child_fork_claimed_for_ever(&child, "child", false);

    if (r == 1)
        child_end(use_the_lock(state));
    CHECK_EQ(r, 0);
    CHECK_EQ(child_join_claimed_for_ever(&child, PIU_FOREVER), 0);
    child_done(&child);
    nothing_is_left(state);
}

TWIN(process, child_claimed_for_ever, .size = sizeof(struct state), .inside = ROLE_CHILD,
     .check = a_claim_for_ever);
