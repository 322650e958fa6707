#include "task/offspring.h"

#include "os/fd.h"
#include "os/futex.h"
#include "os/pidfd.h"
#include "task/process.h"

#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

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
    cleanup(fd_done) int life = -1;
    int witness = -1;
    void (*code)(void);
    pid_t pid;
    int r = code_address_resolve(&o->code, &code);

    if (r == 0)
        r = offspring_reserve(z);
    if (r == 0)
        r = member_witness(&witness);
    if (r == 0 && o->daemon)
        r = fd_life_open(z->life, &life);
    if (r < 0) {
        member_witness_close(witness);
        return r;
    }
    o->zygote = z->id;
    member_expect(o->id, witness);
    pid = fork();
    member_expect(0, -1);
    if (pid == 0)
        offspring_main(z, o, witness, take_fd(&life), code);
    r = -errno;
    member_witness_close(witness); /* the pidfd takes its place */
    if (pid < 0)
        return r;
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

    if (fd_receive(z->socket, &offset, sizeof(offset), &unused) < 0 ||
        offset == ZYGOTE_NO_MORE)
        child_end(0);
    o = arena_within(offset, sizeof(*o), alignof(struct order));
    reply.result = o ? order_fork(z, o, &reply, &pidfd) : -EFAULT;
    /* without an answer the starter would wait for ever: our end is one */
    if (fd_send(z->socket, &reply, sizeof(reply), pidfd) < 0)
        child_end(CHILD_UNBORN);
}

void zygote_main(struct zygote *z)
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
