#include "waits.h"

#include "shm/owner.h"
#include "sync/lock.h"

static struct piu_lock *lock_new(void)
{
    struct piu_lock *l = piu_shared_new(1, sizeof(*l));

    CHECK(l);
    return l;
}

static bool has_waiters(struct piu_lock *l)
{
    return (atomic_load(lock_word(l)) & ID_WAITERS) != 0;
}

TEST(all_zero_bytes_are_an_unlocked_lock)
{
    struct piu_lock *l = lock_new();

    CHECK_EQ(piu_lock_owner(l), 0);
    CHECK_EQ(piu_lock_acquire(l, PIU_NOW), 0);
    CHECK_EQ(piu_lock_owner(l), getpid());
    CHECK_EQ(piu_lock_release(l), 0);
    CHECK_EQ(piu_lock_owner(l), 0);
    CHECK(lock_check(l));
}

TEST(what_is_no_lock_is_refused)
{
    struct piu_lock *l = lock_new();

    CHECK_EQ(piu_lock_acquire(NULL, PIU_NOW), -EINVAL);
    CHECK_EQ(piu_lock_release(NULL), -EINVAL);
    CHECK_EQ(piu_lock_owner(NULL), 0);
    CHECK_EQ(piu_lock_release(l), -EPERM);
    CHECK_EQ(piu_lock_acquire(l, PIU_FOREVER), 0);
    CHECK_EQ(piu_lock_release(l), 0);
    CHECK_EQ(piu_lock_release(l), -EPERM);
}

TEST(timeouts_of_0_negative_and_huge_mean_what_they_say)
{
    struct piu_lock *l = lock_new();

    CHECK_EQ(piu_lock_acquire(l, INT64_MIN), 0);
    CHECK_EQ(piu_lock_acquire(l, PIU_NOW), -ETIMEDOUT);
    CHECK_EQ(piu_lock_acquire(l, -1), -ETIMEDOUT);
    CHECK_EQ(piu_lock_acquire(l, INT64_MIN), -ETIMEDOUT);
    check_times_out(piu_lock_acquire(l, PIU_MSEC(30)), PIU_MSEC(30));
    CHECK_EQ(piu_lock_release(l), 0);
    CHECK_EQ(piu_lock_acquire(l, INT64_MAX - 1), 0);
}

TEST(a_huge_timeout_waits_until_the_release)
{
    struct piu_lock *l = lock_new();
    pid_t waiter;

    CHECK_EQ(piu_lock_acquire(l, PIU_FOREVER), 0);
    waiter = child_start({ CHECK_EQ(piu_lock_acquire(l, INT64_MAX - 1), 0); });
    test_wait_until(has_waiters(l) && is_asleep(waiter));
    CHECK_EQ(piu_lock_release(l), 0);
    CHECK_EQ(child_wait(waiter), 0);
}

TEST(another_process_may_release_it)
{
    struct piu_lock *l = lock_new();

    CHECK_EQ(piu_lock_acquire(l, PIU_FOREVER), 0);
    CHECK_EQ(in_child({ CHECK_EQ(piu_lock_release(l), 0); }), 0);
    CHECK_EQ(piu_lock_release(l), -EPERM);
    CHECK_EQ(piu_lock_acquire(l, PIU_NOW), 0);
}

TEST(a_child_does_not_hold_what_its_parent_holds)
{
    struct piu_lock *l = lock_new();

    CHECK_EQ(piu_lock_acquire(l, PIU_FOREVER), 0);
    CHECK_EQ(in_child({
                 CHECK_EQ(piu_lock_acquire(l, PIU_NOW), -ETIMEDOUT);
                 CHECK_EQ(piu_lock_owner(l), getppid());
             }),
             0);
}

TEST(a_lock_whose_owner_was_killed_passes_on_with_news)
{
    struct piu_lock *l = lock_new();

    in_child_killed({ piu_lock_acquire(l, PIU_FOREVER); });
    CHECK_EQ(piu_lock_acquire(l, PIU_MSEC(100)), PIU_OWNER_DIED);
    CHECK_EQ(piu_lock_release(l), 0);
    CHECK_EQ(piu_lock_acquire(l, PIU_NOW), 0);
    CHECK_EQ(piu_lock_release(l), 0);
}

