#include "step.h"

#if defined(__x86_64__)

#include <dlfcn.h>
#include <stdio.h>
#include <sys/ptrace.h>
#include <sys/user.h>

/* Where a child stands behind its first and its last instruction: the end of the trap. */
static __attribute__((noinline)) void trap(void)
{
    __asm__ volatile("int3" ::: "memory");
}

static _Noreturn void child_runs(const struct step *step)
{
    if (step->prepare)
        step->prepare(step->argument);
    if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0)
        _exit(2);
    trap();
    step->operation(step->argument);
    trap();
    _exit(3); /* never: it is killed in the trap */
}

static uint64_t stopped_at(pid_t pid)
{
    return (uint64_t)ptrace(PTRACE_PEEKUSER, pid, offsetof(struct user_regs_struct, rip),
                            NULL);
}

/* Until it stops; SIGTRAPs are ours, other signals are its own. */
static void go_on(pid_t pid, int request)
{
    long signal = 0;
    int status;

    for (;;) {
        CHECK(ptrace(request, pid, NULL, signal) == 0);
        CHECK_EQ(waitpid(pid, &status, 0), pid);
        if (!WIFSTOPPED(status))
            test_fail(__FILE__, __LINE__, "the traced child ended: status %x", status);
        if (WSTOPSIG(status) == SIGTRAP)
            return;
        signal = WSTOPSIG(status);
    }
}

static pid_t child_begin(const struct step *step, uint64_t *ret_trap)
{
    pid_t pid = test_fork();
    int status;

    if (pid == 0)
        child_runs(step);
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    if (!WIFSTOPPED(status))
        test_fail(__FILE__, __LINE__, "the child ended before it was traced: status %x",
                  status);
    *ret_trap = stopped_at(pid);
    return pid;
}

static void child_end(pid_t pid)
{
    int status;

    CHECK_EQ(kill(pid, SIGKILL), 0);
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK(WIFSIGNALED(status));
}

bool step_is_possible(void)
{
    pid_t pid = test_fork();
    int status;

    if (pid == 0) {
        if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0)
            _exit(1);
        raise(SIGSTOP);
        _exit(0);
    }
    if (waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status))
        return false;
    child_end(pid);
    return true;
}

static void trace_add(struct step_trace *t, uint64_t at)
{
    if (t->count && t->at[t->count - 1] == at)
        return; /* the same string instruction, or a call that begins again */
    if (t->count == t->room) {
        t->room = t->room ? t->room * 2 : 1024;
        t->at = realloc(t->at, t->room * sizeof(t->at[0]));
        CHECK(t->at);
    }
    t->at[t->count++] = at;
}

void step_record(const struct step *step, struct step_trace *ret)
{
    uint64_t end;
    pid_t pid = child_begin(step, &end);

    ret->count = 0;
    for (;;) {
        uint64_t at;

        go_on(pid, PTRACE_SINGLESTEP);
        at = stopped_at(pid);
        if (at == end)
            break;
        trace_add(ret, at);
    }
    child_end(pid);
}

/* How often it comes to the n-th instruction's place, up to then. */
static size_t hits_of(const struct step_trace *t, size_t n)
{
    size_t hits = 0;

    for (size_t i = 0; i <= n; i++)
        hits += t->at[i] == t->at[n];
    return hits;
}

static bool break_at(pid_t pid, uint64_t at)
{
    return ptrace(PTRACE_POKEUSER, pid, offsetof(struct user, u_debugreg[0]), at) == 0 &&
           ptrace(PTRACE_POKEUSER, pid, offsetof(struct user, u_debugreg[7]), 1L) == 0;
}

static bool run_to(pid_t pid, uint64_t end, uint64_t at, size_t hits)
{
    if (!break_at(pid, at))
        return false;
    while (hits--) {
        go_on(pid, PTRACE_CONT);
        if (stopped_at(pid) == end)
            return false; /* it took another way */
    }
    return true;
}

bool step_kill(const struct step *step, const struct step_trace *trace, size_t n)
{
    uint64_t end;
    pid_t pid = child_begin(step, &end);
    bool there = n < trace->count && run_to(pid, end, trace->at[n], hits_of(trace, n));

    if (n >= trace->count)
        go_on(pid, PTRACE_CONT); /* to the end */
    child_end(pid);
    return there;
}

const char *step_name(const struct step_trace *trace, size_t n)
{
    static char name[128];
    Dl_info info = {0};
    void *at = n < trace->count ? (void *)(uintptr_t)trace->at[n] : NULL;

    if (at && dladdr(at, &info))
        snprintf(name, sizeof(name), "%#lx of %s",
                 (unsigned long)((char *)at - (char *)info.dli_fbase), info.dli_fname);
    else
        snprintf(name, sizeof(name), "the end");
    return name;
}

void step_done(struct step_trace *trace)
{
    free(trace->at);
    *trace = (struct step_trace){0};
}

#else

bool step_is_possible(void)
{
    return false;
}

void step_record(const struct step *step, struct step_trace *ret)
{
    (void)step, (void)ret;
}

bool step_kill(const struct step *step, const struct step_trace *trace, size_t n)
{
    (void)step, (void)trace, (void)n;
    return false;
}

const char *step_name(const struct step_trace *trace, size_t n)
{
    (void)trace, (void)n;
    return "";
}

void step_done(struct step_trace *trace)
{
    (void)trace;
}

#endif
