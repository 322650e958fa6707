/*
 * The nursery: one thread, parent of the workers.  It reaps, refills, ends what takes too long
 * and what was cancelled, and decides what becomes of a dead worker's work.
 */
#include "os/clock.h"
#include "os/fd.h"
#include "os/futex.h"
#include "task/pool.h"

#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define STORM_TIME  (5 * SEC)
#define LOOK_AROUND (500 * MSEC) /* also without a signal */

struct nursery {
    struct pool_shared *pool;
    uint64_t who;
    int signals; /* signalfd */
    struct child *children; /* a place each; pid 0: none */
    bool *timed_out;
    unsigned idle_deaths; /* unexpected, and not in a task, since `storm_began` */
    int64_t storm_began;
    uint32_t tasks_then;
};

/* ---- Births ------------------------------------------------------------------------------ */

static void ignore_signal(int signal)
{
    (void)signal; /* a handler, for SIG_IGN would be inherited through exec */
}

static void signals_of_worker(void)
{
    struct sigaction action = {.sa_handler = ignore_signal, .sa_flags = SA_RESTART};
    sigset_t none;

    sigaction(SIGINT, &action, NULL);
    signal(SIGCHLD, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

static int worker_start(struct nursery *n, unsigned place)
{
    struct worker *w = &n->pool->workers[place];
    struct child child;
    char name[NAME_SIZE + 16]; /* the claim keeps 31 bytes */
    pid_t nursery = getpid();
    int r;

    snprintf(name, sizeof(name), "%.20s-%u", n->pool->name, place + 1);
    memset((void *)w, 0, sizeof(*w));
    atomic_store(&w->phase, WORKER_STARTING);
    n->timed_out[place] = false;
    r = child_fork(&child, name, true);
    if (r > 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* sound here: the nursery has one thread */
        if (getppid() != nursery)
            _exit(1);
        signals_of_worker();
        worker_main(n->pool, place);
    }
    if (r < 0) {
        atomic_store(&w->phase, WORKER_NONE);
        return r;
    }
    n->children[place] = child;
    return 0;
}

static void refill(struct nursery *n)
{
    if (atomic_load(&n->pool->state) >= POOL_TERMINATED)
        return;
    for (unsigned i = 0; i < n->pool->places; i++) {
        /* out of processes or descriptors: tried again at the next look */
        int r = n->children[i].pid ? 0 : worker_start(n, i);

        if (atomic_load(&n->pool->born) != 1) {
            atomic_store(&n->pool->born, r < 0 ? (uint32_t)r : 1);
            futex_wake(&n->pool->born, INT_MAX);
        }
        if (r < 0)
            return;
    }
}

/* ---- Deaths ------------------------------------------------------------------------------ */

static void pool_break(struct nursery *n)
{
    atomic_store(&n->pool->state, POOL_BROKEN);
    pool_lock(n->pool, n->who);
    pool_end_all(n->pool, -ECHILD);
    pool_unlock(n->pool);
}

static uint32_t tasks_of_all(struct pool_shared *p)
{
    uint32_t sum = 0;

    for (unsigned i = 0; i < p->places; i++)
        sum += atomic_load(&p->workers[i].tasks);
    return sum;
}

/* Workers that die idle, one after the other, without a task done: not a pool any more. */
static void count_idle_death(struct nursery *n)
{
    int64_t now = clock_now();
    uint32_t tasks = tasks_of_all(n->pool);

    if (now - n->storm_began > STORM_TIME || tasks > n->tasks_then) {
        n->storm_began = now;
        n->tasks_then = tasks;
        n->idle_deaths = 0;
    }
    if (++n->idle_deaths > max_u64(3, n->pool->places))
        pool_break(n);
}

static bool was_in_task(struct pool_shared *p, unsigned place)
{
    struct worker *w = &p->workers[place];
    struct job *j = job_at(atomic_load(&w->job));
    uint64_t chunk = atomic_load(&w->chunk);

    return j && chunk < j->chunks &&
           atomic_load(&job_states(j)[chunk]) == CHUNK_STARTED + place;
}

static void bury(struct nursery *n, unsigned place)
{
    struct pool_shared *p = n->pool;
    struct piu_death death = n->children[place].death;
    bool leaving = atomic_load(&p->workers[place].phase) == WORKER_LEAVING;
    bool in_task = was_in_task(p, place);

    child_done(&n->children[place]);
    n->children[place].pid = 0;
    pool_lock(p, n->who);
    pool_bury(p, place, &death, n->timed_out[place]);
    pool_unlock(p);
    if (atomic_load(&p->initializer_failed))
        pool_break(n);
    else if (!leaving && !in_task && !n->timed_out[place] && atomic_load(&p->state) < POOL_TERMINATED)
        count_idle_death(n);
}

static void reap(struct nursery *n)
{
    for (unsigned i = 0; i < n->pool->places; i++) {
        if (n->children[i].pid && child_join(&n->children[i], 0) == 0)
            bury(n, i);
    }
}

/* ---- Too long, or not wanted ----------------------------------------------------------------- */

static void kill_worker(struct nursery *n, unsigned place)
{
    if (n->children[place].pid)
        kill(n->children[place].pid, SIGKILL); /* our child, not reaped: the pid is its */
}

/* Kills what is over time; ns until the next one may be, CLOCK_FOREVER: none. */
static int64_t end_overdue(struct nursery *n)
{
    int64_t next = CLOCK_FOREVER, now = clock_now();

    for (unsigned i = 0; i < n->pool->places; i++) {
        struct worker *w = &n->pool->workers[i];
        struct job *j = n->children[i].pid ? job_at(atomic_load(&w->job)) : NULL;
        int64_t began = atomic_load(&w->began);

        if (j && atomic_load(&j->cancelled) && was_in_task(n->pool, i))
            kill_worker(n, i);
        if (!j || j->timeout <= 0)
            continue;
        if (!began || !was_in_task(n->pool, i))
            next = min_timeout(next, j->timeout);
        else if (now - began < j->timeout)
            next = min_timeout(next, began + j->timeout - now);
        else {
            n->timed_out[i] = true;
            kill_worker(n, i);
        }
    }
    return next;
}

/* Cancelled jobs end when nobody is in them any more; what was not begun never is. */
static void end_cancelled(struct nursery *n)
{
    pool_lock(n->pool, n->who);
    for (struct job *j = pool_next_job(n->pool, NULL); j; j = pool_next_job(n->pool, j)) {
        if (atomic_load(&j->cancelled) && !pool_is_named(n->pool, j))
            job_end_with(j, -ECANCELED);
    }
    pool_unlock(n->pool);
}

/* ---- The loop ---------------------------------------------------------------------------- */

static void drain_signals(int fd)
{
    struct signalfd_siginfo info;

    while (read(fd, &info, sizeof(info)) == (ssize_t)sizeof(info))
        ;
}

static void sleep_until_news(struct nursery *n, int64_t timeout)
{
    struct pollfd fds[2] = {{.fd = n->signals, .events = POLLIN}, {.fd = n->pool->poke, .events = POLLIN}};
    struct timespec ts = timespec_of(min_timeout(timeout, LOOK_AROUND));

    ppoll(fds, 2, &ts, NULL);
    drain_signals(n->signals);
    fd_event_drain(n->pool->poke);
}

static _Noreturn void end_all_and_leave(struct nursery *n)
{
    for (unsigned i = 0; i < n->pool->places; i++)
        kill_worker(n, i);
    for (unsigned i = 0; i < n->pool->places; i++) {
        if (n->children[i].pid)
            child_join(&n->children[i], CLOCK_FOREVER);
    }
    child_end(0);
}

static int signals_open(void)
{
    sigset_t set;

    sigfillset(&set);
    sigprocmask(SIG_SETMASK, &set, NULL);
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    return signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
}

_Noreturn void nursery_main(struct pool_shared *p)
{
    struct nursery n = {.pool = p, .storm_began = clock_now()};

    signal(SIGCHLD, SIG_DFL); /* the user may ignore it: then nobody could be reaped */
    n.signals = signals_open();
    n.children = calloc(p->places, sizeof(*n.children));
    n.timed_out = calloc(p->places, sizeof(*n.timed_out));
    if (n.signals < 0 || !n.children || !n.timed_out || member_who(&n.who) < 0)
        child_end(1);
    for (;;) {
        int64_t next;

        reap(&n);
        if (atomic_load(&p->state) == POOL_TERMINATED)
            end_all_and_leave(&n);
        if (atomic_load(&p->state) != POOL_BROKEN)
            refill(&n);
        next = end_overdue(&n);
        end_cancelled(&n);
        sleep_until_news(&n, next);
    }
}
