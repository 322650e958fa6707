#include "waits.h"

#include "shm/block.h"
#include "sync/rwlock.h"

static struct piu_rwlock *rwlock_new(void)
{
    struct piu_rwlock *l = piu_shared_new(1, sizeof(*l));

    CHECK(l);
    return l;
}

/* What another member is told that tries, without waiting. */
static int read_by_other(struct piu_rwlock *l)
{
    struct notes *notes = test_shared(sizeof(*notes));

    CHECK_EQ(in_child({
                 notes->result[0] = piu_rwlock_acquire_read(l, PIU_NOW);
                 if (notes->result[0] >= 0)
                     CHECK_EQ(piu_rwlock_release(l), 0);
             }),
             0);
    return notes->result[0];
}

static int write_by_other(struct piu_rwlock *l)
{
    struct notes *notes = test_shared(sizeof(*notes));

    CHECK_EQ(in_child({
                 notes->result[0] = piu_rwlock_acquire_write(l, PIU_NOW);
                 if (notes->result[0] >= 0)
                     CHECK_EQ(piu_rwlock_release(l), 0);
             }),
             0);
    return notes->result[0];
}

TEST(all_zero_bytes_are_a_free_lock)
{
    struct piu_rwlock *l = rwlock_new();

    CHECK_EQ(piu_rwlock_release(l), -EPERM);
    CHECK_EQ(piu_rwlock_acquire_write(l, PIU_NOW), 0);
    CHECK_EQ(piu_rwlock_release(l), 0);
    CHECK_EQ(piu_rwlock_acquire_read(l, PIU_NOW), 0);
    CHECK_EQ(piu_rwlock_release(l), 0);
    CHECK_EQ(piu_rwlock_release(l), -EPERM);
    CHECK(rwlock_check(l));
    piu_rwlock_done(l);
}

TEST(bad_input_is_refused)
{
    struct piu_rwlock private_one = {{0}};

    CHECK_EQ(piu_rwlock_acquire_read(NULL, PIU_NOW), -EINVAL);
    CHECK_EQ(piu_rwlock_acquire_write(NULL, PIU_NOW), -EINVAL);
    CHECK_EQ(piu_rwlock_release(NULL), -EINVAL);
    CHECK_EQ(piu_rwlock_acquire_read(&private_one, PIU_NOW), -EFAULT);
    CHECK_EQ(piu_rwlock_acquire_write(&private_one, PIU_NOW), -EFAULT);
    CHECK_EQ(piu_rwlock_release(&private_one), -EFAULT);
    piu_rwlock_done(NULL);
}

TEST(readers_share_writers_do_not)
{
    struct piu_rwlock *l = rwlock_new();

    CHECK_EQ(piu_rwlock_acquire_read(l, PIU_FOREVER), 0);
    CHECK_EQ(read_by_other(l), 0);
    CHECK_EQ(write_by_other(l), -ETIMEDOUT);
    CHECK_EQ(piu_rwlock_release(l), 0);
    CHECK_EQ(piu_rwlock_acquire_write(l, PIU_FOREVER), 0);
    CHECK_EQ(read_by_other(l), -ETIMEDOUT);
    CHECK_EQ(write_by_other(l), -ETIMEDOUT);
    CHECK_EQ(piu_rwlock_release(l), 0);
    CHECK_EQ(write_by_other(l), 0);
}

TEST(a_member_that_reads_twice_releases_twice)
{
    struct piu_rwlock *l = rwlock_new();

    CHECK_EQ(piu_rwlock_acquire_read(l, PIU_NOW), 0);
    CHECK_EQ(piu_rwlock_acquire_read(l, PIU_NOW), 0);
    CHECK_EQ(piu_rwlock_release(l), 0);
    CHECK_EQ(write_by_other(l), -ETIMEDOUT);
    CHECK_EQ(piu_rwlock_release(l), 0);
    CHECK_EQ(write_by_other(l), 0);
}

static void release_in_thread(int i, void *argument)
{
    (void)i;
    CHECK_EQ(piu_rwlock_release(argument), 0);
}

