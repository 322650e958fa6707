/*
 * usage: fault [--whole] SCENARIO [CALL ERROR NTH [lasts]]
 *
 * SQLite's way: the scenario is run once to count its calls, and then again and again with one
 * call failing: the 1st, the 2nd, ... of each kind, with each error it may have.  Every run is
 * a process of its own.  It must hold that
 *
 *     - calls give an error that fits, and succeed when they are made again
 *     - afterwards everything works, and as many blocks, members, descriptors and private
 *       allocations are left as without the fault
 *     - nobody hangs, nobody crashes, no process is left
 *
 * Then the same with calls that fail from the nth on for ever: for what the kernel may lack, all
 * has to work; for the rest all has to be sound when the call works again.
 */
#include "scenario.h"

#include "shm/block.h"
#include "shm/member.h"

#include <dirent.h>
#include <execinfo.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#define RUN_LIMIT 15000 /* ms */
#define END_LIMIT 3000  /* ms, for what a run leaves to end */
#define QUICK_NTH 2
#define WHOLE_NTH 48 /* from there on in ever longer steps */

/* What is left when a run has cleaned up. */
struct remains {
    long blocks, members, descriptors, heap;
};

static struct remains *remains; /* of the last run; shared with it */

static const struct scenario *const scenarios[] = {
    &scenario_family, &scenario_sync,   &scenario_queue, &scenario_process,
    &scenario_exec,   &scenario_zygote, &scenario_pool,
};

/* The kernel may lack these, or refuse them: everything has to work without. */
static const struct {
    int call, error;
} optional[] = {
    {CALL_syscall_futex_waitv, ENOSYS},
    {CALL_syscall_futex_waitv, EPERM},
    {CALL_syscall_membarrier, ENOSYS},
    {CALL_syscall_membarrier, EPERM},
    {CALL_ioctl, ENOTTY},
    {CALL_ioctl, EPERM},
    {CALL_fstatfs64, ENOSYS},
    {CALL_fstatfs64, EPERM},
    {CALL_fopen64, EACCES},
    {CALL_prctl, EPERM},
    {CALL_sched_getcpu, ENOSYS},
    {CALL_sched_getaffinity, EINVAL},
    {CALL_sysinfo, EFAULT},
    {CALL_getrlimit64, EPERM},
    {CALL_sysconf, EINVAL},
};

/* ---- In a run ----------------------------------------------------------------------------- */

void scenario_wrong(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    if (!fault_plan->said[0])
        vsnprintf(fault_plan->said, sizeof(fault_plan->said), format, args);
    va_end(args);
    _exit(1);
}

int scenario_await(_Atomic int *word, struct piu_process *p)
{
    while (!*word) {
        if (!piu_process_is_alive(p) && !*word)
            return -ECHILD;
        usleep(50);
    }
    return 0;
}

int scenario_with_child(struct piu_process *p, const struct piu_start_keywords *keywords,
                        int (*meanwhile)(struct piu_process *), int exitcode)
{
    int r = piu_process_begin(p, keywords), ended = 0;

    if (r < 0)
        return r;
    if (meanwhile)
        r = meanwhile(p);
    if (INSIST(piu_process_join(p, PIU_FOREVER)) < 0 ||
        INSIST(piu_process_exitcode(p, &ended)) < 0)
        return -ECHILD;
    INSIST(piu_process_close(p));
    if (ended != exitcode && fault_plan->fired)
        return -ECHILD;
    WANT(ended == exitcode);
    return r;
}

static long count_descriptors(void)
{
    DIR *dir = opendir("/proc/self/fd");
    long count = 0;

    WANT(dir);
    while (readdir(dir))
        count++;
    closedir(dir);
    return count;
}

static long count_members(void)
{
    uint32_t cursor = 0;
    long count = 0;

    while (member_next(&cursor))
        count++;
    return count;
}

