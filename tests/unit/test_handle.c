/* Handles: who holds what, and when it goes. */
#include "waits.h"

#include "flow/handle.h"
#include "flow/bequest.h"

#include <sys/resource.h>
#include <sys/wait.h>

/* Of a member that ended: swept, whoever notices. */
static void sweep(void)
{
    member_sweep_dead(true);
}

static bool gone(const struct piu_handle *h)
{
    struct piu_hold hold;
    int r = piu_hold_take(&hold, h);

    if (r == 0)
        CHECK_EQ(piu_hold_drop(&hold), 0);
    return r == -ESTALE;
}

static void hold_lock(struct piu_hold *ret)
{
    CHECK_EQ(piu_hold_new(ret, PIU_KIND_MEMORY, sizeof(struct piu_lock)), 0);
    CHECK(ret->object);
}

TEST(an_object_goes_with_its_last_hold)
{
    struct piu_hold first, second;

    hold_lock(&first);
    CHECK_EQ(piu_hold_take(&second, &first.handle), 0);
    CHECK(second.object == first.object);
    CHECK_EQ(piu_hold_drop(&first), 0);
    CHECK(!gone(&second.handle));
    CHECK_EQ(piu_hold_drop(&second), 0);
    CHECK(gone(&second.handle));
    CHECK_EQ(handles_in_use(), 0);
    CHECK(handles_check(0));
}

TEST(a_hold_is_dropped_once)
{
    struct piu_hold hold, copy;

    hold_lock(&hold);
    copy = hold;
    CHECK_EQ(piu_hold_drop(&hold), 0);
    CHECK_EQ(piu_hold_drop(&hold), -EINVAL);
    CHECK_EQ(piu_hold_drop(&copy), -EINVAL);
    CHECK(handles_check(0));
}

TEST(a_message_keeps_what_it_carries)
{
    struct piu_hold hold;
    struct piu_handle h;

    hold_lock(&hold);
    h = hold.handle;
    CHECK_EQ(piu_handle_send(&h), 0);
    CHECK_EQ(piu_hold_drop(&hold), 0);
    CHECK(handles_check(1));
    CHECK_EQ(piu_hold_take(&hold, &h), 0);
    CHECK_EQ(piu_handle_land(&h), 0);
    CHECK(!gone(&h));
    CHECK_EQ(piu_hold_drop(&hold), 0);
    CHECK(gone(&h));
}

TEST(a_handle_of_another_family_or_time_is_refused)
{
    struct piu_hold hold, other;
    struct piu_handle h;

    hold_lock(&hold);
    h = hold.handle;
    h.family += 2;
    CHECK_EQ(piu_hold_take(&other, &h), -EXDEV);
    h = hold.handle;
    h.number = 1u << 30;
    CHECK_EQ(piu_hold_take(&other, &h), -ESTALE);
    h = hold.handle;
    CHECK_EQ(piu_hold_drop(&hold), 0);
    hold_lock(&hold); /* in the same cell, perhaps */
    CHECK_EQ(piu_hold_take(&other, &h), -ESTALE);
    CHECK_EQ(piu_handle_send(&h), -ESTALE);
    CHECK_EQ(piu_handle_land(&h), -ESTALE);
    CHECK_EQ(piu_hold_drop(&hold), 0);
}

TEST(a_forked_child_holds_what_its_starter_held)
{
    struct piu_hold hold;
    struct piu_handle h;
    _Atomic int *said = test_shared(sizeof(int));
    pid_t child;

    hold_lock(&hold);
    h = hold.handle;
    child = child_start({
        test_wait_until(*said == 1);
        CHECK(!gone(&h));
        CHECK_EQ(piu_lock_acquire(hold.object, PIU_NOW), 0);
        CHECK_EQ(piu_lock_release(hold.object), 0);
        CHECK_EQ(piu_hold_drop(&hold), 0);
        CHECK(gone(&h));
    });
    CHECK_EQ(piu_hold_drop(&hold), 0);
    *said = 1;
    CHECK_EQ(child_wait(child), 0);
    CHECK(gone(&h));
}

/* ---- Forks by two threads at once ----------------------------------------------------------- */

static struct piu_hold both_hold; /* what both children shall hold */
static _Atomic int forks_pause, forks_passed;
static _Thread_local bool forks_first;

/* Between bequest.c's handler and the fork: the first thread stays here until the other comes. */
static void fork_passes(void)
{
    if (!forks_pause)
        return;
    forks_passed++;
    test_wait_until(!forks_first || forks_passed == 2);
}

__attribute__((constructor(102))) static void fork_passes_here(void)
{
    pthread_atfork(fork_passes, NULL, NULL);
}

