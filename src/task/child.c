#include "task/child.h"

#include "os/coverage.h"
#include "os/fd.h"
#include "os/machine.h"
#include "os/pidfd.h"
#include "task/ahead.h"
#include "task/life_pipe.h"

#include <signal.h>
#include <stdio.h>
#include <stdio_ext.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define EXITCODE_UNKNOWN 255
#define OOM_LOOK         (100 * MSEC)
#define REAP_PAUSE       (1 * MSEC)

/* ---- The OOM killer's count ---------------------------------------------------------- */

static _Atomic uint64_t oom_kills;
static _Atomic int64_t oom_looked;

static uint64_t oom_look(int64_t now)
{
    uint64_t count = machine_oom_kills();

    atomic_store(&oom_kills, count);
    atomic_store(&oom_looked, now);
    return count;
}

/*
 * As it was when a child starts.  A look costs 40 us, as much as a fork: one in 100 ms is
 * enough.  (A kill in between, and a SIGKILL by somebody else, look like one by the OOM
 * killer; so do two such at once.)
 */
static uint64_t oom_kills_lately(int64_t now)
{
    int64_t looked = atomic_load(&oom_looked);

    return looked && now - looked < OOM_LOOK ? atomic_load(&oom_kills) : oom_look(now);
}

/* ---- Start ------------------------------------------------------------------------------ */

/* Not touched where there is nothing: since the last fork a write to its lock copies a page. */
static void flush_pending(FILE *stream)
{
    if (__fpending(stream) > 0)
        fflush(stream);
}

int child_prepare(struct child *ret, const char *name, int *ret_witness)
{
    int witness = -1;
    uint64_t who;
    int r;

    memset(ret, 0, sizeof(*ret));
    ret->pidfd = -1;
    r = member_who(&who);
    if (r == 0)
        r = member_witness(&witness);
    if (r == 0)
        r = member_claim(name, &ret->id);
    if (r < 0) {
        member_witness_close(witness);
        return r;
    }
    *ret_witness = witness;
    member_name(ret->id, ret->death.name);
    ret->started = clock_now();
    ret->oom_kills = oom_kills_lately(ret->started);
    flush_pending(stdout);
    flush_pending(stderr);
    return 0;
}

int child_watch(struct child *c, pid_t pid)
{
    int r = pidfd_of(pid, &c->pidfd);

    c->pid = c->death.pid = pid;
    member_claim_child(c->id, pid);
    if (r == 0 || r == -ESRCH) /* SIGCHLD is ignored, and it has ended already */
        return 0;
    /* another thread has taken the descriptor that the witness left us */
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    member_fate(c->id); /* it may have joined */
    member_unclaim(c->id);
    return r;
}

/* exit() in run(): the library's destructors do not hear the code. */
static void note_exit(int exitcode, void *unused)
{
    (void)unused;
    member_note_exitcode(exitcode);
}

/* Once, in the first starter: children inherit it, and do not pay for it. */
static void note_exit_begin(void)
{
    static _Atomic bool begun;

    if (!atomic_load_explicit(&begun, memory_order_relaxed) &&
        !atomic_exchange(&begun, true))
        on_exit(note_exit, NULL);
}

void child_be(uint64_t id, int witness)
{
    if (member_join_as(id, witness) < 0)
        _exit(CHILD_UNBORN);
}

int child_fork(struct child *ret, const char *name, bool bound)
{
    cleanup(ahead_done) int life = -1;
    int witness;
    struct child c;
    int r = bound ? life_pipe_for_child(&life) : 0;

    if (r == 0)
        r = child_prepare(&c, name, &witness);
    if (r < 0)
        return r;
    note_exit_begin();
    member_expect(c.id, witness);
    c.pid = fork();
    r = -errno;
    member_expect(0, -1);
    if (c.pid != 0)
        member_witness_close(witness);
    if (c.pid < 0) {
        member_unclaim(c.id);
        return r;
    }
    if (c.pid == 0) {
        if (bound && fd_life_arm(take_fd(&life)) < 0)
            _exit(CHILD_UNBORN);
        child_be(c.id, witness);
        return 1;
    }
    ahead_close(take_fd(&life));
    r = child_watch(&c, c.pid);
    if (r == 0)
        *ret = c;
    return r;
}

