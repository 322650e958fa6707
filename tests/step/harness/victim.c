/* Victims by ptrace: single steps once, hardware breakpoints from then on. */
#include "victim.h"

#include "kill.h"
#include "ptrace.h"
#include "self_step.h"

#include <linux/futex.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>

#define NR_FUTEX_WAITV 449

const char *victims_way(void)
{
    return "by ptrace: every instruction";
}

/* Where a child stands before its first and behind its last instruction: behind the trap. */
__attribute__((noinline)) void trap(void)
{
    __asm__ volatile("int3" ::: "memory");
}

/* A system call that can be put under any victim. */
__asm__(".text\n.globl step_syscall\nstep_syscall:\n    syscall\n    ud2\n");
extern const char step_syscall[];

/* With a `trace` it notes its way itself; else it is traced. */
static _Noreturn void child_runs(const struct work *work, const struct trace *t,
                                 size_t limit)
{
    if (work->prepare)
        work->prepare(work->argument);
    if (t)
        self_step_begin(t, limit);
    else if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0)
        test_fail(__FILE__, __LINE__, "ptrace: %s", strerror(errno));
    trap();
    work->operation(work->argument);
    trap();
    _exit(3); /* never: it is killed in the trap */
}

static uint64_t stopped_at(pid_t pid)
{
    return (uint64_t)ptrace(PTRACE_PEEKUSER, pid, offsetof(struct user_regs_struct, rip),
                            NULL);
}

/* Until it stops; SIGTRAPs are ours, other signals are its own.  false: it has ended. */
static bool stops(struct victim *v, long *ret_signal)
{
    int status;

    CHECK_EQ(waitpid(v->pid, &status, WUNTRACED), v->pid);
    if (!WIFSTOPPED(status)) {
        v->pid = 0;
        return false;
    }
    *ret_signal = WSTOPSIG(status) == SIGTRAP ? 0 : WSTOPSIG(status);
    if (status >> 16 != PTRACE_EVENT_STOP || *ret_signal == 0)
        return true;
    /* stopped by SIGSTOP, as it would be without us: until SIGCONT */
    CHECK(ptrace(PTRACE_LISTEN, v->pid, NULL, NULL) == 0 || errno == ESRCH);
    return stops(v, ret_signal);
}

static bool go_on(struct victim *v, int request)
{
    long signal = 0;

    do {
        if (ptrace(request, v->pid, NULL, signal) < 0)
            CHECK_EQ(errno, ESRCH); /* something killed it, as piu does with daemons */
        if (!stops(v, &signal))
            return false;
    } while (signal);
    return true;
}

bool victim_stands(struct victim *v)
{
    long signal;

    return stops(v, &signal) && (signal == 0 || go_on(v, PTRACE_CONT));
}

/* Until it stops: before its first instruction, or with its `trace` full. */
static void start(struct victim *v, const struct work *work, const struct trace *t,
                  size_t limit)
{
    int status;

    v->pid = fork();
    CHECK(v->pid >= 0);
    if (v->pid == 0)
        child_runs(work, t, limit);
    kill_victim_is(v->pid);
    CHECK_EQ(waitpid(v->pid, &status, WUNTRACED), v->pid);
    if (!WIFSTOPPED(status))
        test_fail(__FILE__, __LINE__, "the victim ended before it was traced: status %x",
                  status);
}

void victim_start(struct victim *v, const struct work *work)
{
    start(v, work, NULL, 0);
    v->end = stopped_at(v->pid);
}

static bool break_at(pid_t pid, uint64_t at)
{
    return ptrace(PTRACE_POKEUSER, pid, offsetof(struct user, u_debugreg[0]), at) == 0 &&
           ptrace(PTRACE_POKEUSER, pid, offsetof(struct user, u_debugreg[7]),
                  at ? 1L : 0L) == 0;
}

static __attribute__((noinline)) void nothing(void)
{
    __asm__ volatile("" ::: "memory");
}

bool victims_can_stop(const char **ret_reason)
{
    struct victim v = {.pid = fork()};
    int status;
    bool can;

    if (v.pid == 0) {
        if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0)
            _exit(1);
        trap();
        nothing();
        _exit(0);
    }
    *ret_reason = "ptrace is not allowed here";
    if (v.pid < 0 || waitpid(v.pid, &status, 0) != v.pid || !WIFSTOPPED(status))
        return false;
    *ret_reason = "this machine has no hardware breakpoints";
    can = break_at(v.pid, (uint64_t)(uintptr_t)nothing) && go_on(&v, PTRACE_CONT) &&
          stopped_at(v.pid) == (uint64_t)(uintptr_t)nothing;
    victim_reap(&v);
    return can;
}

/* ---- The trace -------------------------------------------------------------------------- */

/* One step, also of a repeated instruction and a call that begins again. */
static bool step_one(struct victim *v, uint64_t *at)
{
    uint64_t before = *at;

    do {
        if (!go_on(v, PTRACE_SINGLESTEP))
            return false;
        *at = stopped_at(v->pid);
    } while (*at == before);
    return *at != v->end;
}

bool is_system_call(uint64_t at)
{
    static const unsigned char call[SYSTEM_CALL_SIZE] = {0x0f, 0x05};

    return memcmp((const void *)(uintptr_t)at, call, sizeof(call)) == 0;
}

