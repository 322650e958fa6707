#include "test.h"

#include "os/clock.h"
#include "task/storm.h"

#define PLACES 2
#define MOST   3 /* of a pool that small */

static const struct piu_death killed = {.exitcode = -SIGKILL};
static const struct piu_death crashed = {.exitcode = -SIGSEGV};
static const struct piu_death gone = {.exitcode = 3};

/* One death every so often: how many until the pool is broken; 0: none of `many` does it. */
static int deaths_until_broken(const struct piu_death *death, bool was_born,
                               int64_t every, uint64_t tasks, int many)
{
    struct storm s = {0};

    for (int i = 1; i <= many; i++) {
        if (storm_note_death(&s, death, was_born, PLACES, (uint64_t)i * tasks,
                             (int64_t)i * every))
            return i;
    }
    return 0;
}

TEST(workers_that_end_by_themselves_break_the_pool_soon)
{
    CHECK_EQ(deaths_until_broken(&crashed, true, 5 * MSEC, 0, 100), MOST + 1);
    CHECK_EQ(deaths_until_broken(&gone, true, 5 * MSEC, 0, 100), MOST + 1);
}

TEST(a_larger_pool_bears_more)
{
    struct storm s = {0};

    for (int i = 1; i <= 16; i++)
        CHECK(!storm_note_death(&s, &crashed, true, 16, 0, i));
    CHECK(storm_note_death(&s, &crashed, true, 16, 0, 17));
}

TEST(workers_that_are_killed_break_the_pool_after_five_seconds_without_a_task)
{
    CHECK_EQ(deaths_until_broken(&killed, true, 100 * MSEC, 0, 1000), 52);
    CHECK_EQ(deaths_until_broken(&killed, false, 100 * MSEC, 0, 1000), 52);
}

TEST(a_finished_task_ends_a_series)
{
    CHECK_EQ(deaths_until_broken(&killed, true, 100 * MSEC, 1, 1000), 0);
    CHECK_EQ(deaths_until_broken(&crashed, true, 100 * MSEC, 1, 1000), 0);
}

TEST(peace_ends_a_series_but_not_in_the_initializer)
{
    CHECK_EQ(deaths_until_broken(&killed, true, 2 * SEC, 0, 1000), 0);
    CHECK_EQ(deaths_until_broken(&crashed, true, 2 * SEC, 0, 1000), 0);
    CHECK_EQ(deaths_until_broken(&killed, false, 2 * SEC, 0, 1000), MOST + 1);
    CHECK_EQ(deaths_until_broken(&crashed, false, 2 * SEC, 0, 1000), MOST + 1);
}

TEST(births_slow_down_and_are_as_fast_as_ever_after_the_storm)
{
    struct storm s = {0};
    int64_t now = SEC, before = 0;

    for (int i = 0; i < MOST; i++) {
        CHECK(!storm_note_death(&s, &killed, true, PLACES, 0, now));
        CHECK_EQ(storm_pause(&s, now), 0);
    }
    for (int i = 0; i < 5; i++) {
        CHECK(!storm_note_death(&s, &killed, true, PLACES, 0, now));
        CHECK(storm_pause(&s, now) > before);
        before = storm_pause(&s, now);
    }
    CHECK(before <= 250 * MSEC);
    CHECK_EQ(storm_pause(&s, now + before), 0);
    CHECK(!storm_note_death(&s, &killed, true, PLACES, 1, now));
    CHECK_EQ(storm_pause(&s, now), 0);
}

TEST(starts_that_fail_are_slower_and_slower_and_after_five_seconds_for_good)
{
    struct storm s = {0};
    int tries = 1;
    int64_t now = SEC;

    while (!storm_note_start(&s, -EAGAIN, now)) {
        CHECK(storm_pause(&s, now) > 0);
        now += storm_pause(&s, now);
        tries++;
    }
    CHECK(now > 6 * SEC && now < 7 * SEC);
    CHECK(tries < 40);
    CHECK(!storm_note_start(&s, 0, now));
    CHECK(!storm_note_start(&s, -EAGAIN, now));
}
