/*
 * Killed at every instruction of a call, each time with fresh objects: then a survivor finds
 * everything sound, and what is due in order.  A call of more than 400 instructions (with a look
 * at dead members, or a first table) is killed at each second, third ... only, unless
 * PIU_EVERY_STEP is in the environment (with --limit 3600: some minutes a test).
 */
#include "step.h"
#include "waits.h"

#include "sync/barrier.h"
#include "sync/condition.h"
#include "sync/lock.h"
#include "sync/rlock.h"
#include "sync/rwlock.h"
#include "sync/semaphore.h"

struct objects {
    struct piu_lock lock;
    struct piu_rlock rlock;
    struct piu_semaphore semaphore;
    struct piu_condition condition;
    struct piu_barrier barrier;
    struct piu_rwlock rwlock;
    _Atomic int returned; /* how many waiters did */
    _Atomic int result;   /* of one */
};

struct operation_case {
    void (*prepare)(struct objects *o); /* in the survivor, or NULL */
    void (*before)(struct objects *o);  /* in the victim, untraced, or NULL */
    void (*operate)(struct objects *o); /* in the victim */
    void (*verify)(struct objects *o);  /* in the survivor, the victim being dead */
};

static pid_t waiters[3];

static struct objects *objects_new(void)
{
    struct objects *o = piu_shared_new(1, sizeof(*o));

    CHECK(o);
    CHECK_EQ(piu_semaphore_init(&o->semaphore, 2, PIU_BOUNDED), 0);
    CHECK_EQ(piu_barrier_init(&o->barrier, 2), 0);
    return o;
}

static void objects_free(struct objects *o)
{
    piu_semaphore_done(&o->semaphore);
    piu_condition_done(&o->condition);
    piu_barrier_done(&o->barrier);
    piu_rwlock_done(&o->rwlock);
    errno = 0;
    piu_shared_free(o);
    CHECK_EQ(errno, 0);
}

/* What is done in the victim: a case, and its objects. */
struct victim {
    const struct operation_case *c;
    struct objects *o;
};

static void victim_prepares(void *argument)
{
    const struct victim *v = argument;

    piu_event_wait(&(struct piu_event){{0}}, 1); /* becomes a member */
    if (v->c->before)
        v->c->before(v->o);
}

static void victim_operates(void *argument)
{
    const struct victim *v = argument;

    v->c->operate(v->o);
}

static void victim_new(struct step *step, struct victim *v)
{
    v->o = objects_new();
    if (v->c->prepare)
        v->c->prepare(v->o);
    *step = (struct step){victim_prepares, victim_operates, v};
}

static void victim_end(struct victim *v)
{
    v->c->verify(v->o);
    objects_free(v->o);
}

static void kill_everywhere(const struct operation_case *c)
{
    struct victim v = {.c = c};
    struct step_trace trace = {0};
    struct step step;
    size_t stride;

    if (!step_is_possible())
        SKIP("no x86-64, or ptrace is not allowed");
    victim_new(&step, &v);
    step_record(&step, &trace);
    victim_end(&v);
    CHECK(trace.count > 20);
    stride = getenv("PIU_EVERY_STEP") ? 1 : 1 + trace.count / 400;
    for (size_t n = 0; n <= trace.count; n += stride) {
        victim_new(&step, &v);
        step_kill(&step, &trace, n);
        printf("%zu of %zu, %s\n", n, trace.count, step_name(&trace, n));
        victim_end(&v);
    }
    step_done(&trace);
}

/* ---- Locks ------------------------------------------------------------------------------ */

static void lock_use(struct objects *o)
{
    piu_lock_acquire(&o->lock, PIU_NOW);
    piu_lock_release(&o->lock);
}

static void lock_goes_on(struct objects *o)
{
    CHECK(lock_check(&o->lock));
    CHECK(piu_lock_acquire(&o->lock, PIU_MSEC(500)) >= 0);
    CHECK_EQ(piu_lock_release(&o->lock), 0);
}

TEST(a_lock, .limit = 60)
{
    kill_everywhere(
        &(struct operation_case){.operate = lock_use, .verify = lock_goes_on});
}

static void rlock_use(struct objects *o)
{
    piu_rlock_acquire(&o->rlock, PIU_NOW);
    piu_rlock_acquire(&o->rlock, PIU_NOW);
    piu_rlock_release(&o->rlock);
    piu_rlock_release(&o->rlock);
}

static void rlock_goes_on(struct objects *o)
{
    CHECK(rlock_check(&o->rlock));
    CHECK(piu_rlock_acquire(&o->rlock, PIU_MSEC(500)) >= 0);
    CHECK_EQ(piu_rlock_count(&o->rlock), 1);
    CHECK_EQ(piu_rlock_release(&o->rlock), 0);
    CHECK_EQ(piu_rlock_release(&o->rlock), -EPERM);
}

