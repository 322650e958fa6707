#include "forbid.h"
#include "test.h"

#include "os/clock.h"
#include "os/futex.h"

#include <stdio.h>

#define NR_FUTEX_WAITV 449

typedef _Atomic uint32_t word;

/* Has `pid` gone to sleep in the system call `number`?  For good: nobody has woken it yet. */
static bool sleeps_in(pid_t pid, int number)
{
    char path[64];
    int found = -1;
    FILE *file;

    snprintf(path, sizeof(path), "/proc/%d/syscall", (int)pid);
    file = fopen(path, "re");
    if (file) {
        if (fscanf(file, "%d", &found) != 1)
            found = -1;
        fclose(file);
    }
    return found == number;
}

static bool sleeps(pid_t pid)
{
    char path[64], text[512] = "";
    const char *state;
    FILE *file;

    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    file = fopen(path, "re");
    if (!file)
        return false;
    if (!fgets(text, sizeof(text), file))
        text[0] = '\0';
    fclose(file);
    state = strrchr(text, ')');
    return state && state[2] == 'S';
}

TEST(a_word_with_another_value_is_not_waited_for)
{
    word here = 5;

    CHECK_EQ(futex_wait(&here, 4, CLOCK_FOREVER), -EAGAIN);
    CHECK_EQ(futex_wait(&here, 4, 0), -EAGAIN);
}

TEST(a_wait_ends_when_its_time_is_up)
{
    word here = 5;
    int64_t before = clock_now();

    CHECK_EQ(futex_wait(&here, 5, 2 * MSEC), -ETIMEDOUT);
    CHECK(clock_now() - before >= 2 * MSEC);
    CHECK_EQ(futex_wait(&here, 5, 0), -ETIMEDOUT);
    CHECK_EQ(futex_wait(&here, 5, -1), -ETIMEDOUT);
}

TEST(a_sleeper_in_another_process_is_woken)
{
    word *here = test_shared(sizeof(*here));
    pid_t pid = child_start({ CHECK_EQ(futex_wait(here, 0, CLOCK_FOREVER), 0); });

    test_wait_until(sleeps(pid));
    futex_wake(here, 1);
    CHECK_EQ(child_wait(pid), 0);
}

TEST(one_wake_wakes_one_and_a_negative_count_all)
{
    word *here = test_shared(2 * sizeof(*here));
    word *woken = here + 1;
    pid_t pids[3];

    for (int i = 0; i < 3; i++)
        pids[i] = child_start({
            CHECK_EQ(futex_wait(here, 0, CLOCK_FOREVER), 0);
            ++*woken;
        });
    for (int i = 0; i < 3; i++)
        test_wait_until(sleeps(pids[i]));
    futex_wake(here, 1);
    test_wait_until(*woken == 1);
    futex_wake(here, -1);
    for (int i = 0; i < 3; i++)
        CHECK_EQ(child_wait(pids[i]), 0);
    CHECK_EQ(*woken, 3);
}

TEST(a_wake_of_nowhere_wakes_nobody_and_keeps_errno)
{
    errno = E2BIG;
    futex_wake(NULL, 1);
    CHECK_EQ(errno, E2BIG);
}

static void handle(int number)
{
    (void)number;
}

static void handle_signals(int flags)
{
    struct sigaction action = {.sa_handler = handle, .sa_flags = flags};

    CHECK_EQ(sigaction(SIGUSR1, &action, NULL), 0);
}

/* Again and again: a signal just before the sleep is lost, as futex.h says. */
static int status_under_signals(pid_t pid)
{
    int status;

    while (waitpid(pid, &status, WNOHANG) == 0)
        kill(pid, SIGUSR1);
    return status;
}

TEST(a_handler_ends_the_wait_also_one_that_restarts_calls)
{
    word *here = test_shared(2 * sizeof(*here));
    word *ready = here + 1;
    pid_t pid = child_start({
        handle_signals(SA_RESTART);
        *ready = 1;
        CHECK_EQ(futex_wait(here, 0, CLOCK_FOREVER), -EINTR);
    });

    test_wait_until(*ready == 1);
    CHECK_EQ(status_under_signals(pid), 0);
}

