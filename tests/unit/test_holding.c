/*
 * One that holds something of everything: what becomes of it when its process ends in each way,
 * executes another program, or is forked in each way.
 */
#include "waits.h"

#include <piu.h>

/* Not in glibc before 2.34; NULL there. */
extern pid_t _Fork(void) __attribute__((weak));

struct things {
    struct piu_lock lock;
    struct piu_rlock rlock;
    struct piu_rwlock read, write;
    struct piu_semaphore bounded, recovering, entered;
    struct piu_barrier barrier;
    struct piu_queue *reserved, *taken, *declared;
    _Atomic bool held;
};

static struct things *things_new(void)
{
    struct things *t = piu_shared_new(1, sizeof(*t));

    CHECK(t);
    CHECK_EQ(piu_semaphore_init(&t->bounded, 1, PIU_BOUNDED), 0);
    CHECK_EQ(piu_semaphore_init(&t->recovering, 1, PIU_RECOVER), 0);
    CHECK_EQ(piu_semaphore_init(&t->entered, 1, 0), 0);
    CHECK_EQ(piu_barrier_init(&t->barrier, 2), 0);
    CHECK((t->reserved = piu_queue_new(.maxsize = 1)));
    CHECK((t->taken = piu_queue_new(.maxsize = 1)));
    CHECK((t->declared = piu_queue_new(.putters = true)));
    CHECK_EQ(piu_queue_put(t->taken, "x", 1, PIU_NOW), 0);
    return t;
}

static void *arrive(void *t)
{
    piu_barrier_wait(&((struct things *)t)->barrier, NULL, PIU_FOREVER);
    return NULL;
}

static void *reservation, *message;

static void hold_all(struct things *t)
{
    size_t size;

    CHECK_EQ(piu_lock_acquire(&t->lock, PIU_NOW), 0);
    CHECK_EQ(piu_rlock_acquire(&t->rlock, PIU_NOW), 0);
    CHECK_EQ(piu_rlock_acquire(&t->rlock, PIU_NOW), 0);
    CHECK_EQ(piu_rwlock_acquire_read(&t->read, PIU_NOW), 0);
    CHECK_EQ(piu_rwlock_acquire_write(&t->write, PIU_NOW), 0);
    CHECK_EQ(piu_semaphore_acquire(&t->bounded, PIU_NOW), 0);
    CHECK_EQ(piu_semaphore_acquire(&t->recovering, PIU_NOW), 0);
    CHECK_EQ(piu_semaphore_enter(&t->entered, PIU_NOW), 0);
    CHECK_EQ(piu_queue_reserve(t->reserved, 1, &reservation, PIU_NOW), 0);
    CHECK_EQ(piu_queue_take(t->taken, &message, &size, PIU_NOW), 0);
    CHECK_EQ(piu_queue_putter(t->declared), 0);
}

static void arrive_too(struct things *t)
{
    pthread_t thread;

    CHECK_EQ(pthread_create(&thread, NULL, arrive, t), 0);
    test_wait_until(piu_barrier_waiting(&t->barrier) == 1);
}

/* ---- Its end -------------------------------------------------------------------------- */

/* All of it passes on: nobody waits for what the dead one owned. */
static void check_all_passes_on(struct things *t)
{
    int64_t soon = PIU_SEC(5);
    size_t size = 1;
    char byte;
    void *bytes;

    CHECK_EQ(piu_lock_acquire(&t->lock, soon), PIU_OWNER_DIED);
    CHECK_EQ(piu_rlock_acquire(&t->rlock, soon), PIU_OWNER_DIED);
    CHECK_EQ(piu_rlock_count(&t->rlock), 1);
    CHECK_EQ(piu_rwlock_acquire_write(&t->read, soon), 0);
    CHECK_EQ(piu_rwlock_acquire_write(&t->write, soon), PIU_OWNER_DIED);
    CHECK_EQ(piu_semaphore_acquire(&t->bounded, soon), 0);
    CHECK_EQ(piu_semaphore_acquire(&t->recovering, soon), 0);
    CHECK_EQ(piu_semaphore_enter(&t->entered, soon), 0);
    CHECK_EQ(piu_barrier_wait(&t->barrier, NULL, soon), -ENOTRECOVERABLE);
    CHECK_EQ(piu_queue_put(t->reserved, "y", 1, soon), 0);
    CHECK_EQ(piu_queue_get(t->reserved, &byte, &size, soon), 0);
    CHECK(byte == 'y' && piu_queue_qsize(t->reserved) == 0);
    CHECK_EQ(piu_queue_take(t->taken, &bytes, &size, soon), PIU_REDELIVERED);
    CHECK(size == 1 && *(char *)bytes == 'x');
    CHECK_EQ(piu_queue_get(t->declared, &byte, &size, soon), -EPIPE);
}

static void end_by_signal(void)
{
    raise(SIGKILL);
}

static void end_at_once(void)
{
    _exit(0);
}

static void execute_another(void)
{
    execlp("sleep", "sleep", "1000", (char *)NULL);
}