static int child_drops(void)
{
    pid_t child = fork();

    if (child == 0) {
        struct piu_hold mine = both_hold;

        _exit(piu_hold_drop(&mine) == 0 ? 0 : 1);
    }
    return child_wait(child);
}

static void forks_between(int i, void *unused)
{
    (void)unused;
    forks_first = i == 0;
    test_wait_until(forks_first || forks_passed == 1);
    CHECK_EQ(child_drops(), 0);
}

TEST(a_fork_that_overtakes_another_thread_s_hands_down_as_that_does_what_its_starter_held)
{
    if (!forks_overtake())
        SKIP("forks of this C library wait for each other");
    hold_lock(&both_hold);
    forks_pause = 1;
    test_threads(2, forks_between, NULL);
    forks_pause = 0;
    CHECK_EQ(piu_hold_drop(&both_hold), 0);
    CHECK(handles_check(0));
}

static void forks_often(int i, void *holding)
{
    (void)i;
    for (int n = 0; n < 100; n++)
        *(_Atomic int *)holding += child_drops() == 0;
}

TEST(each_child_of_two_threads_that_fork_at_once_holds_what_its_starter_held)
{
    _Atomic int holding = 0;

    hold_lock(&both_hold);
    test_threads(2, forks_often, &holding);
    CHECK_EQ(holding, 200);
    CHECK_EQ(piu_hold_drop(&both_hold), 0);
}

TEST(what_a_killed_child_held_is_given_back)
{
    struct piu_hold hold;
    struct piu_handle h;

    hold_lock(&hold);
    h = hold.handle;
    in_child_killed({
        struct piu_hold more[100];

        for (int i = 0; i < 100; i++)
            CHECK_EQ(piu_hold_take(&more[i], &h), 0);
        hold_lock(&more[0]);
    });
    CHECK_EQ(piu_hold_drop(&hold), 0);
    sweep();
    CHECK(gone(&h));
    CHECK_EQ(handles_in_use(), 0);
    CHECK(handles_check(0));
}

TEST(what_a_child_held_that_left_is_given_back_when_its_process_has_ended)
{
    struct piu_hold hold;
    struct piu_handle h;
    _Atomic int *said = test_shared(sizeof(int));
    pid_t child;

    hold_lock(&hold);
    h = hold.handle;
    child = child_start({
        member_leave();
        *said = 1;
        test_wait_until(*said == 2);
        _exit(0);
    });
    CHECK_EQ(piu_hold_drop(&hold), 0);
    test_wait_until(*said == 1);
    sweep();
    CHECK(!gone(&h));
    *said = 2;
    CHECK_EQ(child_wait(child), 0);
    sweep();
    CHECK(gone(&h));
}

TEST(a_grandchild_holds_too)
{
    struct piu_hold hold;
    struct piu_handle h;
    _Atomic int *said = test_shared(sizeof(int));
    int status;

    hold_lock(&hold);
    h = hold.handle;
    status = in_child({
        if (test_fork() == 0) {
            test_wait_until(*said == 1);
            CHECK(!gone(&h));
            *said = 2;
            exit(0);
        }
        test_die();
    });
    CHECK(WIFSIGNALED(status));
    CHECK_EQ(piu_hold_drop(&hold), 0);
    sweep();
    *said = 1;
    test_wait_until(*said == 2);
    test_wait_until((sweep(), gone(&h)));
}

static struct ledger_block *bequest_left(void)
{
    struct handle_table *t = handles_enter();
    struct ledger_block *b = arena_at(atomic_load(&t->bequests), sizeof(*b));

    handles_leave(t);
    return b;
}

#define NOT_POSSIBLE 77

static void fork_in_vain(void)
{
    struct rlimit none = {0, 0};
    struct piu_hold hold;

    hold_lock(&hold);
    if (setrlimit(RLIMIT_NPROC, &none) < 0 || (getuid() == 0 && setuid(65534) < 0) ||
        fork() >= 0)
        _exit(NOT_POSSIBLE);
    CHECK(bequest_left());
    CHECK(handles_check(0));
    atomic_store(&bequest_left()->made, clock_now() - BEQUEST_LASTS);
    CHECK(fork() < 0); /* gives that one back, and leaves another */
    atomic_store(&bequest_left()->made, clock_now() - BEQUEST_LASTS);
    CHECK(atomic_load(&bequest_left()->next) == 0);
    CHECK(handles_check(0));
    CHECK_EQ(piu_hold_drop(&hold), 0);
    CHECK_EQ(handles_in_use(), 1);
}

TEST(what_a_child_that_was_never_there_would_have_held_is_given_back)
{
    int status = in_child({
        fork_in_vain();
        _exit(0); /* not what runs at exit: it may need to fork */
    });

    if (WEXITSTATUS(status) == NOT_POSSIBLE)
        SKIP("RLIMIT_NPROC is not obeyed here");
    CHECK_EQ(status, 0);
}

