#include "test.h"

#include <stdatomic.h>

TEST(a_child_ends_with_status_0_and_shares_memory)
{
    _Atomic int *count = test_shared(sizeof(*count));

    CHECK_EQ(in_child({ ++*count; }), 0);
    CHECK_EQ(*count, 1);
}

TEST(a_killed_child_was_killed_after_its_last_line)
{
    _Atomic int *count = test_shared(sizeof(*count));
    int status = in_child_killed({
        int one = 1, two = 2;

        *count = one + two;
    });

    CHECK(WIFSIGNALED(status));
    CHECK_EQ(WTERMSIG(status), SIGKILL);
    CHECK_EQ(*count, 3);
}

TEST(children_nest_and_run_at_once)
{
    _Atomic int *step = test_shared(sizeof(*step));
    pid_t first = child_start({
        test_wait_until(*step == 1);
        CHECK_EQ(in_child({ *step = 2; }), 0);
    });
    pid_t second = child_start({
        *step = 1;
        test_wait_until(*step == 2);
    });

    CHECK_EQ(child_wait(second), 0);
    CHECK_EQ(child_wait(first), 0);
}

static void count_up(int i, void *arg)
{
    atomic_fetch_add((_Atomic int *)arg, i);
}

TEST(threads_run_all_and_are_joined)
{
    _Atomic int sum = 0;

    test_threads(4, count_up, &sum);
    CHECK_EQ(sum, 0 + 1 + 2 + 3);
}

TEST(a_signal_kills_under_sanitizers_too)
{
    int status = in_child({ raise(SIGSEGV); });

    CHECK(WIFSIGNALED(status));
    CHECK_EQ(WTERMSIG(status), SIGSEGV);
}

TEST(every_test_leads_a_session_of_its_own)
{
    CHECK_EQ(getsid(0), getpid());
    CHECK_EQ(getpgrp(), getpid());
}

TEST(strings_and_NULL_compare, .limit = 60)
{
    CHECK_STR("piu", "piu");
    CHECK_STR(NULL, NULL);
}