TEST(another_thread_of_the_member_may_release_another_member_not)
{
    struct piu_rwlock *l = rwlock_new();

    CHECK_EQ(piu_rwlock_acquire_read(l, PIU_NOW), 0);
    CHECK_EQ(in_child({ CHECK_EQ(piu_rwlock_release(l), -EPERM); }), 0);
    test_threads(1, release_in_thread, l);
    CHECK_EQ(piu_rwlock_acquire_write(l, PIU_NOW), 0);
    CHECK_EQ(in_child({ CHECK_EQ(piu_rwlock_release(l), -EPERM); }), 0);
    test_threads(1, release_in_thread, l);
    CHECK_EQ(piu_rwlock_release(l), -EPERM);
}

TEST(timeouts_of_0_negative_and_huge_mean_what_they_say)
{
    struct piu_rwlock *l = rwlock_new();

    CHECK_EQ(piu_rwlock_acquire_write(l, INT64_MAX - 1), 0);
    CHECK_EQ(in_child({
                 CHECK_EQ(piu_rwlock_acquire_read(l, INT64_MIN), -ETIMEDOUT);
                 CHECK_EQ(piu_rwlock_acquire_write(l, INT64_MIN), -ETIMEDOUT);
                 check_times_out(piu_rwlock_acquire_read(l, PIU_MSEC(30)), PIU_MSEC(30));
                 check_times_out(piu_rwlock_acquire_write(l, PIU_MSEC(30)), PIU_MSEC(30));
             }),
             0);
}

static pid_t writer_start(struct piu_rwlock *l, struct notes *notes)
{
    int before = notes->about_to_wait;
    pid_t child = child_start({
        notes->about_to_wait++;
        CHECK(piu_rwlock_acquire_write(l, PIU_FOREVER) >= 0);
        notes->done[0] = 1;
        CHECK_EQ(piu_rwlock_release(l), 0);
    });

    wait_asleep(child, notes, before + 1);
    return child;
}

TEST(a_waiting_writer_holds_back_new_readers_but_not_those_that_read)
{
    struct notes *notes = test_shared(sizeof(*notes));
    struct piu_rwlock *l = rwlock_new();
    pid_t writer;

    CHECK_EQ(piu_rwlock_acquire_read(l, PIU_FOREVER), 0);
    writer = writer_start(l, notes);
    CHECK_EQ(read_by_other(l), -ETIMEDOUT);
    CHECK_EQ(piu_rwlock_acquire_read(l, PIU_FOREVER),
             0); /* again: must not wait for itself */
    CHECK_EQ(piu_rwlock_release(l), 0);
    CHECK(!notes->done[0]);
    CHECK_EQ(piu_rwlock_release(l), 0);
    CHECK_EQ(child_wait(writer), 0);
    CHECK_EQ(read_by_other(l), 0);
}

TEST(a_killed_waiting_writer_holds_back_nobody)
{
    struct notes *notes = test_shared(sizeof(*notes));
    struct piu_rwlock *l = rwlock_new();
    pid_t writer, reader;

    CHECK_EQ(piu_rwlock_acquire_read(l, PIU_FOREVER), 0);
    writer = writer_start(l, notes);
    reader = child_start({
        notes->about_to_wait++;
        CHECK_EQ(piu_rwlock_acquire_read(l, PIU_FOREVER), 0);
    });
    wait_asleep(reader, notes, 2);
    kill_and_reap(writer);
    CHECK_EQ(child_wait(reader), 0);
    CHECK_EQ(piu_rwlock_release(l), 0);
    CHECK_EQ(write_by_other(l), 0);
}

TEST(a_writer_that_gave_up_holds_back_nobody)
{
    struct notes *notes = test_shared(sizeof(*notes));
    struct piu_rwlock *l = rwlock_new();
    pid_t writer, reader;

    CHECK_EQ(piu_rwlock_acquire_read(l, PIU_FOREVER), 0);
    writer = child_start({
        notes->about_to_wait++;
        CHECK_EQ(piu_rwlock_acquire_write(l, PIU_MSEC(100)), -ETIMEDOUT);
        pause(); /* it lives */
    });
    test_wait_until(notes->about_to_wait);
    reader = child_start({ CHECK_EQ(piu_rwlock_acquire_read(l, PIU_FOREVER), 0); });
    CHECK_EQ(child_wait(reader), 0);
    test_wait_until(read_by_other(l) == 0);
    kill_and_reap(writer);
}

