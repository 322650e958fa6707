/*
 * The nursery: one thread, parent of the workers.  It reaps, refills, ends what takes too long
 * and what was cancelled, and decides what becomes of a dead worker's work.
 */
#include "os/clock.h"
#include "os/fd.h"
#include "os/futex.h"
#include "task/pool.h"
#include "task/storm.h"

#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define STOP_TIME   (10 * MSEC)
#define CANCEL_LOOK (2 * MSEC)   /* a worker that leaves a cancelled job tells nobody */
#define LOOK_AROUND (500 * MSEC) /* also without a signal */

struct nursery {
    struct pool_shared *pool;
    /* of its own: what others write over leads to no array and no descriptor of another */
    unsigned places;
    int poke, ended;
    uint64_t who;
    int signals;            /* signalfd */
    struct child *children; /* a place each; pid 0: none */
    bool *timed_out;
    struct storm storm;
    uint64_t tasks_of_dead;
    uint32_t cancels; /* as last seen */
    bool cancelling;  /* a job is cancelled, and a worker still in it */
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

/* It could not be watched and was killed for that; it may have begun something by then. */
static void bury_unwatched(struct nursery *n, unsigned place)
{
    struct worker *w = &n->pool->workers[place];
    struct piu_death death = {.pid = atomic_load(&w->pid), .exitcode = -SIGKILL};

    pool_lock(n->pool, n->who);
    pool_bury(n->pool, place, &death, false);
    pool_unlock(n->pool);
    n->tasks_of_dead += atomic_exchange(&w->tasks, 0);
}

static int worker_start(struct nursery *n, unsigned place)
{
    struct worker *w = &n->pool->workers[place];
    struct child child;
    char name[NAME_SIZE + 16]; /* the claim keeps 31 bytes */
    pid_t nursery = getpid();
    int r;

    snprintf(name, sizeof(name), "%.20s-%u", n->pool->name, place + 1);
    atomic_store(&w->tasks, 0); /* of the last one there, where its nursery died too */
    atomic_store(&w->phase, WORKER_STARTING);
    n->timed_out[place] = false;
    r = child_fork(&child, name, true);
    if (r > 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* sound here: the nursery has one thread */
        if (getppid() != nursery)
            _exit(1);
        fd_close(n->signals);
        for (unsigned i = 0; i < n->places; i++) {
            if (n->children[i].pid)
                child_done(&n->children[i]);
        }
        signals_of_worker();
        worker_main(n->pool, place);
    }
    if (r < 0)
        bury_unwatched(n, place);
    else
        n->children[place] = child;
    return r;
}

/* ---- Deaths ------------------------------------------------------------------------------ */

static uint64_t tasks_of_all(const struct nursery *n)
{
    uint64_t sum = n->tasks_of_dead;

    for (unsigned i = 0; i < n->places; i++)
        sum += atomic_load(&n->pool->workers[i].tasks);
    return sum;
}

static bool was_in_task(struct pool_shared *p, unsigned place)
{
    struct worker *w = &p->workers[place];
    struct job *j = job_named(atomic_load(&w->job));
    uint64_t chunk = atomic_load(&w->chunk);

    return j && chunk < j->chunks &&
           atomic_load(&job_states(j)[chunk]) == CHUNK_STARTED + place;
}

static void bury(struct nursery *n, unsigned place)
{
    struct pool_shared *p = n->pool;
    struct worker *w = &p->workers[place];
    struct piu_death death = n->children[place].death;
    uint32_t phase = atomic_load(&w->phase);
    bool in_task;

    child_done(&n->children[place]);
    n->children[place].pid = 0;
    pool_lock(p, n->who);
    in_task = was_in_task(p, place);
    pool_bury(p, place, &death, n->timed_out[place]);
    pool_unlock(p);
    n->tasks_of_dead += atomic_exchange(&w->tasks, 0);
    if (atomic_load(&p->state) >= POOL_FINISHED)
        return;
    if (atomic_load(&p->initializer_failed))
        pool_break(n->pool, n->who);
    else if (phase != WORKER_LEAVING && !in_task && /* what timed out was in one */
             storm_note_death(&n->storm, &death, phase != WORKER_STARTING, n->places,
                              tasks_of_all(n), clock_now()))
        pool_break(n->pool, n->who);
}

/* One that a task made another program by exec is a worker no more: it is killed, and buried. */
static void reap(struct nursery *n)
{
    for (unsigned i = 0; i < n->places; i++) {
        if (!n->children[i].pid)
            continue;
        if (child_has_execed(&n->children[i]))
            kill(n->children[i].pid, SIGKILL);
        if (child_join(&n->children[i], 0) == 0)
            bury(n, i);
    }
}

/* ---- Refill ------------------------------------------------------------------------------ */

static bool has_children(const struct nursery *n)
{
    for (unsigned i = 0; i < n->places; i++) {
        if (n->children[i].pid)
            return true;
    }
    return false;
}

static bool has_work(struct nursery *n)
{
    struct job_walk walk = job_walk_from(&n->pool->first);
    struct job *j;

    pool_lock(n->pool, n->who);
    do
        j = job_walk_next(&walk);
    while (j && atomic_load(&j->state) == JOB_ENDED);
    pool_unlock(n->pool);
    return j != NULL;
}

static void tell_birth(struct pool_shared *p, int r)
{
    if (atomic_load(&p->born) != 1) {
        atomic_store(&p->born, r < 0 ? (uint32_t)r : 1);
        futex_wake(&p->born, INT_MAX);
    }
}

/* Out of processes or descriptors: tried again, a little later each time. */
static void refill(struct nursery *n)
{
    int r = 0;

    if (atomic_load(&n->pool->state) >= POOL_FINISHED ||
        storm_pause(&n->storm, clock_now()))
        return;
    for (unsigned i = 0; i < n->places && r == 0; i++) {
        if (n->children[i].pid)
            continue;
        r = worker_start(n, i);
        tell_birth(n->pool, r);
        if (storm_note_start(&n->storm, r, clock_now()) && !has_children(n) &&
            has_work(n))
            pool_break(n->pool, n->who);
    }
}

/* ---- Too long, or not wanted ----------------------------------------------------------------- */

static void kill_worker(struct nursery *n, unsigned place)
{
    if (n->children[place].pid)
        kill(n->children[place].pid, SIGKILL); /* our child, not reaped: the pid is its */
}

/* After SIGSTOP no instruction of it is run, as soon as the kernel says so (some us). */
static void wait_until_stopped(pid_t pid)
{
    int64_t end = clock_now() + STOP_TIME;
    siginfo_t info = {0};

    while (waitid(P_PID, (id_t)pid, &info, WSTOPPED | WEXITED | WNOWAIT | WNOHANG) == 0 &&
           info.si_pid == 0 && clock_now() < end)
        cpu_relax();
}

/*
 * Only in that chunk: a worker that has just finished it may have begun another, which is
 * nobody's to kill.  So it is stopped, looked at again, and killed or sent on.  Under the lock.
 */
static bool kill_in_chunk(struct nursery *n, unsigned place, uint64_t job, uint64_t chunk)
{
    struct worker *w = &n->pool->workers[place];
    pid_t pid = n->children[place].pid;

    kill(pid, SIGSTOP);
    wait_until_stopped(pid);
    if (atomic_load(&w->job) == job && atomic_load(&w->chunk) == chunk &&
        was_in_task(n->pool, place)) {
        kill(pid, SIGKILL);
        return true;
    }
    kill(pid, SIGCONT);
    return false;
}

/* One worker; ns until its time may be over, CLOCK_FOREVER: never. */
static int64_t end_if_overdue(struct nursery *n, unsigned place, int64_t now)
{
    struct worker *w = &n->pool->workers[place];
    uint64_t job = atomic_load(&w->job), chunk = atomic_load(&w->chunk);
    struct job *j = job_named(job);
    bool in_task = was_in_task(n->pool, place);
    int64_t began =
        atomic_load(&w->began); /* after the look at the state: 0, or this chunk's */

    if (!j)
        return CLOCK_FOREVER;
    if (in_task && atomic_load(&j->cancelled)) {
        kill_in_chunk(n, place, job, chunk);
        return CLOCK_FOREVER;
    }
    if (j->timeout <= 0)
        return CLOCK_FOREVER;
    if (!in_task || !began)
        return j->timeout;
    if (now - began < j->timeout)
        return j->timeout - (now - began); /* no sum of a huge one */
    if (kill_in_chunk(n, place, job, chunk))
        n->timed_out[place] = true;
    return j->timeout;
}

/* Kills what is over time or cancelled; ns until the next look, CLOCK_FOREVER: no need. */
static int64_t end_overdue(struct nursery *n)
{
    int64_t next = CLOCK_FOREVER, now = clock_now();

    pool_lock(n->pool, n->who); /* P3 */
    for (unsigned i = 0; i < n->places; i++) {
        if (n->children[i].pid && !n->timed_out[i] &&
            atomic_load(&n->pool->workers[i].job))
            next = min_timeout(next, end_if_overdue(n, i, now));
    }
    pool_unlock(n->pool);
    return next;
}

/* Cancelled jobs end when nobody is in them any more; what was not begun never is. */
static void end_cancelled(struct nursery *n)
{
    struct job_walk walk = job_walk_from(&n->pool->first);
    uint32_t cancels = atomic_load(&n->pool->cancels);
    bool ended = false;

    if (cancels == n->cancels && !n->cancelling)
        return;
    n->cancels = cancels;
    n->cancelling = false;
    pool_lock(n->pool, n->who);
    for (struct job *j; (j = job_walk_next(&walk));) {
        if (!atomic_load(&j->cancelled) || atomic_load(&j->state) == JOB_ENDED)
            continue;
        if (pool_is_named(n->pool, j))
            n->cancelling = true;
        else {
            job_end_with(j, -ECANCELED);
            ended = true;
        }
    }
    pool_unlock(n->pool);
    if (ended)
        pool_tell_end(n->pool);
}

/* ---- The loop ---------------------------------------------------------------------------- */

static void sleep_until_news(struct nursery *n, int64_t timeout)
{
    struct pollfd fds[2] = {{.fd = n->signals, .events = POLLIN},
                            {.fd = n->poke, .events = POLLIN}};
    struct timespec ts = timespec_of(min_timeout(timeout, LOOK_AROUND));

    ppoll(fds, 2, &ts, NULL);
    fd_signal_drain(n->signals);
    fd_event_drain(n->poke);
}

static _Noreturn void end_all_and_leave(struct nursery *n)
{
    for (unsigned i = 0; i < n->places; i++)
        kill_worker(n, i);
    for (unsigned i = 0; i < n->places; i++) {
        if (n->children[i].pid && child_join(&n->children[i], CLOCK_FOREVER) == 0)
            atomic_store(&n->pool->workers[i].pid, 0); /* nobody need ask for it */
    }
    child_end(0);
}

/* It cannot begin: told to who makes the pool, or breaks it. */
static _Noreturn void fail(struct pool_shared *p, int error)
{
    tell_birth(p, error);
    child_end(1);
}

static int signals_open(void)
{
    sigset_t set;
    int fd, r;

    sigfillset(&set);
    sigprocmask(SIG_SETMASK, &set, NULL);
    r = fd_signal(SIGCHLD, &fd);
    return r < 0 ? r : fd;
}

/* Then nothing in there is to be followed. */
static bool is_written_over(const struct nursery *n)
{
    const struct pool_shared *p = n->pool;

    return p->places != n->places || p->poke != n->poke || p->ended != n->ended;
}

_Noreturn void nursery_main(struct pool_shared *p)
{
    struct nursery n = {
        .pool = p, .places = p->places, .poke = p->poke, .ended = p->ended};

    signal(SIGCHLD, SIG_DFL); /* the user may ignore it: then nobody could be reaped */
    n.signals = signals_open();
    n.children = calloc(n.places, sizeof(*n.children));
    n.timed_out = calloc(n.places, sizeof(*n.timed_out));
    if (n.signals < 0)
        fail(p, n.signals);
    if (!n.children || !n.timed_out || member_who(&n.who) < 0)
        fail(p, -ENOMEM);
    for (;;) {
        int64_t next, pause;

        if (is_written_over(&n))
            child_end(1);
        reap(&n);
        if (atomic_load(&p->state) == POOL_TERMINATED)
            end_all_and_leave(&n);
        if (atomic_load(&p->state) == POOL_FINISHED && !has_children(&n))
            child_end(0);
        refill(&n);
        next = end_overdue(&n);
        end_cancelled(&n);
        if (n.cancelling)
            next = min_timeout(next, CANCEL_LOOK);
        pause = storm_pause(&n.storm, clock_now());
        if (pause)
            next = min_timeout(next, pause);
        sleep_until_news(&n, next);
    }
}
