/* All that waits, used by threads that play members on one mapping: for ThreadSanitizer. */
#include "test.h"

#include "os/base.h"
#include "shm/member.h"
#include "sync/barrier.h"
#include "sync/condition.h"
#include "sync/event.h"
#include "sync/lock.h"
#include "sync/rlock.h"
#include "sync/rwlock.h"
#include "sync/semaphore.h"

#include <piu.h>

#define THREADS 4
#define TIMES   2000

/* Everything at once, and what it guards: plain memory, so a missing order is a race. */
struct shared {
    struct piu_lock lock;
    struct piu_rlock rlock;
    struct piu_semaphore plain, bounded;
    struct piu_condition condition;
    struct piu_event event;
    struct piu_barrier barrier;
    struct piu_rwlock rwlock;
    long guarded;
    long slots[THREADS];
    _Atomic int begun;
};

/* Without ThreadSanitizer threads are just threads of one member. */
static void play(void)
{
    if (PIU_TSAN)
        CHECK_EQ(member_play("thread"), 0);
}

static void play_end(bool died)
{
    if (PIU_TSAN)
        member_play_end(died);
}

static struct shared *shared_new(void)
{
    struct shared *s = piu_shared_new(1, sizeof(*s));

    CHECK(s);
    CHECK_EQ(piu_semaphore_init(&s->plain, 1, 0), 0);
    CHECK_EQ(piu_semaphore_init(&s->bounded, 1, PIU_BOUNDED), 0);
    CHECK_EQ(piu_barrier_init(&s->barrier, THREADS), 0);
    return s;
}

static void lock_counts(int i, void *argument)
{
    struct shared *s = argument;

    (void)i;
    play();
    for (int n = 0; n < TIMES; n++) {
        CHECK_EQ(piu_lock_acquire(&s->lock, PIU_FOREVER), 0);
        s->guarded++;
        CHECK_EQ(piu_lock_release(&s->lock), 0);
    }
    play_end(false);
}

TEST(a_lock_orders_what_it_guards, .limit = 60)
{
    struct shared *s = shared_new();

    test_threads(THREADS, lock_counts, s);
    CHECK_EQ(s->guarded, THREADS * TIMES);
}

static void rlock_counts(int i, void *argument)
{
    struct shared *s = argument;

    (void)i;
    play();
    for (int n = 0; n < TIMES; n++) {
        CHECK_EQ(piu_rlock_acquire(&s->rlock, PIU_FOREVER), 0);
        CHECK_EQ(piu_rlock_acquire(&s->rlock, PIU_FOREVER), 0);
        s->guarded++;
        CHECK_EQ(piu_rlock_release(&s->rlock), 0);
        CHECK_EQ(piu_rlock_release(&s->rlock), 0);
    }
    play_end(false);
}

TEST(a_recursive_lock_orders_what_it_guards, .limit = 60)
{
    struct shared *s = shared_new();

    test_threads(THREADS, rlock_counts, s);
    CHECK_EQ(s->guarded, THREADS * TIMES);
}

static void semaphore_counts(struct shared *s, struct piu_semaphore *semaphore)
{
    play();
    for (int n = 0; n < TIMES; n++) {
        CHECK_EQ(piu_semaphore_acquire(semaphore, PIU_FOREVER), 0);
        s->guarded++;
        CHECK_EQ(piu_semaphore_release(semaphore), 0);
    }
    play_end(false);
}

static void plain_counts(int i, void *argument)
{
    struct shared *s = argument;

    (void)i;
    semaphore_counts(s, &s->plain);
}

static void bounded_counts(int i, void *argument)
{
    struct shared *s = argument;

    (void)i;
    semaphore_counts(s, &s->bounded);
}

TEST(semaphores_order_what_they_guard, .limit = 60)
{
    struct shared *s = shared_new();

    test_threads(THREADS, plain_counts, s);
    test_threads(THREADS, bounded_counts, s);
    CHECK_EQ(s->guarded, 2 * THREADS * TIMES);
    CHECK(semaphore_check(&s->bounded));
    piu_semaphore_done(&s->bounded);
}

/* Items go from thread 0 to the others. */
static void condition_hands_on(int i, void *argument)
{
    struct shared *s = argument;
    int times = i == 0 ? TIMES * (THREADS - 1) : TIMES;

    play();
    for (int n = 0; n < times; n++) {
        CHECK_EQ(piu_lock_acquire(&s->lock, PIU_FOREVER), 0);
        while (i != 0 && s->guarded == 0)
            CHECK_EQ(piu_condition_wait(&s->condition, &s->lock, PIU_FOREVER), 0);
        s->guarded += i == 0 ? 1 : -1;
        if (i == 0)
            CHECK_EQ(piu_condition_notify(&s->condition, 1), 0);
        CHECK_EQ(piu_lock_release(&s->lock), 0);
    }
    play_end(false);
}