TEST(a_killed_readers_hold_goes_away)
{
    struct notes *notes = test_shared(sizeof(*notes));
    struct piu_rwlock *l = rwlock_new();
    pid_t reader = child_start({
        piu_rwlock_acquire_read(l, PIU_FOREVER);
        piu_rwlock_acquire_read(l, PIU_FOREVER);
        notes->count = 1;
        pause();
    });
    pid_t writer;

    test_wait_until(notes->count == 1);
    writer = writer_start(l, notes);
    kill_and_reap(reader);
    CHECK_EQ(child_wait(writer), 0);
    in_child_killed({ piu_rwlock_acquire_read(l, PIU_FOREVER); });
    CHECK_EQ(piu_rwlock_acquire_write(l, PIU_NOW), 0); /* no news of readers */
}

TEST(a_killed_writer_is_news_to_all_until_a_writer_has_released)
{
    struct piu_rwlock *l = rwlock_new();

    in_child_killed({ piu_rwlock_acquire_write(l, PIU_FOREVER); });
    CHECK_EQ(read_by_other(l), PIU_OWNER_DIED);
    CHECK_EQ(piu_rwlock_acquire_read(l, PIU_NOW), PIU_OWNER_DIED);
    CHECK_EQ(piu_rwlock_release(l), 0);
    CHECK_EQ(piu_rwlock_acquire_write(l, PIU_NOW), PIU_OWNER_DIED);
    CHECK_EQ(piu_rwlock_release(l), 0);
    CHECK_EQ(piu_rwlock_acquire_read(l, PIU_NOW), 0);
    CHECK_EQ(piu_rwlock_release(l), 0);
}

TEST(sleeping_waiters_get_it_from_a_killed_writer)
{
    struct notes *notes = test_shared(sizeof(*notes));
    struct piu_rwlock *l = rwlock_new();
    pid_t writer, readers[2];

    writer = child_start({
        piu_rwlock_acquire_write(l, PIU_FOREVER);
        notes->count = 1;
        pause();
    });
    test_wait_until(notes->count == 1);
    for (int i = 0; i < 2; i++)
        readers[i] = child_start({
            notes->about_to_wait++;
            CHECK_EQ(piu_rwlock_acquire_read(l, PIU_FOREVER), PIU_OWNER_DIED);
        });
    for (int i = 0; i < 2; i++)
        wait_asleep(readers[i], notes, 2);
    kill_and_reap(writer);
    CHECK_EQ(child_wait(readers[0]), 0);
    CHECK_EQ(child_wait(readers[1]), 0);
}

TEST(who_left_counts_as_died_because_nobody_else_may_release)
{
    struct piu_rwlock *l = rwlock_new();

    CHECK_EQ(in_child({ piu_rwlock_acquire_read(l, PIU_FOREVER); }), 0);
    CHECK_EQ(piu_rwlock_acquire_write(l, PIU_NOW), 0);
    CHECK_EQ(piu_rwlock_release(l), 0);
    CHECK_EQ(in_child({ piu_rwlock_acquire_write(l, PIU_FOREVER); }), 0);
    CHECK_EQ(piu_rwlock_acquire_write(l, PIU_NOW), PIU_OWNER_DIED);
}

TEST(a_signal_handler_ends_the_wait)
{
    struct piu_rwlock *l = rwlock_new();

    CHECK_EQ(piu_rwlock_acquire_read(l, PIU_FOREVER), 0);
    check_interrupted(piu_rwlock_acquire_write(l, PIU_FOREVER));
    CHECK_EQ(read_by_other(l), 0); /* it does not want any more */
    CHECK_EQ(piu_rwlock_release(l), 0);
    CHECK_EQ(piu_rwlock_acquire_write(l, PIU_FOREVER), 0);
    check_interrupted(piu_rwlock_acquire_read(l, PIU_FOREVER));
}

