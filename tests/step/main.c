/*
 * usage: kill [MODE] [OPTION]... [STRUCTURE[/CASE]]...
 *
 *     --all        every instruction of every case (the default)
 *     --quick      some of each, about 11,000
 *     --pairs      the grids of two
 *     --selftest   the broken twins: each must be caught
 *     --list       the cases
 *     --at N [--with M] [--way W] [--by kill|exit|exec]   this one of the case that is named
 *     --budget N   so many kills, or pairs, spread over all
 *     --seconds S  no longer than that; it and SIGINT, SIGTERM end a run with the figures so far
 *     -j JOBS      so many processes; as many as there are CPUs
 */
#include "kill.h"

#include "os/clock.h"

#include <limits.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#define QUICK_KILLS 11000
#define QUICK_PAIRS 10 /* of a case */
#define PAIRS_KILLS 1100000
#define GIVE_UP     5 /* violations of one case */

enum mode { ALL, QUICK, PAIRS, SELFTEST };

static struct kill_case *cases, **cases_end = &cases;
static char idle[PATH_MAX];

static struct {
    enum mode mode;
    bool list;
    unsigned jobs;
    size_t budget, seconds;
    char **names;
    int name_count;
} options;

static struct kill_plan plan = {
    .at = SIZE_MAX, .with = SIZE_MAX, .way = -1, .how = -1, .guard = 60};

void kill_register(struct kill_case *c)
{
    *cases_end = c;
    cases_end = &c->next;
}

const char *kill_idle_program(void)
{
    return idle;
}

/* ---- Which ----------------------------------------------------------------------------------- */

static bool is_named(const struct kill_case *c)
{
    char name[200];

    snprintf(name, sizeof(name), "%s/%s", c->structure, c->name);
    for (int i = 0; i < options.name_count; i++)
        if (strcmp(options.names[i], c->structure) == 0 ||
            strcmp(options.names[i], name) == 0)
            return true;
    return options.name_count == 0;
}

static bool is_due(const struct kill_case *c)
{
    if (!is_named(c) || c->twin != (options.mode == SELFTEST))
        return false;
    if (plan.at != SIZE_MAX || options.mode == SELFTEST)
        return true;
    if (options.mode == QUICK && c->then)
        return true;
    return kill_is_of_two(c) == (options.mode == PAIRS);
}

/* Some few pairs beside the kills of --quick, out of its budget. */
static bool is_extra(const struct kill_case *c)
{
    return options.mode == QUICK && c->then;
}

static size_t count_due(void)
{
    size_t many = 0;

    for (const struct kill_case *c = cases; c; c = c->next)
        many += is_due(c) && !is_extra(c);
    return many;
}

/* ---- Running --------------------------------------------------------------------------------- */

static double seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static pid_t share_start(const struct kill_case *c, unsigned share,
                         struct kill_count *count)
{
    pid_t pid = fork();

    if (pid < 0) {
        perror("fork");
        exit(2);
    }
    if (pid == 0) {
        setpgid(0, 0); /* a Ctrl-C is ours: we stop it */
        signal(SIGINT, SIG_DFL);
        signal(SIGTERM, SIG_DFL);
        plan.share = share;
        kill_job(c, &plan, count);
    }
    return pid;
}

static bool share_goes_on(const struct kill_case *c, const struct kill_count *count)
{
    return !c->twin && plan.at == SIZE_MAX &&
           count->violations + count->troubles < GIVE_UP;
}

/* All shares of a case at once; one that met a violation goes on behind it in a new process. */
static bool case_run(const struct kill_case *c, struct kill_count *count)
{
    pid_t pids[64];
    unsigned running = plan.shares;
    bool sound = true;
    int status;

    for (unsigned i = 0; i < plan.shares; i++)
        pids[i] = share_start(c, i, count);
    while (running > 0) {
        pid_t pid = wait(&status);
        unsigned i = 0;

        if (pid < 0)
            continue;
        while (pids[i] != pid)
            i++;
        if (WIFEXITED(status) && WEXITSTATUS(status) == 1 && share_goes_on(c, count)) {
            pids[i] = share_start(c, i, count);
            continue;
        }
        sound &= WIFEXITED(status) && WEXITSTATUS(status) <= 1;
        running--;
    }
    return sound;
}