TEST(many_objects_in_many_parts)
{
    enum { MANY = 1000 };
    struct piu_hold *hold = calloc(MANY, sizeof(*hold));

    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < MANY; i++)
            hold_lock(&hold[i]);
        CHECK_EQ(handles_in_use(), MANY);
        CHECK(handles_check(0));
        for (int i = 0; i < MANY; i++)
            CHECK_EQ(piu_hold_drop(&hold[(i * 7) % MANY]), 0);
        CHECK_EQ(handles_in_use(), 0);
    }
    free(hold);
}

TEST(a_semaphore_a_condition_a_barrier_and_a_queue_end_whole)
{
    struct piu_hold s, b, q;
    uint64_t before;

    hold_lock(&s); /* so that the table is there */
    CHECK_EQ(piu_hold_drop(&s), 0);
    CHECK_EQ(piu_hold_queue(&q, piu_queue_new()), 0);
    CHECK_EQ(piu_hold_drop(&q), 0);
    before = block_count();
    CHECK_EQ(piu_hold_new(&s, PIU_KIND_SEMAPHORE, sizeof(struct piu_semaphore)), 0);
    CHECK_EQ(piu_semaphore_init(s.object, 1, PIU_BOUNDED), 0);
    CHECK_EQ(piu_semaphore_acquire(s.object, PIU_NOW), 0);
    CHECK_EQ(piu_hold_new(&b, PIU_KIND_BARRIER, sizeof(struct piu_barrier)), 0);
    CHECK_EQ(piu_barrier_init(b.object, 1), 0);
    CHECK_EQ(piu_barrier_wait(b.object, NULL, PIU_NOW), 0);
    CHECK_EQ(piu_hold_queue(&q, piu_queue_new()), 0);
    CHECK_EQ(piu_queue_put(q.object, "x", 1, PIU_NOW), 0);
    CHECK(block_count() > before);
    CHECK_EQ(piu_hold_drop(&s), 0);
    CHECK_EQ(piu_hold_drop(&b), 0);
    CHECK_EQ(piu_hold_drop(&q), 0);
    CHECK_EQ(block_count(), before);
}

/* ---- Killed at random ---------------------------------------------------------------------- */

#define WORKERS 4
#define ROUNDS  150

/* Makes, takes, drops and forks, for ever; `shared` is held by the survivor all the time. */
static void worker_works(const struct piu_handle *shared, unsigned seed)
{
    struct piu_hold holds[32] = {0};

    for (;;) {
        struct piu_hold *hold = &holds[rand_r(&seed) % 32];
        pid_t child;

        if (hold->object)
            CHECK_EQ(piu_hold_drop(hold), 0);
        else if (rand_r(&seed) % 2)
            CHECK_EQ(piu_hold_take(hold, shared), 0);
        else
            hold_lock(hold);
        if (rand_r(&seed) % 64)
            continue;
        child = fork();
        if (child == 0) { /* ends with half of it dropped, the rest is for the sweep */
            for (int i = 0; i < 32; i += 2) {
                if (holds[i].object)
                    CHECK_EQ(piu_hold_drop(&holds[i]), 0);
            }
            _exit(0);
        }
        CHECK_EQ(child_wait(child), 0);
    }
}

TEST(members_that_make_take_drop_and_fork_are_killed_at_random, .limit = 120)
{
    struct piu_hold hold;
    pid_t workers[WORKERS];
    unsigned seed = 1;

    hold_lock(&hold);
    for (int i = 0; i < WORKERS; i++)
        workers[i] = child_start({ worker_works(&hold.handle, (unsigned)i + 1); });
    for (int round = 0; round < ROUNDS; round++) {
        int i = rand_r(&seed) % WORKERS;

        usleep(rand_r(&seed) % 20000); /* not to wait: to kill anywhere */
        kill_and_reap(workers[i]);
        workers[i] = child_start({ worker_works(&hold.handle, (unsigned)round + 9); });
    }
    for (int i = 0; i < WORKERS; i++)
        kill_and_reap(workers[i]);
    /* children of those killed may live a moment longer, and bequests wait their time */
    for (struct ledger_block *b; (b = bequest_left());) {
        atomic_store(&b->made, clock_now() - BEQUEST_LASTS);
        if (in_child({ _exit(0); }) != 0)
            test_fail(__FILE__, __LINE__, "no child");
    }
    test_wait_until((sweep(), handles_in_use() == 1));
    CHECK(handles_check(0));
    CHECK(block_check());
    CHECK_EQ(piu_hold_drop(&hold), 0);
    CHECK_EQ(handles_in_use(), 0);
}
