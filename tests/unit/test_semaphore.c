#include "waits.h"

#include "shm/block.h"
#include "sync/semaphore.h"

static struct piu_semaphore *semaphore_new(unsigned value, unsigned flags)
{
    struct piu_semaphore *s = piu_shared_new(1, sizeof(*s));

    CHECK(s);
    CHECK_EQ(piu_semaphore_init(s, value, flags), 0);
    return s;
}

static void acquire_times(struct piu_semaphore *s, int times)
{
    for (int i = 0; i < times; i++)
        CHECK_EQ(piu_semaphore_acquire(s, PIU_NOW), 0);
}

static void release_times(struct piu_semaphore *s, int times)
{
    for (int i = 0; i < times; i++)
        CHECK_EQ(piu_semaphore_release(s), 0);
}

/* How many can be had now; they are put back by the same member. */
static int available(struct piu_semaphore *s)
{
    int count = 0;

    while (piu_semaphore_acquire(s, PIU_NOW) == 0)
        count++;
    release_times(s, count);
    return count;
}

TEST(all_zero_bytes_are_a_semaphore_of_value_0)
{
    struct piu_semaphore *s = piu_shared_new(1, sizeof(*s));

    CHECK_EQ(piu_semaphore_value(s), 0);
    CHECK_EQ(piu_semaphore_acquire(s, PIU_NOW), -ETIMEDOUT);
    CHECK_EQ(piu_semaphore_release(s), 0);
    CHECK_EQ(piu_semaphore_value(s), 1);
    CHECK_EQ(piu_semaphore_acquire(s, PIU_FOREVER), 0);
}

TEST(bad_input_is_refused)
{
    struct piu_semaphore *s = semaphore_new(1, 0);
    struct piu_semaphore private_one;

    CHECK_EQ(piu_semaphore_init(NULL, 1, 0), -EINVAL);
    CHECK_EQ(piu_semaphore_init(s, 1u << 31, 0), -EINVAL);
    CHECK_EQ(piu_semaphore_init(s, 1, 8), -EINVAL);
    CHECK_EQ(piu_semaphore_acquire(NULL, PIU_NOW), -EINVAL);
    CHECK_EQ(piu_semaphore_release(NULL), -EINVAL);
    CHECK_EQ(piu_semaphore_value(NULL), 0);
    piu_semaphore_done(NULL);
    CHECK_EQ(piu_semaphore_init(&private_one, 1, PIU_BOUNDED), -EFAULT);
    CHECK_EQ(piu_semaphore_init(&private_one, 1, 0), 0);
    CHECK_EQ(piu_semaphore_acquire(&private_one, PIU_NOW), 0);
    CHECK_EQ(piu_semaphore_release(&private_one), 0);
    piu_semaphore_done(&private_one);
}

TEST(a_value_that_would_overflow_is_refused)
{
    struct piu_semaphore *plain = semaphore_new(INT32_MAX, 0);
    struct piu_semaphore *recovering = semaphore_new(INT32_MAX, PIU_RECOVER);

    CHECK_EQ(piu_semaphore_release(plain), -EOVERFLOW);
    CHECK_EQ(piu_semaphore_release(recovering), -EOVERFLOW);
    CHECK_EQ(piu_semaphore_value(plain), INT32_MAX);
}

TEST(a_bounded_one_refuses_more_than_its_initial_value)
{
    struct piu_semaphore *s = semaphore_new(2, PIU_BOUNDED);

    CHECK_EQ(piu_semaphore_release(s), -EOVERFLOW);
    acquire_times(s, 2);
    CHECK_EQ(piu_semaphore_value(s), 0);
    CHECK_EQ(piu_semaphore_acquire(s, PIU_NOW), -ETIMEDOUT);
    release_times(s, 2);
    CHECK_EQ(piu_semaphore_release(s), -EOVERFLOW);
    CHECK_EQ(piu_semaphore_value(s), 2);
    CHECK(semaphore_check(s));
    piu_semaphore_done(s);
}