static void measure(void)
{
    member_sweep_dead(true);
    WANT(block_check());
    remains->blocks = (long)block_count();
    remains->members = count_members();
    remains->descriptors = count_descriptors();
    remains->heap = fault_heap();
}

/* An error that tells the truth: the one injected, or one that the contract knows for it. */
static bool is_honest(int error)
{
    static const int known[] = {ENOMEM, EAGAIN,    EMFILE, ECHILD,
                                EINTR,  ETIMEDOUT, ENOTSUP};

    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (error == known[i])
            return true;
    }
    if (fault_plan->call == CALL_syscall_pidfd_open && error == ENOSYS)
        return true; /* of EPERM, a filter's: piu says what it lacks */
    return error == fault_plan->error;
}

static bool is_optional(int call, int error)
{
    for (size_t i = 0; i < sizeof(optional) / sizeof(optional[0]); i++) {
        if (optional[i].call == call && optional[i].error == error)
            return true;
    }
    return false;
}

static void steps_under_faults(const struct scenario *s)
{
    for (int i = 0; s->steps[i]; i++) {
        int r = s->steps[i]();

        if (r >= 0)
            continue;
        if (!fault_plan->fired)
            scenario_wrong("step %d: %d, without a fault", i, r);
        if (!is_honest(-r))
            scenario_wrong("step %d: %d does not tell what happened", i, r);
        if (is_optional(fault_plan->call, fault_plan->error) && fault_plan->lasts)
            scenario_wrong("step %d: %d, for something that the kernel may lack", i, r);
        if (fault_plan->lasts)
            continue;
        r = s->steps[i]();
        if (r < 0)
            scenario_wrong("step %d: %d, when tried again", i, r);
    }
}

static void be_run(const struct scenario *s)
{
    if (!s->cold)
        WANT(!piu_shared_free(piu_shared_new(1, 1)));
    fault_plan->armed = true;
    steps_under_faults(s);
    fault_plan->armed = false;
    for (int i = 0; s->steps[i]; i++) {
        int r = s->steps[i]();

        if (r < 0)
            scenario_wrong("step %d: %d, when the fault was over", i, r);
    }
    measure();
    exit(0);
}

/* ---- Around a run ---------------------------------------------------------------------------- */

static int64_t now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Ours, and of those the children: the runner is their subreaper.  Kills the first it finds. */
static pid_t kill_one_left(bool print)
{
    char path[64], text[4096] = "";
    pid_t found = 0;
    int fd;

    snprintf(path, sizeof(path), "/proc/self/task/%d/children", (int)getpid());
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0 && read(fd, text, sizeof(text) - 1) > 0)
        found = (pid_t)atoi(text);
    close(fd);
    if (found <= 0)
        return 0;
    if (print) {
        char what[256] = "";

        snprintf(path, sizeof(path), "/proc/%d/stack", (int)found);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd >= 0)
            (void)!read(fd, what, sizeof(what) - 1);
        close(fd);
        printf("    left: process %d\n%s", (int)found, what);
    }
    kill(found, SIGKILL);
    waitpid(found, NULL, 0);
    return found;
}

/* All that the run left must end by itself. */
static bool all_end(void)
{
    int64_t end = now_ms() + END_LIMIT;
    pid_t pid;

    while ((pid = waitpid(-1, NULL, WNOHANG)) >= 0) {
        if (pid == 0 && now_ms() > end) {
            while (kill_one_left(true))
                ;
            return false;
        }
        if (pid == 0)
            usleep(100);
    }
    return true;
}

static void say(const char *text)
{
    if (!fault_plan->said[0])
        snprintf(fault_plan->said, sizeof(fault_plan->said), "%s", text);
}

