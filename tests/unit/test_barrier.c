#include "waits.h"

#include "shm/block.h"
#include "sync/barrier.h"

static struct piu_barrier *barrier_new(unsigned parties)
{
    struct piu_barrier *b = piu_shared_new(1, sizeof(*b));

    CHECK(b);
    CHECK_EQ(piu_barrier_init(b, parties), 0);
    return b;
}

/* A child that has arrived, and will put what it was told into result[number]. */
static pid_t arrive_start(struct piu_barrier *b, struct notes *notes, int number,
                          int64_t timeout)
{
    unsigned before = piu_barrier_waiting(b);
    pid_t child = child_start({
        notes->result[number] = piu_barrier_wait(b, NULL, timeout);
        notes->done[number] = 1;
    });

    test_wait_until(piu_barrier_waiting(b) == before + 1);
    return child;
}

TEST(bad_input_is_refused)
{
    struct piu_barrier private_one, *b = piu_shared_new(1, sizeof(*b));

    CHECK_EQ(piu_barrier_init(NULL, 1), -EINVAL);
    CHECK_EQ(piu_barrier_init(b, 0), -EINVAL);
    CHECK_EQ(piu_barrier_init(&private_one, 1), -EFAULT);
    CHECK_EQ(piu_barrier_wait(b, NULL, PIU_NOW), -EINVAL); /* zero bytes are no barrier */
    CHECK_EQ(piu_barrier_wait(NULL, NULL, PIU_NOW), -EINVAL);
    CHECK_EQ(piu_barrier_reset(NULL), -EINVAL);
    CHECK_EQ(piu_barrier_abort(NULL), -EINVAL);
    CHECK_EQ(piu_barrier_parties(NULL), 0);
    CHECK_EQ(piu_barrier_waiting(NULL), 0);
    CHECK(!piu_barrier_is_broken(NULL));
    piu_barrier_done(NULL);
}

TEST(a_barrier_for_one_never_waits)
{
    struct piu_barrier *b = barrier_new(1);
    unsigned index = 7;

    for (int i = 0; i < 10; i++)
        CHECK_EQ(piu_barrier_wait(b, &index, PIU_NOW), 0);
    CHECK_EQ(index, 0);
    CHECK_EQ(piu_barrier_parties(b), 1);
    CHECK(barrier_check(b));
}

TEST(all_pass_when_the_last_has_come_each_with_its_index)
{
    struct notes *notes = test_shared(sizeof(*notes));
    struct piu_barrier *b = barrier_new(4);
    pid_t children[4];

    for (int i = 0; i < 4; i++)
        children[i] = child_start({
            unsigned index = 99;

            CHECK_EQ(piu_barrier_wait(b, &index, PIU_FOREVER), 0);
            CHECK(index < 4);
            notes->done[index]++;
        });
    for (int i = 0; i < 4; i++)
        CHECK_EQ(child_wait(children[i]), 0);
    for (int i = 0; i < 4; i++)
        CHECK_EQ(notes->done[i], 1);
    CHECK_EQ(piu_barrier_waiting(b), 0);
    CHECK(!piu_barrier_is_broken(b));
}

TEST(it_is_reusable_at_once_also_while_slow_ones_still_leave, .limit = 60)
{
    struct notes *notes = test_shared(sizeof(*notes));
    struct piu_barrier *b = barrier_new(3);
    enum { ROUNDS = 3000 };
    pid_t children[3];

    for (int i = 0; i < 3; i++)
        children[i] = child_start({
            for (int round = 0; round < ROUNDS; round++) {
                notes->count++;
                CHECK_EQ(piu_barrier_wait(b, NULL, PIU_FOREVER), 0);
                CHECK(notes->count >= (round + 1) * 3);
            }
        });
    for (int i = 0; i < 3; i++)
        CHECK_EQ(child_wait(children[i]), 0);
    CHECK(barrier_check(b));
}

