#include "waits.h"

#include "shm/block.h"
#include "shm/owner.h"
#include "sync/condition.h"
#include "sync/lock.h"

struct room { /* a condition with its lock */
    struct piu_lock lock;
    struct piu_rlock rlock;
    struct piu_condition condition;
};

static struct room *room_new(void)
{
    struct room *room = piu_shared_new(1, sizeof(*room));

    CHECK(room);
    return room;
}

static void enter(struct room *room)
{
    CHECK(piu_lock_acquire(&room->lock, PIU_FOREVER) >= 0);
}

static void leave(struct room *room)
{
    CHECK_EQ(piu_lock_release(&room->lock), 0);
}

static void notify(struct room *room, unsigned count)
{
    enter(room);
    CHECK_EQ(piu_condition_notify(&room->condition, count), 0);
    leave(room);
}

/* A child that waits, and then writes its number behind those that got up before. */
static pid_t waiter_start(struct room *room, struct notes *notes, int number)
{
    unsigned before = piu_condition_waiting(&room->condition);
    pid_t child = child_start({
        enter(room);
        CHECK_EQ(piu_condition_wait(&room->condition, &room->lock, PIU_FOREVER), 0);
        notes->result[notes->count] = number;
        notes->count++;
        notes->done[number] = 1;
        leave(room);
    });

    test_wait_until(piu_condition_waiting(&room->condition) == before + 1);
    test_wait_until(is_asleep(child));
    return child;
}

TEST(all_zero_bytes_are_a_condition)
{
    struct room *room = room_new();

    CHECK_EQ(piu_condition_waiting(&room->condition), 0);
    CHECK_EQ(piu_condition_notify(&room->condition, 1), 0);
    CHECK_EQ(piu_condition_notify_all(&room->condition), 0);
    CHECK(condition_check(&room->condition));
    piu_condition_done(&room->condition);
}

TEST(bad_input_is_refused)
{
    struct room *room = room_new(), private_room;

    memset(&private_room, 0, sizeof(private_room));
    CHECK_EQ(piu_condition_wait(NULL, &room->lock, PIU_NOW), -EINVAL);
    CHECK_EQ(piu_condition_wait(&room->condition, NULL, PIU_NOW), -EINVAL);
    CHECK_EQ(piu_condition_wait_rlock(&room->condition, NULL, PIU_NOW), -EINVAL);
    CHECK_EQ(piu_condition_notify(NULL, 1), -EINVAL);
    CHECK_EQ(piu_condition_notify_all(NULL), -EINVAL);
    CHECK_EQ(piu_condition_waiting(NULL), 0);
    piu_condition_done(NULL);
    enter(&private_room);
    CHECK_EQ(piu_condition_wait(&private_room.condition, &private_room.lock, PIU_NOW),
             -EFAULT);
    CHECK_EQ(piu_condition_notify(&private_room.condition, 1), -EFAULT);
    leave(&private_room);
}

static void wait_in_vain(int i, void *argument)
{
    struct room *room = argument;

    (void)i;
    CHECK_EQ(piu_condition_wait(&room->condition, &room->lock, PIU_NOW), -EPERM);
    CHECK_EQ(piu_condition_wait_rlock(&room->condition, &room->rlock, PIU_NOW), -EPERM);
}

TEST(only_the_thread_that_holds_the_lock_may_wait)
{
    struct room *room = room_new();

    wait_in_vain(0, room);
    enter(room);
    CHECK_EQ(piu_rlock_acquire(&room->rlock, PIU_FOREVER), 0);
    test_threads(1, wait_in_vain, room);
    CHECK_EQ(in_child({ wait_in_vain(0, room); }), 0);
    CHECK_EQ(piu_lock_owner(&room->lock), getpid());
}

TEST(time_out_leaves_the_lock_held)
{
    struct room *room = room_new();

    enter(room);
    CHECK_EQ(piu_condition_wait(&room->condition, &room->lock, PIU_NOW), -ETIMEDOUT);
    CHECK_EQ(piu_condition_wait(&room->condition, &room->lock, INT64_MIN), -ETIMEDOUT);
    check_times_out(piu_condition_wait(&room->condition, &room->lock, PIU_MSEC(30)),
                    PIU_MSEC(30));
    CHECK_EQ(piu_lock_owner(&room->lock), getpid());
    CHECK_EQ(piu_condition_waiting(&room->condition), 0);
    leave(room);
}

