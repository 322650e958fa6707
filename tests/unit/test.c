#include "test.h"

#include "os/coverage.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>

/*
 * Three generations: the runner starts, for each test, a keeper, which starts the test.
 * The keeper is the subreaper of all that the test leaves behind, and enforces the limit.
 *
 *    runner --fork--> keeper --fork, setsid--> the test --> its children
 *       ^                |
 *       `--- exit code --'    output goes to a memfd that the runner prints
 */
enum outcome { PASSED, FAILED, SKIPPED };

/* what the processes of one test tell its keeper; shared by all of them */
struct verdict {
    _Atomic int failed; /* some check did not hold */
    _Atomic int skipped;
    _Atomic int ended; /* the test came to its last line */
    /* the last test_wait_until(): string literals, so the addresses are good in the keeper */
    _Atomic(const char *) waits_for, waits_in;
    _Atomic int waits_at;
};

struct job {
    const struct test *test; /* NULL: this place is empty */
    pid_t keeper;
    int output;
};

static struct test *tests, **tests_end = &tests;
static struct verdict *verdict; /* of the test that this process belongs to */
static _Thread_local pid_t forked;

static struct {
    bool verbose;
    int limit;
    int jobs;
    char **filters;
    int filter_count;
} options = {.limit = 20, .jobs = 1};

/*
 * A signal that a test sends itself, or that kills its child, does what it does without
 * sanitizers: they are for memory errors, not for signals.
 */
#define LEAVE_SIGNALS \
    "handle_segv=0:handle_sigbus=0:handle_abort=0:handle_sigfpe=0:handle_sigill=0"

const char *__asan_default_options(void);
const char *__tsan_default_options(void);
const char *__tsan_default_suppressions(void);
const char *__ubsan_default_options(void);

const char *__asan_default_options(void)
{
    return LEAVE_SIGNALS;
}

const char *__tsan_default_options(void)
{
    return LEAVE_SIGNALS ":halt_on_error=1";
}

/*
 * Who spins before it sleeps looks at the chunk that the queue named a moment ago.  That may be
 * freed by now, and be anything: a hint that is wrong costs a look in vain, under the lock.
 */
const char *__tsan_default_suppressions(void)
{
    return "race:queue_has_message\n";
}

const char *__ubsan_default_options(void)
{
    return "halt_on_error=1:print_stacktrace=1";
}

void test_register(struct test *test)
{
    *tests_end = test;
    tests_end = &test->next;
}

/* ---- In the test ------------------------------------------------------------------- */

void test_fail(const char *file, int line, const char *format, ...)
{
    va_list args;

    verdict->failed = 1;
    flockfile(stdout);
    printf("%s:%d: failed: ", file, line);
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    putchar('\n');
    fflush(stdout);
    _exit(1);
}

void test_check_eq(const char *file, int line, const char *expr, long long a, long long b)
{
    if (a != b)
        test_fail(file, line, "%s: %lld, %lld", expr, a, b);
}

void test_check_str(const char *file, int line, const char *expr, const char *a,
                    const char *b)
{
    if (!a || !b ? a != b : strcmp(a, b) != 0)
        test_fail(file, line, "%s: \"%s\", \"%s\"", expr, a ? a : "(NULL)",
                  b ? b : "(NULL)");
}

void test_skip(const char *reason)
{
    verdict->skipped = 1;
    printf("%s\n", reason);
    fflush(stdout);
    _exit(0);
}

pid_t test_fork(void)
{
    fflush(NULL);
    forked = fork();
    if (forked < 0)
        test_fail(__FILE__, __LINE__, "fork: %s", strerror(errno));
    return forked;
}

pid_t test_forked(void)
{
    return forked;
}

int child_wait(pid_t pid)
{
    int status;

    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            test_fail(__FILE__, __LINE__, "waitpid(%d): %s", (int)pid, strerror(errno));
    return status;
}

void test_die(void)
{
    fflush(NULL);
    coverage_save();
    kill(getpid(), SIGKILL);
    for (;;)
        pause();
}

void *test_shared(size_t size)
{
    void *shared =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    if (shared == MAP_FAILED)
        test_fail(__FILE__, __LINE__, "mmap of %zu bytes: %s", size, strerror(errno));
    return shared;
}

void test_pause(const char *file, int line, const char *expr)
{
    verdict->waits_for = expr;
    verdict->waits_in = file;
    verdict->waits_at = line;
    nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
}

struct test_thread {
    pthread_t thread;
    void (*run)(int i, void *arg);
    int i;
    void *arg;
};

