/* Processes that start and join others; those are daemons, so a starter's death ends them. */
#include "soak.h"

#include <signal.h>

enum { CODE = 7 };

static struct piu_lock *lock; /* piu's shared memory: something to be inside of */

static void set_up(void)
{
    lock = piu_shared_new(1, sizeof(*lock));
}

static int come_and_go(void *argument)
{
    (void)argument;
    if (piu_lock_acquire(lock, PIU_FOREVER) >= 0)
        piu_lock_release(lock);
    return CODE;
}

static int hold_for_ever(void *argument)
{
    (void)argument;
    if (piu_lock_acquire(lock, PIU_FOREVER) >= 0)
        for (;;)
            pause();
    return 0;
}

static void start_and_join(bool kills)
{
    struct piu_process p = {.target = kills ? hold_for_ever : come_and_go,
                            .daemon = true};
    int code = 0, r = ACT("start", piu_process_start(&p));

    if (r < 0) {
        violation("start: %s", piu_strerror(r));
        return;
    }
    if (kills)
        piu_process_kill(&p);
    r = ACT("join", piu_process_join(&p, PIU_FOREVER));
    if (r == 0)
        r = piu_process_exitcode(&p, &code);
    if (r < 0)
        violation("join: %s", piu_strerror(r));
    else if (code != (kills ? -SIGKILL : CODE))
        violation("it ended with %d", code);
    if (ACT("close", piu_process_close(&p)) != 0)
        violation("close refused");
}

static void starter_play(struct actor *a)
{
    while (!atomic_load(&a->stop))
        start_and_join(now_and_then(2));
}

static void check(void)
{
    if (piu_lock_acquire(lock, PIU_SEC(1)) < 0)
        violation("the lock stays held by one that has gone");
    lock = piu_shared_free(lock);
}

const struct subject process_subject = {
    .name = "process",
    .set_up = set_up,
    .check = check,
    .roles = {{.name = "starter", .count = 2, .play = starter_play}},
};