TEST(notify_wakes_exactly_the_longest_waiting_ones)
{
    struct notes *notes = test_shared(sizeof(*notes));
    struct room *room = room_new();
    pid_t waiters[6];

    for (int i = 0; i < 6; i++)
        waiters[i] = waiter_start(room, notes, i);
    notify(room, 2);
    test_wait_until(notes->count == 2);
    CHECK(notes->done[0] && notes->done[1]);
    CHECK_EQ(piu_condition_waiting(&room->condition), 4);
    notify(room, 1);
    test_wait_until(notes->count == 3);
    CHECK(notes->done[2]);
    CHECK_EQ(piu_condition_waiting(&room->condition), 3);
    notify(room, 100);
    for (int i = 0; i < 6; i++)
        CHECK_EQ(child_wait(waiters[i]), 0);
    CHECK_EQ(notes->count, 6);
    CHECK_EQ(piu_condition_waiting(&room->condition), 0);
    CHECK(condition_check(&room->condition));
}

TEST(notify_all_wakes_all_and_a_later_waiter_waits)
{
    struct notes *notes = test_shared(sizeof(*notes));
    struct room *room = room_new();
    pid_t waiters[5];

    for (int i = 0; i < 5; i++)
        waiters[i] = waiter_start(room, notes, i);
    enter(room);
    CHECK_EQ(piu_condition_notify_all(&room->condition), 0);
    leave(room);
    for (int i = 0; i < 5; i++)
        CHECK_EQ(child_wait(waiters[i]), 0);
    enter(room);
    CHECK_EQ(piu_condition_wait(&room->condition, &room->lock, PIU_NOW), -ETIMEDOUT);
}

TEST(a_notify_for_nobody_is_not_kept)
{
    struct room *room = room_new();

    enter(room);
    CHECK_EQ(piu_condition_wait(&room->condition, &room->lock, PIU_NOW), -ETIMEDOUT);
    CHECK_EQ(piu_condition_notify(&room->condition, 1), 0);
    CHECK_EQ(piu_condition_wait(&room->condition, &room->lock, PIU_NOW), -ETIMEDOUT);
}

TEST(dead_waiters_do_not_count)
{
    struct notes *notes = test_shared(sizeof(*notes));
    struct room *room = room_new();
    pid_t dead[2], last;

    dead[0] = waiter_start(room, notes, 0);
    dead[1] = waiter_start(room, notes, 1);
    last = waiter_start(room, notes, 2);
    kill_and_reap(dead[0]);
    kill_and_reap(dead[1]);
    CHECK_EQ(piu_condition_waiting(&room->condition), 1);
    notify(room, 1);
    CHECK_EQ(child_wait(last), 0);
    CHECK(notes->done[2]);
}

/* It was notified, cannot get the lock, and is killed: another waiter must get the notify. */
TEST(a_notify_that_a_dying_waiter_swallowed_goes_to_the_next)
{
    struct notes *notes = test_shared(sizeof(*notes));
    struct room *room = room_new();
    pid_t first = waiter_start(room, notes, 0);
    pid_t second = waiter_start(room, notes, 1);
    pid_t third = waiter_start(room, notes, 2);

    enter(room);
    CHECK_EQ(piu_condition_notify(&room->condition, 1), 0);
    CHECK_EQ(piu_condition_waiting(&room->condition), 2);
    kill_and_reap(first);
    leave(room);
    CHECK_EQ(child_wait(second), 0);
    CHECK_EQ(notes->count, 1);
    CHECK_EQ(piu_condition_waiting(&room->condition), 1);
    notify(room, 1);
    CHECK_EQ(child_wait(third), 0);
    CHECK(condition_check(&room->condition));
}

TEST(a_notify_that_the_last_waiter_swallowed_is_not_kept)
{
    struct notes *notes = test_shared(sizeof(*notes));
    struct room *room = room_new();
    pid_t waiter = waiter_start(room, notes, 0);

    enter(room);
    CHECK_EQ(piu_condition_notify(&room->condition, 1), 0);
    kill_and_reap(waiter);
    CHECK_EQ(piu_condition_notify(&room->condition, 1), 0);
    CHECK_EQ(piu_condition_wait(&room->condition, &room->lock, PIU_NOW), -ETIMEDOUT);
    leave(room);
    CHECK(condition_check(&room->condition));
}