static void check_end(void (*end)(void))
{
    struct things *t = things_new();
    pid_t pid = child_start({
        hold_all(t);
        arrive_too(t);
        t->held = true;
        end();
    });

    test_wait_until(t->held);
    check_all_passes_on(t);
    kill(pid, SIGKILL); /* the program that was executed */
    child_wait(pid);
}

TEST(all_that_a_killed_one_held_passes_on)
{
    check_end(end_by_signal);
}

TEST(so_does_what_one_held_that_called_underscore_exit)
{
    check_end(end_at_once);
}

TEST(and_one_that_executed_another_program_and_lives)
{
    check_end(execute_another);
}

/* ---- Its children ----------------------------------------------------------------------- */

/* By the child: nothing is its own, so it can neither use nor spoil it. */
static void check_nothing_is_mine(struct things *t)
{
    CHECK(!piu_lock_is_mine(&t->lock));
    CHECK_EQ(piu_lock_acquire(&t->lock, PIU_NOW), -ETIMEDOUT);
    CHECK_EQ(piu_rlock_count(&t->rlock), 0);
    CHECK_EQ(piu_rlock_acquire(&t->rlock, PIU_NOW), -ETIMEDOUT);
    CHECK_EQ(piu_rlock_release(&t->rlock), -EPERM);
    CHECK_EQ(piu_rwlock_release(&t->read), -EPERM);
    CHECK_EQ(piu_rwlock_release(&t->write), -EPERM);
    CHECK_EQ(piu_rwlock_acquire_write(&t->read, PIU_NOW), -ETIMEDOUT);
    CHECK_EQ(piu_semaphore_acquire(&t->bounded, PIU_NOW), -ETIMEDOUT);
    CHECK_EQ(piu_semaphore_acquire(&t->recovering, PIU_NOW), -ETIMEDOUT);
    CHECK_EQ(piu_semaphore_enter(&t->entered, PIU_NOW), -ETIMEDOUT);
    CHECK_EQ(piu_queue_commit(t->reserved, reservation), -EINVAL);
    CHECK_EQ(piu_queue_abort(t->reserved, reservation), -EINVAL);
    CHECK_EQ(piu_queue_drop(t->taken, message), -EINVAL);
    CHECK_EQ(piu_queue_putter_done(t->declared), -EINVAL);
}

/* By the one that held it all the time. */
static void check_all_is_mine(struct things *t)
{
    char byte;

    CHECK(piu_lock_is_mine(&t->lock));
    CHECK_EQ(piu_lock_release(&t->lock), 0);
    CHECK_EQ(piu_rlock_count(&t->rlock), 2);
    CHECK_EQ(piu_rlock_release(&t->rlock), 0);
    CHECK_EQ(piu_rlock_release(&t->rlock), 0);
    CHECK_EQ(piu_rwlock_release(&t->read), 0);
    CHECK_EQ(piu_rwlock_release(&t->write), 0);
    CHECK_EQ(piu_semaphore_release(&t->bounded), 0);
    CHECK_EQ(piu_semaphore_release(&t->recovering), 0);
    CHECK_EQ(piu_semaphore_exit(&t->entered), 0);
    CHECK_EQ(piu_semaphore_release(&t->bounded), -EOVERFLOW);
    CHECK_EQ(piu_queue_commit(t->reserved, reservation), 0);
    CHECK_EQ(piu_queue_get(t->reserved, &byte, &(size_t){1}, PIU_NOW), 0);
    CHECK_EQ(piu_queue_drop(t->taken, message), 0);
    CHECK_EQ(piu_queue_get(t->taken, &byte, &(size_t){1}, PIU_NOW), -ETIMEDOUT);
    CHECK_EQ(piu_queue_putter_done(t->declared), 0);
    CHECK_EQ(piu_queue_get(t->declared, &byte, &(size_t){1}, PIU_NOW), -EPIPE);
}

TEST(a_forked_child_holds_nothing_and_its_end_takes_nothing)
{
    struct things *t = things_new();

    hold_all(t);
    CHECK_EQ(in_child({ check_nothing_is_mine(t); }), 0);
    in_child_killed({ check_nothing_is_mine(t); });
    check_all_is_mine(t);
}

TEST(nor_does_a_child_of_underscore_fork)
{
    struct things *t = things_new();
    pid_t pid;

    if (!_Fork)
        SKIP("glibc has no _Fork");
    hold_all(t);
    pid = _Fork();
    if (pid == 0) {
        check_nothing_is_mine(t);
        test_die();
    }
    CHECK_EQ(WTERMSIG(child_wait(pid)), SIGKILL);
    check_all_is_mine(t);
}

TEST(nor_does_one_of_vfork_or_fork_that_executes_another_program)
{
    struct things *t = things_new();
    pid_t pid;

    hold_all(t);
    pid = vfork();
    if (pid == 0) {
        execlp("true", "true", (char *)NULL);
        _exit(1);
    }
    CHECK_EQ(child_wait(pid), 0);
    CHECK_EQ(in_child({ execlp("true", "true", (char *)NULL); }), 0);
    CHECK_EQ(in_child({ check_nothing_is_mine(t); }), 0);
    check_all_is_mine(t);
}