/* More waiters than parties: whoever is slow to leave must learn of its own generation. */
TEST(a_stopped_one_that_had_passed_has_passed)
{
    struct notes *notes = test_shared(sizeof(*notes));
    struct piu_barrier *b = barrier_new(2);
    pid_t slow = arrive_start(b, notes, 0, PIU_FOREVER);

    test_wait_until(is_asleep(slow)); /* stopped in the gate it would hold up all */
    stop(slow);
    CHECK_EQ(piu_barrier_wait(b, NULL, PIU_FOREVER), 0);
    for (int i = 0; i < 5; i++) { /* generations go by */
        pid_t other =
            child_start({ CHECK_EQ(piu_barrier_wait(b, NULL, PIU_FOREVER), 0); });

        CHECK_EQ(piu_barrier_wait(b, NULL, PIU_FOREVER), 0);
        CHECK_EQ(child_wait(other), 0);
    }
    CHECK_EQ(piu_barrier_abort(b), 0);
    CHECK_EQ(kill(slow, SIGCONT), 0);
    CHECK_EQ(child_wait(slow), 0);
    CHECK_EQ(notes->result[0], 0);
}

TEST(a_timeout_breaks_it_for_all)
{
    struct notes *notes = test_shared(sizeof(*notes));
    struct piu_barrier *b = barrier_new(3);
    pid_t other = arrive_start(b, notes, 0, PIU_FOREVER);

    check_times_out(piu_barrier_wait(b, NULL, PIU_MSEC(30)), PIU_MSEC(30));
    CHECK_EQ(child_wait(other), 0);
    CHECK_EQ(notes->result[0], -ENOTRECOVERABLE);
    CHECK(piu_barrier_is_broken(b));
    CHECK_EQ(piu_barrier_wait(b, NULL, PIU_FOREVER), -ENOTRECOVERABLE);
    CHECK_EQ(piu_barrier_reset(b), 0);
    CHECK(!piu_barrier_is_broken(b));
    CHECK_EQ(piu_barrier_wait(b, NULL, INT64_MIN), -ETIMEDOUT);
    CHECK(piu_barrier_is_broken(b));
}

TEST(reset_breaks_the_waiters_and_leaves_it_whole)
{
    struct notes *notes = test_shared(sizeof(*notes));
    struct piu_barrier *b = barrier_new(2);
    pid_t waiter = arrive_start(b, notes, 0, PIU_FOREVER), next;

    CHECK_EQ(piu_barrier_reset(b), 0);
    CHECK(!piu_barrier_is_broken(b));
    CHECK_EQ(child_wait(waiter), 0);
    CHECK_EQ(notes->result[0], -ENOTRECOVERABLE);
    next = arrive_start(b, notes, 1, PIU_FOREVER);
    CHECK_EQ(piu_barrier_wait(b, NULL, PIU_FOREVER), 0);
    CHECK_EQ(child_wait(next), 0);
    CHECK_EQ(notes->result[1], 0);
}

TEST(abort_breaks_it_until_the_reset)
{
    struct notes *notes = test_shared(sizeof(*notes));
    struct piu_barrier *b = barrier_new(2);
    pid_t waiter = arrive_start(b, notes, 0, PIU_FOREVER);

    CHECK_EQ(piu_barrier_abort(b), 0);
    CHECK(piu_barrier_is_broken(b));
    CHECK_EQ(child_wait(waiter), 0);
    CHECK_EQ(notes->result[0], -ENOTRECOVERABLE);
    CHECK_EQ(piu_barrier_wait(b, NULL, PIU_FOREVER), -ENOTRECOVERABLE);
    CHECK_EQ(piu_barrier_waiting(b), 0);
}

