/* A barrier at which something is done once, when all have come (piu_barrier_meet). */
#include "waits.h"

#include "os/clock.h"
#include "sync/barrier.h"
#include "sync/parties.h"

static struct piu_barrier *barrier_new(unsigned parties)
{
    struct piu_barrier *b = piu_shared_new(1, sizeof(*b));

    CHECK(b);
    CHECK_EQ(piu_barrier_init(b, parties), 0);
    return b;
}

/* A child that meets; asleep there, as `before` others were there already. */
static pid_t meet_start(struct piu_barrier *b, struct notes *notes, int number,
                        unsigned before)
{
    pid_t child = child_start({
        int r;

        handle_signals();
        while ((r = piu_barrier_meet(b, NULL, PIU_FOREVER)) == -EINTR)
            notes->count++;
        notes->result[number] = r;
        notes->done[number] = 1;
    });

    test_wait_until(piu_barrier_waiting(b) == before + 1 && is_asleep(child));
    return child;
}

/* A child that is the last to come, and acts until it is killed. */
static pid_t act_start(struct piu_barrier *b, struct notes *notes)
{
    pid_t child = child_start({
        CHECK_EQ(piu_barrier_meet(b, NULL, PIU_FOREVER), PIU_LAST);
        notes->done[7] = 1;
        pause();
    });

    test_wait_until(notes->done[7]);
    return child;
}

TEST(the_last_one_acts_while_the_others_wait)
{
    struct notes *notes = test_shared(sizeof(*notes));
    struct piu_barrier *b = barrier_new(2);

    for (int round = 0; round < 3; round++) {
        pid_t other = meet_start(b, notes, 0, 0);
        unsigned index = 9;

        CHECK_EQ(piu_barrier_meet(b, &index, PIU_NOW), PIU_LAST);
        CHECK_EQ(index, 1);
        CHECK_EQ(piu_barrier_waiting(b), 2);
        CHECK(barrier_check(b) && is_asleep(other));
        CHECK_EQ(piu_barrier_meet(b, NULL, PIU_FOREVER), -EDEADLK);
        CHECK_EQ(piu_barrier_release(b), 0);
        CHECK_EQ(piu_barrier_release(b), -ENOTRECOVERABLE);
        CHECK_EQ(child_wait(other), 0);
        CHECK_EQ(notes->result[0], 0);
    }
    CHECK(barrier_check(b) && piu_barrier_waiting(b) == 0);
}

TEST(killed_while_it_acts_it_breaks_for_the_others)
{
    struct notes *notes = test_shared(sizeof(*notes));
    struct piu_barrier *b = barrier_new(3);
    pid_t others[2] = {meet_start(b, notes, 0, 0), meet_start(b, notes, 1, 1)};

    kill_and_reap(act_start(b, notes));
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(child_wait(others[i]), 0);
        CHECK_EQ(notes->result[i], -ENOTRECOVERABLE);
    }
    CHECK(piu_barrier_is_broken(b));
    CHECK_EQ(piu_barrier_reset(b), 0);
    CHECK(barrier_check(b));
}

/* It left while another of its threads acted: nobody else will release them. */
TEST(one_that_leaves_while_it_acts_breaks_it_too)
{
    struct notes *notes = test_shared(sizeof(*notes));
    struct piu_barrier *b = barrier_new(2);
    pid_t other = meet_start(b, notes, 0, 0);

    CHECK_EQ(in_child({
                 CHECK_EQ(piu_barrier_meet(b, NULL, PIU_FOREVER), PIU_LAST);
                 exit(0);
             }),
             0);
    CHECK_EQ(child_wait(other), 0);
    CHECK_EQ(notes->result[0], -ENOTRECOVERABLE);
}

TEST(a_reset_while_it_acts_leaves_nobody_alone)
{
    struct notes *notes = test_shared(sizeof(*notes));
    struct piu_barrier *b = barrier_new(2);

    for (int broken = 0; broken < 2; broken++) {
        pid_t other = meet_start(b, notes, 0, 0);

        CHECK_EQ(piu_barrier_meet(b, NULL, PIU_FOREVER), PIU_LAST);
        CHECK_EQ(in_child({
                     CHECK_EQ(broken ? piu_barrier_abort(b) : piu_barrier_reset(b), 0);
                 }),
                 0);
        CHECK_EQ(piu_barrier_release(b), -ENOTRECOVERABLE);
        CHECK_EQ(child_wait(other), 0);
        CHECK_EQ(notes->result[0], -ENOTRECOVERABLE);
        CHECK_EQ(piu_barrier_is_broken(b), broken);
        CHECK(barrier_check(b) && piu_barrier_waiting(b) == 0);
    }
}

TEST(who_comes_while_one_acts_waits_for_the_next_ones)
{
    struct notes *notes = test_shared(sizeof(*notes));
    struct piu_barrier *b = barrier_new(2);
    pid_t other = meet_start(b, notes, 0, 0), early;

    CHECK_EQ(piu_barrier_meet(b, NULL, PIU_FOREVER), PIU_LAST);
    early = child_start({
        CHECK_EQ(piu_barrier_meet(b, NULL, PIU_FOREVER), 0);
        notes->done[1] = 1;
    });
    test_wait_until(is_asleep(early));
    CHECK_EQ(piu_barrier_waiting(b), 2);
    CHECK_EQ(piu_barrier_release(b), 0);
    CHECK_EQ(child_wait(other), 0);
    test_wait_until(piu_barrier_waiting(b) == 1);
    CHECK_EQ(notes->done[1], 0);
    CHECK_EQ(piu_barrier_meet(b, NULL, PIU_FOREVER), PIU_LAST);
    CHECK_EQ(piu_barrier_release(b), 0);
    CHECK_EQ(child_wait(early), 0);
}