bool call_would_sleep(uint64_t number, uint64_t second)
{
    switch (number) {
    case SYS_futex:
        return (second & FUTEX_CMD_MASK) == FUTEX_WAIT;
    case NR_FUTEX_WAITV:
    case SYS_poll:
    case SYS_ppoll:
    case SYS_nanosleep:
    case SYS_clock_nanosleep:
    case SYS_wait4:
    case SYS_waitid:
        return true;
    default:
        return false;
    }
}

static bool would_sleep(struct victim *v, uint64_t at)
{
    struct user_regs_struct r;

    if (!is_system_call(at))
        return false;
    CHECK_EQ(ptrace(PTRACE_GETREGS, v->pid, NULL, &r), 0);
    return call_would_sleep(r.rax, r.rsi);
}

void steps_record(struct victim *v, const struct trace *t, size_t limit)
{
    uint64_t at = v->end; /* the first instruction lies behind the trap, as the last */
    size_t count = 0;
    bool ended = false;

    while (count < limit && count < TRACE_MAX) {
        ended = !step_one(v, &at);
        if (ended)
            break;
        t->at[count++] = at;
        if (limit < TRACE_MAX && would_sleep(v, at))
            break;
    }
    *t->count = count;
    *t->ended = ended;
}

bool victim_record(struct victim *v, const struct work *work, const struct trace *t,
                   size_t limit)
{
    *t->count = 0;
    if (work->forks) {
        victim_start(v, work);
        steps_record(v, t, limit);
    } else {
        start(v, work, t, limit);
    }
    trace_plan(t);
    return *t->ended;
}

/* ---- Both ways of recording ---------------------------------------------------------------- */

/* A call that does nothing, and a repeated instruction. */
static void sample(void *unused)
{
    char bytes[40];
    void *to = bytes;
    size_t count = sizeof(bytes);

    (void)unused;
    syscall(SYS_getppid);
    __asm__ volatile("rep stosb" : "+D"(to), "+c"(count) : "a"(0) : "memory");
    syscall(SYS_getppid);
}

static void sample_record(const struct trace *t, bool by_ptrace)
{
    const struct work work = {.operation = sample, .forks = by_ptrace};
    struct victim v;

    CHECK(victim_record(&v, &work, t, TRACE_MAX));
    victim_reap(&v);
}

bool victims_begin(const struct trace *a, const struct trace *b)
{
    sample_record(a, true);
    sample_record(b, false);
    return *a->count > 10 && *a->count == *b->count &&
           memcmp(a->at, b->at, *a->count * sizeof(*a->at)) == 0;
}

/* ---- To a place ------------------------------------------------------------------------------ */

static bool to_end(struct victim *v)
{
    uint64_t at;

    if (v->pid == 0)
        return true;
    break_at(v->pid, 0);
    do {
        if (!go_on(v, PTRACE_CONT))
            return true;
        at = stopped_at(v->pid);
    } while (at != v->end);
    return true;
}

bool victim_to(struct victim *v, const struct trace *t, size_t n)
{
    size_t anchor;
    uint64_t at;

    if (n >= *t->count)
        return to_end(v);
    anchor = t->from[n];
    if (!break_at(v->pid, t->at[anchor]))
        return victim_step_to(v, t, n);
    for (uint32_t hits = t->hits[anchor]; hits > 0; hits--)
        if (!go_on(v, PTRACE_CONT) || (at = stopped_at(v->pid)) == v->end)
            return false;
    at = t->at[anchor];
    for (; anchor < n; anchor++)
        if (!step_one(v, &at))
            return false;
    return at == t->at[n];
}

bool victim_step_to(struct victim *v, const struct trace *t, size_t n)
{
    uint64_t at = v->end;

    if (n >= *t->count)
        return to_end(v);
    for (size_t i = 0; i <= n; i++)
        if (!step_one(v, &at))
            return false;
    return true;
}

/* ---- Deaths ------------------------------------------------------------------------------ */

static void call_under(struct victim *v, long number, uint64_t a, uint64_t b, uint64_t c)
{
    struct user_regs_struct r;

    CHECK_EQ(ptrace(PTRACE_GETREGS, v->pid, NULL, &r), 0);
    r.rip = (uint64_t)(uintptr_t)step_syscall;
    r.rax = (uint64_t)number;
    r.orig_rax = UINT64_MAX;
    r.rdi = a;
    r.rsi = b;
    r.rdx = c;
    CHECK_EQ(ptrace(PTRACE_SETREGS, v->pid, NULL, &r), 0);
    break_at(v->pid, 0);
}

void victim_die(struct victim *v, enum death how)
{
    static const char *argv[] = {"idle", NULL};

    if (v->pid == 0)
        return;
    if (how == DEATH_KILL) {
        victim_reap(v);
    } else if (how == DEATH_EXIT) {
        call_under(v, SYS_exit_group, 0, 0, 0);
        CHECK(!go_on(v, PTRACE_CONT));
    } else {
        call_under(v, SYS_execve, (uint64_t)(uintptr_t)kill_idle_program(),
                   (uint64_t)(uintptr_t)argv, (uint64_t)(uintptr_t)(argv + 1));
        if (go_on(
                v,
                PTRACE_CONT)) /* the kernel's trap behind an exec; else it was killed for it */
            CHECK(ptrace(PTRACE_DETACH, v->pid, NULL, NULL) == 0 || errno == ESRCH);
    }
}
