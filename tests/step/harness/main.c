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
 *     --guard S    what takes longer than that hangs
 *     -j JOBS      so many processes; as many as there are CPUs
 */
#include "budget.h"
#include "cases.h"
#include "options.h"
#include "report.h"
#include "shares.h"

#include "os/clock.h"

#include <limits.h>
#include <sched.h>
#include <sys/mman.h>

#define TWIN_ROUNDS 5 /* before it counts as not caught */

static char idle[PATH_MAX];

const char *kill_idle_program(void)
{
    return idle;
}

/* It stands beside this one. */
static void idle_find(void)
{
    ssize_t length = readlink("/proc/self/exe", idle, sizeof(idle) - 10);

    idle[length > 0 ? length : 0] = '\0';
    strcpy(strrchr(idle, '/') ? strrchr(idle, '/') + 1 : idle, "idle");
}

/* The same with crash points: kill_points stands beside this program, too. */
static _Noreturn void points_instead(char **argv)
{
    char program[PATH_MAX];

    snprintf(program, sizeof(program), "%s_points", argv[0]);
    execv(program, argv);
    perror(program);
    exit(2);
}

/* It was begun, and each violation in it is of the structure's, and wanted. */
static bool is_as_wanted(const struct kill_case *c, const struct kill_count *count)
{
    return (count->violations > 0) == c->twin && count->troubles == 0 &&
           (count->kills + count->pairs + count->violations > 0 || *plan.stop ||
            clock_now() >= plan.until);
}

static bool is_missed(const struct kill_case *c, const struct kill_count *count)
{
    return c->twin && count->violations == 0 && count->troubles == 0 && !*plan.stop;
}

static void case_run(const struct kill_case *c)
{
    struct kill_count *count = test_shared(sizeof(*count));
    int64_t began = clock_now();
    unsigned shares = plan.shares;
    bool sound;

    budget_give(c);
    sound = shares_run(c, count);
    /* with what piu itself starts, chance has a part in where the others stand meanwhile */
    for (int round = 1; round < TWIN_ROUNDS && is_missed(c, count); round++)
        sound = shares_run(c, count);
    sound &= is_as_wanted(c, count);
    plan.shares = shares;
    report_case(c, count, clock_now() - began, sound);
    budget_take_back(c, count);
    munmap(count, sizeof(*count));
}

static unsigned cpus(void)
{
    cpu_set_t set;

    return sched_getaffinity(0, sizeof(set), &set) == 0 ? (unsigned)CPU_COUNT(&set) : 1;
}

static unsigned shares_wanted(void)
{
    unsigned wanted = options.jobs ? options.jobs : cpus();

    if (one_is_wanted())
        return 1;
    return wanted < SHARES_MOST ? wanted : SHARES_MOST;
}

static void stop(int signal)
{
    (void)signal;
    *plan.stop = true;
}

int main(int argc, char **argv)
{
    const char *reason;

    idle_find();
    options_read(argc, argv);
    if (options.list) {
        cases_list();
        return 0;
    }
    if (!victims_can_stop(&reason)) {
        printf("%s\n", reason);
        fflush(stdout);
        points_instead(argv);
    }
    if (!one_is_wanted())
        printf("killed %s\n", victims_way());
    fflush(stdout);
    plan.stop = test_shared(sizeof(*plan.stop));
    signal(SIGINT, stop);
    signal(SIGTERM, stop);
    plan.shares = shares_wanted();
    report_begin();
    budget_begin();
    for (const struct kill_case *c = NULL; !*plan.stop && (c = case_next(c));)
        case_run(c);
    return report_end() ? 0 : 1;
}
