#include "task/zygote.h"

#include "os/fd.h"
#include "os/futex.h"
#include "os/pidfd.h"
#include "shm/block.h"
#include "task/life_pipe.h"
#include "task/process.h"
#include "task/turn.h"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define RECORD_SLICE (20 * MSEC)
#define END_TIME     (1 * SEC) /* it only has to hear of it */
#define NO_MORE      UINT64_C(0)

struct reply {
    int32_t result;
    int32_t pid;
};

/* ---- In the zygote ------------------------------------------------------------------------ */

struct offspring {
    pid_t pid;
    struct order *order;
};

struct zygote {
    uint64_t id;
    int socket;
    int life;                /* the read end of the starter's life pipe */
    int sigchld;             /* readable when a child has ended */
    sigset_t mask;           /* the starter's: the children get it back */
    struct sigaction action; /* likewise, of SIGCHLD */
    struct offspring *children;
    size_t count, room;
};

static int offspring_reserve(struct zygote *z)
{
    size_t room = z->room ? z->room * 2 : 16;
    void *bigger;

    if (z->count < z->room)
        return 0;
    bigger = realloc(z->children, room * sizeof(*z->children));
    if (!bigger)
        return -ENOMEM;
    z->children = bigger;
    z->room = room;
    return 0;
}

/* The record that the starter waits for; afterwards the order is the starter's to free. */
static void order_end(struct order *o, int status, const struct rusage *usage)
{
    o->exitcode = WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
    o->usage = *usage;
    /* release, for the acquire in zygote_join(): the record is whole */
    atomic_store_explicit(&o->state, ORDER_ENDED, memory_order_release);
    futex_wake(&o->state, INT_MAX);
}

static void reap_all(struct zygote *z)
{
    struct rusage usage;
    int status;
    pid_t pid;

    fd_signal_drain(z->sigchld);
    while ((pid = wait4(-1, &status, WNOHANG, &usage)) > 0) {
        for (size_t i = 0; i < z->count; i++) {
            if (z->children[i].pid != pid)
                continue;
            order_end(z->children[i].order, status, &usage);
            z->children[i] = z->children[--z->count];
            break;
        }
    }
}

/* ORDERED -> RUNS, or the starter thinks that we never came. */
static bool order_begin(struct order *o)
{
    uint32_t old = ORDERED;

    atomic_store(&o->pid, getpid());
    return atomic_compare_exchange_strong(&o->state, &old, ORDER_RUNS);
}

static _Noreturn void offspring_main(struct zygote *z, struct order *o, int witness,
                                     int life, void (*code)(void))
{
    struct piu_process *p =
        arena_within(o->process, sizeof(*p), alignof(struct piu_process));

    fd_close(z->socket);
    fd_close(z->sigchld);
    fd_close(z->life);
    if (life >= 0 && fd_life_arm(life) < 0)
        _exit(CHILD_UNBORN);
    child_be(o->id, witness);
    if (!p || !order_begin(o))
        child_end(CHILD_UNBORN);
    sigaction(SIGCHLD, &z->action, NULL);
    sigprocmask(SIG_SETMASK, &z->mask, NULL);
    process_run(p, o->has_target ? NULL : (int (*)(struct piu_process *))code,
                o->has_target ? (int (*)(void *))code : NULL);
}

/* *ret_pidfd is the starter's to be. */
static int order_fork(struct zygote *z, struct order *o, struct reply *reply,
                      int *ret_pidfd)
{
    cleanup(fd_done) int witness = -1, life = -1;
    void (*code)(void);
    pid_t pid;
    int r = code_address_resolve(&o->code, &code);

    if (r == 0)
        r = offspring_reserve(z);
    if (r == 0)
        r = member_witness(&witness);
    if (r == 0 && o->daemon)
        r = fd_life_open(z->life, &life);
    if (r < 0)
        return r;
    o->zygote = z->id;
    member_expect(o->id, witness);
    pid = fork();
    member_expect(0, -1);
    if (pid < 0)
        return -errno;
    if (pid == 0)
        offspring_main(z, o, take_fd(&witness), take_fd(&life), code);
    witness = fd_close(witness); /* the pidfd takes its place */
    r = pidfd_of(pid, ret_pidfd);
    if (r < 0) {
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        return r;
    }
    z->children[z->count++] = (struct offspring){pid, o};
    reply->pid = pid;
    return 0;
}

static void serve(struct zygote *z)
{
    cleanup(fd_done) int pidfd = -1;
    struct reply reply = {0};
    struct order *o = NULL;
    uint64_t offset;
    int unused;

    if (fd_receive(z->socket, &offset, sizeof(offset), &unused) < 0 || offset == NO_MORE)
        child_end(0);
    o = arena_within(offset, sizeof(*o), alignof(struct order));
    reply.result = o ? order_fork(z, o, &reply, &pidfd) : -EFAULT;
    /* without an answer the starter would wait for ever: our end is one */
    if (fd_send(z->socket, &reply, sizeof(reply), pidfd) < 0)
        child_end(CHILD_UNBORN);
}

static _Noreturn void zygote_main(struct zygote *z)
{
    struct sigaction reset = {.sa_handler = SIG_DFL};
    uint64_t who;

    /* were it ignored, as some starters have it, children would end without a status */
    sigaction(SIGCHLD, &reset, &z->action);
    if (member_who(&who) < 0 || fd_signal(SIGCHLD, &z->sigchld) < 0)
        child_end(CHILD_UNBORN);
    z->id = who & ID_MASK;
    member_set_idle();
    for (;;) {
        struct pollfd entries[] = {
            {.fd = z->socket, .events = POLLIN},
            {.fd = z->sigchld, .events = POLLIN},
        };

        if (poll(entries, array_size(entries), -1) < 0)
            continue;
        if (entries[1].revents)
            reap_all(z);
        if (entries[0].revents)
            serve(z);
    }
}

/* ---- In its starter ------------------------------------------------------------------------ */

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

static int zygote_new(void)
{
    cleanup(fd_done) int here = -1, there = -1, life = -1;
    struct zygote z = {.sigchld = -1};
    int ends[2], read_end;
    int r = life_pipe_open(&read_end);

    if (r == 0)
        r = fd_socket_pair(ends);
    if (r < 0)
        return r;
    here = ends[0];
    there = ends[1];
    life = fcntl(read_end, F_DUPFD_CLOEXEC, 0);
    if (life < 0)
        return -errno;
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
    if (own.zygote.pidfd >= 0)
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
    struct reply reply;
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
    if (r == -EMFILE) {
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
        member_claim_child(o->id, reply.pid);
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
    uint64_t id = member_self ? atomic_load(&member_self->id) : 0;
    uint64_t no_more = NO_MORE;

    if (!turn_is_ours(&own.turn, id) || own.socket < 0)
        return;
    if (fd_send(own.socket, &no_more, sizeof(no_more), -1) == 0)
        child_join(&own.zygote, END_TIME);
    zygote_bury();
    own_clear();
}