TEST(an_arrived_member_killed_breaks_it_for_those_who_sleep)
{
    struct notes *notes = test_shared(sizeof(*notes));
    struct piu_barrier *b = barrier_new(4);
    pid_t victim = arrive_start(b, notes, 0, PIU_FOREVER);
    pid_t first = arrive_start(b, notes, 1, PIU_FOREVER);
    pid_t second = arrive_start(b, notes, 2, PIU_FOREVER);

    kill_and_reap(victim);
    CHECK_EQ(child_wait(first), 0);
    CHECK_EQ(child_wait(second), 0);
    CHECK_EQ(notes->result[1], -ENOTRECOVERABLE);
    CHECK_EQ(notes->result[2], -ENOTRECOVERABLE);
    CHECK(piu_barrier_is_broken(b));
    CHECK_EQ(piu_barrier_reset(b), 0);
    CHECK(barrier_check(b));
}

TEST(the_last_to_come_finds_an_arrived_one_dead)
{
    struct notes *notes = test_shared(sizeof(*notes));
    struct piu_barrier *b = barrier_new(2);

    kill_and_reap(arrive_start(b, notes, 0, PIU_FOREVER));
    CHECK_EQ(piu_barrier_wait(b, NULL, PIU_FOREVER), -ENOTRECOVERABLE);
}

TEST(one_killed_after_it_passed_breaks_nothing)
{
    struct notes *notes = test_shared(sizeof(*notes));
    struct piu_barrier *b = barrier_new(2);
    pid_t slow = arrive_start(b, notes, 0, PIU_FOREVER), next;

    test_wait_until(is_asleep(slow));
    stop(slow);
    CHECK_EQ(piu_barrier_wait(b, NULL, PIU_FOREVER), 0);
    kill_and_reap(slow); /* its entry has PASSED and is never taken out by itself */
    next = arrive_start(b, notes, 1, PIU_FOREVER);
    CHECK_EQ(piu_barrier_wait(b, NULL, PIU_FOREVER), 0);
    CHECK_EQ(child_wait(next), 0);
    CHECK(barrier_check(b));
}

static void *arrive_and_stay(void *b)
{
    piu_barrier_wait(b, NULL, PIU_FOREVER);
    return NULL;
}

/* As in Python: its process ended while another of its threads waited. */
TEST(one_that_had_arrived_and_left_counts_on)
{
    struct piu_barrier *b = barrier_new(2);

    CHECK_EQ(in_child({
                 pthread_t thread;

                 CHECK_EQ(pthread_create(&thread, NULL, arrive_and_stay, b), 0);
                 test_wait_until(piu_barrier_waiting(b) == 1);
             }),
             0);
    CHECK_EQ(piu_barrier_waiting(b), 1);
    CHECK_EQ(piu_barrier_wait(b, NULL, PIU_SEC(5)), 0);
    CHECK(!piu_barrier_is_broken(b));
}

TEST(a_signal_handler_ends_the_wait_and_the_arrival)
{
    struct notes *notes = test_shared(sizeof(*notes));
    struct piu_barrier *b = barrier_new(3);
    pid_t first, second;
    unsigned index = 99;

    first = arrive_start(b, notes, 0, PIU_FOREVER);
    check_interrupted(piu_barrier_wait(b, NULL, PIU_FOREVER));
    CHECK_EQ(piu_barrier_waiting(b), 1);
    CHECK(!piu_barrier_is_broken(b));
    second = arrive_start(b, notes, 1, PIU_FOREVER);
    CHECK_EQ(piu_barrier_wait(b, &index, PIU_FOREVER), 0);
    CHECK_EQ(index, 2);
    CHECK_EQ(child_wait(first), 0);
    CHECK_EQ(child_wait(second), 0);
}

