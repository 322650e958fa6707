#include "test.h"

#include "os/wiped.h"

#include <sys/syscall.h>

static int *wiped_int(int value)
{
    void *memory;

    CHECK_EQ(wiped_new(sizeof(int), &memory), 0);
    CHECK_EQ(*(int *)memory, 0);
    *(int *)memory = value;
    return memory;
}

TEST(a_fork_child_finds_zero_and_its_parent_keeps_what_it_had)
{
    int *word = wiped_int(7);

    CHECK_EQ(in_child({ CHECK_EQ(*word, 0); }), 0);
    CHECK_EQ(*word, 7);
}

TEST(a_child_of_a_bare_clone_finds_zero_as_well)
{
    int *word = wiped_int(7);
    pid_t pid = (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, 0);

    if (pid == 0)
        _exit(*word);
    CHECK_EQ(child_wait(pid), 0);
}

TEST(a_grandchild_finds_zero_where_its_parent_wrote)
{
    int *word = wiped_int(7);
    int status = in_child({
        *word = 8;
        CHECK_EQ(in_child({ CHECK_EQ(*word, 0); }), 0);
        CHECK_EQ(*word, 8);
    });

    CHECK_EQ(status, 0);
}

TEST(no_memory_is_an_error)
{
    void *memory;

    CHECK_EQ(wiped_new(SIZE_MAX / 2, &memory), -ENOMEM);
    CHECK_EQ(wiped_new(0, &memory), -EINVAL);
}