static void *thread_main(void *arg)
{
    struct test_thread *self = arg;

    self->run(self->i, self->arg);
    return NULL;
}

void test_threads(int n, void (*run)(int i, void *arg), void *arg)
{
    struct test_thread *threads = calloc((size_t)n, sizeof(*threads));
    int i, r = 0;

    CHECK(threads);
    for (i = 0; i < n; i++) {
        threads[i] = (struct test_thread){.run = run, .i = i, .arg = arg};
        r = pthread_create(&threads[i].thread, NULL, thread_main, &threads[i]);
        if (r)
            test_fail(__FILE__, __LINE__, "pthread_create: %s", strerror(r));
    }
    for (i = 0; i < n; i++)
        pthread_join(threads[i].thread, NULL);
    free(threads);
}

/* ---- The keeper -------------------------------------------------------------------- */

static struct timespec now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return t;
}

static double seconds_since(struct timespec start)
{
    struct timespec t = now();

    return (double)(t.tv_sec - start.tv_sec) + 1e-9 * (double)(t.tv_nsec - start.tv_nsec);
}

/* the first line of a process's task file, without its end; empty when unreadable */
static void proc_line(pid_t pid, const char *name, char *line, size_t size)
{
    char path[96];
    FILE *file;

    line[0] = '\0';
    snprintf(path, sizeof(path), "/proc/%d/task/%d/%s", (int)pid, (int)pid, name);
    file = fopen(path, "re");
    if (!file)
        return;
    if (!fgets(line, (int)size, file))
        line[0] = '\0';
    line[strcspn(line, "\n")] = '\0';
    fclose(file);
}

/* call visit() with each living child of this process */
static void children_each(void (*visit)(pid_t pid))
{
    static char line[1 << 16];
    char *p, *end;
    long pid;

    proc_line(getpid(), "children", line, sizeof(line));
    for (p = line; (pid = strtol(p, &end, 10)) > 0; p = end)
        visit((pid_t)pid);
}

static void process_kill(pid_t pid)
{
    kill(pid, SIGKILL);
}

/* its children first become ours, so the next round of reap_all() finds them */
static void reap_all(void)
{
    pid_t pid;

    for (;;) {
        children_each(process_kill);
        do
            pid = waitpid(-1, NULL, WNOHANG);
        while (pid > 0);
        if (pid < 0 && errno == ECHILD)
            return;
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
}

/* who is still there when time is up, and in which wait of the kernel */
static void process_print(pid_t pid)
{
    char name[64], wait[64];

    proc_line(pid, "comm", name, sizeof(name));
    proc_line(pid, "wchan", wait, sizeof(wait));
    printf("    still running: %d %s, in %s\n", (int)pid, name, wait);
}

static void print_time_up(int limit)
{
    printf("did not end in %d seconds\n", limit);
    if (verdict->waits_for)
        printf("%s:%d: last waited until: %s\n", verdict->waits_in, verdict->waits_at,
               verdict->waits_for);
    children_each(process_print);
}

_Noreturn static void test_main(const struct test *test, const sigset_t *signals)
{
    /* a shell that starts us in the background ignores some of them for us */
    static const int usual[] = {SIGINT, SIGQUIT, SIGHUP, SIGTERM, SIGPIPE};
    size_t i;

    setsid();
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0}); /* death is a test like any other */
    for (i = 0; i < sizeof(usual) / sizeof(usual[0]); i++)
        signal(usual[i], SIG_DFL);
    sigprocmask(SIG_SETMASK, signals, NULL);
    test->run();
    verdict->ended = 1;
    exit(0);
}

_Noreturn static void keeper_main(const struct test *test, int output)
{
    int limit = test->limit > options.limit ? test->limit : options.limit;
    struct timespec start = now();
    sigset_t child, signals;
    int status = 0;
    pid_t pid, r;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    if (dup2(output, STDOUT_FILENO) < 0 || dup2(output, STDERR_FILENO) < 0)
        _exit(FAILED);
    setvbuf(stdout, NULL, _IOLBF, 0);
    verdict = test_shared(sizeof(*verdict));
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    sigprocmask(SIG_BLOCK, &child, &signals);

    pid = test_fork();
    if (pid == 0)
        test_main(test, &signals);
    while ((r = waitpid(pid, &status, WNOHANG)) == 0 && seconds_since(start) < limit)
        sigtimedwait(&child, NULL, &(struct timespec){.tv_nsec = 100000000});
    if (r == 0) {
        print_time_up(limit);
        verdict->failed = 1;
    } else if (WIFSIGNALED(status)) {
        printf("killed by signal %d (%s)\n", WTERMSIG(status),
               strsignal(WTERMSIG(status)));
        verdict->failed = 1;
    } else if (WEXITSTATUS(status) != 0 && !verdict->failed) {
        printf("ended with exit code %d\n", WEXITSTATUS(status));
        verdict->failed = 1;
    } else if (!verdict->ended && !verdict->skipped && !verdict->failed) {
        printf("ended before its last line\n");
        verdict->failed = 1;
    }
    if (r == 0)
        kill(-pid, SIGKILL);
    reap_all();
    fflush(stdout);
    _exit(verdict->failed ? FAILED : verdict->skipped ? SKIPPED : PASSED);
}

