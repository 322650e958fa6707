/*
 * Every call that takes a timeout: 0 and less do not wait, a huge one waits, and so does
 * PIU_FOREVER; a signal handler ends the wait.  tests/api/arguments checks that none was forgotten.
 */
#include "pools.h"

#include <piu.h>

/* What this process holds or has filled, for children that wait in vain. */
struct things {
    struct piu_lock lock, free_lock;
    struct piu_rlock rlock, free_rlock;
    struct piu_rwlock rwlock;
    struct piu_semaphore semaphore, recovering;
    struct piu_condition condition;
    struct piu_event event;
    struct piu_barrier barrier;
    struct piu_queue *empty, *full;
};

typedef int waiting(struct things *t, int64_t timeout);

static int wait_lock(struct things *t, int64_t timeout)
{
    return piu_lock_acquire(&t->lock, timeout);
}

static int wait_rlock(struct things *t, int64_t timeout)
{
    return piu_rlock_acquire(&t->rlock, timeout);
}

static int wait_to_read(struct things *t, int64_t timeout)
{
    return piu_rwlock_acquire_read(&t->rwlock, timeout);
}

static int wait_to_write(struct things *t, int64_t timeout)
{
    return piu_rwlock_acquire_write(&t->rwlock, timeout);
}

static int wait_semaphore(struct things *t, int64_t timeout)
{
    return piu_semaphore_acquire(&t->semaphore, timeout);
}

static int wait_to_enter(struct things *t, int64_t timeout)
{
    return piu_semaphore_enter(&t->recovering, timeout);
}

static int wait_condition(struct things *t, int64_t timeout)
{
    int r;

    CHECK(piu_lock_acquire(&t->free_lock, PIU_FOREVER) >= 0);
    r = piu_condition_wait(&t->condition, &t->free_lock, timeout);
    CHECK_EQ(piu_lock_release(&t->free_lock), 0);
    return r;
}

static int wait_condition_rlock(struct things *t, int64_t timeout)
{
    int r;

    CHECK(piu_rlock_acquire(&t->free_rlock, PIU_FOREVER) >= 0);
    r = piu_condition_wait_rlock(&t->condition, &t->free_rlock, timeout);
    CHECK_EQ(piu_rlock_release(&t->free_rlock), 0);
    return r;
}

static int wait_condition_calling(struct things *t, int64_t timeout)
{
    int r;

    CHECK(piu_lock_acquire(&t->free_lock, PIU_FOREVER) >= 0);
    r = piu_condition_wait_calling(&t->condition, &t->free_lock, timeout, NULL, NULL);
    CHECK_EQ(piu_lock_release(&t->free_lock), 0);
    return r;
}

static int wait_condition_rlock_calling(struct things *t, int64_t timeout)
{
    int r;

    CHECK(piu_rlock_acquire(&t->free_rlock, PIU_FOREVER) >= 0);
    r = piu_condition_wait_rlock_calling(&t->condition, &t->free_rlock, timeout, NULL,
                                         NULL);
    CHECK_EQ(piu_rlock_release(&t->free_rlock), 0);
    return r;
}

static int wait_event(struct things *t, int64_t timeout)
{
    return piu_event_wait(&t->event, timeout);
}

static int wait_barrier(struct things *t, int64_t timeout)
{
    CHECK_EQ(piu_barrier_reset(&t->barrier), 0); /* the last timeout broke it */
    return piu_barrier_wait(&t->barrier, NULL, timeout);
}

static int wait_meeting(struct things *t, int64_t timeout)
{
    CHECK_EQ(piu_barrier_reset(&t->barrier), 0);
    return piu_barrier_meet(&t->barrier, NULL, timeout);
}

static int wait_put(struct things *t, int64_t timeout)
{
    return piu_queue_put(t->full, t, 1, timeout);
}

static int wait_put_many(struct things *t, int64_t timeout)
{
    size_t count;

    return piu_queue_put_many(t->full, t, 1, 2, &count, timeout);
}

