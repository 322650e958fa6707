/* A wait without a timeout ends when nobody is left who could end it, and not before. */
#include "waits.h"

#include "shm/fate.h"
#include "shm/life.h"

#include <sys/syscall.h>

static void *shared(size_t size)
{
    void *p = piu_shared_new(1, size);

    CHECK(p);
    return p;
}

/* ---- What it says, and what is left behind -------------------------------------------- */

TEST(an_event_that_nobody_can_set)
{
    struct piu_event *e = shared(sizeof(*e));

    CHECK_EQ(piu_event_wait(e, PIU_FOREVER), -EDEADLK);
    CHECK_EQ(piu_event_set(e), 0);
    CHECK_EQ(piu_event_wait(e, PIU_FOREVER), 0);
}

TEST(a_semaphore_that_nobody_can_release)
{
    struct piu_semaphore *s = shared(sizeof(*s));

    CHECK_EQ(piu_semaphore_acquire(s, PIU_FOREVER), -EDEADLK);
    CHECK_EQ(piu_semaphore_init(s, 1, PIU_BOUNDED), 0);
    CHECK_EQ(piu_semaphore_acquire(s, PIU_FOREVER), 0);
    CHECK_EQ(piu_semaphore_acquire(s, PIU_FOREVER), -EDEADLK);
    CHECK_EQ(piu_semaphore_release(s), 0);
    CHECK_EQ(piu_semaphore_acquire(s, PIU_FOREVER), 0);
}

TEST(a_condition_that_nobody_can_notify_comes_back_with_its_lock)
{
    struct piu_condition *c = shared(sizeof(*c));
    struct piu_lock *l = shared(sizeof(*l));

    CHECK_EQ(piu_lock_acquire(l, PIU_FOREVER), 0);
    CHECK_EQ(piu_condition_wait(c, l, PIU_FOREVER), -EDEADLK);
    CHECK(piu_lock_is_mine(l));
    CHECK_EQ(piu_condition_waiting(c), 0);
}

TEST(a_barrier_to_which_nobody_else_can_come_does_not_break)
{
    struct piu_barrier *b = shared(sizeof(*b));

    CHECK_EQ(piu_barrier_init(b, 2), 0);
    CHECK_EQ(piu_barrier_wait(b, NULL, PIU_FOREVER), -EDEADLK);
    CHECK(!piu_barrier_is_broken(b));
    CHECK_EQ(piu_barrier_waiting(b), 0);
}

TEST(a_reader_that_waits_to_write)
{
    struct piu_rwlock *l = shared(sizeof(*l));

    CHECK_EQ(piu_rwlock_acquire_read(l, PIU_FOREVER), 0);
    CHECK_EQ(piu_rwlock_acquire_write(l, PIU_FOREVER), -EDEADLK);
    CHECK_EQ(piu_rwlock_release(l), 0);
    CHECK_EQ(piu_rwlock_acquire_write(l, PIU_FOREVER), 0);
}

TEST(a_lock_that_is_its_own)
{
    struct piu_lock *l = shared(sizeof(*l));

    CHECK_EQ(piu_lock_acquire(l, PIU_FOREVER), 0);
    CHECK_EQ(piu_lock_acquire(l, PIU_FOREVER), -EDEADLK);
    CHECK(piu_lock_is_mine(l));
}

TEST(a_queue_in_all_its_waits)
{
    struct piu_queue *q = piu_queue_new(.maxsize = 1, .tasks = true);
    size_t size = 1;
    char byte = 0;

    CHECK(q);
    CHECK_EQ(piu_queue_get(q, &byte, &size, PIU_FOREVER), -EDEADLK);
    CHECK_EQ(piu_queue_put(q, &byte, 1, PIU_FOREVER), 0);
    CHECK_EQ(piu_queue_put(q, &byte, 1, PIU_FOREVER), -EDEADLK);
    CHECK_EQ(piu_queue_join(q, PIU_FOREVER), -EDEADLK);
    CHECK_EQ(piu_queue_get(q, &byte, &size, PIU_FOREVER), 0);
}

TEST(any_of_things_that_nobody_can_change)
{
    struct piu_waitable list[2] = {{.event = shared(sizeof(struct piu_event))},
                                   {.queue = piu_queue_new()}};

    CHECK_EQ(piu_wait_any(list, 2, PIU_FOREVER), -EDEADLK);
    CHECK_EQ(piu_event_set(list[0].event), 0);
    CHECK_EQ(piu_wait_any(list, 2, PIU_FOREVER), 0);
}