TEST(timeouts_of_0_negative_and_short_mean_what_they_say)
{
    for (unsigned flags = 0; flags <= PIU_BOUNDED; flags++) {
        struct piu_semaphore *s = semaphore_new(1, flags);

        CHECK_EQ(piu_semaphore_acquire(s, INT64_MAX - 1), 0);
        CHECK_EQ(piu_semaphore_acquire(s, PIU_NOW), -ETIMEDOUT);
        CHECK_EQ(piu_semaphore_acquire(s, INT64_MIN), -ETIMEDOUT);
        check_times_out(piu_semaphore_acquire(s, PIU_MSEC(30)), PIU_MSEC(30));
        release_times(s, 1);
        CHECK_EQ(piu_semaphore_acquire(s, INT64_MIN), 0);
    }
}

TEST(a_release_wakes_who_sleeps)
{
    for (unsigned flags = 0; flags <= PIU_BOUNDED; flags++) {
        struct notes *notes = test_shared(sizeof(*notes));
        struct piu_semaphore *s = semaphore_new(3, flags);
        pid_t waiters[3];

        acquire_times(s, 3);
        for (int i = 0; i < 3; i++)
            waiters[i] = child_start({
                notes->about_to_wait++;
                CHECK_EQ(piu_semaphore_acquire(s, PIU_FOREVER), 0);
            });
        for (int i = 0; i < 3; i++)
            wait_asleep(waiters[i], notes, 3);
        release_times(s, 3);
        for (int i = 0; i < 3; i++)
            CHECK_EQ(child_wait(waiters[i]), 0);
        CHECK_EQ(piu_semaphore_value(s), 0);
    }
}

TEST(a_unit_may_be_released_by_another_member)
{
    struct piu_semaphore *s = semaphore_new(2, PIU_BOUNDED);

    acquire_times(s, 2);
    CHECK_EQ(in_child({ release_times(s, 2); }), 0);
    CHECK_EQ(piu_semaphore_value(s), 2);
    CHECK_EQ(piu_semaphore_release(s), -EOVERFLOW);
}

TEST(units_of_the_dead_come_back)
{
    for (unsigned flags = PIU_BOUNDED; flags <= PIU_RECOVER; flags++) {
        struct piu_semaphore *s = semaphore_new(3, flags);

        in_child_killed({ acquire_times(s, 2); });
        CHECK_EQ(piu_semaphore_value(s), 1);
        CHECK_EQ(available(s), 3);
        CHECK_EQ(piu_semaphore_value(s), 3);
        CHECK_EQ(semaphore_debt(s), 2);
        CHECK(semaphore_check(s));
    }
}

TEST(units_of_those_that_left_stay_out_until_released)
{
    struct piu_semaphore *s = semaphore_new(3, PIU_BOUNDED);

    CHECK_EQ(in_child({ acquire_times(s, 2); }), 0);
    CHECK_EQ(available(s), 1);
    release_times(s, 2);
    CHECK_EQ(available(s), 3);
    CHECK_EQ(piu_semaphore_release(s), -EOVERFLOW);
    CHECK_EQ(semaphore_debt(s), 0);
}

TEST(a_release_for_one_that_left_is_not_counted_for_the_living)
{
    struct notes *notes = test_shared(sizeof(*notes));
    struct piu_semaphore *s = semaphore_new(2, PIU_BOUNDED);
    pid_t holder;

    CHECK_EQ(in_child({ acquire_times(s, 1); }), 0);
    holder = child_start({
        acquire_times(s, 1);
        notes->count = 1;
        pause();
    });
    test_wait_until(notes->count == 1);
    release_times(s, 1);
    kill_and_reap(holder);
    CHECK_EQ(available(s), 2);
}

TEST(a_plain_one_gives_nothing_back)
{
    struct piu_semaphore *s = semaphore_new(2, 0);

    in_child_killed({ acquire_times(s, 1); });
    CHECK_EQ(available(s), 1);
}

TEST(a_signal_never_comes_back)
{
    struct piu_semaphore *s = semaphore_new(0, PIU_RECOVER);

    release_times(s, 2);
    in_child_killed({ acquire_times(s, 2); });
    CHECK_EQ(available(s), 0);
}

TEST(nothing_comes_back_beyond_the_initial_value)
{
    struct piu_semaphore *s = semaphore_new(2, PIU_RECOVER);

    release_times(s, 3); /* 5 now, 3 of them signals */
    in_child_killed({ acquire_times(s, 4); });
    CHECK_EQ(available(s), 2); /* 1 that was left, and 1 back */
}