static int wait_reserve(struct things *t, int64_t timeout)
{
    void *message;

    return piu_queue_reserve(t->full, 1, &message, timeout);
}

static int wait_join_queue(struct things *t, int64_t timeout)
{
    return piu_queue_join(t->full, timeout);
}

static int wait_get(struct things *t, int64_t timeout)
{
    char byte;

    return piu_queue_get(t->empty, &byte, &(size_t){1}, timeout);
}

static int wait_get_new(struct things *t, int64_t timeout)
{
    size_t size;
    void *bytes;

    return piu_queue_get_new(t->empty, &bytes, &size, timeout);
}

static int wait_get_many(struct things *t, int64_t timeout)
{
    size_t count;
    char byte;

    return piu_queue_get_many(t->empty, &byte, 1, 1, &count, timeout);
}

static int wait_take(struct things *t, int64_t timeout)
{
    size_t size;
    void *message;

    return piu_queue_take(t->empty, &message, &size, timeout);
}

static int wait_any(struct things *t, int64_t timeout)
{
    struct piu_waitable list[] = {{.queue = t->empty}, {.event = &t->event}};

    return piu_wait_any(list, 2, timeout);
}

static int wait_process(struct things *t, int64_t timeout)
{
    static struct piu_process p = {.target = wait_for_ever, .daemon = true};

    (void)t;
    CHECK(p.child || piu_process_start(&p) == 0);
    return piu_process_join(&p, timeout);
}

static int stand_in_chunk(struct piu_task *self, size_t first, size_t last)
{
    (void)self, (void)first, (void)last;
    stand_still();
}

/* Of a pool of the caller's own: a task that does not end. */
static struct piu_result *endless(void)
{
    static struct piu_task task = {.run = stand_in_chunk, .count = 1};
    static struct piu_pool *pool;
    static struct piu_result *result;

    if (!pool)
        pool = pool_of(1);
    if (!result)
        result = piu_pool_imap(pool, &task);
    CHECK(result);
    return result;
}

static int wait_result(struct things *t, int64_t timeout)
{
    (void)t;
    return piu_result_wait(endless(), timeout);
}

static int wait_result_get(struct things *t, int64_t timeout)
{
    (void)t;
    return piu_result_get(endless(), timeout);
}

static int wait_result_next(struct things *t, int64_t timeout)
{
    size_t first, last;

    (void)t;
    return piu_result_next(endless(), &first, &last, timeout);
}

static int wait_pool_join(struct things *t, int64_t timeout)
{
    static struct piu_result *volatile endless_call; /* no checker for leaks misses it */
    static struct piu_pool *pool;

    (void)t;
    if (!pool) {
        pool = pool_of(1);
        endless_call = piu_pool_apply_async(pool, wait_for_ever, NULL, 0);
        CHECK(endless_call);
        CHECK_EQ(piu_pool_close(pool), 0);
    }
    return piu_pool_join(pool, timeout);
}

#define WAIT(name)         \
    {                      \
#name, wait_##name \
    }

static const struct {
    const char *name;
    waiting *run;
} waits[] = {
    WAIT(lock),
    WAIT(rlock),
    WAIT(to_read),
    WAIT(to_write),
    WAIT(semaphore),
    WAIT(to_enter),
    WAIT(condition),
    WAIT(condition_rlock),
    WAIT(condition_calling),
    WAIT(condition_rlock_calling),
    WAIT(event),
    WAIT(barrier),
    WAIT(put),
    WAIT(put_many),
    WAIT(reserve),
    WAIT(join_queue),
    WAIT(get),
    WAIT(get_new),
    WAIT(get_many),
    WAIT(take),
    WAIT(any),
    WAIT(process),
    WAIT(result),
    WAIT(result_get),
    WAIT(result_next),
    WAIT(pool_join),
    WAIT(meeting),
};

enum { WAITS = sizeof(waits) / sizeof(*waits) };