/* true: all was well.  Otherwise fault_plan->said tells. */
static bool run(const struct scenario *s)
{
    struct pollfd entry = {.events = POLLIN};
    char text[128];
    pid_t pid;
    int status;

    memset(remains, 0, sizeof(*remains));
    fflush(NULL);
    pid = fork();
    if (pid == 0)
        be_run(s);
    entry.fd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (poll(&entry, 1, RUN_LIMIT) == 0) {
        if (getenv("FAULT_STOP")) {
            printf("process %d hangs\n", (int)pid);
            fflush(NULL);
            pause();
        }
        say("it hangs");
        kill(pid, SIGKILL);
    }
    close(entry.fd);
    waitpid(pid, &status, 0);
    if (WIFSIGNALED(status)) {
        snprintf(text, sizeof(text), "ended by signal %d", WTERMSIG(status));
        say(text);
    } else if (WEXITSTATUS(status)) {
        snprintf(text, sizeof(text), "ended with %d", WEXITSTATUS(status));
        say(text);
    }
    if (!all_end())
        say("processes are left");
    return !fault_plan->said[0];
}

static void plan(int call, int error, long nth, bool lasts)
{
    memset(fault_plan, 0, sizeof(*fault_plan));
    fault_plan->call = call;
    fault_plan->error = error;
    fault_plan->nth = nth;
    fault_plan->lasts = lasts;
}

/* Where the fault struck, in functions of the program. */
static void print_frames(void)
{
    char command[512];
    int used = snprintf(command, sizeof(command), "addr2line -s -f -p -e /proc/%d/exe",
                        (int)getpid());

    extern const char __executable_start;

    for (int i = 1; i < fault_plan->frame_count && used < 440; i++)
        used += snprintf(
            command + used, sizeof(command) - (size_t)used, " 0x%lx",
            (unsigned long)((char *)fault_plan->frames[i] - &__executable_start - 1));
    snprintf(command + used, sizeof(command) - (size_t)used,
             " 2>/dev/null | grep -v '^.. ' | sed 's/^/        /'");
    fflush(NULL);
    if (fault_plan->frame_count && system(command) != 0)
        printf("        (no addr2line)\n");
}

static void print_violation(const struct scenario *s)
{
    printf("VIOLATION: %s\n", fault_plan->said);
    printf("    fault %s %s %d %ld%s\n", s->name, fault_name(fault_plan->call),
           fault_plan->error, fault_plan->nth, fault_plan->lasts ? " lasts" : "");
    printf("    it failed %ld times, first in process %d (the next but %d):\n",
           (long)fault_plan->fired, (int)fault_plan->fired_in, (int)getpid());
    print_frames();
    fflush(stdout);
}

/* Descriptors that piu was told are closed (EBADF): it does not close what may be another's by now. */
static long disowned(void)
{
    return fault_plan->call == CALL_fstat64 ? fault_plan->fired : 0;
}

static bool compare(const struct scenario *s, const struct remains *wanted)
{
    char text[256];

    if (remains->blocks <= wanted->blocks + s->may_lose &&
        remains->members <= wanted->members &&
        remains->descriptors <= wanted->descriptors + disowned() &&
        remains->heap <= wanted->heap)
        return true;
    snprintf(text, sizeof(text),
             "left: %ld blocks (without the fault %ld), %ld members (%ld), "
             "%ld descriptors (%ld), %ld allocations (%ld)",
             remains->blocks, wanted->blocks, remains->members, wanted->members,
             remains->descriptors, wanted->descriptors, remains->heap, wanted->heap);
    say(text);
    return false;
}

/* ---- All of them ------------------------------------------------------------------------------- */

static struct {
    long runs, fired, violations;
} total;

static void run_planned(const struct scenario *s, const struct remains *wanted)
{
    bool good = run(s);

    /* a call that always fails may leave what it should have given back */
    if (good && (!fault_plan->lasts || is_optional(fault_plan->call, fault_plan->error)))
        good = compare(s, wanted);
    total.runs++;
    total.fired += fault_plan->fired > 0;
    if (!good) {
        total.violations++;
        print_violation(s);
    }
}

static long next_nth(long nth, bool whole)
{
    return !whole || nth < WHOLE_NTH ? nth + 1 : nth + nth / 8;
}

