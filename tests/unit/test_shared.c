/* piu_shared_new and its kin. */
#include "waits.h"

#include "shm/block.h"

static void check_refused(size_t count, size_t size, int error)
{
    errno = 0;
    CHECK(!piu_shared_new(count, size));
    CHECK_EQ(errno, error);
}

TEST(shared_memory_is_zero_aligned_and_seen_by_all)
{
    long *numbers = piu_shared_new(1000, sizeof(*numbers));

    CHECK(numbers);
    CHECK_EQ((uintptr_t)numbers % 64, 0);
    for (int i = 0; i < 1000; i++)
        CHECK_EQ(numbers[i], 0);
    CHECK_EQ(in_child({ numbers[999] = 5; }), 0);
    CHECK_EQ(numbers[999], 5);
    errno = 0;
    CHECK(!piu_shared_free(numbers));
    CHECK_EQ(errno, 0);
}

TEST(sizes_that_make_no_sense_are_errors)
{
    check_refused(0, 8, EINVAL);
    check_refused(8, 0, EINVAL);
    check_refused(SIZE_MAX, 2, ENOMEM);
    check_refused(SIZE_MAX / 2, SIZE_MAX / 2, ENOMEM);
    check_refused(1, SIZE_MAX, ENOMEM);
    check_refused(1 << 20, 1 << 20, ENOMEM); /* 1 TB */
}

TEST(freeing_what_is_no_block_is_an_error_and_null_is_none)
{
    char *shared = piu_shared_new(100, 1);
    char here;

    errno = 0;
    CHECK(!piu_shared_free(NULL));
    CHECK_EQ(errno, 0);
    piu_shared_free(&here);
    CHECK_EQ(errno, EINVAL);
    errno = 0;
    piu_shared_free(shared + 1);
    CHECK_EQ(errno, EINVAL);
    errno = 0;
    CHECK_EQ(in_child({ piu_shared_free(shared); }), 0); /* by any member */
    piu_shared_free(shared);
    CHECK_EQ(errno, EINVAL);
}

TEST(shared_memory_outlives_the_member_that_made_it)
{
    int **told = test_shared(sizeof(*told));

    CHECK(piu_shared_new(1, 1));
    in_child_killed({
        *told = piu_shared_new(1, sizeof(int));
        **told = 9;
    });
    member_sweep_dead(true);
    CHECK_EQ(**told, 9);
    CHECK(block_is(*told));
}

TEST(free_before_the_first_use_of_anything_is_an_error)
{
    char here;

    errno = 0;
    piu_shared_free(&here);
    CHECK_EQ(errno, EINVAL);
    CHECK(!piu_is_shared(&here));
}
