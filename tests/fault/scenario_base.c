/* The family, and what waits on words. */
#include "scenario.h"

#include <signal.h>

/* ---- The family ------------------------------------------------------------------------- */

static int share(void)
{
    char *small = piu_shared_new(3, 100), *large = NULL;
    int r = GOT(small);

    if (r == 0) {
        WANT(small[299] == 0);
        large = piu_shared_new(3, 1 << 20);
        r = GOT(large);
    }
    if (r == 0) {
        WANT(large[3 * (1 << 20) - 1] == 0);
        memset(large, 7, 3 << 20);
    }
    piu_shared_free(large);
    piu_shared_free(small);
    return r;
}

static int name_it(void)
{
    char *object = piu_shared_new(1, 64), name[32];
    int r = GOT(object);

    if (r == 0)
        r = piu_name(object, "an object");
    if (r == 0)
        WANT(strcmp(piu_name_of(object, name, sizeof(name)), "an object") == 0);
    piu_shared_free(object);
    return r;
}

static int ask_the_machine(void)
{
    WANT(piu_cpu_count() >= 1);
    return 0;
}

const struct scenario scenario_family = {
    .name = "family", .cold = true, .steps = {share, name_it, ask_the_machine}};

/* ---- Words that wait ----------------------------------------------------------------------- */

struct table {
    struct piu_process process;
    struct piu_lock lock;
    struct piu_rlock rlock;
    struct piu_semaphore semaphore;
    struct piu_condition condition;
    struct piu_event event;
    struct piu_barrier barrier;
    struct piu_rwlock rwlock;
    _Atomic int held, gave_up;
    int (*act)(struct table *);       /* the child */
    int (*meanwhile)(struct table *); /* its starter */
    bool die;
};

#define table_of(p) ((struct table *)(void *)(p))
#define SHORT       PIU_MSEC(1)
#define LONG        PIU_SEC(5)

/* Somebody waits for the lock: a bit of the word says so (src/shm/owner.h). */
static void until_waited_for(struct table *t, const uint64_t *word)
{
    while (!(__atomic_load_n(word, __ATOMIC_SEQ_CST) & UINT64_C(1) << 31) && !t->gave_up)
        usleep(50);
}

static int act_out(struct piu_process *p)
{
    struct table *t = table_of(p);

    if (t->act(t) < 0)
        return CHILD_FAILED;
    if (t->die)
        kill(getpid(), SIGKILL);
    return 0;
}

static int meanwhile_of(struct piu_process *p)
{
    return table_of(p)->meanwhile(table_of(p));
}

/* A child does `act`, while we do `meanwhile`. */
static int in_two(int (*act)(struct table *), int (*meanwhile)(struct table *), bool die)
{
    struct piu_start_keywords how = {.struct_size = sizeof(how)};
    struct table *t = piu_shared_new(1, sizeof(*t));
    int r = GOT(t);

    if (r == 0)
        r = piu_semaphore_init(&t->semaphore, 2, PIU_RECOVER);
    if (r == 0)
        r = piu_barrier_init(&t->barrier, 2);
    if (r == 0) {
        t->process.run = act_out;
        t->act = act;
        t->meanwhile = meanwhile;
        t->die = die;
        r = scenario_with_child(&t->process, &how, meanwhile_of, die ? -SIGKILL : 0);
    }
    if (t) {
        piu_semaphore_done(&t->semaphore);
        piu_condition_done(&t->condition);
        piu_barrier_done(&t->barrier);
        piu_rwlock_done(&t->rwlock);
    }
    piu_shared_free(t);
    return r;
}

static int hold_lock(struct table *t)
{
    int r = piu_lock_acquire(&t->lock, LONG);

    if (r < 0)
        return r;
    t->held = 1;
    until_waited_for(t, t->lock.opaque);
    return t->die ? 0 : INSIST(piu_lock_release(&t->lock));
}

static int want_lock(struct table *t)
{
    int r = scenario_await(&t->held, &t->process);

    if (r == 0)
        r = piu_lock_acquire(&t->lock, LONG);
    t->gave_up = 1;
    if (r < 0)
        return r;
    WANT(r == (t->die ? PIU_OWNER_DIED : 0) || fault_plan->fired);
    return INSIST(piu_lock_release(&t->lock));
}

static int pass_lock(void)
{
    return in_two(hold_lock, want_lock, false);
}

static int inherit_lock(void)
{
    return in_two(hold_lock, want_lock, true);
}

