/* An event that is set and cleared at once: who waits when it is set gets up. */
#include "soak.h"

#include "sync/event.h"

static struct piu_event *event; /* piu's shared memory */

static void set_up(void)
{
    event = piu_shared_new(1, sizeof(*event));
}

static void setter_play(struct actor *a)
{
    while (!atomic_load(&a->stop)) {
        ACT("set", piu_event_set(event));
        ACT("clear", piu_event_clear(event));
        usleep(200);
    }
}

static void waiter_play(struct actor *a)
{
    while (!atomic_load(&a->stop)) {
        int64_t timeout = now_and_then(8) ? PIU_MSEC(1) : PIU_FOREVER;
        int r = ACT("wait", piu_event_wait(event, timeout));

        if (r != 0 && r != -ETIMEDOUT)
            violation("wait: %s", piu_strerror(r));
        usleep(20); /* a setter that is killed leaves it set for a while */
    }
}

static void check(void)
{
    if (!event_check(event))
        violation("the event is not sound");
    event = piu_shared_free(event);
}

const struct subject event_subject = {
    .name = "event",
    .set_up = set_up,
    .check = check,
    .roles = {{.name = "waiter", .count = 3, .play = waiter_play},
              {.name = "setter", .count = 1, .play = setter_play, .last = true}},
};
