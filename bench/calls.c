#include "calls.h"

#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "measure.h"

struct watch {                       /* what tracer and traced share */
    alignas(LINE) _Atomic int met;   /* sides that are warm */
    alignas(LINE) _Atomic int on[2]; /* this side's calls count now */
    pid_t pids[2];
    uint64_t stops;
};

static _Noreturn void traced_side(struct watch *w, int side,
                                  int (*move)(void *arg, uint64_t count), void *arg,
                                  uint64_t warm, uint64_t count)
{
    int r;

    cpu_pin(side);
    ptrace(PTRACE_TRACEME, 0, NULL, NULL);
    raise(SIGSTOP);
    r = move(arg, warm);
    atomic_fetch_add(&w->met, 1);
    while (atomic_load(&w->met) < 2)
        cpu_relax(); /* without a call */
    atomic_store(&w->on[side], 1);
    if (r == 0)
        r = move(arg, count);
    atomic_store(&w->on[side], 0);
    _exit(-r);
}

/* What the tracer does about one event: the signal to go on with, -1 at the end. */
static int watch_event(struct watch *w, int side, int status)
{
    if (WIFEXITED(status) || WIFSIGNALED(status))
        return -1;
    if (WSTOPSIG(status) == (SIGTRAP | 0x80)) { /* entering a call, or leaving it */
        w->stops += (uint64_t)atomic_load(&w->on[side]);
        return 0;
    }
    if (WSTOPSIG(status) == SIGSTOP) {
        ptrace(PTRACE_SETOPTIONS, w->pids[side], NULL,
               PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL);
        return 0;
    }
    return WSTOPSIG(status);
}

static int watch_both(struct watch *w)
{
    int r = 0;

    for (int alive = 2; alive > 0;) {
        int status;
        pid_t pid = waitpid(-1, &status, __WALL);
        int side = pid == w->pids[1], sig;

        if (pid < 0)
            return -errno;
        sig = watch_event(w, side, status);
        if (sig < 0) {
            alive--;
            if (status != 0 && r == 0) {
                r = WIFEXITED(status) ? -WEXITSTATUS(status) : -ECHILD;
                kill(w->pids[!side], SIGKILL);
            }
        } else {
            ptrace(PTRACE_SYSCALL, pid, NULL, (long)sig);
        }
    }
    return r;
}

int calls_count(int (*side[2])(void *arg, uint64_t count), void *arg, uint64_t warm,
                uint64_t count, uint64_t *ret)
{
    struct watch *w;
    int r;

    if (cpu_is_single())
        return -EOPNOTSUPP;
    w = shared_new(sizeof(*w));
    for (int i = 0; i < 2; i++) {
        pid_t pid = fork();

        if (pid == 0)
            traced_side(w, i, side[i], arg, warm, count);
        if (pid < 0)
            return -errno;
        w->pids[i] = pid;
    }
    r = watch_both(w);
    *ret = w->stops / 2;
    return r;
}