static void case_print(const struct kill_case *c, const struct kill_count *count,
                       double took, bool passed)
{
    char name[200];

    snprintf(name, sizeof(name), "%s/%s", c->structure, c->name);
    if (c->twin)
        printf("%-7s %-52s after %zu kills\n", passed ? "caught" : "FAILED", name,
               count->kills + count->pairs);
    else
        printf("%-7s %-52s %7zu %s %7zu kills %6.0f/s%s\n", passed ? "passed" : "FAILED",
               name, kill_is_of_two(c) ? count->pairs : count->points,
               kill_is_of_two(c) ? "pairs " : "points", count->kills + count->pairs * 2,
               (double)(count->kills + count->pairs) / took,
               count->missed ? " (some went another way)" : "");
    fflush(stdout);
}

static void *shared_new(size_t size)
{
    void *memory =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    if (memory == MAP_FAILED) {
        perror("mmap");
        exit(2);
    }
    return memory;
}

/* ---- How much of each ------------------------------------------------------------------------- */

/* 0: no limit. */
static size_t budget_of_mode(void)
{
    if (options.budget)
        return options.budget;
    return options.mode == QUICK ? QUICK_KILLS : options.mode == PAIRS ? PAIRS_KILLS : 0;
}

/* What is left to be shared by the cases that are still to come, by weight. */
static struct {
    size_t budget; /* 0: no limit */
    double weight;
    int64_t until; /* clock_now() */
} left;

static size_t grid_size(const struct kill_case *c)
{
    struct kill_count *count = shared_new(sizeof(*count));
    unsigned shares = plan.shares;
    size_t size;

    plan.shares = 1;
    plan.only_size = true;
    case_run(c, count);
    plan.only_size = false;
    plan.shares = shares;
    size = count->size;
    munmap(count, sizeof(*count));
    return size;
}

/* Pairs: half of the budget goes to all cases alike, half of it by the size of their grids. */
static void pairs_weigh(void)
{
    double budget = (double)left.budget, alike = budget / 2 / (double)count_due(),
           all = 0;

    for (struct kill_case *c = cases; c; c = c->next)
        if (is_due(c) && !*plan.stop)
            all += c->weight = (double)grid_size(c);
    for (struct kill_case *c = cases; c; c = c->next) {
        double size = c->weight;

        c->weight =
            (size < alike ? size : alike) + budget / 2 * size / (all > 0 ? all : 1);
        left.weight += is_due(c) ? c->weight : 0;
    }
}

static void cases_weigh(void)
{
    left.budget = budget_of_mode();
    plan.until = CLOCK_FOREVER;
    left.until =
        options.seconds ? clock_now() + (int64_t)options.seconds * SEC : CLOCK_FOREVER;
    if (options.mode == PAIRS && plan.at == SIZE_MAX) {
        pairs_weigh();
        return;
    }
    for (struct kill_case *c = cases; c; c = c->next) {
        c->weight = is_due(c) && !is_extra(c) ? 1 : 0;
        left.weight += c->weight;
    }
}

static void case_plan(const struct kill_case *c)
{
    int64_t now = clock_now();
    double part = left.weight > 0 ? c->weight / left.weight : 0;

    plan.budget = left.budget ? 1 + (size_t)(part * (double)left.budget) : 0;
    plan.until = left.until;
    if (is_extra(c)) {
        plan.budget = QUICK_PAIRS;
        plan.shares = 1; /* one row: its record costs more than the rest */
    } else if (left.until != CLOCK_FOREVER) {
        plan.until = now + (int64_t)(part * (double)(left.until - now));
    }
}

static void case_done(const struct kill_case *c, const struct kill_count *count)
{
    size_t done = kill_is_of_two(c) ? count->pairs : count->points;

    left.weight -= c->weight;
    if (left.budget && !is_extra(c))
        left.budget = done < left.budget ? left.budget - done : 1;
}

