/* The pool's public face in the user's process: no thread, no handler. */
#include "os/clock.h"
#include "os/fd.h"
#include "os/futex.h"
#include "os/keywords.h"
#include "os/machine.h"
#include "os/pidfd.h"
#include "task/remote.h"

#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PLACES_MOST 8192u
#define PATIENCE    (500 * MSEC) /* with a nursery that is to end */

int pool_use(struct piu_pool *pool)
{
    uint64_t who;
    int r = pool ? member_who(&who) : -EINVAL;

    if (r < 0)
        return r;
    if (!arena_has(pool, sizeof(*pool)) || (uintptr_t)pool % 64)
        return -EFAULT;
    if (pool->stamp != POOL_STAMP)
        return -ESTALE;
    if (pool->owner != (who & ID_MASK))
        return -ECHILD;
    if (unlikely(pool->remote) && !remote_is_sound(pool))
        return -EBADMSG;
    return likely(pool_shared_of(pool)) ? 0 : -EBADMSG;
}

/* ---- The nursery ------------------------------------------------------------------------ */

/* Ctrl-C between the fork and its own handlers is not for it. */
int nursery_start(struct piu_pool *pool)
{
    char name[NAME_SIZE];
    sigset_t all, before;
    int r;

    snprintf(name, sizeof(name), "%.22s-nursery", pool->shared->name);
    fflush(
        NULL); /* what is in the caller's streams is not for its children to write again */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    r = child_fork(&pool->nursery, name, true);
    if (r > 0)
        nursery_main(pool->shared);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return r;
}

static void revive(struct piu_pool *pool)
{
    struct pool_shared *p = pool->shared;
    uint64_t who = member_who_again();
    bool could_begin;

    if (!pool_workers_are_gone(p))
        return; /* at the next look */
    pool_lock(p, who);
    for (unsigned i = 0; i < p->places; i++) {
        struct piu_death death = {.pid = atomic_load(&p->workers[i].pid),
                                  .exitcode = -SIGKILL};

        if (death.pid) {
            member_fate(atomic_load(&p->workers[i].id)); /* what else it held */
            pool_bury(p, i, &death, false);
        }
    }
    pool_unlock(p);
    could_begin = !pool->nursery.death.left; /* before the pool's end it leaves only so */
    child_done(&pool->nursery);
    if (!could_begin || nursery_start(pool) < 0)
        pool_break(p, who);
}

/* As another program it is of no use: killed, and ended at the next look. */
static bool nursery_has_ended(struct piu_pool *pool)
{
    if (child_has_execed(&pool->nursery))
        pidfd_signal(pool->nursery.pidfd, SIGKILL);
    return child_join(&pool->nursery, 0) == 0;
}

void pool_look_after(struct piu_pool *pool)
{
    uint32_t idle = 0;

    if (!atomic_compare_exchange_strong(&pool->reviving, &idle, 1))
        return;
    /* who ends the pool stores the state first, then waits for us */
    if (atomic_load(&pool->shared->state) < POOL_FINISHED && nursery_has_ended(pool))
        revive(pool);
    atomic_store(&pool->reviving, 0);
}

/* ---- Making ------------------------------------------------------------------------------- */

static int shared_new(struct piu_pool *pool, const struct piu_pool_keywords *keywords)
{
    unsigned places = keywords->processes ? keywords->processes : machine_cpus();
    struct pool_shared *p;
    void *block;
    int r;

    if (places > PLACES_MOST)
        return -EINVAL;
    r = block_new_into(sizeof(*p) + places * sizeof(p->workers[0]), &pool->shared_at,
                       &block);
    if (r < 0)
        return r;
    p = block;
    p->places = pool->places = places;
    p->maxtasksperchild = keywords->maxtasksperchild;
    p->initializer = keywords->initializer;
    p->initarg = keywords->initarg;
    p->poke = p->ended = pool->poke = pool->ended = -1;
    if (keywords->name)
        snprintf(p->name, sizeof(p->name), "%s", keywords->name);
    else
        snprintf(p->name, sizeof(p->name), "Pool-%u",
                 1 + (unsigned)atomic_fetch_add(&arena_header()->pool_number, 1));
    p->stamp = POOL_STAMP;
    pool->shared = p;
    return 0;
}