TEST(a_recursive_lock, .limit = 60)
{
    kill_everywhere(
        &(struct operation_case){.operate = rlock_use, .verify = rlock_goes_on});
}

/* ---- Semaphore -------------------------------------------------------------------------- */

static void unit_acquire(struct objects *o)
{
    piu_semaphore_acquire(&o->semaphore, PIU_NOW);
}

static void unit_release(struct objects *o)
{
    piu_semaphore_release(&o->semaphore);
}

static void all_units_are_there(struct objects *o)
{
    CHECK_EQ(piu_semaphore_acquire(&o->semaphore, PIU_NOW), 0);
    CHECK_EQ(piu_semaphore_acquire(&o->semaphore, PIU_NOW), 0);
    CHECK_EQ(piu_semaphore_acquire(&o->semaphore, PIU_NOW), -ETIMEDOUT);
    CHECK(semaphore_check(&o->semaphore));
    CHECK_EQ(piu_semaphore_release(&o->semaphore), 0);
    CHECK_EQ(piu_semaphore_release(&o->semaphore), 0);
    CHECK_EQ(piu_semaphore_value(&o->semaphore), 2);
}

TEST(the_acquire_of_a_unit, .limit = 60)
{
    kill_everywhere(
        &(struct operation_case){.operate = unit_acquire, .verify = all_units_are_there});
}

TEST(the_release_of_a_unit, .limit = 60)
{
    kill_everywhere(&(struct operation_case){
        .before = unit_acquire, .operate = unit_release, .verify = all_units_are_there});
}

static void unit_of_one_that_died(struct objects *o)
{
    in_child_killed({ unit_acquire(o); });
}

/* The victim gives a unit that it has not: the dead one's comes back, and a debt is paid. */
static void debt_is_0_or_1(struct objects *o)
{
    unsigned debt;

    all_units_are_there(o);
    debt = (unsigned)semaphore_debt(&o->semaphore);
    CHECK(debt <= 1);
    CHECK_EQ(piu_semaphore_release(&o->semaphore), debt ? 0 : -EOVERFLOW);
    CHECK_EQ(piu_semaphore_value(&o->semaphore), 2);
}

TEST(the_return_of_a_dead_ones_unit, .limit = 120)
{
    kill_everywhere(&(struct operation_case){.prepare = unit_of_one_that_died,
                                             .operate = unit_release,
                                             .verify = debt_is_0_or_1});
}

/* ---- Condition -------------------------------------------------------------------------- */

static void waiter_start(struct objects *o, int i)
{
    waiters[i] = child_start({
        CHECK(piu_lock_acquire(&o->lock, PIU_FOREVER) >= 0);
        CHECK(piu_condition_wait(&o->condition, &o->lock, PIU_FOREVER) >= 0);
        o->returned++;
        CHECK_EQ(piu_lock_release(&o->lock), 0);
    });
    test_wait_until(piu_condition_waiting(&o->condition) == (unsigned)i + 1);
}

static void two_wait(struct objects *o)
{
    waiter_start(o, 0);
    waiter_start(o, 1);
}

static void notify_one(struct objects *o)
{
    piu_condition_notify(&o->condition, 1);
}

static void one_or_none_is_notified(struct objects *o)
{
    unsigned waiting;

    CHECK_EQ(piu_condition_notify(&o->condition, 0), 0); /* ends what was begun */
    CHECK(condition_check(&o->condition));
    waiting = piu_condition_waiting(&o->condition);
    CHECK(waiting == 1 || waiting == 2);
    CHECK_EQ(piu_condition_notify_all(&o->condition), 0);
    CHECK_EQ(child_wait(waiters[0]), 0);
    CHECK_EQ(child_wait(waiters[1]), 0);
    CHECK_EQ(o->returned, 2);
}

TEST(a_notify, .limit = 120)
{
    kill_everywhere(&(struct operation_case){
        .prepare = two_wait, .operate = notify_one, .verify = one_or_none_is_notified});
}

/* Notified, not yet in the lock, killed; two others wait. */
static void one_swallowed_a_notify(struct objects *o)
{
    for (int i = 0; i < 3; i++)
        waiter_start(o, i);
    CHECK(piu_lock_acquire(&o->lock, PIU_FOREVER) >= 0);
    for (int i = 1; i < 3; i++) /* they must not pass it on before the victim does */
        stop(waiters[i]);
    CHECK_EQ(piu_condition_notify(&o->condition, 1), 0);
    kill_and_reap(waiters[0]);
    CHECK_EQ(piu_lock_release(&o->lock), 0);
}

static void notify_none(struct objects *o)
{
    piu_condition_notify(&o->condition, 0);
}

