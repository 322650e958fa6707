/*
 * A condition: makers put tokens down and notify just as many, takers wait for them.  New ones
 * are made only when none is left, so a notify that is lost stops all; what the program itself
 * has to make good is a death between the token and its notify: all are notified.
 */
#include "soak.h"

#include "sync/condition.h"

static struct state { /* piu's shared memory */
    struct piu_lock lock;
    struct piu_condition tokens_came;
    volatile uint64_t tokens;
} * state;

static void set_up(void)
{
    state = piu_shared_new(1, sizeof(*state));
}

/* The lock was got: was its last holder about to notify? */
static void look_after_death(int r)
{
    if (r < 0)
        violation("acquire: %s", piu_strerror(r));
    if (r == PIU_OWNER_DIED)
        ACT("notify_all", piu_condition_notify_all(&state->tokens_came));
}

static void acquire(void)
{
    look_after_death(ACT("acquire", piu_lock_acquire(&state->lock, PIU_FOREVER)));
}

static void release(void)
{
    if (ACT("release", piu_lock_release(&state->lock)) != 0)
        violation("release refused");
}

static void maker_play(struct actor *a)
{
    while (!atomic_load(&a->stop)) {
        acquire();
        if (state->tokens == 0) {
            state->tokens = 1 + random_below(&a->random, 2);
            ACT("notify",
                piu_condition_notify(&state->tokens_came, (unsigned)state->tokens));
        }
        release();
        usleep(20);
    }
}

/*
 * A new one takes no token that is there when it comes, while others wait at the condition: one
 * of those was notified of it, and if it died, another must have been.
 */
static void taker_come(void)
{
    bool theirs = true;

    act_begin("watching a token that others are to take");
    while (theirs) {
        int r = piu_lock_acquire(&state->lock, PIU_FOREVER);

        if (r == PIU_OWNER_DIED)
            piu_condition_notify_all(&state->tokens_came);
        theirs = state->tokens > 0 && piu_condition_waiting(&state->tokens_came) > 0;
        piu_lock_release(&state->lock);
        if (theirs)
            usleep(200);
    }
    act_end();
}

static void taker_play(struct actor *a)
{
    taker_come();
    while (!atomic_load(&a->stop)) {
        acquire();
        while (state->tokens == 0)
            look_after_death(ACT("wait", piu_condition_wait(&state->tokens_came,
                                                            &state->lock, PIU_FOREVER)));
        state->tokens = state->tokens - 1;
        release();
    }
}

static void check(void)
{
    if (!condition_check(&state->tokens_came))
        violation("the condition is not sound");
    piu_lock_acquire(&state->lock, PIU_SEC(1)); /* after all deaths */
    if (piu_condition_waiting(&state->tokens_came) != 0)
        violation("%u still wait at the condition, and all have gone",
                  piu_condition_waiting(&state->tokens_came));
    piu_condition_done(&state->tokens_came);
    state = piu_shared_free(state);
}

const struct subject condition_subject = {
    .name = "condition",
    .set_up = set_up,
    .check = check,
    .roles = {{.name = "taker", .count = 4, .play = taker_play},
              {.name = "maker", .count = 2, .play = maker_play, .last = true}},
};