TEST(more_readers_than_a_table_has_at_first)
{
    struct notes *notes = test_shared(sizeof(*notes));
    struct piu_rwlock *l = rwlock_new();
    enum { READERS = 40 };
    pid_t readers[READERS];

    for (int i = 0; i < READERS; i++)
        readers[i] = child_start({
            CHECK_EQ(piu_rwlock_acquire_read(l, PIU_FOREVER), 0);
            notes->count++;
            pause();
        });
    test_wait_until(notes->count == READERS);
    CHECK_EQ(piu_rwlock_acquire_write(l, PIU_NOW), -ETIMEDOUT);
    for (int i = 0; i < READERS; i++)
        kill_and_reap(readers[i]);
    CHECK_EQ(piu_rwlock_acquire_write(l, PIU_NOW), 0);
    CHECK(rwlock_check(l));
    piu_rwlock_done(l);
    CHECK(block_check());
}

static void use(struct piu_rwlock *l, struct notes *notes, bool writes)
{
    int r = writes ? piu_rwlock_acquire_write(l, PIU_FOREVER)
                   : piu_rwlock_acquire_read(l, PIU_FOREVER);

    CHECK(r >= 0);
    if (writes) {
        CHECK_EQ(notes->result[0]++, notes->result[1]);
        notes->result[1]++;
    } else {
        CHECK_EQ(notes->result[0], notes->result[1]);
    }
    CHECK_EQ(piu_rwlock_release(l), 0);
}

TEST(readers_never_see_a_half_done_write, .limit = 60)
{
    struct notes *notes = test_shared(sizeof(*notes));
    struct piu_rwlock *l = rwlock_new();
    pid_t children[4];

    for (int i = 0; i < 4; i++)
        children[i] = child_start({
            for (int n = 0; n < 4000; n++)
                use(l, notes, i == 0 || n % 10 == 0);
        });
    for (int i = 0; i < 4; i++)
        CHECK_EQ(child_wait(children[i]), 0);
    CHECK_EQ(notes->result[0], 4000 + 3 * 400);
    CHECK(rwlock_check(l));
}

static void be_killed_sometime(struct piu_rwlock *l)
{
    for (unsigned n = 0;; n++) {
        if (n % 2)
            piu_rwlock_acquire_read(l, PIU_FOREVER);
        else
            piu_rwlock_acquire_write(l, PIU_FOREVER);
        piu_rwlock_release(l);
    }
}

TEST(killed_anywhere_it_always_goes_on, .limit = 60)
{
    struct piu_rwlock *l = rwlock_new();
    uint64_t seed = 88172645463325252u;
    enum { VICTIMS = 2, KILLS = 150 };
    pid_t victims[VICTIMS];

    for (int i = 0; i < VICTIMS; i++)
        victims[i] = child_start({ be_killed_sometime(l); });
    for (int kills = 0; kills < KILLS; kills++) {
        pid_t *victim = &victims[random_next(&seed) % VICTIMS];

        for (uint64_t n = random_next(&seed) % 200; n; n--) {
            CHECK(piu_rwlock_acquire_write(l, PIU_FOREVER) >= 0);
            CHECK_EQ(piu_rwlock_release(l), 0);
        }
        kill_and_reap(*victim);
        *victim = child_start({ be_killed_sometime(l); });
    }
    for (int i = 0; i < VICTIMS; i++)
        kill_and_reap(victims[i]);
    CHECK(piu_rwlock_acquire_write(l, PIU_NOW) >= 0);
    CHECK_EQ(piu_rwlock_release(l), 0);
    CHECK(rwlock_check(l));
}

TEST(a_table_full_of_dead_readers_has_room_for_the_living)
{
    struct piu_rwlock *l = rwlock_new();
    uint64_t blocks;

    CHECK_EQ(piu_rwlock_acquire_read(l, PIU_NOW), 0);
    blocks = block_count();
    for (int i = 0; i < 40; i++)
        in_child_killed({ CHECK_EQ(piu_rwlock_acquire_read(l, PIU_NOW), 0); });
    CHECK_EQ(block_count(), blocks);
    CHECK_EQ(in_child({ CHECK_EQ(piu_rwlock_acquire_write(l, PIU_NOW), -ETIMEDOUT); }),
             0);
    CHECK_EQ(piu_rwlock_release(l), 0);
    CHECK_EQ(piu_rwlock_acquire_write(l, PIU_NOW), 0);
    CHECK(rwlock_check(l));
}
