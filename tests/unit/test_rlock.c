#include "waits.h"

#include "shm/owner.h"
#include "sync/rlock.h"

static struct piu_rlock *rlock_new(void)
{
    struct piu_rlock *l = piu_shared_new(1, sizeof(*l));

    CHECK(l);
    return l;
}

TEST(the_same_thread_may_acquire_again)
{
    struct piu_rlock *l = rlock_new();

    CHECK_EQ(piu_rlock_count(l), 0);
    CHECK_EQ(piu_rlock_acquire(l, PIU_FOREVER), 0);
    CHECK_EQ(piu_rlock_acquire(l, PIU_NOW), 0);
    CHECK_EQ(piu_rlock_acquire(l, PIU_NOW), 0);
    CHECK_EQ(piu_rlock_count(l), 3);
    CHECK_EQ(piu_rlock_owner(l), getpid());
    CHECK_EQ(piu_rlock_release(l), 0);
    CHECK_EQ(piu_rlock_release(l), 0);
    CHECK_EQ(in_child({ CHECK_EQ(piu_rlock_acquire(l, PIU_NOW), -ETIMEDOUT); }), 0);
    CHECK_EQ(piu_rlock_release(l), 0);
    CHECK_EQ(piu_rlock_owner(l), 0);
    CHECK_EQ(piu_rlock_release(l), -EPERM);
    CHECK(rlock_check(l));
}

TEST(what_is_no_lock_is_refused)
{
    CHECK_EQ(piu_rlock_acquire(NULL, PIU_NOW), -EINVAL);
    CHECK_EQ(piu_rlock_release(NULL), -EINVAL);
    CHECK_EQ(piu_rlock_owner(NULL), 0);
    CHECK_EQ(piu_rlock_count(NULL), 0);
}

TEST(timeouts_of_0_negative_and_huge_mean_what_they_say)
{
    struct piu_rlock *l = rlock_new();

    CHECK_EQ(piu_rlock_acquire(l, INT64_MAX - 1), 0);
    CHECK_EQ(in_child({
                 CHECK_EQ(piu_rlock_acquire(l, PIU_NOW), -ETIMEDOUT);
                 CHECK_EQ(piu_rlock_acquire(l, INT64_MIN), -ETIMEDOUT);
                 check_times_out(piu_rlock_acquire(l, PIU_MSEC(30)), PIU_MSEC(30));
             }),
             0);
}

static void other_thread(int i, void *argument)
{
    struct piu_rlock *l = argument;

    (void)i;
    CHECK_EQ(piu_rlock_acquire(l, PIU_NOW), -ETIMEDOUT);
    CHECK_EQ(piu_rlock_release(l), -EPERM);
    CHECK_EQ(piu_rlock_count(l), 0);
}

TEST(another_thread_and_a_forked_child_are_not_the_holder)
{
    struct piu_rlock *l = rlock_new();

    CHECK_EQ(piu_rlock_acquire(l, PIU_FOREVER), 0);
    test_threads(1, other_thread, l);
    CHECK_EQ(in_child({ other_thread(0, l); }), 0);
    CHECK_EQ(piu_rlock_count(l), 1);
    CHECK_EQ(piu_rlock_release(l), 0);
}

TEST(whoever_gets_it_from_the_dead_holds_it_once)
{
    struct piu_rlock *l = rlock_new();

    in_child_killed({
        for (int i = 0; i < 5; i++)
            piu_rlock_acquire(l, PIU_FOREVER);
    });
    CHECK_EQ(piu_rlock_acquire(l, PIU_SEC(1)), PIU_OWNER_DIED);
    CHECK_EQ(piu_rlock_count(l), 1);
    CHECK_EQ(piu_rlock_acquire(l, PIU_NOW), 0);
    CHECK_EQ(piu_rlock_release(l), 0);
    CHECK_EQ(piu_rlock_release(l), 0);
    CHECK_EQ(piu_rlock_acquire(l, PIU_NOW), 0);
    CHECK_EQ(piu_rlock_release(l), 0);
}

TEST(a_sleeping_waiter_gets_it_from_a_killed_holder)
{
    struct notes *notes = test_shared(sizeof(*notes));
    struct piu_rlock *l = rlock_new();
    pid_t owner = child_start({
        piu_rlock_acquire(l, PIU_FOREVER);
        piu_rlock_acquire(l, PIU_FOREVER);
        notes->count = 1;
        pause();
    });
    pid_t waiter;

    test_wait_until(notes->count == 1);
    waiter = child_start({
        notes->about_to_wait++;
        CHECK_EQ(piu_rlock_acquire(l, PIU_FOREVER), PIU_OWNER_DIED);
        CHECK_EQ(piu_rlock_release(l), 0);
        CHECK_EQ(piu_rlock_release(l), -EPERM);
    });
    wait_asleep(waiter, notes, 1);
    kill_and_reap(owner);
    CHECK_EQ(child_wait(waiter), 0);
}

TEST(a_holder_that_left_keeps_it_as_in_Python)
{
    struct piu_rlock *l = rlock_new();

    CHECK_EQ(in_child({ piu_rlock_acquire(l, PIU_FOREVER); }), 0);
    check_times_out(piu_rlock_acquire(l, PIU_MSEC(50)), PIU_MSEC(50));
    CHECK_EQ(piu_rlock_release(l), -EPERM);
}

TEST(a_signal_handler_ends_the_wait)
{
    struct piu_rlock *l = rlock_new();

    CHECK_EQ(piu_rlock_acquire(l, PIU_FOREVER), 0);
    check_interrupted(piu_rlock_acquire(l, PIU_FOREVER));
    CHECK_EQ(piu_rlock_count(l), 1);
}

static void count_up(struct piu_rlock *l, struct notes *notes, int times)
{
    for (int i = 0; i < times; i++) {
        CHECK_EQ(piu_rlock_acquire(l, PIU_FOREVER), 0);
        CHECK_EQ(piu_rlock_acquire(l, PIU_FOREVER), 0);
        notes->unguarded++;
        CHECK_EQ(piu_rlock_count(l), 2);
        CHECK_EQ(piu_rlock_release(l), 0);
        CHECK_EQ(piu_rlock_release(l), 0);
    }
}

TEST(processes_that_count_under_it_count_right, .limit = 60)
{
    struct notes *notes = test_shared(sizeof(*notes));
    struct piu_rlock *l = rlock_new();
    enum { PROCESSES = 4, TIMES = 20000 };
    pid_t children[PROCESSES];

    for (int i = 0; i < PROCESSES; i++)
        children[i] = child_start({ count_up(l, notes, TIMES); });
    for (int i = 0; i < PROCESSES; i++)
        CHECK_EQ(child_wait(children[i]), 0);
    CHECK_EQ(notes->unguarded, PROCESSES * TIMES);
}