TEST(a_late_release_for_the_dead_pays_the_debt)
{
    struct piu_semaphore *s = semaphore_new(1, PIU_BOUNDED);

    in_child_killed({ acquire_times(s, 1); });
    CHECK_EQ(available(s), 1);
    CHECK_EQ(semaphore_debt(s), 1);
    CHECK_EQ(piu_semaphore_release(s), 0); /* it was the dead one's */
    CHECK_EQ(semaphore_debt(s), 0);
    CHECK_EQ(piu_semaphore_value(s), 1);
    CHECK_EQ(piu_semaphore_release(s), -EOVERFLOW);
}

/* The stdlib's Queue: the putter acquires, the getter releases, the putter is killed. */
TEST(a_release_after_the_holders_death_is_no_error)
{
    struct piu_semaphore *s = semaphore_new(2, PIU_BOUNDED);

    in_child_killed({ acquire_times(s, 2); });
    release_times(s, 2);
    CHECK_EQ(piu_semaphore_value(s), 2);
    CHECK_EQ(piu_semaphore_release(s), -EOVERFLOW);
}

TEST(what_another_released_does_not_come_back_twice)
{
    struct notes *notes = test_shared(sizeof(*notes));
    struct piu_semaphore *s = semaphore_new(2, PIU_BOUNDED);
    pid_t holder = child_start({
        acquire_times(s, 1);
        notes->count = 1;
        pause();
    });

    test_wait_until(notes->count == 1);
    release_times(s, 1); /* for the holder, who has none now */
    acquire_times(s, 2);
    kill_and_reap(holder);
    CHECK_EQ(piu_semaphore_acquire(s, PIU_NOW), -ETIMEDOUT);
    release_times(s, 2);
    CHECK_EQ(piu_semaphore_value(s), 2);
}

TEST(a_sleeping_waiter_gets_the_unit_of_a_killed_holder)
{
    struct notes *notes = test_shared(sizeof(*notes));
    struct piu_semaphore *s = semaphore_new(2, PIU_BOUNDED);
    pid_t holder, waiters[2];

    holder = child_start({
        acquire_times(s, 2);
        notes->count = 1;
        pause();
    });
    test_wait_until(notes->count == 1);
    for (int i = 0; i < 2; i++)
        waiters[i] = child_start({
            notes->about_to_wait++;
            CHECK_EQ(piu_semaphore_acquire(s, PIU_FOREVER), 0);
            notes->done[i] = 1;
            pause();
        });
    for (int i = 0; i < 2; i++)
        wait_asleep(waiters[i], notes, 2);
    kill_and_reap(holder);
    test_wait_until(notes->done[0] && notes->done[1]);
}

TEST(a_waiter_killed_asleep_takes_nothing_with_it)
{
    for (unsigned flags = 0; flags <= PIU_BOUNDED; flags++) {
        struct notes *notes = test_shared(sizeof(*notes));
        struct piu_semaphore *s = semaphore_new(1, flags);
        pid_t waiter;

        acquire_times(s, 1);
        waiter = child_start({
            notes->about_to_wait++;
            piu_semaphore_acquire(s, PIU_FOREVER);
        });
        wait_asleep(waiter, notes, 1);
        kill_and_reap(waiter);
        release_times(s, 1);
        CHECK_EQ(available(s), 1);
    }
}

TEST(a_signal_handler_ends_the_wait)
{
    for (unsigned flags = 0; flags <= PIU_BOUNDED; flags++) {
        struct piu_semaphore *s = semaphore_new(1, flags);

        acquire_times(s, 1);
        check_interrupted(piu_semaphore_acquire(s, PIU_FOREVER));
        release_times(s, 1);
        CHECK_EQ(available(s), 1);
    }
}

