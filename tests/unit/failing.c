/* Each of these must fail, or be skipped: tests/unit/framework runs them and says so. */
#include "test.h"

TEST(fails_in_the_test)
{
    CHECK(1 + 1 == 3);
}

TEST(fails_by_two_numbers)
{
    CHECK_EQ(41 + 1, 43);
}

TEST(fails_by_two_strings)
{
    CHECK_STR("more", NULL);
}

TEST(fails_in_a_child_that_nobody_looks_at)
{
    in_child({ CHECK(!"reached"); });
}

TEST(fails_by_a_signal)
{
    raise(SIGKILL);
}

TEST(fails_by_an_exit_code)
{
    exit(3);
}

TEST(fails_by_ending_early)
{
    exit(0);
}

TEST(fails_by_waiting_for_ever)
{
    volatile bool never = false;

    child_start({
        setsid(); /* the keeper finds it all the same */
        for (;;)
            pause();
    });
    test_wait_until(never);
}

TEST(is_skipped)
{
    SKIP("for a reason");
}