/* ---- All of them ------------------------------------------------------------------------------- */

struct sum {
    size_t cases, failed, points, pairs, size, kills, violations;
    double began;
};

static void sum_add(struct sum *sum, const struct kill_count *count, bool sound)
{
    sum->cases++;
    sum->failed += !sound;
    sum->points += count->points;
    sum->size += count->size;
    sum->kills += count->kills + count->pairs;
    sum->pairs += count->pairs;
    sum->violations += count->violations + count->troubles;
}

static void sum_print(const struct sum *sum, const char *of)
{
    double took = seconds() - sum->began;

    printf("%s%zu kill points, %zu kills, %zu pairs in %.0f s (%.0f/s), %zu violations",
           of, sum->points, sum->kills, sum->pairs, took, (double)sum->kills / took,
           sum->violations);
    if (options.mode == ALL || options.mode == PAIRS) /* the same kind, that is */
        printf("; there are %zu", sum->size);
    printf("\n");
    fflush(stdout);
}

/* Behind the last case of a structure, if there are more. */
static void structure_end(struct sum *sum, const struct kill_case *c)
{
    const struct kill_case *next = c->next;
    char of[100];

    while (next && !is_due(next))
        next = next->next;
    if (options.mode != ALL && options.mode != PAIRS)
        return;
    if (next && strcmp(next->structure, c->structure) == 0)
        return;
    snprintf(of, sizeof(of), "        %s, %zu cases: ", c->structure, sum->cases);
    sum_print(sum, of);
    *sum = (struct sum){.began = seconds()};
}

static bool run_case(const struct kill_case *c, struct kill_count *count)
{
    double before = seconds();
    unsigned shares = plan.shares;
    bool sound;

    case_plan(c);
    sound = case_run(c, count);
    sound &= c->twin ? count->violations > 0 : count->violations == 0;
    sound &= count->troubles == 0;
    sound &= count->kills + count->pairs > 0 || *plan.stop || clock_now() >= plan.until;
    plan.shares = shares;
    case_print(c, count, seconds() - before, sound);
    case_done(c, count);
    return sound;
}

static int run_all(void)
{
    struct sum all = {.began = seconds()}, part = all;
    size_t due = 0;

    cases_weigh();
    part.began = seconds();
    for (const struct kill_case *c = cases; c; c = c->next)
        due += is_due(c);
    for (const struct kill_case *c = cases; c && !*plan.stop; c = c->next) {
        struct kill_count *count;
        bool sound;

        if (!is_due(c))
            continue;
        count = shared_new(sizeof(*count));
        sound = run_case(c, count);
        sum_add(&all, count, sound);
        sum_add(&part, count, sound);
        structure_end(&part, c);
        munmap(count, sizeof(*count));
    }
    if (options.mode == SELFTEST)
        printf("%zu broken twins caught, %zu not\n", all.cases - all.failed, all.failed);
    else
        sum_print(&all, "");
    if (*plan.stop)
        printf("stopped: %zu of %zu cases were begun\n", all.cases, due);
    if (all.cases == 0)
        printf("no such case\n");
    printf("%zu passed, %zu failed\n", all.cases - all.failed,
           all.failed + (all.cases == 0));
    return all.failed > 0 || all.cases == 0 || *plan.stop;
}

static void stop(int signal)
{
    (void)signal;
    *plan.stop = true;
}

/* ---- Options --------------------------------------------------------------------------------- */

static size_t number_of(const char *text)
{
    char *end;
    unsigned long long n = text ? strtoull(text, &end, 10) : 0;

    if (!text || *end) {
        fprintf(stderr, "%s: a number is needed\n", text ? text : "");
        exit(2);
    }
    return (size_t)n;
}

static int death_of(const char *text)
{
    static const char *const names[] = {"kill", "exit", "exec"};

    for (int i = 0; i < DEATHS; i++)
        if (text && strcmp(text, names[i]) == 0)
            return i;
    fprintf(stderr, "--by kill, exit or exec\n");
    exit(2);
}