TEST(many_holders_fit_and_done_gives_their_table_back)
{
    struct notes *notes = test_shared(sizeof(*notes));
    struct piu_semaphore *s = semaphore_new(100, PIU_BOUNDED);
    uint64_t before = block_in_use();
    enum { HOLDERS = 40 };
    pid_t holders[HOLDERS];

    for (int i = 0; i < HOLDERS; i++)
        holders[i] = child_start({
            acquire_times(s, 2);
            notes->count++;
            pause();
        });
    test_wait_until(notes->count == HOLDERS);
    CHECK_EQ(piu_semaphore_value(s), 20);
    CHECK(semaphore_check(s));
    for (int i = 0; i < HOLDERS; i++)
        kill_and_reap(holders[i]);
    acquire_times(s, 100);
    release_times(s, 100);
    CHECK_EQ(piu_semaphore_release(s), 0); /* a debt */
    CHECK(semaphore_check(s));
    piu_semaphore_done(s);
    piu_semaphore_done(s);
    CHECK_EQ(piu_semaphore_acquire(s, PIU_NOW), 0); /* a new table */
    piu_semaphore_done(s);
    CHECK(block_check());
    CHECK(block_in_use() <= before + 65536 * 3); /* spans stay, blocks do not pile up */
}

static void use_units(struct piu_semaphore *s, struct notes *notes, int most)
{
    CHECK_EQ(piu_semaphore_acquire(s, PIU_FOREVER), 0);
    CHECK(++notes->count <= most);
    notes->count--;
    CHECK_EQ(piu_semaphore_release(s), 0);
}

TEST(never_more_than_its_units_are_out, .limit = 180)
{
    for (unsigned flags = 0; flags <= PIU_BOUNDED; flags++) {
        struct notes *notes = test_shared(sizeof(*notes));
        struct piu_semaphore *s = semaphore_new(2, flags);
        pid_t children[4];

        for (int i = 0; i < 4; i++)
            children[i] = child_start({
                for (int n = 0; n < 5000; n++)
                    use_units(s, notes, 2);
            });
        for (int i = 0; i < 4; i++)
            CHECK_EQ(child_wait(children[i]), 0);
        CHECK_EQ(piu_semaphore_value(s), 2);
        CHECK(semaphore_check(s));
    }
}

static void be_killed_sometime(struct piu_semaphore *s)
{
    for (;;) {
        piu_semaphore_acquire(s, PIU_FOREVER);
        piu_semaphore_release(s);
    }
}

TEST(killed_anywhere_all_units_come_back, .limit = 180)
{
    struct piu_semaphore *s = semaphore_new(2, PIU_BOUNDED);
    uint64_t seed = 88172645463325252u;
    enum { VICTIMS = 3, KILLS = 200 };
    pid_t victims[VICTIMS];

    for (int i = 0; i < VICTIMS; i++)
        victims[i] = child_start({ be_killed_sometime(s); });
    for (int kills = 0; kills < KILLS; kills++) {
        pid_t *victim = &victims[random_next(&seed) % VICTIMS];

        for (uint64_t n = random_next(&seed) % 300; n; n--) {
            CHECK_EQ(piu_semaphore_acquire(s, PIU_FOREVER), 0);
            CHECK_EQ(piu_semaphore_release(s), 0);
        }
        kill_and_reap(*victim);
        *victim = child_start({ be_killed_sometime(s); });
    }
    for (int i = 0; i < VICTIMS; i++)
        kill_and_reap(victims[i]);
    CHECK_EQ(available(s), 2);
    CHECK_EQ(piu_semaphore_value(s), 2);
    CHECK(semaphore_check(s));
}

TEST(a_unit_between_enter_and_exit_comes_back_from_the_dead_one_by_acquire_does_not)
{
    struct piu_semaphore *s = semaphore_new(3, 0);

    in_child_killed({
        acquire_times(s, 1);
        CHECK_EQ(piu_semaphore_enter(s, PIU_NOW), 0);
        CHECK_EQ(piu_semaphore_enter(s, PIU_NOW), 0);
        CHECK_EQ(piu_semaphore_exit(s), 0);
    });
    CHECK_EQ(piu_semaphore_value(s), 1);
    CHECK_EQ(available(s), 2);
    CHECK(semaphore_check(s));
    piu_semaphore_done(s);
}