/* The first goes away again, so the number of those present is a taken index. */
TEST(indices_are_different_though_one_went_away)
{
    struct notes *notes = test_shared(sizeof(*notes));
    struct piu_barrier *b = barrier_new(3);
    struct notes *gone = test_shared(sizeof(*gone));
    pid_t leaver, children[3];

    leaver = child_start({
        handle_signals();
        gone->result[0] = piu_barrier_wait(b, NULL, PIU_FOREVER);
        gone->done[0] = 1;
    });
    test_wait_until(piu_barrier_waiting(b) == 1);
    for (int i = 0; i < 3; i++) {
        children[i] = child_start({
            unsigned index = 99;

            CHECK_EQ(piu_barrier_wait(b, &index, PIU_FOREVER), 0);
            CHECK(index < 3);
            notes->done[index]++;
        });
        if (i == 0) {
            test_wait_until(piu_barrier_waiting(b) == 2);
            test_wait_until(gone->done[0] || (kill(leaver, SIGUSR1), false));
            CHECK_EQ(gone->result[0], -EINTR);
        }
    }
    for (int i = 0; i < 3; i++)
        CHECK_EQ(child_wait(children[i]), 0);
    for (int i = 0; i < 3; i++)
        CHECK_EQ(notes->done[i], 1);
    CHECK_EQ(child_wait(leaver), 0);
}

TEST(more_parties_than_a_table_has_at_first, .limit = 60)
{
    struct piu_barrier *b = barrier_new(40);
    pid_t children[40];

    for (int i = 0; i < 40; i++)
        children[i] = child_start({
            for (int round = 0; round < 20; round++)
                CHECK_EQ(piu_barrier_wait(b, NULL, PIU_FOREVER), 0);
        });
    for (int i = 0; i < 40; i++)
        CHECK_EQ(child_wait(children[i]), 0);
    CHECK(barrier_check(b));
    piu_barrier_done(b);
    CHECK(block_check());
}

static void be_killed_sometime(struct piu_barrier *b)
{
    for (;;)
        if (piu_barrier_wait(b, NULL, PIU_FOREVER) < 0)
            piu_barrier_reset(b);
}

/* Others pass, or are told that it broke; nobody waits for ever. */
TEST(killed_anywhere_it_breaks_and_a_reset_mends_it, .limit = 60)
{
    struct piu_barrier *b = barrier_new(2);
    uint64_t seed = 88172645463325252u;
    pid_t victim, partner;

    for (int kills = 0; kills < 200; kills++) {
        CHECK_EQ(piu_barrier_reset(b), 0);
        victim = child_start({ be_killed_sometime(b); });
        for (uint64_t n = random_next(&seed) % 100; n; n--)
            piu_barrier_wait(b, NULL, PIU_SEC(1));
        kill_and_reap(victim);
        CHECK(barrier_check(b) || piu_barrier_wait(b, NULL, PIU_NOW) < 0);
    }
    CHECK_EQ(piu_barrier_reset(b), 0);
    partner = child_start({ CHECK_EQ(piu_barrier_wait(b, NULL, PIU_FOREVER), 0); });
    CHECK_EQ(piu_barrier_wait(b, NULL, PIU_FOREVER), 0);
    CHECK_EQ(child_wait(partner), 0);
}

/* The entries of those that passed and ended before they took them out make room. */
TEST(a_table_full_of_dead_ones_that_had_passed_has_room_for_the_living)
{
    enum { ROUNDS = 20 };
    struct notes *notes = test_shared(sizeof(*notes));
    struct piu_barrier *b = barrier_new(2);
    pid_t slow = 0;
    uint64_t blocks = 0;

    for (int round = 0; round < ROUNDS; round++) {
        pid_t other = arrive_start(b, notes, round % 8, PIU_FOREVER);

        test_wait_until(is_asleep(other));
        stop(other);
        CHECK_EQ(piu_barrier_wait(b, NULL, PIU_SEC(5)), 0);
        blocks = blocks ? blocks : block_count();
        CHECK_EQ(block_count(), blocks);
        if (slow)
            kill_and_reap(other);
        else
            slow = other; /* passed, lives, and has its entry all the time */
    }
    CHECK_EQ(kill(slow, SIGCONT), 0);
    CHECK_EQ(child_wait(slow), 0);
    CHECK_EQ(notes->result[0], 0);
    CHECK(barrier_check(b));
}