TEST(with_a_timeout_it_is_the_timeout_that_ends_it)
{
    struct piu_event *e = shared(sizeof(*e));
    struct piu_lock *l = shared(sizeof(*l));
    struct piu_queue *q = piu_queue_new();
    char byte;
    size_t size = 1;

    CHECK(member_is_alone());
    check_times_out(piu_event_wait(e, PIU_MSEC(400)), PIU_MSEC(400));
    check_times_out(piu_queue_get(q, &byte, &size, PIU_MSEC(400)), PIU_MSEC(400));
    CHECK_EQ(piu_lock_acquire(l, PIU_NOW), 0);
    check_times_out(piu_lock_acquire(l, PIU_MSEC(400)), PIU_MSEC(400));
}

/* ---- Others: each is one, until it has ended ------------------------------------------- */

static int sleeps(void *unused)
{
    (void)unused;
    while (pause() < 0)
        ;
    return 0;
}

static void end(struct piu_process *p)
{
    CHECK_EQ(piu_process_kill(p), 0);
    CHECK_EQ(piu_process_join(p, PIU_FOREVER), 0);
}

TEST(a_member_that_lives_is_one_until_it_is_killed)
{
    struct piu_process p = {.target = sleeps};
    struct piu_event *e = shared(sizeof(*e));

    CHECK_EQ(piu_process_start(&p), 0);
    CHECK(!member_is_alone());
    CHECK_EQ(kill(piu_process_pid(&p), SIGKILL), 0); /* nobody reaps it */
    CHECK_EQ(piu_event_wait(e, PIU_FOREVER), -EDEADLK);
}

TEST(a_member_that_is_stopped_is_one)
{
    struct piu_process p = {.target = sleeps};

    CHECK_EQ(piu_process_start(&p), 0);
    stop(piu_process_pid(&p));
    CHECK(!member_is_alone());
    end(&p);
    CHECK(member_is_alone());
}

static int leaves_and_sleeps(void *left)
{
    piu_leave();
    *(_Atomic int *)left = 1;
    return sleeps(NULL);
}

TEST(a_member_that_left_is_one_until_its_process_has_ended)
{
    _Atomic int *left = shared(sizeof(*left));
    struct piu_process p = {.target = leaves_and_sleeps, .argument = (void *)left};

    CHECK_EQ(piu_process_start(&p), 0);
    test_wait_until(*left);
    CHECK(!member_is_alone());
    end(&p);
    CHECK(member_is_alone());
}

TEST(what_the_caller_was_before_it_left_is_none)
{
    CHECK(piu_family());
    piu_leave();
    CHECK(piu_family());
    CHECK(member_is_alone());
}

/* Two members that the test itself is none of: `first` starts `second`, which waits. */
struct pair {
    struct notes *notes;
    struct piu_event *event;
    struct piu_lock *lock;
};

static int second_waits(void *argument)
{
    struct pair *pair = argument;

    pair->notes->about_to_wait++;
    pair->notes->result[0] = piu_event_wait(pair->event, PIU_FOREVER);
    pair->notes->done[0] = 1;
    return 0;
}

static void first_waits(struct notes *notes)
{
    struct pair *pair = shared(sizeof(*pair));
    struct piu_process p = {.target = second_waits, .argument = pair};

    *pair = (struct pair){.notes = notes, .event = shared(sizeof(struct piu_event))};
    CHECK_EQ(piu_process_start(&p), 0);
    piu_event_wait(pair->event, PIU_FOREVER);
}

TEST(the_last_of_two_who_wait_hears_it)
{
    struct notes *notes = test_shared(sizeof(*notes));
    pid_t first = child_start({ first_waits(notes); });

    test_wait_until(notes->about_to_wait);
    CHECK(!notes->done[0]);
    CHECK_EQ(kill(first, SIGKILL), 0); /* not reaped */
    test_wait_until(notes->done[0]);
    CHECK_EQ(notes->result[0], -EDEADLK);
    CHECK(WIFSIGNALED(child_wait(first)));
}

/* ---- Locks of those that left ------------------------------------------------------------ */

static int leaves_it_locked(void *lock)
{
    return piu_lock_acquire(lock, PIU_FOREVER);
}

static struct piu_lock *lock_of_one_that_left(void)
{
    struct piu_lock *l = shared(sizeof(*l));
    struct piu_process p = {.target = leaves_it_locked, .argument = l};