/* After the state says that it shall end: nobody starts another. */
static void wait_for_reviver(struct piu_pool *pool)
{
    while (atomic_load(&pool->reviving))
        sched_yield();
}

/*
 * It ends at once, unless somebody has stopped it: then it is killed, and its workers go with
 * it.  They are gone before what they work in is freed.
 */
static void nursery_join(struct piu_pool *pool)
{
    int64_t deadline = deadline_after(PATIENCE);
    int r;

    wait_for_reviver(pool);
    while ((r = child_join(&pool->nursery, deadline_left(deadline))) == -EINTR)
        ;
    if (r == -ETIMEDOUT)
        pidfd_signal(pool->nursery.pidfd, SIGKILL);
    while (child_join(&pool->nursery, CLOCK_FOREVER) == -EINTR)
        ;
    while (!pool_workers_are_gone(pool->shared))
        sched_yield();
}

/* Until the first worker is there, or could not be started. */
static int wait_until_born(struct piu_pool *pool)
{
    _Atomic uint32_t *born = &pool->shared->born;

    while (atomic_load(born) == 0) {
        if (futex_wait(born, 0, 20 * MSEC) == -ETIMEDOUT && nursery_has_ended(pool))
            return -ECHILD;
    }
    return atomic_load(born) == 1 ? 0 : (int)atomic_load(born);
}

static int pool_begin(struct piu_pool *pool)
{
    int r = fd_event(&pool->poke);

    if (r == 0)
        r = fd_event(&pool->ended);
    pool->shared->poke = pool->poke;
    pool->shared->ended = pool->ended;
    if (r == 0 && pool_engine())
        return remote_start(pool, pool_engine());
    if (r == 0)
        r = nursery_start(pool);
    if (r < 0)
        return r;
    r = wait_until_born(pool);
    if (r < 0) {
        atomic_store(&pool->shared->state, POOL_TERMINATED);
        pool_poke(pool->shared);
        nursery_join(pool);
        child_done(&pool->nursery);
    }
    return r;
}

struct piu_pool *piu_pool_create(const struct piu_pool_keywords *keywords)
{
    struct piu_pool_keywords k;
    struct piu_pool *pool = NULL;
    uint64_t who;
    void *block;
    int r = keywords_read(&k, sizeof(k), keywords);

    if (r == 0)
        r = member_who(&who);
    if (r == 0)
        r = block_new(sizeof(*pool), BLOCK_SCRATCH, NULL, &block);
    if (r == 0) {
        pool = memset(block, 0, sizeof(*pool));
        pool->owner = who & ID_MASK;
        block_set_purpose(pool, BLOCK_POOL);
        r = shared_new(pool, &k);
    }
    if (r == 0)
        r = pool_begin(pool);
    if (r < 0) {
        if (pool && pool->remote)
            pool->remote = remote_free(pool->remote);
        if (pool)
            pool_dissolve(pool, false);
        errno = -r;
        return NULL;
    }
    pool->stamp = POOL_STAMP;
    return pool;
}

/* ---- Ending ------------------------------------------------------------------------------ */

int piu_pool_close(struct piu_pool *pool)
{
    uint32_t open = POOL_OPEN;
    int r = pool_use(pool);

    if (r == 0)
        atomic_compare_exchange_strong(&pool->shared->state, &open, POOL_CLOSED);
    return r;
}

static void terminate(struct piu_pool *pool, uint64_t who)
{
    struct pool_shared *p = pool->shared;

    atomic_store(&p->state, POOL_TERMINATED);
    pool_poke(p);
    pool_lock(p, who);
    pool_end_all(p, -ECANCELED);
    pool_unlock(p);
    pool_wake(p, p->places);
    if (pool->remote)
        remote_stop(pool, true, 0);
}

int piu_pool_terminate(struct piu_pool *pool)
{
    uint64_t who;
    int r = pool_use(pool);

    if (r == 0)
        r = member_who(&who);
    if (r == 0)
        terminate(pool, who);
    return r;
}