/* ---- The runner -------------------------------------------------------------------- */

static void job_start(struct job *job, const struct test *test)
{
    job->test = test;
    job->output = memfd_create("output", MFD_CLOEXEC);
    if (job->output < 0) {
        perror("memfd_create");
        exit(2);
    }
    fflush(NULL);
    job->keeper = fork();
    if (job->keeper < 0) {
        perror("fork");
        exit(2);
    }
    if (job->keeper == 0)
        keeper_main(test, job->output);
}

static void job_print_output(const struct job *job)
{
    char buf[4096];
    ssize_t n;

    lseek(job->output, 0, SEEK_SET);
    while ((n = read(job->output, buf, sizeof(buf))) > 0)
        fwrite(buf, 1, (size_t)n, stdout);
}

/* wait for one of the jobs; its place is empty afterwards */
static enum outcome job_end(struct job *jobs)
{
    static const char *const words[] = {"passed", "FAILED", "skipped"};
    enum outcome outcome = FAILED;
    struct job *job = jobs;
    int status;
    pid_t pid;

    do
        pid = wait(&status);
    while (pid < 0 && errno == EINTR);
    while (job->keeper != pid)
        job++;
    if (WIFEXITED(status) && WEXITSTATUS(status) <= SKIPPED)
        outcome = (enum outcome)WEXITSTATUS(status);
    if (outcome != PASSED || options.verbose) {
        printf("%s  %s\n", words[outcome], job->test->name);
        job_print_output(job);
        fflush(stdout);
    }
    close(job->output);
    *job = (struct job){0};
    return outcome;
}

static bool test_is_wanted(const struct test *test)
{
    int i;

    for (i = 0; i < options.filter_count; i++)
        if (strstr(test->name, options.filters[i]))
            return true;
    return options.filter_count == 0;
}

static int number_of(const char *arg)
{
    char *end;
    long n = arg ? strtol(arg, &end, 10) : 0;

    if (n < 1 || n > 100000 || *end) {
        fprintf(stderr, "%s: a number from 1 to 100000 is needed\n", arg ? arg : "");
        exit(2);
    }
    return (int)n;
}

static void list_and_exit(void)
{
    const struct test *test;

    for (test = tests; test; test = test->next)
        puts(test->name);
    exit(0);
}

static void options_read(int argc, char **argv)
{
    int i;

    for (i = 1; i < argc && argv[i][0] == '-'; i++) {
        if (strcmp(argv[i], "--list") == 0)
            list_and_exit();
        else if (strcmp(argv[i], "-v") == 0)
            options.verbose = true;
        else if (strcmp(argv[i], "-j") == 0)
            options.jobs = number_of(argv[++i]);
        else if (strcmp(argv[i], "--limit") == 0)
            options.limit = number_of(argv[++i]);
        else {
            fprintf(stderr,
                    "usage: %s [--list] [-v] [-j JOBS] [--limit SECONDS] [NAME]...\n",
                    argv[0]);
            exit(2);
        }
    }
    options.filters = argv + i;
    options.filter_count = argc - i;
}

int main(int argc, char **argv)
{
    int counts[3] = {0}, running = 0;
    const struct test *test;
    struct job *jobs, *job;

    options_read(argc, argv);
    jobs = calloc((size_t)options.jobs, sizeof(*jobs));
    if (!jobs)
        return 2;
    for (test = tests; test; test = test->next) {
        if (!test_is_wanted(test))
            continue;
        if (running == options.jobs) {
            counts[job_end(jobs)]++;
            running--;
        }
        for (job = jobs; job->test; job++)
            ;
        job_start(job, test);
        running++;
    }
    while (running-- > 0)
        counts[job_end(jobs)]++;
    free(jobs);

    printf("%d passed, %d failed", counts[PASSED], counts[FAILED]);
    if (counts[SKIPPED] > 0)
        printf(", %d skipped", counts[SKIPPED]);
    putchar('\n');
    return counts[FAILED] > 0;
}