TEST(a_notifier_finds_the_swallowed_notify_too)
{
    struct notes *notes = test_shared(sizeof(*notes));
    struct room *room = room_new();
    pid_t waiters[3];

    for (int i = 0; i < 3; i++)
        waiters[i] = waiter_start(room, notes, i);
    enter(room);
    CHECK_EQ(piu_condition_notify(&room->condition, 1), 0);
    kill_and_reap(waiters[0]);
    CHECK_EQ(piu_condition_notify(&room->condition, 1),
             0); /* its own, and the swallowed one */
    CHECK_EQ(piu_condition_waiting(&room->condition), 0);
    leave(room);
    CHECK_EQ(child_wait(waiters[1]), 0);
    CHECK_EQ(child_wait(waiters[2]), 0);
}

TEST(a_waiter_is_told_that_the_locks_last_holder_died)
{
    struct notes *notes = test_shared(sizeof(*notes));
    struct room *room = room_new();
    pid_t waiter = child_start({
        enter(room);
        notes->result[0] = piu_condition_wait(&room->condition, &room->lock, PIU_FOREVER);
        leave(room);
    });

    test_wait_until(piu_condition_waiting(&room->condition) == 1);
    in_child_killed({
        enter(room);
        piu_condition_notify(&room->condition, 1);
    });
    CHECK_EQ(child_wait(waiter), 0);
    CHECK_EQ(notes->result[0], PIU_OWNER_DIED);
}

TEST(a_recursive_lock_comes_back_with_its_count)
{
    struct notes *notes = test_shared(sizeof(*notes));
    struct room *room = room_new();
    pid_t waiter = child_start({
        for (int i = 0; i < 3; i++)
            CHECK_EQ(piu_rlock_acquire(&room->rlock, PIU_FOREVER), 0);
        CHECK_EQ(piu_condition_wait_rlock(&room->condition, &room->rlock, PIU_NOW),
                 -ETIMEDOUT);
        CHECK_EQ(piu_rlock_count(&room->rlock), 3);
        notes->about_to_wait = 1;
        CHECK_EQ(piu_condition_wait_rlock(&room->condition, &room->rlock, PIU_FOREVER),
                 0);
        CHECK_EQ(piu_rlock_count(&room->rlock), 3);
    });

    wait_asleep(waiter, notes, 1);
    CHECK_EQ(piu_rlock_acquire(&room->rlock, PIU_FOREVER), 0);
    CHECK_EQ(piu_rlock_count(&room->rlock), 1);
    CHECK_EQ(piu_condition_notify(&room->condition, 1), 0);
    CHECK_EQ(piu_rlock_release(&room->rlock), 0);
    CHECK_EQ(child_wait(waiter), 0);
}

static int wait_and_check_lock(struct room *room)
{
    int r;

    enter(room);
    r = piu_condition_wait(&room->condition, &room->lock, PIU_FOREVER);
    CHECK_EQ(piu_lock_owner(&room->lock), getpid());
    leave(room);
    return r;
}

TEST(a_signal_handler_ends_the_wait_with_the_lock_held)
{
    struct room *room = room_new();

    check_interrupted(wait_and_check_lock(room));
    CHECK_EQ(piu_condition_waiting(&room->condition), 0);
}

/* One that waits in slices, as Python does, would sleep on for ever. */
TEST(a_notify_by_who_held_the_lock_when_the_time_was_up_is_not_lost)
{
    struct room *room = room_new();
    struct notes *notes = test_shared(sizeof(*notes));
    pid_t child = child_start({
        enter(room);
        notes->about_to_wait = 1;
        CHECK_EQ(piu_condition_wait(&room->condition, &room->lock, PIU_MSEC(50)), 0);
        leave(room);
    });

    test_wait_until(notes->about_to_wait);
    enter(room);
    test_wait_until(*lock_word(&room->lock) & ID_WAITERS); /* it wants the lock back */
    CHECK_EQ(piu_condition_notify(&room->condition, 1), 0);
    leave(room);
    CHECK_EQ(child_wait(child), 0);
}

TEST(a_waiter_that_is_stopped_holds_up_nobody_else)
{
    struct notes *notes = test_shared(sizeof(*notes));
    struct room *room = room_new();
    pid_t stopped = waiter_start(room, notes, 0);
    pid_t other = waiter_start(room, notes, 1);

    stop(stopped);
    notify(room, 2);
    CHECK_EQ(child_wait(other), 0);
    CHECK_EQ(kill(stopped, SIGCONT), 0);
    CHECK_EQ(child_wait(stopped), 0);
}