TEST(who_waits_gets_the_unit_of_one_that_died_after_enter)
{
    struct piu_semaphore *s = semaphore_new(1, 0);

    in_child_killed({ CHECK_EQ(piu_semaphore_enter(s, PIU_NOW), 0); });
    CHECK_EQ(piu_semaphore_acquire(s, PIU_SEC(10)), 0);
    CHECK_EQ(piu_semaphore_release(s),
             0); /* pays nothing: it is below the initial value */
    in_child_killed({ CHECK_EQ(piu_semaphore_enter(s, PIU_NOW), 0); });
    CHECK_EQ(piu_semaphore_enter(s, PIU_SEC(10)), 0);
    CHECK_EQ(piu_semaphore_exit(s), 0);
    CHECK_EQ(piu_semaphore_value(s), 1);
    piu_semaphore_done(s);
}

TEST(a_release_for_a_unit_that_came_back_is_taken_as_such)
{
    struct piu_semaphore *s = semaphore_new(1, 0);

    in_child_killed({ CHECK_EQ(piu_semaphore_enter(s, PIU_NOW), 0); });
    CHECK_EQ(piu_semaphore_enter(s, PIU_NOW), 0);
    CHECK_EQ(piu_semaphore_exit(s), 0);
    CHECK_EQ(semaphore_debt(s), 1);
    CHECK_EQ(piu_semaphore_release(s), 0);
    CHECK_EQ(piu_semaphore_value(s), 1);
    CHECK_EQ(piu_semaphore_release(s), 0); /* a signal, as of any plain one */
    CHECK_EQ(piu_semaphore_value(s), 2);
    piu_semaphore_done(s);
}

TEST(a_semaphore_of_0_gives_nothing_back)
{
    struct piu_semaphore *s = semaphore_new(0, 0);

    CHECK_EQ(piu_semaphore_release(s), 0);
    in_child_killed({ CHECK_EQ(piu_semaphore_enter(s, PIU_NOW), 0); });
    CHECK_EQ(piu_semaphore_enter(s, PIU_NOW), -ETIMEDOUT);
    piu_semaphore_done(s);
}

TEST(enter_needs_shared_memory)
{
    struct piu_semaphore private_one;

    CHECK_EQ(piu_semaphore_init(&private_one, 1, 0), 0);
    CHECK_EQ(piu_semaphore_enter(&private_one, PIU_NOW), -EFAULT);
    CHECK_EQ(piu_semaphore_exit(&private_one), -EFAULT);
    CHECK_EQ(piu_semaphore_enter(NULL, PIU_NOW), -EINVAL);
    CHECK_EQ(piu_semaphore_exit(NULL), -EINVAL);
}

static void enter_or_acquire(struct piu_semaphore *s, bool enters)
{
    CHECK_EQ(enters ? piu_semaphore_enter(s, PIU_FOREVER)
                    : piu_semaphore_acquire(s, PIU_FOREVER),
             0);
    CHECK_EQ(enters ? piu_semaphore_exit(s) : piu_semaphore_release(s), 0);
}

TEST(enter_and_acquire_beside_each_other_lose_no_unit, .limit = 180)
{
    struct piu_semaphore *s = semaphore_new(2, 0);
    pid_t children[4];

    for (int i = 0; i < 4; i++)
        children[i] = child_start({
            for (int n = 0; n < 5000; n++)
                enter_or_acquire(s, i % 2 == 0);
        });
    for (int i = 0; i < 4; i++)
        CHECK_EQ(child_wait(children[i]), 0);
    CHECK_EQ(piu_semaphore_value(s), 2);
    CHECK(semaphore_check(s));
    piu_semaphore_done(s);
}

TEST(a_unit_of_one_that_left_is_not_back_and_anybody_may_bring_it)
{
    struct piu_semaphore *s = piu_shared_new(1, sizeof(*s));

    for (int plain = 0; plain < 2; plain++) {
        CHECK_EQ(piu_semaphore_init(s, 1, plain ? 0 : PIU_BOUNDED), 0);
        CHECK_EQ(in_child({ CHECK_EQ(piu_semaphore_enter(s, PIU_NOW), 0); }), 0);
        CHECK_EQ(piu_semaphore_acquire(s, PIU_NOW), -ETIMEDOUT);
        CHECK_EQ(piu_semaphore_release(s), 0);
        CHECK_EQ(piu_semaphore_release(s), plain ? 0 : -EOVERFLOW);
        CHECK_EQ(piu_semaphore_acquire(s, PIU_NOW), 0);
    }
}
