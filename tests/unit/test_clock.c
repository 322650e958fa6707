#include "test.h"

#include "os/clock.h"

TEST(the_clock_never_goes_back)
{
    int64_t before = clock_now();

    CHECK(before > 0);
    for (int i = 0; i < 1000; i++) {
        int64_t now = clock_now();

        CHECK(now >= before);
        before = now;
    }
}

TEST(a_timeout_of_nothing_has_passed_at_once)
{
    CHECK_EQ(deadline_left(deadline_after(0)), 0);
    CHECK_EQ(deadline_left(deadline_after(-5)), 0);
    CHECK_EQ(deadline_left(deadline_after(INT64_MIN)), 0);
}

TEST(for_ever_and_what_overflows_never_pass)
{
    CHECK_EQ(deadline_after(CLOCK_FOREVER), CLOCK_FOREVER);
    CHECK_EQ(deadline_after(CLOCK_FOREVER - 1), CLOCK_FOREVER);
    CHECK_EQ(deadline_left(CLOCK_FOREVER), CLOCK_FOREVER);
}

TEST(a_deadline_comes_nearer_and_passes)
{
    int64_t deadline = deadline_after(3600 * SEC);
    int64_t left = deadline_left(deadline);

    CHECK(left > 0 && left <= 3600 * SEC);
    deadline = deadline_after(MSEC);
    test_wait_until(deadline_left(deadline) == 0);
    CHECK(clock_now() >= deadline);
}

TEST(a_timespec_has_whole_seconds_and_no_negative_parts)
{
    struct timespec t = timespec_of(3 * SEC + 7);

    CHECK_EQ(t.tv_sec, 3);
    CHECK_EQ(t.tv_nsec, 7);
    t = timespec_of(-1);
    CHECK_EQ(t.tv_sec, 0);
    CHECK_EQ(t.tv_nsec, 0);
    t = timespec_of(CLOCK_FOREVER);
    CHECK_EQ(t.tv_sec, CLOCK_FOREVER / SEC);
}