TEST(more_waiters_than_a_table_has_at_first, .limit = 60)
{
    struct notes *notes = test_shared(sizeof(*notes));
    struct room *room = room_new();
    enum { WAITERS = 40 };
    pid_t waiters[WAITERS];

    for (int i = 0; i < WAITERS; i++)
        waiters[i] = child_start({
            enter(room);
            CHECK_EQ(piu_condition_wait(&room->condition, &room->lock, PIU_FOREVER), 0);
            notes->unguarded++;
            leave(room);
        });
    test_wait_until(piu_condition_waiting(&room->condition) == WAITERS);
    notify(room, WAITERS / 2);
    test_wait_until(*(volatile int *)&notes->unguarded == WAITERS / 2);
    CHECK_EQ(piu_condition_waiting(&room->condition), WAITERS / 2);
    notify(room, WAITERS);
    for (int i = 0; i < WAITERS; i++)
        CHECK_EQ(child_wait(waiters[i]), 0);
    CHECK(condition_check(&room->condition));
    piu_condition_done(&room->condition);
    CHECK(block_check());
}

TEST(producers_and_consumers_lose_nothing, .limit = 60)
{
    struct notes *notes = test_shared(sizeof(*notes));
    struct room *room = room_new();
    enum { ITEMS = 20000 };
    pid_t consumers[3];

    for (int i = 0; i < 3; i++)
        consumers[i] = child_start({
            for (int n = 0; n < ITEMS / 3; n++) {
                enter(room);
                while (notes->unguarded == 0)
                    CHECK_EQ(
                        piu_condition_wait(&room->condition, &room->lock, PIU_FOREVER),
                        0);
                notes->unguarded--;
                leave(room);
            }
        });
    for (int n = 0; n < ITEMS / 3 * 3; n++) {
        enter(room);
        notes->unguarded++;
        CHECK_EQ(piu_condition_notify(&room->condition, 1), 0);
        leave(room);
    }
    for (int i = 0; i < 3; i++)
        CHECK_EQ(child_wait(consumers[i]), 0);
    CHECK_EQ(notes->unguarded, 0);
}

static void be_killed_sometime(struct room *room)
{
    for (;;) {
        enter(room);
        piu_condition_wait(&room->condition, &room->lock, PIU_MSEC(1));
        piu_condition_notify(&room->condition, 1);
        leave(room);
    }
}

/* A notify for each of the waiters that live must get through, whoever is killed meanwhile. */
TEST(killed_anywhere_notifies_still_arrive, .limit = 60)
{
    struct room *room = room_new();
    uint64_t seed = 88172645463325252u;
    enum { VICTIMS = 3, KILLS = 100 };
    pid_t victims[VICTIMS], waiter;

    for (int i = 0; i < VICTIMS; i++)
        victims[i] = child_start({ be_killed_sometime(room); });
    for (int kills = 0; kills < KILLS; kills++) {
        pid_t *victim = &victims[random_next(&seed) % VICTIMS];

        waiter = child_start({
            enter(room);
            CHECK(piu_condition_wait(&room->condition, &room->lock, PIU_FOREVER) >= 0);
            leave(room);
        });
        for (uint64_t n = random_next(&seed) % 100; n; n--)
            notify(room, 1);
        kill_and_reap(*victim);
        *victim = child_start({ be_killed_sometime(room); });
        CHECK_EQ(child_wait(waiter), 0); /* the victims notify */
    }
    enter(room);
    for (int i = 0; i < VICTIMS; i++)
        kill_and_reap(victims[i]);
    CHECK_EQ(piu_condition_waiting(&room->condition), 0);
    leave(room);
}

static _Atomic int *signals_heard;

static void hear_signal(int signal)
{
    (void)signal;
    ++*signals_heard;
}