static void run_call(const struct scenario *s, const struct remains *wanted, int call,
                     long count, bool whole)
{
    const int *errors = fault_errors(call);
    int lasting = 0; /* the first that may go on for ever */

    while (errors[lasting] == EINTR || errors[lasting] == EAGAIN)
        lasting++;
    if (call == CALL_poll || call == CALL_ppoll)
        lasting = -1; /* no wait could ever end */

    for (int e = 0; errors[e]; e++) {
        for (long nth = 1; nth <= count && (whole || nth <= (e ? 1 : QUICK_NTH));
             nth = next_nth(nth, whole)) {
            plan(call, errors[e], nth, false);
            run_planned(s, wanted);
        }
        if (is_optional(call, errors[e]) || (whole && e == lasting)) {
            plan(call, errors[e], 1, true);
            run_planned(s, wanted);
        }
        for (long nth = 2; whole && e == lasting && nth <= count; nth *= 2) {
            plan(call, errors[e], nth, true);
            run_planned(s, wanted);
        }
    }
}

/* What is left without faults, the most of three runs; and how often each call was made. */
static bool run_soundly(const struct scenario *s, struct remains *ret, long count[CALLS])
{
    for (int i = 0; i < 3; i++) {
        plan(CALLS, 0, 0, false);
        if (!run(s)) {
            printf("VIOLATION: %s, without a fault: %s\n", s->name, fault_plan->said);
            return false;
        }
        if (i == 0 || !compare(s, ret))
            *ret = *remains;
        for (int call = 0; call < CALLS; call++) {
            if (fault_plan->count[call] > count[call])
                count[call] = fault_plan->count[call];
        }
    }
    return true;
}

static int number_of(const char *name)
{
    for (int call = 0; call < CALLS; call++) {
        if (strcmp(name, fault_name(call)) == 0)
            return call;
    }
    fprintf(stderr, "fault: no call '%s'\n", name);
    exit(2);
}

static const struct scenario *scenario_of(const char *name)
{
    for (size_t i = 0; name && i < sizeof(scenarios) / sizeof(scenarios[0]); i++) {
        if (strcmp(name, scenarios[i]->name) == 0)
            return scenarios[i];
    }
    fprintf(stderr,
            "usage: fault [--whole] SCENARIO [CALL ERROR NTH [lasts]]\nscenarios:");
    for (size_t i = 0; i < sizeof(scenarios) / sizeof(scenarios[0]); i++)
        fprintf(stderr, " %s", scenarios[i]->name);
    fputc('\n', stderr);
    exit(2);
}

/* The program that scenario_exec starts. */
static int be_child(void)
{
    void *shared = piu_shared_new(1, 1);

    piu_shared_free(shared);
    return shared ? 5 : CHILD_FAILED;
}

int main(int argc, char **argv)
{
    bool whole = argc > 1 && strcmp(argv[1], "--whole") == 0;
    char **words = argv + 1 + whole;
    int64_t begin = now_ms();
    long count[CALLS] = {0};
    const struct scenario *s;
    struct remains wanted;

    if (words[0] && strcmp(words[0], "child") == 0)
        return be_child();
    s = scenario_of(words[0]);
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    fault_begin();
    remains = mmap(NULL, sizeof(*remains), PROT_READ | PROT_WRITE,
                   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (!run_soundly(s, &wanted, count))
        return 1;
    if (words[1] && words[2] && words[3]) {
        plan(number_of(words[1]), atoi(words[2]), atol(words[3]), words[4] != NULL);
        run_planned(s, &wanted);
    } else {
        for (int call = 0; call < CALLS; call++)
            run_call(s, &wanted, call, count[call], whole);
    }
    printf("%s: %ld runs, %ld with a fault, %ld violations, %.1f s\n", s->name,
           total.runs, total.fired, total.violations, (double)(now_ms() - begin) / 1000);
    printf("%d passed, %d failed\n", !total.violations, !!total.violations);
    return total.violations > 0;
}