    CHECK_EQ(piu_process_start(&p), 0);
    CHECK_EQ(piu_process_join(&p, PIU_FOREVER), 0);
    CHECK(piu_lock_is_locked(l));
    return l;
}

TEST(a_lock_that_a_member_left_locked)
{
    struct piu_lock *l = lock_of_one_that_left();

    CHECK_EQ(piu_lock_acquire(l, PIU_FOREVER), -EDEADLK);
    CHECK(piu_lock_is_locked(l)); /* nothing has changed */
    CHECK_EQ(piu_lock_release(l), 0);
    CHECK_EQ(piu_lock_acquire(l, PIU_FOREVER), 0);
}

/* Notifies whoever waits, and leaves with the lock of the condition. */
struct notified {
    struct piu_condition condition;
    struct piu_lock lock;
};

static int notifies_and_leaves_it_locked(void *argument)
{
    struct notified *n = argument;

    while (piu_condition_waiting(&n->condition) == 0)
        sched_yield();
    CHECK_EQ(piu_lock_acquire(&n->lock, PIU_FOREVER), 0);
    return piu_condition_notify(&n->condition, 1);
}

TEST(a_condition_whose_lock_was_left_locked_comes_back_with_it_and_news)
{
    struct notified *n = shared(sizeof(*n));
    struct piu_process p = {.target = notifies_and_leaves_it_locked, .argument = n};

    CHECK_EQ(piu_lock_acquire(&n->lock, PIU_FOREVER), 0);
    CHECK_EQ(piu_process_start(&p), 0);
    CHECK_EQ(piu_condition_wait(&n->condition, &n->lock, PIU_FOREVER), PIU_OWNER_DIED);
    CHECK(piu_lock_is_mine(&n->lock));
    CHECK_EQ(piu_lock_release(&n->lock), 0);
}

/* ---- Claims: children that have not come yet --------------------------------------------- */

/* The number of a process that has ended, and that the test has not used piu to make. */
static pid_t pid_of_one_that_ended(void)
{
    pid_t pid = test_fork();

    if (pid == 0)
        _exit(0);
    child_wait(pid);
    return pid;
}

TEST(a_child_to_be_is_one_until_it_is_given_up)
{
    uint64_t who, id;

    CHECK_EQ(member_who(&who), 0);
    CHECK_EQ(member_claim("to be", &id), 0);
    CHECK(!member_is_alone());
    member_unclaim(id);
    CHECK(member_is_alone());
}

TEST(a_child_that_ended_before_it_joined_is_none)
{
    pid_t ended = pid_of_one_that_ended(); /* before there is a family: no stray */
    uint64_t who, id;

    CHECK_EQ(member_who(&who), 0);
    CHECK_EQ(member_claim("to be", &id), 0);
    member_claim_child(id, ended);
    CHECK(member_is_alone());
}

struct claims {
    _Atomic int made;
    pid_t child; /* 0: its starter does not come to say it */
};

static int claims_and_dies(void *argument)
{
    struct claims *claims = argument;
    uint64_t id;

    CHECK_EQ(member_claim("to be", &id), 0);
    if (claims->child)
        member_claim_child(id, claims->child);
    claims->made = 1;
    return sleeps(NULL);
}

/* It is killed when it has claimed, and not reaped. */
static void kill_a_claimer(pid_t child)
{
    struct claims *claims = shared(sizeof(*claims));
    struct piu_process p = {.target = claims_and_dies, .argument = claims};

    claims->child = child;
    CHECK_EQ(piu_process_start(&p), 0);
    test_wait_until(claims->made);
    CHECK_EQ(kill(piu_process_pid(&p), SIGKILL), 0);
}

TEST(the_child_of_a_starter_that_was_killed_may_still_come)
{
    kill_a_claimer(0);
    test_wait_until(arena_header()->strays || (member_is_alone(), false));
    CHECK(!member_is_alone());
}

TEST(it_will_not_if_it_is_known_to_have_ended)
{
    kill_a_claimer(pid_of_one_that_ended());
    test_wait_until(member_is_alone());
}