TEST(a_signal_while_another_acts_costs_nobody_his_place)
{
    struct notes *notes = test_shared(sizeof(*notes));
    struct piu_barrier *b = barrier_new(2);
    pid_t other = meet_start(b, notes, 0, 0);

    CHECK_EQ(piu_barrier_meet(b, NULL, PIU_FOREVER), PIU_LAST);
    test_wait_until(notes->count || (kill(other, SIGUSR1), false));
    CHECK_EQ(piu_barrier_waiting(b), 2);
    CHECK_EQ(piu_barrier_release(b), 0);
    CHECK_EQ(child_wait(other), 0);
    CHECK_EQ(notes->result[0], 0);
}

/* One that goes by a signal, and does not want to come again. */
TEST(an_abort_gives_up_the_place_that_was_kept)
{
    struct notes *notes = test_shared(sizeof(*notes));
    struct piu_barrier *b = barrier_new(2);
    pid_t other = child_start({
        handle_signals();
        CHECK_EQ(piu_barrier_meet(b, NULL, PIU_FOREVER), -EINTR);
        CHECK_EQ(piu_barrier_abort(b), 0);
        CHECK_EQ(piu_barrier_reset(b), 0);
        notes->done[0] = 1;
        CHECK_EQ(piu_barrier_meet(b, NULL, PIU_FOREVER), 0);
    });

    test_wait_until(piu_barrier_waiting(b) == 1 && is_asleep(other));
    CHECK_EQ(piu_barrier_meet(b, NULL, PIU_FOREVER), PIU_LAST);
    test_wait_until(notes->done[0] || (kill(other, SIGUSR1), false));
    CHECK_EQ(piu_barrier_release(b), -ENOTRECOVERABLE);
    test_wait_until(piu_barrier_waiting(b) == 1);
    CHECK_EQ(piu_barrier_meet(b, NULL, PIU_FOREVER), PIU_LAST);
    CHECK_EQ(piu_barrier_release(b), 0);
    CHECK_EQ(child_wait(other), 0);
}

/* As in Python: the time is for all to come, and all have. */
TEST(nobodys_time_runs_while_one_acts)
{
    struct notes *notes = test_shared(sizeof(*notes));
    struct piu_barrier *b = barrier_new(2);
    int64_t began = clock_now();
    pid_t early, other;

    other = child_start({
        notes->result[0] = piu_barrier_meet(b, NULL, PIU_SEC(1));
        notes->done[0] = 1;
    });

    test_wait_until(piu_barrier_waiting(b) == 1);
    CHECK_EQ(piu_barrier_meet(b, NULL, PIU_FOREVER), PIU_LAST);
    early = child_start({ CHECK_EQ(piu_barrier_meet(b, NULL, PIU_NOW), -ETIMEDOUT); });
    test_wait_until(clock_now() > began + PIU_MSEC(1500) || notes->done[0]);
    test_wait_until((is_asleep(other) && is_asleep(early)) || notes->done[0]);
    CHECK_EQ(piu_barrier_release(b), 0);
    CHECK_EQ(child_wait(other), 0);
    CHECK_EQ(notes->result[0], 0);
    CHECK_EQ(child_wait(early), 0);
    CHECK(barrier_check(b) && piu_barrier_is_broken(b));
}

/* Killed with all told that they pass, and the turn not yet changed: no party is dead there. */
static pid_t release_half(struct piu_barrier *b, struct notes *notes)
{
    return child_start({
        struct barrier *in = (struct barrier *)(void *)b;
        struct roll_walk walk;
        struct roll_entry *e;
        uint64_t who = 0;
        uint32_t turn;

        CHECK_EQ(piu_barrier_meet(b, NULL, PIU_FOREVER), PIU_LAST);
        test_wait_until(notes->done[6]);
        CHECK_EQ(member_uses(b, sizeof(*b), &who), 0);
        turn = parties_enter(in, who);
        atomic_store(&in->ending, (uint64_t)PASSED << 32 | (turn + TURN_GENERATION));
        for (e = roll_first(&walk, &in->arrived); e; e = roll_next(&walk))
            atomic_store(&e->state, PASSED);
        raise(SIGKILL);
    });
}

TEST(who_waits_for_one_that_acts_ends_what_its_death_cut_off)
{
    struct notes *notes = test_shared(sizeof(*notes));
    struct piu_barrier *b = barrier_new(2);
    pid_t other, last, early[2];

    other = meet_start(b, notes, 0, 0);
    last = release_half(b, notes);
    test_wait_until(piu_barrier_waiting(b) == 2);
    for (int i = 0; i < 2; i++) {
        early[i] = child_start({ CHECK_EQ(piu_barrier_wait(b, NULL, PIU_FOREVER), 0); });
        test_wait_until(is_asleep(early[i]));
    }
    notes->done[6] = 1;
    CHECK(WIFSIGNALED(child_wait(last)));
    CHECK_EQ(child_wait(other), 0);
    CHECK_EQ(child_wait(early[0]), 0);
    CHECK_EQ(child_wait(early[1]), 0);
    CHECK(barrier_check(b) && piu_barrier_waiting(b) == 0);
}
