#include "task/zygote.h"

#include "os/fd.h"
#include "os/futex.h"
#include "os/pidfd.h"
#include "task/ahead.h"
#include "task/life_pipe.h"
#include "task/offspring.h"
#include "task/turn.h"

#include <fcntl.h>
#include <signal.h>

#define RECORD_SLICE (20 * MSEC)
#define END_TIME     (1 * SEC) /* it only has to hear of it */

static struct {
    struct turn turn;
    int socket; /* -1: there is none */
    struct child zygote;
} own = {.socket = -1, .zygote = {.pidfd = -1}};

/* We have the turn. */
static bool zygote_lives(void)
{
    return own.socket >= 0 && child_join(&own.zygote, 0) != 0;
}

/* Also in a forked child: these are its descriptors, though not its zygote. */
static void own_clear(void)
{
    own.socket = fd_close(own.socket);
    child_done(&own.zygote);
}

/* All signals are blocked: Ctrl-C ends the zygote with its starter, not before. */
static int zygote_fork(struct zygote *z, int other_end)
{
    sigset_t all;
    int r;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &z->mask);
    r = child_fork(&own.zygote, "zygote", true);
    if (r == 1) {
        fd_close(other_end);
        zygote_main(z);
    }
    pthread_sigmask(SIG_SETMASK, &z->mask, NULL);
    return r;
}

/* Ours, and two of the zygote's: its own end, and one of the life pipe for its children. */
static int sockets_open(int read_end, int *ret_here, int *ret_there, int *ret_life)
{
    int ends[2];
    int r = fd_socket_pair(ends);

    if (r < 0)
        return r;
    *ret_here = ends[0];
    ahead_note(*ret_there = ends[1]);
    *ret_life = fcntl(read_end, F_DUPFD_CLOEXEC, 0);
    if (*ret_life < 0)
        return -errno;
    ahead_note(*ret_life);
    return 0;
}

static int zygote_new(void)
{
    cleanup(fd_done) int here = -1;
    cleanup(ahead_done) int there = -1, life = -1;
    struct zygote z = {.sigchld = -1};
    struct forks_bar bar;
    int read_end;
    int r = life_pipe_open(&read_end);

    if (r < 0)
        return r;
    bar = member_bar_forks();
    r = sockets_open(read_end, &here, &there, &life);
    member_unbar_forks(bar);
    if (r < 0)
        return r;
    z.socket = there;
    z.life = life;
    r = zygote_fork(&z, here);
    if (r == 0)
        own.socket = take_fd(&here);
    return r;
}

int zygote_begin(void)
{
    uint64_t who;
    bool ours;
    int r = member_who(&who);

    if (r < 0)
        return r;
    ours = turn_take(&own.turn, who & ID_MASK);
    if (ours && zygote_lives()) {
        r = -EBUSY;
    } else {
        own_clear();
        r = zygote_new();
    }
    turn_give(&own.turn);
    return r;
}

/* We have the turn, the order is out, and the zygote ended before it answered. */
static int order_is_lost(struct order *o, struct child *c)
{
    uint32_t old = ORDERED;

    if (atomic_compare_exchange_strong(&o->state, &old, ORDER_CANCELLED))
        return -ECHILD;
    return child_watch(c, atomic_load(&o->pid));
}

/* Its socket is closed: it is dead, or about to be. */
static void zygote_bury(void)
{
    pidfd_signal(own.zygote.pidfd, SIGKILL);
    while (child_join(&own.zygote, CLOCK_FOREVER) == -EINTR)
        ;
}

/* It runs, and another thread has taken the descriptor that was to be its pidfd's. */
static void order_undo(struct order *o, struct child *c, pid_t pid)
{
    kill(pid, SIGKILL); /* the zygote reaps it, so until ORDER_ENDED the pid is its own */
    while (zygote_join(o, c, CLOCK_FOREVER) == -EINTR)
        ;
}

static int order_send(struct order *o, struct child *c)
{
    uint64_t offset = arena_offset(o);
    struct reply reply = {0};
    int r;

    r = fd_send(own.socket, &offset, sizeof(offset), -1);
    if (r == -EPIPE) {
        zygote_bury();
        return -ECHILD;
    }
    if (r == 0)
        r = fd_receive(own.socket, &reply, sizeof(reply), &c->pidfd);
    if (r == -EPIPE) {
        zygote_bury();
        return order_is_lost(o, c);
    }
    if (r == -EMFILE && reply.pid > 0) {
        order_undo(o, c, reply.pid);
    } else if (r < 0) {
        /* its answer is still to come: the next order must not take it for its own */
        zygote_bury();
        return order_is_lost(o, c);
    }
    if (r < 0)
        return r;
    c->pid = c->death.pid = reply.pid;
    if (reply.pid)
        member_claim_child(c->id, reply.pid);
    return reply.result;
}

int zygote_start(struct order *o, struct child *ret)
{
    uint64_t who;
    int witness;
    bool ours;
    int r = member_who(&who);

    if (r < 0 || !turn_is_ours(&own.turn, who & ID_MASK))
        return r < 0 ? r : -ENOTSUP;
    r = child_prepare(ret, o->name, &witness);
    if (r < 0)
        return r;
    fd_close(witness); /* the zygote makes one */
    o->id = ret->id;
    atomic_store(&o->state, ORDERED);
    ours = turn_take(&own.turn, who & ID_MASK);
    r = ours && own.socket >= 0 ? order_send(o, ret) : -ENOTSUP;
    turn_give(&own.turn);
    if (r < 0)
        member_unclaim(ret->id);
    return r;
}

/* false: another thread does it. */
static bool death_set(struct child *c, const int *exitcode, const struct rusage *usage)
{
    if (atomic_exchange(&c->ending, true))
        return false;
    child_set_death(c, exitcode, usage);
    return true;
}

/* The child has ended: what the zygote says about it, or nobody any more. */
static void record_read(struct order *o, struct child *c)
{
    uint32_t state = atomic_load_explicit(&o->state, memory_order_acquire);
    int exitcode = o->exitcode;

    if (state == ORDER_ENDED)
        death_set(c, &exitcode, &o->usage);
    else if (member_fate(o->zygote) != FATE_ALIVE)
        death_set(c, NULL, NULL);
}

int zygote_join(struct order *o, struct child *c, int64_t timeout)
{
    int64_t deadline = deadline_after(timeout);
    int r = child_wait_end(c, timeout);

    while (r == 0 && !atomic_load(&c->ended)) {
        uint32_t state = atomic_load(&o->state);
        int64_t left = deadline_left(deadline);

        record_read(o, c);
        if (atomic_load(&c->ended))
            break;
        if (left == 0)
            r = -ETIMEDOUT;
        else
            r = futex_wait(&o->state, state, min_timeout(left, RECORD_SLICE));
        if (r == -ETIMEDOUT || r == -EAGAIN)
            r = deadline_left(deadline) || r == -EAGAIN ? 0 : -ETIMEDOUT;
    }
    return r;
}

void zygote_end(void)
{
    uint64_t id = member_self_id();
    uint64_t no_more = ZYGOTE_NO_MORE;

    if (!turn_is_ours(&own.turn, id) || own.socket < 0)
        return;
    if (fd_send(own.socket, &no_more, sizeof(no_more), -1) == 0)
        child_join(&own.zygote, END_TIME);
    zygote_bury();
    own_clear();
}
