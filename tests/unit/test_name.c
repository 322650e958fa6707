#include "test.h"

#include "shm/block.h"
#include "shm/name.h"
#include "waits.h"

static const char *name_of(const void *object)
{
    static char name[32];

    return piu_name_of(object, name, sizeof(name));
}

TEST(a_name_can_be_given_changed_and_taken_away)
{
    struct piu_lock *lock = piu_shared_new(2, sizeof(*lock));

    CHECK_STR(name_of(lock), "");
    CHECK_EQ(piu_name(lock, "accounts"), 0);
    CHECK_STR(name_of(lock), "accounts");
    CHECK_STR(name_of(lock + 1), "");
    CHECK_EQ(piu_name(lock + 1, "orders"), 0);
    CHECK_EQ(piu_name(lock, "books"), 0);
    CHECK_STR(name_of(lock), "books");
    CHECK_EQ(piu_name(lock, NULL), 0);
    CHECK_EQ(piu_name(lock, NULL), 0);
    CHECK_STR(name_of(lock), "");
    CHECK_STR(name_of(lock + 1), "orders");
}

TEST(all_the_family_sees_it)
{
    struct piu_lock *lock = piu_shared_new(1, sizeof(*lock));

    CHECK_EQ(in_child({ CHECK_EQ(piu_name(lock, "of the child"), 0); }), 0);
    CHECK_STR(name_of(lock), "of the child");
}

TEST(names_that_cannot_be_are_told)
{
    struct piu_lock *lock = piu_shared_new(1, sizeof(*lock));
    char little[4];
    int private;

    CHECK_EQ(piu_name(NULL, "x"), -EINVAL);
    CHECK_EQ(piu_name(&private, "x"), -EFAULT);
    CHECK_EQ(piu_name(lock, "1234567890123456789012345678901"), 0);
    CHECK_EQ(piu_name(lock, "12345678901234567890123456789012"), -ENAMETOOLONG);
    CHECK_STR(name_of(lock), "1234567890123456789012345678901");
    CHECK_STR(piu_name_of(lock, little, sizeof(little)), "123");
    CHECK_STR(piu_name_of(lock, NULL, 0), "");
    CHECK_STR(name_of(NULL), "");
    CHECK_STR(name_of(&private), "");
    CHECK_EQ(piu_name(lock, ""), 0);
    CHECK_STR(name_of(lock), "");
}

TEST(freed_memory_has_no_names_any_more)
{
    char *bytes = piu_shared_new(100, 64);
    char *other = piu_shared_new(1, 64);

    CHECK_EQ(piu_name(bytes, "first"), 0);
    CHECK_EQ(piu_name(bytes + 64 * 99, "last"), 0);
    CHECK_EQ(piu_name(other, "other"), 0);
    piu_shared_free(bytes);
    CHECK_STR(name_of(bytes), "");
    CHECK_STR(name_of(bytes + 64 * 99), "");
    CHECK_STR(name_of(other), "other");
}

TEST(the_table_grows_and_forgets)
{
    char *bytes = piu_shared_new(5000, 64);
    char name[32];
    uint64_t used;

    for (int i = 0; i < 5000; i++) {
        snprintf(name, sizeof(name), "number %d", i);
        CHECK_EQ(piu_name(bytes + 64 * i, name), 0);
    }
    for (int i = 0; i < 5000; i++) {
        snprintf(name, sizeof(name), "number %d", i);
        CHECK_STR(name_of(bytes + 64 * i), name);
    }
    name_forget(bytes, 5000 * 64);
    CHECK_STR(name_of(bytes + 64 * 77), "");
    used = block_in_use();
    for (int i = 0; i < 30000; i++) { /* come and go, again and again */
        CHECK_EQ(piu_name(bytes + 64 * (i % 5000), "short-lived"), 0);
        CHECK_EQ(piu_name(bytes + 64 * (i % 5000), NULL), 0);
    }
    CHECK(block_in_use() <= used);
    CHECK(block_check());
}

/* Killed anywhere: the table is whole, the lock is free, and no memory is lost. */
TEST(a_namer_that_is_killed_does_no_harm, .limit = 60)
{
    char *bytes = piu_shared_new(4000, 64);
    uint64_t before = 0;

    for (int round = 0; round < 100; round++) {
        _Atomic int *started = test_shared(sizeof(*started));
        pid_t pid = child_start({
            for (int i = 0;; i = (i + 1) % 4000) {
                CHECK_EQ(piu_name(bytes + 64 * i, "name"), 0);
                *started = i + 1;
            }
        });

        test_wait_until(*started > round * 30);
        kill_and_reap(pid);
        member_sweep_dead(true);
        CHECK_EQ(piu_name(bytes, "mine"), 0);
        CHECK_STR(name_of(bytes), "mine");
        name_forget(bytes, 4000 * 64);
        CHECK_STR(name_of(bytes), "");
        CHECK(block_check());
        if (round == 50)
            before = block_in_use();
    }
    CHECK(block_in_use() <= before + 2 * 65536);
}