static bool option_read(const char *name, const char *value)
{
    if (strcmp(name, "--at") == 0)
        plan.at = number_of(value);
    else if (strcmp(name, "--with") == 0)
        plan.with = number_of(value);
    else if (strcmp(name, "--way") == 0)
        plan.way = (int)number_of(value);
    else if (strcmp(name, "--by") == 0)
        plan.how = death_of(value);
    else if (strcmp(name, "--budget") == 0)
        options.budget = number_of(value);
    else if (strcmp(name, "--seconds") == 0)
        options.seconds = number_of(value);
    else if (strcmp(name, "--guard") == 0)
        plan.guard = (int)number_of(value);
    else if (strcmp(name, "-j") == 0)
        options.jobs = (unsigned)number_of(value);
    else
        return false;
    return true;
}

static void options_read(int argc, char **argv)
{
    static const char *const modes[] = {"--all", "--quick", "--pairs", "--selftest"};
    int i;

    for (i = 1; i < argc && argv[i][0] == '-'; i++) {
        int mode = 0;

        while (mode < 4 && strcmp(argv[i], modes[mode]) != 0)
            mode++;
        if (mode < 4) {
            options.mode = (enum mode)mode;
        } else if (strcmp(argv[i], "--list") == 0) {
            options.list = true;
        } else if (option_read(argv[i], argv[i + 1])) {
            i++;
        } else {
            fprintf(
                stderr,
                "usage: %s [--all|--quick|--pairs|--selftest|--list] [-j JOBS]\n"
                "       [--budget N] [--seconds S]\n"
                "       [--at N [--with M] [--way W] [--by kill|exit|exec]] [NAME]...\n",
                argv[0]);
            exit(2);
        }
    }
    options.names = argv + i;
    options.name_count = argc - i;
    /* options may stand behind the name as well, as violations print them */
    for (int k = i + 1; k + 1 < argc; k++)
        if (argv[k][0] == '-' && option_read(argv[k], argv[k + 1])) {
            options.name_count = options.name_count < k - i ? options.name_count : k - i;
            k++;
        }
}

static unsigned cpus(void)
{
    cpu_set_t set;

    return sched_getaffinity(0, sizeof(set), &set) == 0 ? (unsigned)CPU_COUNT(&set) : 1;
}

/* The same with crash points: kill_points stands beside this program. */
static _Noreturn void points_instead(char **argv)
{
    char program[PATH_MAX];

    snprintf(program, sizeof(program), "%s_points", argv[0]);
    execv(program, argv);
    perror(program);
    exit(2);
}

int main(int argc, char **argv)
{
    const char *reason;
    ssize_t length = readlink("/proc/self/exe", idle, sizeof(idle) - 10);

    idle[length > 0 ? length : 0] = '\0';
    strcpy(strrchr(idle, '/') ? strrchr(idle, '/') + 1 : idle, "idle");
    options_read(argc, argv);
    if (options.list) {
        for (const struct kill_case *c = cases; c; c = c->next)
            if (is_named(c))
                printf("%s/%s%s\n", c->structure, c->name,
                       c->twin             ? "  (broken)"
                       : kill_is_of_two(c) ? "  (pairs)"
                                           : "");
        return 0;
    }
    if (!victims_can_stop(&reason)) {
        printf("%s\n", reason);
        fflush(stdout);
        points_instead(argv);
    }
    if (plan.at == SIZE_MAX)
        printf("killed %s\n", victims_way());
    fflush(stdout);
    plan.stop = shared_new(sizeof(*plan.stop));
    signal(SIGINT, stop);
    signal(SIGTERM, stop);
    plan.shares = options.jobs ? options.jobs : cpus();
    if (plan.shares > 64)
        plan.shares = 64;
    if (plan.at != SIZE_MAX)
        plan.shares = 1;
    if (options.mode == SELFTEST && plan.guard == 60)
        plan.guard = 8;
    return run_all();
}
