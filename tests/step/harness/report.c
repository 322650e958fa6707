#include "report.h"

#include "cases.h"
#include "options.h"

#include "os/clock.h"

struct sum {
    size_t cases, failed, points, pairs, size, kills, violations;
    int64_t began;
};

static struct sum all, of_structure;

static double per_second(size_t many, int64_t took)
{
    return (double)many * (double)SEC / (double)took;
}

void report_begin(void)
{
    all = of_structure = (struct sum){.began = clock_now()};
}

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

/* Where all cases are of the same kind it can be said how many there are. */
static bool is_of_one_kind(void)
{
    return options.mode == ALL || options.mode == PAIRS;
}

static void sum_print(const struct sum *sum)
{
    int64_t took = clock_now() - sum->began;

    printf("%zu kill points, %zu kills, %zu pairs in %.0f s (%.0f/s), %zu violations",
           sum->points, sum->kills, sum->pairs, (double)took / (double)SEC,
           per_second(sum->kills, took), sum->violations);
    if (is_of_one_kind())
        printf("; there are %zu", sum->size);
    printf("\n");
}

/* Behind its last case. */
static void structure_end(const struct kill_case *c)
{
    const struct kill_case *next = case_next(c);

    if (!is_of_one_kind() || (next && strcmp(next->structure, c->structure) == 0))
        return;
    printf("        %s, %zu cases: ", c->structure, of_structure.cases);
    sum_print(&of_structure);
    of_structure = (struct sum){.began = clock_now()};
}

static void twin_print(const char *name, const struct kill_count *count, bool caught)
{
    printf("%-7s %-52s after %zu kills\n", caught ? "caught" : "FAILED", name,
           count->kills + count->pairs + count->violations);
}

static void case_print(const char *name, bool of_two, const struct kill_count *count,
                       int64_t took, bool sound)
{
    printf("%-7s %-52s %7zu %s %7zu kills %6.0f/s%s\n", sound ? "passed" : "FAILED", name,
           of_two ? count->pairs : count->points, of_two ? "pairs " : "points",
           count->kills + count->pairs * 2, per_second(count->kills + count->pairs, took),
           count->missed ? " (some went another way)" : "");
}

void report_case(const struct kill_case *c, const struct kill_count *count, int64_t took,
                 bool sound)
{
    char name[CASE_NAME];

    case_name(c, name);
    if (c->twin)
        twin_print(name, count, sound);
    else
        case_print(name, kill_is_of_two(c), count, took, sound);
    sum_add(&all, count, sound);
    sum_add(&of_structure, count, sound);
    structure_end(c);
    fflush(stdout);
}

bool report_end(void)
{
    size_t due = 0, failed = all.failed + (all.cases == 0);

    for (const struct kill_case *c = NULL; (c = case_next(c));)
        due++;
    if (options.mode == SELFTEST)
        printf("%zu broken twins caught, %zu not\n", all.cases - all.failed, all.failed);
    else
        sum_print(&all);
    if (*plan.stop)
        printf("stopped: %zu of %zu cases were begun\n", all.cases, due);
    if (all.cases == 0)
        printf("no such case\n");
    printf("%zu passed, %zu failed\n", all.cases - all.failed, failed);
    return failed == 0 && !*plan.stop;
}
