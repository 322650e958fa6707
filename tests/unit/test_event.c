#include "waits.h"

#include "os/futex.h"
#include "sync/event.h"

static struct piu_event *event_new(void)
{
    struct piu_event *e = piu_shared_new(1, sizeof(*e));

    CHECK(e);
    return e;
}

TEST(all_zero_bytes_are_an_event_that_is_not_set)
{
    struct piu_event *e = event_new();

    CHECK(!piu_event_is_set(e));
    CHECK_EQ(piu_event_wait(e, PIU_NOW), -ETIMEDOUT);
    CHECK_EQ(piu_event_set(e), 0);
    CHECK(piu_event_is_set(e));
    CHECK_EQ(piu_event_wait(e, PIU_NOW), 0);
    CHECK_EQ(piu_event_wait(e, PIU_FOREVER), 0);
    CHECK_EQ(piu_event_set(e), 0);
    CHECK_EQ(piu_event_clear(e), 0);
    CHECK(!piu_event_is_set(e));
    CHECK(event_check(e));
}

TEST(what_is_no_event_is_refused)
{
    CHECK_EQ(piu_event_set(NULL), -EINVAL);
    CHECK_EQ(piu_event_clear(NULL), -EINVAL);
    CHECK_EQ(piu_event_wait(NULL, PIU_NOW), -EINVAL);
    CHECK(!piu_event_is_set(NULL));
}

TEST(timeouts_of_0_negative_and_short_mean_what_they_say)
{
    struct piu_event *e = event_new();

    CHECK_EQ(piu_event_wait(e, PIU_NOW), -ETIMEDOUT);
    CHECK_EQ(piu_event_wait(e, INT64_MIN), -ETIMEDOUT);
    check_times_out(piu_event_wait(e, PIU_MSEC(30)), PIU_MSEC(30));
    check_times_out(piu_event_wait(e, PIU_MSEC(150)), PIU_MSEC(150)); /* several slices */
}

TEST(set_wakes_all_who_sleep)
{
    struct notes *notes = test_shared(sizeof(*notes));
    struct piu_event *e = event_new();
    pid_t waiters[4];

    for (int i = 0; i < 4; i++)
        waiters[i] = child_start({
            notes->about_to_wait++;
            CHECK_EQ(piu_event_wait(e, i % 2 ? PIU_FOREVER : INT64_MAX - 1), 0);
        });
    for (int i = 0; i < 4; i++)
        wait_asleep(waiters[i], notes, 4);
    CHECK_EQ(piu_event_set(e), 0);
    for (int i = 0; i < 4; i++)
        CHECK_EQ(child_wait(waiters[i]), 0);
}

TEST(a_set_that_is_cleared_at_once_is_seen_by_who_waited)
{
    struct notes *notes = test_shared(sizeof(*notes));
    struct piu_event *e = event_new();
    pid_t waiter = child_start({
        notes->about_to_wait++;
        CHECK_EQ(piu_event_wait(e, PIU_FOREVER), 0);
    });

    wait_asleep(waiter, notes, 1);
    stop(waiter); /* it shall not get up in between */
    CHECK_EQ(piu_event_set(e), 0);
    CHECK_EQ(piu_event_clear(e), 0);
    CHECK_EQ(kill(waiter, SIGCONT), 0);
    CHECK_EQ(child_wait(waiter), 0);
    CHECK_EQ(piu_event_wait(e, PIU_NOW), -ETIMEDOUT);
}

TEST(a_waiter_killed_asleep_is_no_harm)
{
    struct notes *notes = test_shared(sizeof(*notes));
    struct piu_event *e = event_new();
    pid_t first = child_start({
        notes->about_to_wait++;
        piu_event_wait(e, PIU_FOREVER);
    });
    pid_t second = child_start({
        notes->about_to_wait++;
        CHECK_EQ(piu_event_wait(e, PIU_FOREVER), 0);
    });

    wait_asleep(first, notes, 2);
    kill_and_reap(first);
    CHECK_EQ(piu_event_set(e), 0);
    CHECK_EQ(child_wait(second), 0);
}

/* As a setter leaves it that is killed between the store and the wake. */
TEST(a_setter_killed_before_the_wake_costs_a_slice_only)
{
    struct notes *notes = test_shared(sizeof(*notes));
    struct piu_event *e = event_new();
    pid_t waiter = child_start({
        notes->about_to_wait++;
        CHECK_EQ(piu_event_wait(e, PIU_FOREVER), 0);
    });
    uint32_t expected;
    _Atomic uint32_t *word;

    wait_asleep(waiter, notes, 1);
    word = (_Atomic uint32_t *)(uintptr_t)event_watch(e, &expected);
    CHECK(word);
    atomic_store(word, 5); /* set once, no sleepers; nobody is woken */
    CHECK_EQ(child_wait(waiter), 0);
}

TEST(an_event_survives_the_death_of_its_setter)
{
    struct piu_event *e = event_new();

    in_child_killed({ piu_event_set(e); });
    CHECK_EQ(piu_event_wait(e, PIU_NOW), 0);
}

TEST(a_signal_handler_ends_the_wait)
{
    struct piu_event *e = event_new();

    check_interrupted(piu_event_wait(e, PIU_FOREVER));
    CHECK(event_check(e));
}

static void wait_in_thread(int i, void *argument)
{
    if (i == 0)
        CHECK_EQ(piu_event_set(argument), 0);
    else
        CHECK_EQ(piu_event_wait(argument, PIU_FOREVER), 0);
}

TEST(threads_may_use_one_in_private_memory)
{
    struct piu_event private_event = {{0}};

    test_threads(4, wait_in_thread, &private_event);
}

TEST(ping_and_pong_never_lose_a_set, .limit = 60)
{
    struct piu_event *ping = event_new(), *pong = event_new();
    enum { ROUNDS = 20000 };
    pid_t child = child_start({
        for (int i = 0; i < ROUNDS; i++) {
            CHECK_EQ(piu_event_wait(ping, PIU_FOREVER), 0);
            CHECK_EQ(piu_event_clear(ping), 0);
            CHECK_EQ(piu_event_set(pong), 0);
        }
    });

    for (int i = 0; i < ROUNDS; i++) {
        CHECK_EQ(piu_event_set(ping), 0);
        CHECK_EQ(piu_event_wait(pong, PIU_FOREVER), 0);
        CHECK_EQ(piu_event_clear(pong), 0);
    }
    CHECK_EQ(child_wait(child), 0);
}