/* ---- End -------------------------------------------------------------------------------- */

void child_end(int exitcode)
{
    fflush(NULL);
    coverage_save();
    member_note_exitcode(exitcode);
    member_leave();
    _exit(exitcode & 0xff);
}

int child_wait_end(const struct child *c, int64_t timeout)
{
    return c->pidfd < 0 ? 0 : pidfd_wait(c->pidfd, timeout);
}

bool child_has_execed(const struct child *c)
{
    return c->pidfd >= 0 && !member_seems_alive(c->id) &&
           member_fate(c->id) == FATE_DIED && pidfd_wait(c->pidfd, 0) == -ETIMEDOUT;
}

/*
 * Did it end by its own will?  A claim that nobody came to is given back: a child that ended
 * before it joined, or a program that was executed and is no member (then exit() and _exit()
 * are the same to us).  Of those the exit code alone tells, where it is known.
 */
static bool has_left(const struct child *c, bool exitcode_is_known)
{
    enum fate fate = member_fate(c->id);

    if (fate != FATE_ALIVE)
        return fate == FATE_LEFT;
    member_unclaim(c->id);
    return exitcode_is_known && c->death.exitcode >= 0 &&
           c->death.exitcode != CHILD_UNBORN;
}

static bool exitcode_from_elsewhere(const struct child *c, int *ret)
{
    return (c->pidfd >= 0 && pidfd_exitcode(c->pidfd, ret) == 0) ||
           member_exitcode(c->id, ret) == 0;
}

static int64_t time_of(const struct timeval *t)
{
    return (int64_t)t->tv_sec * SEC + (int64_t)t->tv_usec * 1000;
}

void child_set_death(struct child *c, const int *exitcode, const struct rusage *usage)
{
    struct piu_death *death = &c->death;
    bool known = true;

    death->exitcode = EXITCODE_UNKNOWN;
    if (exitcode)
        death->exitcode = *exitcode;
    else
        known = exitcode_from_elsewhere(c, &death->exitcode);
    death->left = has_left(c, known);
    death->peak_memory = usage ? (uint64_t)usage->ru_maxrss * 1024 : 0;
    death->cpu_time = usage ? time_of(&usage->ru_utime) + time_of(&usage->ru_stime) : -1;
    death->oom = death->exitcode == -SIGKILL && oom_look(clock_now()) > c->oom_kills;
    atomic_store(&c->ended, true);
}

/* 0, -EAGAIN: not yet (a tracer has it, or another thread is at it). */
static int child_reap(struct child *c)
{
    struct rusage usage;
    int exitcode, r = -ECHILD;

    if (atomic_exchange(&c->ending, true))
        return -EAGAIN; /* for good, where it has ended */
    if (c->pidfd >= 0)
        r = pidfd_reap(c->pidfd, &exitcode, &usage);
    if (r == -EAGAIN)
        atomic_store(&c->ending, false);
    else
        child_set_death(c, r == 0 ? &exitcode : NULL, r == 0 ? &usage : NULL);
    return r == -EAGAIN ? r : 0;
}

int child_join(struct child *c, int64_t timeout)
{
    int64_t deadline = deadline_after(timeout);
    int r = 0;

    while (r == 0 && !atomic_load(&c->ended)) {
        r = child_wait_end(c, deadline_left(deadline));
        if (r == 0 && child_reap(c) == -EAGAIN) {
            struct timespec pause = timespec_of(REAP_PAUSE);

            r = deadline_left(deadline) == 0 ? -ETIMEDOUT : 0;
            nanosleep(&pause, NULL);
        }
    }
    return r;
}

void child_done(struct child *c)
{
    c->pidfd = fd_close(c->pidfd);
}