TEST(not_waiting_finds_the_owner_dead_too)
{
    struct piu_lock *l = lock_new();

    in_child_killed({ piu_lock_acquire(l, PIU_FOREVER); });
    CHECK_EQ(piu_lock_acquire(l, PIU_NOW), PIU_OWNER_DIED);
}

TEST(_exit_and_exec_while_holding_are_deaths)
{
    struct piu_lock *l = lock_new();
    pid_t sleeper;

    CHECK_EQ(in_child({
                 piu_lock_acquire(l, PIU_FOREVER);
                 _exit(0);
             }),
             0);
    CHECK_EQ(piu_lock_acquire(l, PIU_SEC(1)), PIU_OWNER_DIED);
    CHECK_EQ(piu_lock_release(l), 0);
    sleeper = child_start({
        piu_lock_acquire(l, PIU_FOREVER);
        execlp("sleep", "sleep", "1000", (char *)NULL);
    });
    test_wait_until(piu_lock_owner(l) == sleeper);
    CHECK_EQ(piu_lock_acquire(l, PIU_FOREVER), PIU_OWNER_DIED);
    kill_and_reap(sleeper);
}

TEST(a_sleeping_waiter_gets_the_lock_of_a_killed_owner)
{
    struct piu_lock *l = lock_new();
    pid_t owner, waiter;

    owner = child_start({
        piu_lock_acquire(l, PIU_FOREVER);
        pause();
    });
    test_wait_until(piu_lock_owner(l) == owner);
    waiter = child_start({ CHECK_EQ(piu_lock_acquire(l, PIU_FOREVER), PIU_OWNER_DIED); });
    test_wait_until(has_waiters(l) && is_asleep(waiter));
    kill_and_reap(owner);
    CHECK_EQ(child_wait(waiter), 0);
}

TEST(released_by_another_after_the_owners_death_it_keeps_the_news)
{
    struct piu_lock *l = lock_new();

    in_child_killed({ piu_lock_acquire(l, PIU_FOREVER); });
    CHECK_EQ(piu_lock_release(l), 0);
    CHECK_EQ(piu_lock_owner(l), 0);
    CHECK_EQ(piu_lock_release(l), -EPERM);
    CHECK_EQ(piu_lock_acquire(l, PIU_NOW), PIU_OWNER_DIED);
    CHECK_EQ(piu_lock_release(l), 0);
    CHECK_EQ(piu_lock_acquire(l, PIU_NOW), 0);
}

TEST(a_waiter_killed_asleep_keeps_nothing)
{
    struct piu_lock *l = lock_new();
    pid_t first, second;

    CHECK_EQ(piu_lock_acquire(l, PIU_FOREVER), 0);
    first = child_start({ piu_lock_acquire(l, PIU_FOREVER); });
    test_wait_until(has_waiters(l) && is_asleep(first));
    kill_and_reap(first);
    second = child_start({ CHECK_EQ(piu_lock_acquire(l, PIU_FOREVER), 0); });
    CHECK_EQ(piu_lock_release(l), 0);
    CHECK_EQ(child_wait(second), 0);
}

static char last_line[256];

static void keep_line(void *argument, const char *line)
{
    (void)argument;
    snprintf(last_line, sizeof(last_line), "%s", line);
}

TEST(an_owner_that_left_keeps_it_and_people_are_told)
{
    struct piu_lock *l = lock_new();
    char expected[64];
    pid_t child;

    log_to(keep_line, NULL);
    child = child_start({ CHECK_EQ(piu_lock_acquire(l, PIU_FOREVER), 0); });
    CHECK_EQ(child_wait(child), 0);
    check_times_out(piu_lock_acquire(l, PIU_MSEC(50)), PIU_MSEC(50));
    snprintf(expected, sizeof(expected), "left by pid-%d", (int)child);
    CHECK(strstr(last_line, expected));
    CHECK(strstr(last_line, "the lock at 0x"));
    CHECK_EQ(piu_name(l, "the till"), 0);
    CHECK_EQ(piu_lock_acquire(l, PIU_MSEC(50)), -ETIMEDOUT);
    CHECK_EQ(strncmp(last_line, "the till is held by", 19), 0);
    CHECK_EQ(piu_lock_release(l), 0); /* for it */
    CHECK_EQ(piu_lock_acquire(l, PIU_NOW), 0);
}