TEST(a_condition_hands_all_on, .limit = 60)
{
    struct shared *s = shared_new();

    test_threads(THREADS, condition_hands_on, s);
    CHECK_EQ(s->guarded, 0);
    CHECK(condition_check(&s->condition));
    piu_condition_done(&s->condition);
}

static void event_publishes(int i, void *argument)
{
    struct shared *s = argument;

    play();
    if (i == 0) {
        s->guarded = 42;
        CHECK_EQ(piu_event_set(&s->event), 0);
    } else {
        CHECK_EQ(piu_event_wait(&s->event, PIU_FOREVER), 0);
        CHECK_EQ(s->guarded, 42);
    }
    play_end(false);
}

TEST(an_event_publishes_what_was_written_before_it)
{
    for (int n = 0; n < 50; n++)
        test_threads(THREADS, event_publishes, shared_new());
}

static void barrier_meets(int i, void *argument)
{
    struct shared *s = argument;

    play();
    for (int n = 0; n < TIMES / 4; n++) {
        s->slots[i] = n;
        CHECK_EQ(piu_barrier_wait(&s->barrier, NULL, PIU_FOREVER), 0);
        CHECK_EQ(s->slots[(i + 1) % THREADS], n);
        CHECK_EQ(piu_barrier_wait(&s->barrier, NULL, PIU_FOREVER), 0);
    }
    play_end(false);
}

TEST(a_barrier_orders_what_was_before_and_after, .limit = 60)
{
    struct shared *s = shared_new();

    test_threads(THREADS, barrier_meets, s);
    CHECK(barrier_check(&s->barrier));
    piu_barrier_done(&s->barrier);
}

static void rwlock_uses(int i, void *argument)
{
    struct shared *s = argument;

    play();
    for (int n = 0; n < TIMES; n++) {
        bool writes = n % THREADS == i;
        int r = writes ? piu_rwlock_acquire_write(&s->rwlock, PIU_FOREVER)
                       : piu_rwlock_acquire_read(&s->rwlock, PIU_FOREVER);

        CHECK_EQ(r, 0);
        if (writes)
            s->guarded++;
        else
            CHECK(s->guarded >= 0);
        CHECK_EQ(piu_rwlock_release(&s->rwlock), 0);
    }
    play_end(false);
}

TEST(a_read_write_lock_orders_what_it_guards, .limit = 60)
{
    struct shared *s = shared_new();

    test_threads(THREADS, rwlock_uses, s);
    CHECK_EQ(s->guarded, TIMES);
    CHECK(rwlock_check(&s->rwlock));
    piu_rwlock_done(&s->rwlock);
}

/* Thread 0 "dies" with everything in its hands. */
static void dies_with_all(int i, void *argument)
{
    struct shared *s = argument;

    if (i == 0) {
        play();
        CHECK_EQ(piu_lock_acquire(&s->lock, PIU_FOREVER), 0);
        CHECK_EQ(piu_rlock_acquire(&s->rlock, PIU_FOREVER), 0);
        CHECK_EQ(piu_semaphore_acquire(&s->bounded, PIU_FOREVER), 0);
        CHECK_EQ(piu_rwlock_acquire_write(&s->rwlock, PIU_FOREVER), 0);
        s->guarded = 42;
        s->begun = 1;
        play_end(true);
        return;
    }
    test_wait_until(s->begun);
    play();
    CHECK(piu_lock_acquire(&s->lock, PIU_FOREVER) >= 0);
    CHECK(piu_rlock_acquire(&s->rlock, PIU_FOREVER) >= 0);
    CHECK_EQ(piu_semaphore_acquire(&s->bounded, PIU_FOREVER), 0);
    CHECK(piu_rwlock_acquire_write(&s->rwlock, PIU_FOREVER) >= 0);
    CHECK(s->guarded++ >= 42);
    CHECK_EQ(piu_rwlock_release(&s->rwlock), 0);
    CHECK_EQ(piu_semaphore_release(&s->bounded), 0);
    CHECK_EQ(piu_rlock_release(&s->rlock), 0);
    CHECK_EQ(piu_lock_release(&s->lock), 0);
    play_end(false);
}

TEST(all_that_a_dead_thread_held_passes_on, .limit = 60)
{
    if (!PIU_TSAN)
        SKIP("threads play members only under ThreadSanitizer");
    for (int n = 0; n < 20; n++) {
        struct shared *s = shared_new();

        test_threads(THREADS, dies_with_all, s);
        CHECK_EQ(s->guarded, 42 + THREADS - 1);
    }
}