/* Printed where a test fails: the last one is the one. */
static int begin(int i)
{
    if (i < WAITS)
        puts(waits[i].name);
    return i < WAITS;
}

static struct things *things_new(void)
{
    struct things *t = piu_shared_new(1, sizeof(*t));

    CHECK(t);
    CHECK_EQ(piu_lock_acquire(&t->lock, PIU_NOW), 0);
    CHECK_EQ(piu_rlock_acquire(&t->rlock, PIU_NOW), 0);
    CHECK_EQ(piu_rwlock_acquire_write(&t->rwlock, PIU_NOW), 0);
    CHECK_EQ(piu_semaphore_init(&t->recovering, 1, PIU_BOUNDED), 0);
    CHECK_EQ(piu_semaphore_acquire(&t->recovering, PIU_NOW), 0);
    CHECK_EQ(piu_barrier_init(&t->barrier, 2), 0);
    CHECK((t->empty = piu_queue_new()) &&
          (t->full = piu_queue_new(.maxsize = 1, .tasks = true)));
    CHECK_EQ(piu_queue_put(t->full, t, 1, PIU_NOW), 0);
    return t;
}

TEST(a_timeout_of_0_or_less_never_waits_and_one_of_30_ms_does)
{
    struct things *t = things_new();

    for (int i = 0; begin(i); i++)
        CHECK_EQ(in_child({
                     CHECK_EQ(waits[i].run(t, PIU_NOW), -ETIMEDOUT);
                     CHECK_EQ(waits[i].run(t, -1), -ETIMEDOUT);
                     CHECK_EQ(waits[i].run(t, INT64_MIN), -ETIMEDOUT);
                     check_times_out(waits[i].run(t, PIU_MSEC(30)), PIU_MSEC(30));
                 }),
                 0);
}

TEST(a_huge_timeout_waits_until_a_signal_handler_ends_it)
{
    struct things *t = things_new();

    for (int i = 0; begin(i); i++) {
        check_interrupted(waits[i].run(t, INT64_MAX - 1));
        check_interrupted(waits[i].run(t, INT64_MAX / 2));
    }
}

TEST(a_signal_handler_ends_every_wait_for_ever)
{
    struct things *t = things_new();

    for (int i = 0; begin(i); i++)
        check_interrupted(waits[i].run(t, PIU_FOREVER));
}

/* -EINTR and -ETIMEDOUT have changed nothing. */
TEST(after_all_that_nothing_is_held_and_nothing_was_moved)
{
    struct things *t = things_new();

    for (int i = 0; begin(i); i++) {
        CHECK_EQ(in_child({ CHECK_EQ(waits[i].run(t, PIU_NOW), -ETIMEDOUT); }), 0);
        check_interrupted(waits[i].run(t, PIU_FOREVER));
    }
    CHECK_EQ(piu_lock_release(&t->lock), 0);
    CHECK_EQ(piu_rlock_release(&t->rlock), 0);
    CHECK_EQ(piu_rwlock_release(&t->rwlock), 0);
    CHECK_EQ(piu_semaphore_release(&t->recovering), 0);
    CHECK_EQ(piu_semaphore_release(&t->semaphore), 0);
    CHECK_EQ(in_child({
                 CHECK_EQ(wait_lock(t, PIU_NOW), 0);
                 CHECK_EQ(wait_rlock(t, PIU_NOW), 0);
                 CHECK_EQ(wait_to_write(t, PIU_NOW), 0);
                 CHECK_EQ(wait_to_enter(t, PIU_NOW), 0);
                 CHECK_EQ(wait_semaphore(t, PIU_NOW), 0);
             }),
             0);
    CHECK_EQ(piu_condition_waiting(&t->condition), 0);
    CHECK_EQ(piu_barrier_waiting(&t->barrier), 0);
    CHECK_EQ(piu_queue_qsize(t->full), 1);
    CHECK_EQ(piu_queue_qsize(t->empty), 0);
}