/* Marked as waited for, under the lock: later it may be freed (then its futex is only early). */
static struct job *first_running(struct pool_shared *p, uint64_t who)
{
    struct job_walk walk = job_walk_from(&p->first);
    struct job *j;

    pool_lock(p, who);
    do
        j = job_walk_next(&walk);
    while (j && atomic_load(&j->state) != JOB_RUNNING);
    if (j)
        atomic_store(&j->waited, 1);
    atomic_thread_fence(memory_order_seq_cst); /* for the one in wake_waiters() */
    pool_unlock(p);
    return j;
}

static int wait_for_jobs(struct piu_pool *pool, uint64_t who, int64_t deadline)
{
    struct job *j;

    while ((j = first_running(pool->shared, who))) {
        int64_t left = deadline_left(deadline);
        int r;

        if (left == 0)
            return -ETIMEDOUT;
        left = min_timeout(left, 50 * MSEC);
        r = pool->remote ? remote_wait(pool, &j->state, JOB_RUNNING, left)
                         : futex_wait(&j->state, JOB_RUNNING, left);
        if (r == -EINTR)
            return r;
        if (!pool->remote)
            pool_look_after(pool);
    }
    return 0;
}

/* After the state has said how they are to end. */
static int workers_join(struct piu_pool *pool, int64_t timeout)
{
    if (pool->remote)
        return remote_stop(pool, atomic_load(&pool->shared->state) == POOL_TERMINATED,
                           timeout);
    return child_join(&pool->nursery, timeout);
}

int piu_pool_join(struct piu_pool *pool, int64_t timeout)
{
    int64_t deadline = deadline_after(timeout);
    uint32_t closed = POOL_CLOSED;
    uint64_t who;
    int r = pool_use(pool);

    if (r == 0)
        r = member_who(&who);
    if (r == 0 && atomic_load(&pool->shared->state) == POOL_OPEN)
        r = -EBUSY;
    if (r == 0 && atomic_load(&pool->shared->state) == POOL_CLOSED)
        r = wait_for_jobs(pool, who, deadline);
    if (r < 0)
        return r;
    /* workers leave by themselves, and flush what they have printed */
    atomic_compare_exchange_strong(&pool->shared->state, &closed, POOL_FINISHED);
    if (closed == POOL_BROKEN)
        atomic_store(&pool->shared->state, POOL_TERMINATED);
    wait_for_reviver(pool);
    pool_poke(pool->shared);
    pool_wake(pool->shared, pool->shared->places);
    return workers_join(pool, deadline_left(deadline));
}

struct piu_pool *piu_pool_free(struct piu_pool *pool)
{
    uint64_t who = 0;
    int r = pool ? pool_use(pool) : 0;

    if (r == 0 && pool)
        r = member_who(&who);
    if (r < 0)
        errno = -r;
    if (r < 0 || !pool)
        return NULL;
    terminate(pool, who);
    if (pool->remote) {
        while (remote_stop(pool, true, CLOCK_FOREVER) < 0)
            ;
        pool->remote = remote_free(pool->remote);
    } else {
        nursery_join(pool);
        child_done(&pool->nursery);
    }
    pool_dissolve(pool, false);
    return NULL;
}

/* ---- Looking -------------------------------------------------------------------------------- */

int piu_pool_workers(struct piu_pool *pool, pid_t *ret, size_t room, size_t *ret_count)
{
    size_t count = 0;
    int r = pool_use(pool);

    if (r < 0)
        return r;
    if (!ret_count || (!ret && room))
        return -EINVAL;
    if (pool->remote)
        count = remote_workers(pool, ret, room);
    for (unsigned i = 0; i < pool->shared->places; i++) {
        pid_t pid = atomic_load(&pool->shared->workers[i].pid);

        if (pid && count++ < room)
            ret[count - 1] = pid;
    }
    *ret_count = count;
    return 0;
}

int piu_pool_fd(struct piu_pool *pool)
{
    int r = pool_use(pool);

    if (r < 0)
        return r;
    atomic_store(&pool->shared->ended_wanted, 1);
    return pool->remote ? remote_fd(pool->remote) : pool->shared->ended;
}