TEST(who_is_killed_while_it_joins_leaves_no_child)
{
    struct piu_process p = {.target = sleeps};
    uint64_t who, id;

    CHECK_EQ(member_who(&who), 0);
    CHECK_EQ(piu_process_start(&p), 0);
    CHECK_EQ(member_claim("joins", &id), 0);
    /* as the child leaves it between slot_take_over() and LIVE */
    member_claim_child(id, piu_process_pid(&p));
    CHECK(life_move(member_of(id), atomic_load(&member_of(id)->life),
                    (uint32_t)piu_process_pid(&p), MEMBER_CLAIMED));
    end(&p);
    CHECK(member_is_alone());
}

/* ---- Processes that no slot tells of -------------------------------------------------------- */

TEST(the_programs_own_fork_may_bring_another_at_any_time)
{
    CHECK(piu_family());
    CHECK(member_is_alone());
    CHECK_EQ(in_child({}), 0);
    CHECK(!member_is_alone());
}

static int forks(void *unused)
{
    (void)unused;
    return in_child({});
}

TEST(so_may_that_of_a_member_that_has_ended)
{
    struct piu_process p = {.target = forks};

    CHECK_EQ(piu_process_start(&p), 0);
    CHECK_EQ(piu_process_join(&p, PIU_FOREVER), 0);
    CHECK(!member_is_alone());
}

TEST(a_fork_before_there_is_a_family_brings_nobody)
{
    CHECK_EQ(in_child({}), 0);
    CHECK(piu_family());
    CHECK(member_is_alone());
}

TEST(so_may_what_has_the_text_of_the_family)
{
    char text[128];
    int fd;

    CHECK(piu_family());
    CHECK(member_is_alone());
    CHECK_EQ(piu_family_text(text, sizeof(text), &fd), 0);
    CHECK(!member_is_alone());
}

TEST(so_may_a_program_that_was_executed)
{
    const char *const argv[] = {"true", NULL};
    struct piu_process p = {0};

    CHECK_EQ(piu_process_start(&p, .how = PIU_EXEC, .argv = argv), 0);
    CHECK_EQ(piu_process_join(&p, PIU_FOREVER), 0);
    CHECK(!member_is_alone());
}

/* No handler of fork() runs: it counts from its first call on, and as long as it lives. */
TEST(a_child_of_a_raw_clone_is_one_when_it_has_called)
{
    int *ready = test_shared(sizeof(*ready));
    pid_t child;

    CHECK(piu_family());
    child = (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);
    CHECK(child >= 0);
    if (child == 0) {
        *(volatile int *)ready = piu_family() ? 1 : -1;
        sleeps(NULL);
    }
    test_wait_until(*(volatile int *)ready);
    CHECK_EQ(*ready, 1);
    CHECK(!member_is_alone());
    kill_and_reap(child);
    CHECK(member_is_alone());
}

/* ---- What works for others ------------------------------------------------------------------ */

TEST(a_zygote_is_none_but_its_children_are)
{
    struct piu_process *p = shared(sizeof(*p));

    CHECK_EQ(piu_init(.zygote = true), 0);
    test_wait_until(member_is_alone()); /* it says so some us after its first breath */
    p->target = sleeps;
    CHECK_EQ(piu_process_start(p, .how = PIU_ZYGOTE), 0);
    CHECK(!member_is_alone());
    end(p);
    CHECK(member_is_alone());
}

TEST(a_pool_is_one_until_it_is_freed)
{
    struct piu_pool *pool = piu_pool_new(.processes = 1);

    CHECK(pool);
    CHECK(!member_is_alone());
    piu_pool_free(pool);
    CHECK(member_is_alone());
}

/* ---- The caller's own process ------------------------------------------------------------------ */

TEST(a_handler_of_signals_may_do_it)
{
    CHECK(piu_family());
    handle_signals();
    CHECK(!member_is_alone());
    signal(SIGUSR1, SIG_DFL);
    CHECK(member_is_alone());
}

static void waits_or_sets(int i, void *event)
{
    struct notes *notes = *(struct notes **)event;
    struct piu_event *e = ((struct piu_event **)event)[1];

    if (i == 0) {
        notes->about_to_wait = 1;
        CHECK_EQ(piu_event_wait(e, PIU_FOREVER), 0);
    } else {
        test_wait_until(notes->about_to_wait);
        CHECK(!member_is_alone());
        CHECK_EQ(piu_event_set(e), 0);
    }
}

TEST(another_thread_may_do_it)
{
    void *both[] = {test_shared(sizeof(struct notes)), shared(sizeof(struct piu_event))};

    test_threads(2, waits_or_sets, both);
    test_wait_until(member_is_alone());
}
