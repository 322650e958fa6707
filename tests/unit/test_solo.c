#include "test.h"

#include "os/solo.h"

#include <semaphore.h>
#include <sys/resource.h>

static void handler(int signal)
{
    (void)signal;
}

static void handle(int number)
{
    struct sigaction action = {.sa_handler = handler};

    CHECK_EQ(sigaction(number, &action, NULL), 0);
}

TEST(a_process_of_one_thread_without_handlers_is_solo)
{
    CHECK(solo_is_sure());
}

TEST(a_handler_that_could_interrupt_it_counts_and_those_of_faults_do_not)
{
    handle(SIGSEGV);
    handle(SIGBUS);
    CHECK(solo_is_sure());
    handle(SIGALRM);
    CHECK(!solo_is_sure());
    signal(SIGALRM, SIG_IGN);
    CHECK(solo_is_sure());
    handle(SIGRTMIN);
    CHECK(!solo_is_sure());
}

static void in_two_threads(int i, void *argument)
{
    sem_t *looked = argument;

    if (i == 0) {
        CHECK(!solo_is_sure());
        sem_post(looked);
    } else {
        sem_wait(looked);
    }
}

TEST(another_thread_counts_until_it_has_ended)
{
    sem_t looked;

    sem_init(&looked, 0, 0);
    test_threads(2, in_two_threads, &looked);
    test_wait_until(solo_is_sure()); /* the kernel takes it away some us after the join */
}

TEST(what_cannot_be_read_is_not_sure)
{
    struct rlimit before, none;

    CHECK_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = (struct rlimit){.rlim_max = before.rlim_max};
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
    CHECK(!solo_is_sure());
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
}