static void exactly_one_got_it(struct objects *o)
{
    CHECK_EQ(piu_condition_notify(&o->condition, 0), 0);
    CHECK_EQ(piu_condition_waiting(&o->condition), 1);
    for (int i = 1; i < 3; i++)
        CHECK_EQ(kill(waiters[i], SIGCONT), 0);
    CHECK_EQ(child_wait(waiters[1]), 0);
    CHECK_EQ(o->returned, 1);
    CHECK_EQ(piu_condition_notify(&o->condition, 1), 0);
    CHECK_EQ(child_wait(waiters[2]), 0);
    CHECK(condition_check(&o->condition));
}

TEST(the_passing_on_of_a_swallowed_notify, .limit = 240)
{
    kill_everywhere(&(struct operation_case){.prepare = one_swallowed_a_notify,
                                             .operate = notify_none,
                                             .verify = exactly_one_got_it});
}

static void wait_and_time_out(struct objects *o)
{
    piu_lock_acquire(&o->lock, PIU_NOW);
    piu_condition_wait(&o->condition, &o->lock, PIU_NOW);
    piu_lock_release(&o->lock);
}

static void nobody_waits(struct objects *o)
{
    lock_goes_on(o);
    CHECK_EQ(piu_condition_notify(&o->condition, 1), 0);
    CHECK_EQ(piu_condition_waiting(&o->condition), 0);
    CHECK(condition_check(&o->condition));
}

TEST(a_wait, .limit = 120)
{
    kill_everywhere(
        &(struct operation_case){.operate = wait_and_time_out, .verify = nobody_waits});
}

/* ---- Barrier ----------------------------------------------------------------------------- */

static void one_arrives(struct objects *o)
{
    waiters[0] =
        child_start({ o->result = piu_barrier_wait(&o->barrier, NULL, PIU_FOREVER); });
    test_wait_until(piu_barrier_waiting(&o->barrier) == 1);
}

static void last_arrives(struct objects *o)
{
    piu_barrier_wait(&o->barrier, NULL, PIU_FOREVER);
}

/* A third one comes: it passes with the first, finds that broken, or comes after it passed. */
static void all_are_told_the_same(struct objects *o)
{
    int r = piu_barrier_wait(&o->barrier, NULL, PIU_NOW);

    CHECK(r == 0 || r == -ENOTRECOVERABLE || r == -ETIMEDOUT);
    CHECK_EQ(child_wait(waiters[0]), 0);
    CHECK_EQ(o->result, r == -ENOTRECOVERABLE ? r : 0);
    CHECK_EQ(piu_barrier_reset(&o->barrier), 0);
    CHECK(barrier_check(&o->barrier));
    one_arrives(o);
    CHECK_EQ(piu_barrier_wait(&o->barrier, NULL, PIU_SEC(5)), 0);
    CHECK_EQ(child_wait(waiters[0]), 0);
}

TEST(the_arrival_of_the_last, .limit = 120)
{
    kill_everywhere(&(struct operation_case){.prepare = one_arrives,
                                             .operate = last_arrives,
                                             .verify = all_are_told_the_same});
}

static void abort_it(struct objects *o)
{
    piu_barrier_abort(&o->barrier);
}

TEST(an_abort, .limit = 120)
{
    kill_everywhere(&(struct operation_case){
        .prepare = one_arrives, .operate = abort_it, .verify = all_are_told_the_same});
}

/* ---- Read-write lock ------------------------------------------------------------------- */

static void read_and_release(struct objects *o)
{
    piu_rwlock_acquire_read(&o->rwlock, PIU_NOW);
    piu_rwlock_acquire_read(&o->rwlock, PIU_NOW);
    piu_rwlock_release(&o->rwlock);
    piu_rwlock_release(&o->rwlock);
}

static void write_and_release(struct objects *o)
{
    piu_rwlock_acquire_write(&o->rwlock, PIU_NOW);
    piu_rwlock_release(&o->rwlock);
}

static void it_is_free_without_news(struct objects *o)
{
    CHECK(rwlock_check(&o->rwlock));
    CHECK_EQ(piu_rwlock_acquire_write(&o->rwlock, PIU_NOW), 0);
    CHECK_EQ(piu_rwlock_release(&o->rwlock), 0);
}

static void it_is_free_perhaps_with_news(struct objects *o)
{
    CHECK(rwlock_check(&o->rwlock));
    CHECK(piu_rwlock_acquire_write(&o->rwlock, PIU_NOW) >= 0);
    CHECK_EQ(piu_rwlock_release(&o->rwlock), 0);
    it_is_free_without_news(o);
}

TEST(reading, .limit = 120)
{
    kill_everywhere(&(struct operation_case){.operate = read_and_release,
                                             .verify = it_is_free_without_news});
}

TEST(writing, .limit = 120)
{
    kill_everywhere(&(struct operation_case){.operate = write_and_release,
                                             .verify = it_is_free_perhaps_with_news});
}