TEST(a_stopped_owner_keeps_it)
{
    struct piu_lock *l = lock_new();
    pid_t owner = child_start({
        piu_lock_acquire(l, PIU_FOREVER);
        raise(SIGSTOP);
        CHECK_EQ(piu_lock_release(l), 0);
    });
    int status;

    CHECK_EQ(waitpid(owner, &status, WUNTRACED), owner);
    CHECK_EQ(piu_lock_acquire(l, PIU_MSEC(150)), -ETIMEDOUT);
    CHECK_EQ(kill(owner, SIGCONT), 0);
    CHECK_EQ(piu_lock_acquire(l, PIU_FOREVER), 0);
    CHECK_EQ(child_wait(owner), 0);
}

TEST(a_signal_handler_ends_the_wait)
{
    struct piu_lock *l = lock_new();

    CHECK_EQ(piu_lock_acquire(l, PIU_FOREVER), 0);
    check_interrupted(piu_lock_acquire(l, PIU_FOREVER));
    CHECK_EQ(piu_lock_release(l), 0);
    CHECK_EQ(piu_lock_acquire(l, PIU_NOW), 0);
}

static void count_up(struct piu_lock *l, struct notes *notes, int times)
{
    for (int i = 0; i < times; i++) {
        CHECK_EQ(piu_lock_acquire(l, PIU_FOREVER), 0);
        notes->unguarded++;
        CHECK_EQ(piu_lock_release(l), 0);
    }
}

TEST(processes_that_count_under_it_count_right, .limit = 60)
{
    struct notes *notes = test_shared(sizeof(*notes));
    struct piu_lock *l = lock_new();
    enum { PROCESSES = 4, TIMES = 30000 };
    pid_t children[PROCESSES];

    for (int i = 0; i < PROCESSES; i++)
        children[i] = child_start({ count_up(l, notes, TIMES); });
    for (int i = 0; i < PROCESSES; i++)
        CHECK_EQ(child_wait(children[i]), 0);
    CHECK_EQ(notes->unguarded, PROCESSES * TIMES);
    CHECK(lock_check(l));
}

static void thread_counts(int i, void *argument)
{
    static struct notes notes;
    struct piu_lock *l = argument;

    (void)i;
    count_up(l, &notes, 10000);
    CHECK_EQ(piu_lock_acquire(l, PIU_FOREVER), 0);
    if (notes.unguarded == 40000)
        notes.count++;
    CHECK_EQ(piu_lock_release(l), 0);
    test_wait_until(notes.count > 0);
}

TEST(threads_may_use_one_in_private_memory)
{
    static struct piu_lock private_lock;

    test_threads(4, thread_counts, &private_lock);
    CHECK(lock_check(&private_lock));
}

static void be_killed_sometime(struct piu_lock *l)
{
    for (;;) {
        if (piu_lock_acquire(l, PIU_FOREVER) >= 0)
            piu_lock_release(l);
    }
}

TEST(killed_anywhere_it_always_goes_on, .limit = 60)
{
    struct piu_lock *l = lock_new();
    uint64_t seed = 88172645463325252u;
    enum { VICTIMS = 3, KILLS = 200 };
    pid_t victims[VICTIMS];

    for (int i = 0; i < VICTIMS; i++)
        victims[i] = child_start({ be_killed_sometime(l); });
    for (int kills = 0; kills < KILLS; kills++) {
        pid_t *victim = &victims[random_next(&seed) % VICTIMS];

        for (uint64_t n = random_next(&seed) % 300; n; n--) {
            CHECK(piu_lock_acquire(l, PIU_FOREVER) >= 0);
            CHECK_EQ(piu_lock_release(l), 0);
        }
        kill_and_reap(*victim);
        *victim = child_start({ be_killed_sometime(l); });
        CHECK(piu_lock_acquire(l, PIU_SEC(1)) >= 0);
        CHECK_EQ(piu_lock_release(l), 0);
    }
    CHECK(lock_check(l));
}