TEST(signals_do_not_take_a_notified_waiter_away_from_its_lock)
{
    struct notes *notes = test_shared(sizeof(*notes));
    struct room *room = room_new();
    pid_t waiter;

    signals_heard = test_shared(sizeof(*signals_heard));
    waiter = child_start({
        struct sigaction action = {.sa_handler = hear_signal};

        CHECK_EQ(sigaction(SIGUSR1, &action, NULL), 0);
        notes->result[0] = wait_and_check_lock(room);
        notes->done[0] = 1;
    });
    test_wait_until(piu_condition_waiting(&room->condition) == 1);
    enter(room);
    CHECK_EQ(piu_condition_notify(&room->condition, 1), 0);
    for (int i = 0; i < 30; i++) {
        test_wait_until(is_asleep(waiter)); /* at the lock, which we have */
        CHECK_EQ(kill(waiter, SIGUSR1), 0);
        test_wait_until(*signals_heard == i + 1);
    }
    CHECK_EQ(notes->done[0], 0);
    leave(room);
    CHECK_EQ(child_wait(waiter), 0);
    CHECK_EQ(notes->result[0], 0);
}

/* ---- Between its sleeps ----------------------------------------------------------------- */

struct party { /* who waits, and calls one of these */
    struct room *room;
    struct notes *notes;
    pid_t child;
};

static int wait_calling(struct party *party, int (*between)(void *))
{
    struct room *room = party->room;
    int r;

    enter(room);
    r = piu_condition_wait_calling(&room->condition, &room->lock, PIU_SEC(20), between,
                                   party);
    if (r != -EPERM)
        leave(room);
    return r;
}

static int notifies(void *argument)
{
    struct party *party = argument;

    party->notes->count++;
    notify(party->room, 1);
    return 0;
}

TEST(between_its_sleeps_a_waiter_does_not_have_the_lock_and_is_notified)
{
    struct party party = {room_new(), test_shared(sizeof(struct notes)), 0};

    CHECK_EQ(wait_calling(&party, notifies), 0);
    CHECK_EQ(party.notes->count, 1);
    CHECK(condition_check(&party.room->condition));
}

/* The caller has waited longest: the notify is its own. */
static int is_notified_and_ends(void *argument)
{
    struct party *party = argument;

    party->child = waiter_start(party->room, party->notes, 1);
    test_wait_until(piu_condition_waiting(&party->room->condition) == 2);
    notify(party->room, 1);
    return 1;
}

TEST(a_notify_that_came_before_between_ended_the_wait_goes_to_the_next)
{
    struct party party = {room_new(), test_shared(sizeof(struct notes)), 0};

    CHECK_EQ(wait_calling(&party, is_notified_and_ends), -ECANCELED);
    CHECK_EQ(child_wait(party.child), 0);
    CHECK(condition_check(&party.room->condition));
}

static int keeps_the_rlock(void *argument)
{
    struct room *room = argument;

    CHECK_EQ(piu_rlock_acquire(&room->rlock, PIU_NOW), 0);
    return 1;
}

TEST(a_recursive_lock_that_between_keeps_comes_back_with_both_counts)
{
    struct room *room = room_new();

    for (int i = 0; i < 2; i++)
        CHECK_EQ(piu_rlock_acquire(&room->rlock, PIU_NOW), 0);
    CHECK_EQ(piu_condition_wait_rlock_calling(&room->condition, &room->rlock, PIU_SEC(20),
                                              keeps_the_rlock, room),
             -ECANCELED);
    CHECK_EQ(piu_rlock_count(&room->rlock), 3);
}

static int forks(void *argument)
{
    struct party *party = argument;

    party->child = fork();
    return party->child != 0;
}

TEST(a_child_that_between_forks_does_not_wait_in_its_parents_place)
{
    struct party party = {room_new(), test_shared(sizeof(struct notes)), 0};
    int r = wait_calling(&party, forks);

    if (party.child == 0)
        _exit(r == -EPERM ? 0 : 1);
    CHECK_EQ(r, -ECANCELED);
    CHECK_EQ(child_wait(party.child), 0);
    CHECK(condition_check(&party.room->condition));
}

/* By the layout that the head of condition.c draws. */
TEST(a_notify_that_passes_from_nowhere_to_nowhere_bars_nobody)
{
    struct notes *notes = test_shared(sizeof(*notes));
    struct room *room = room_new();
    _Atomic uint64_t *words = (_Atomic uint64_t *)(void *)&room->condition;
    pid_t waiter = waiter_start(room, notes, 1);

    in_child_killed({
        uint64_t who;

        CHECK_EQ(member_who(&who), 0);
        CHECK_EQ(owner_enter(&words[0], who), 0);
        words[3] = words[4] = 12345;
    });
    notify(room, 1);
    CHECK_EQ(child_wait(waiter), 0);
    CHECK(condition_check(&room->condition));
}