static int hold_rlock(struct table *t)
{
    int r = piu_rlock_acquire(&t->rlock, LONG);

    if (r < 0)
        return r;
    t->held = 1;
    until_waited_for(t, t->rlock.opaque);
    return t->die ? 0 : INSIST(piu_rlock_release(&t->rlock));
}

static int want_rlock(struct table *t)
{
    int r = scenario_await(&t->held, &t->process);

    if (r == 0)
        r = piu_rlock_acquire(&t->rlock, LONG);
    t->gave_up = 1;
    return r < 0 ? r : INSIST(piu_rlock_release(&t->rlock));
}

static int inherit_rlock(void)
{
    return in_two(hold_rlock, want_rlock, true);
}

static int take_units(struct table *t)
{
    int r = piu_semaphore_acquire(&t->semaphore, LONG);

    if (r >= 0)
        r = piu_semaphore_acquire(&t->semaphore, LONG);
    t->held = 1;
    return r;
}

static int want_unit(struct table *t)
{
    int r = scenario_await(&t->held, &t->process);

    if (r == 0)
        r = piu_semaphore_acquire(&t->semaphore, LONG);
    return r < 0 ? r : INSIST(piu_semaphore_release(&t->semaphore));
}

static int recover_units(void)
{
    return in_two(take_units, want_unit, true);
}

static int notify(struct table *t)
{
    int r = piu_lock_acquire(&t->lock, LONG);

    if (r < 0)
        return r;
    t->held = 1;
    r = piu_condition_notify(&t->condition, 1);
    INSIST(piu_lock_release(&t->lock));
    return r;
}

static int be_notified(struct table *t)
{
    int r = piu_lock_acquire(&t->lock, LONG);

    if (r < 0)
        return r;
    while (r >= 0 && !t->held) {
        if (!piu_process_is_alive(&t->process) && !t->held)
            r = -ECHILD;
        if (r >= 0)
            r = piu_condition_wait(&t->condition, &t->lock, PIU_MSEC(50));
        if (r == -ETIMEDOUT)
            r = 0;
    }
    INSIST(piu_lock_release(&t->lock));
    return r < 0 ? r : 0;
}

static int meet_at_condition(void)
{
    return in_two(notify, be_notified, false);
}

static int set_event(struct table *t)
{
    return piu_event_set(&t->event);
}

static int want_event(struct table *t)
{
    int r;

    do {
        bool alive = piu_process_is_alive(&t->process);

        r = piu_event_wait(&t->event, PIU_MSEC(50));
        if (r == -ETIMEDOUT && !alive && !piu_event_is_set(&t->event))
            return -ECHILD;
    } while (r == -ETIMEDOUT);
    return r;
}

static int meet_at_event(void)
{
    return in_two(set_event, want_event, false);
}

static int meet(struct table *t)
{
    unsigned index;
    int r = piu_barrier_wait(&t->barrier, &index, PIU_MSEC(1500));

    if (r < 0)
        piu_barrier_abort(&t->barrier);
    return r == -ENOTRECOVERABLE ? -ECHILD : r; /* the other one failed */
}

static int meet_at_barrier(void)
{
    return in_two(meet, meet, false);
}

static int hold_write(struct table *t)
{
    int r = piu_rwlock_acquire_write(&t->rwlock, LONG);

    t->held = r >= 0;
    return r;
}

static int want_read_and_write(struct table *t)
{
    int r = scenario_await(&t->held, &t->process);

    if (r == 0)
        r = piu_rwlock_acquire_read(&t->rwlock, LONG);
    if (r < 0)
        return r;
    INSIST(piu_rwlock_release(&t->rwlock));
    r = piu_rwlock_acquire_write(&t->rwlock, LONG);
    return r < 0 ? r : INSIST(piu_rwlock_release(&t->rwlock));
}

static int inherit_rwlock(void)
{
    return in_two(hold_write, want_read_and_write, true);
}

static int run_out_of_time(struct table *t)
{
    int r = scenario_await(&t->held, &t->process);

    if (r == 0)
        r = piu_lock_acquire(&t->lock, SHORT);
    if (r >= 0)
        INSIST(piu_lock_release(&t->lock));
    t->gave_up = 1;
    return r == -ETIMEDOUT ? 0 : r < 0 ? r : 0;
}

static int time_out(void)
{
    return in_two(hold_lock, run_out_of_time, false);
}

const struct scenario scenario_sync = {
    .name = "sync",
    .steps = {pass_lock, inherit_lock, inherit_rlock, recover_units, meet_at_condition,
              meet_at_event, meet_at_barrier, inherit_rwlock, time_out}};