TEST(a_handler_ends_a_wait_for_any)
{
    word *here = test_shared(3 * sizeof(*here));
    word *ready = here + 2;
    pid_t pid = child_start({
        struct futex_watch watch[] = {{here, 0}, {here + 1, 0}};

        handle_signals(0);
        *ready = 1;
        CHECK_EQ(futex_wait_any(watch, 2, CLOCK_FOREVER), -EINTR);
    });

    test_wait_until(*ready == 1);
    CHECK_EQ(status_under_signals(pid), 0);
}

TEST(a_wait_for_any_ends_with_each_of_its_words)
{
    word *words = test_shared(FUTEX_WATCH_MAX * sizeof(*words));
    struct futex_watch watch[FUTEX_WATCH_MAX];

    if (!futex_has_wait_any())
        SKIP("no futex_waitv");
    for (int i = 0; i < FUTEX_WATCH_MAX; i++)
        watch[i] = (struct futex_watch){.word = &words[i]};
    for (int i = 0; i < FUTEX_WATCH_MAX; i += 21) {
        pid_t pid = child_start(
            { CHECK_EQ(futex_wait_any(watch, FUTEX_WATCH_MAX, CLOCK_FOREVER), 0); });

        test_wait_until(sleeps_in(pid, NR_FUTEX_WAITV));
        futex_wake(&words[i], 1);
        CHECK_EQ(child_wait(pid), 0);
    }
}

static void check_wait_any(void)
{
    word *words = test_shared(2 * sizeof(*words));
    struct futex_watch watch[] = {{words, 0}, {words + 1, 0}};
    int64_t before = clock_now();
    pid_t pid;

    CHECK_EQ(futex_wait_any(watch, 2, 2 * MSEC), -ETIMEDOUT);
    CHECK(clock_now() - before >= 2 * MSEC);
    CHECK_EQ(futex_wait_any(watch, 2, 0), -ETIMEDOUT);
    CHECK_EQ(futex_wait_any(watch, 1, MSEC), -ETIMEDOUT);
    pid = child_start({ CHECK_EQ(futex_wait_any(watch, 2, CLOCK_FOREVER), 0); });
    test_wait_until(sleeps(pid));
    futex_wake(words, 1);
    CHECK_EQ(child_wait(pid), 0);
    words[1] = 1;
    CHECK_EQ(futex_wait_any(watch, 2, CLOCK_FOREVER), -EAGAIN);
    CHECK_EQ(futex_wait_any(watch, 2, 0), -EAGAIN);
}

TEST(a_wait_for_any_says_what_a_wait_says)
{
    check_wait_any();
}

TEST(too_many_words_and_none_are_refused)
{
    word here = 0;
    struct futex_watch watch = {&here, 0};

    CHECK_EQ(futex_wait_any(&watch, 0, 0), -EINVAL);
    CHECK_EQ(futex_wait_any(&watch, FUTEX_WATCH_MAX + 1, 0), -EINVAL);
}

TEST(switched_off_a_wait_for_any_sleeps_on_the_first_word)
{
    setenv("PIU_NO_WAITV", "1", 1);
    CHECK(!futex_has_wait_any());
    check_wait_any();
}

/* What container engines of before 2022 do. */
static void forbid_waitv(int error)
{
    forbid_call(NR_FUTEX_WAITV, error);
}

TEST(a_filter_that_says_eperm_means_that_the_call_is_missing)
{
    forbid_waitv(EPERM);
    CHECK(!futex_has_wait_any());
    check_wait_any();
}

TEST(an_old_kernel_means_that_the_call_is_missing)
{
    forbid_waitv(ENOSYS);
    CHECK(!futex_has_wait_any());
    check_wait_any();
}

TEST(a_filter_put_on_late_is_noticed_too)
{
    if (!futex_has_wait_any())
        SKIP("no futex_waitv");
    forbid_waitv(EPERM);
    check_wait_any();
    CHECK(!futex_has_wait_any());
}
