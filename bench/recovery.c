/*
 * How soon the survivors of a death go on: piu beside the kernel's own news, of the same kills.
 *
 * usage: recovery [--only SUBSTRING] [--runs N] [--json FILE]
 */
#include "recovery_trial.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "machine.h"
#include "table.h"

#define MB ((size_t)1 << 20)

static const struct memory {
    const char *name;
    size_t bytes;
    unsigned trials; /* of a run */
} memories[] = {
    {"small", 0, 100},
    {"200 MB", 200 * MB, 6},
    {"2 GB", 2048 * MB, 2},
};
#define MEMORIES (sizeof(memories) / sizeof(memories[0]))

/* The last is the kernel's news, of all victims. */
#define KERNEL VICTIMS
static const char *const whose[VICTIMS + 1] = {
    [VICTIM_HOLDER] = "lock holder",
    [VICTIM_GETTER] = "getter",
    [VICTIM_WORKER] = "pool worker",
    [KERNEL] = "pidfd",
};
static const char *const titles[VICTIMS + 1] = {
    [VICTIM_HOLDER] = "a killed holder's lock is another's",
    [VICTIM_GETTER] = "another gets, when one was killed inside get",
    [VICTIM_WORKER] = "map and apply tell what a killed worker lost",
    [KERNEL] = "the kernel says that it has ended",
};

enum told { MEDIAN, NINETY_NINTH, LONGEST, BEHIND, TOLD };
static const char *const told_names[TOLD] = {
    [MEDIAN] = "median",
    [NINETY_NINTH] = "99th",
    [LONGEST] = "longest",
    [BEHIND] = "behind its end, most",
};

#define ROWS_MOST (MEMORIES * TOLD)

static struct {
    const char *only;
    const char *json;
    unsigned runs;
} options = {.runs = 5};

/* ---- Rows ------------------------------------------------------------------------------------ */

static int trials_sample(const struct row *row, double *ret);

/* What is expected: the small ones soon, and none much later than the kernel itself. */
static struct claim claim_of(unsigned who, size_t memory, enum told told)
{
    if (who == KERNEL || (told != BEHIND && memory != 0))
        return (struct claim){0};
    switch (told) {
    case MEDIAN:
        return (struct claim)UNDER(1);
    case NINETY_NINTH:
        return (struct claim)UNDER(25);
    case BEHIND:
        return (struct claim)UNDER(100);
    default:
        return (struct claim){0};
    }
}

static void rows_make(struct row_set *ret, unsigned who)
{
    static struct row rows[VICTIMS + 1][ROWS_MOST];
    static char names[VICTIMS + 1][ROWS_MOST][48];

    *ret = (struct row_set){.title = titles[who], .rows = rows[who]};
    for (size_t m = 0; m < MEMORIES; m++)
        for (enum told t = 0; t < (who == KERNEL ? BEHIND : TOLD); t++) {
            char *name = names[who][ret->count];

            snprintf(name, sizeof(names[0][0]), "%s, %s: %s", whose[who],
                     memories[m].name, told_names[t]);
            rows[who][ret->count++] = (struct row){.name = name,
                                                   .unit = "ms",
                                                   .sample = trials_sample,
                                                   .size = m,
                                                   .variant = (int)who,
                                                   .claims = {claim_of(who, m, t)}};
        }
}

static struct line *line_of(struct table *t, unsigned who, size_t memory, enum told told)
{
    char name[48];

    snprintf(name, sizeof(name), "%s, %s: %s", whose[who], memories[memory].name,
             told_names[told]);
    return table_find(t, name);
}

/* ---- Trials ---------------------------------------------------------------------------------- */

static struct trials *trials; /* of this run; shared with the child that does them */

/* In a child of its own (sample.c); the value is not used, all are read from the trials. */
static int trials_sample(const struct row *row, double *ret)
{
    const struct memory *m = &memories[row->size];

    *ret = 0;
    memset(trials, 0, sizeof(*trials));
    if ((double)m->bytes * 2 >
        (double)sysconf(_SC_AVPHYS_PAGES) * (double)sysconf(_SC_PAGESIZE))
        return -EOPNOTSUPP;
    return trials_run((enum victim)row->variant, m->bytes, m->trials, trials);
}

static int double_compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static double quantile(double *values, unsigned count, double part)
{
    qsort(values, count, sizeof(*values), double_compare);
    return values[(unsigned)(part * (count - 1) + 0.5)];
}

static double most_behind(const struct trials *t)
{
    double most = t->survivor[0] - t->kernel[0];

    for (unsigned i = 1; i < t->count; i++)
        if (t->survivor[i] - t->kernel[i] > most)
            most = t->survivor[i] - t->kernel[i];
    return most;
}

static void values_add(struct table *t, unsigned who, size_t memory, double *values)
{
    series_add(&line_of(t, who, memory, MEDIAN)->values,
               quantile(values, trials->count, 0.5));
    series_add(&line_of(t, who, memory, NINETY_NINTH)->values,
               quantile(values, trials->count, 0.99));
    series_add(&line_of(t, who, memory, LONGEST)->values,
               quantile(values, trials->count, 1));
}

/* Never is never: the one value of this row is the most of all runs. */
static void behind_add(struct line *l)
{
    double most = most_behind(trials);

    if (l->values.count == 0)
        series_add(&l->values, most);
    else if (most > l->values.values[0])
        l->values.values[0] = most;
}

static void run_once(struct table *t, unsigned who, size_t memory)
{
    struct line *first = line_of(t, who, memory, MEDIAN);
    double unused;
    int r;

    if (isatty(STDERR_FILENO))
        fprintf(stderr, "\r\033[K%s, %s", whose[who], memories[memory].name);
    r = sample_in_child(first->row, 60 * INT64_C(1000000000), &unused, first->failure,
                        sizeof(first->failure));
    for (enum told told = 0; told < TOLD; told++)
        line_of(t, who, memory, told)->absent = r == -EOPNOTSUPP;
    if (r < 0 || trials->count == 0)
        return;
    behind_add(line_of(t, who, memory, BEHIND)); /* before they are sorted */
    values_add(t, who, memory, trials->survivor);
    values_add(t, KERNEL, memory, trials->kernel);
}

static bool is_chosen(unsigned who, size_t memory)
{
    char name[48];

    snprintf(name, sizeof(name), "%s, %s", whose[who], memories[memory].name);
    return !options.only || strstr(name, options.only);
}

static void run_all(struct table *t)
{
    for (unsigned run = 0; run < options.runs; run++)
        for (unsigned who = 0; who < VICTIMS; who++)
            for (size_t m = 0; m < MEMORIES; m++)
                if (is_chosen(who, m))
                    run_once(t, who, m);
    if (isatty(STDERR_FILENO))
        fputs("\r\033[K", stderr);
}

/* The kernel's rows beside those that were chosen. */
static void lines_want(struct table *t)
{
    for (unsigned who = 0; who < VICTIMS; who++)
        for (size_t m = 0; m < MEMORIES; m++)
            for (enum told told = 0; is_chosen(who, m) && told < TOLD; told++) {
                line_of(t, who, m, told)->wanted = true;
                if (told < BEHIND)
                    line_of(t, KERNEL, m, told)->wanted = true;
            }
}

/* ---- All ------------------------------------------------------------------------------------- */

static int report(const struct table *t, const struct machine *m)
{
    struct tally tally = table_tally(t);
    char about[512];
    int r;

    table_print(t, stdout);
    printf("\n%u expectations met, %u not met, %u unknown; %u rows failed\n", tally.met,
           tally.unmet, tally.unknown, tally.failed);
    if (!options.json)
        return tally.failed > 0;
    machine_json(m, about, sizeof(about));
    r = table_write_json(t, about, options.json);
    if (r < 0)
        fprintf(stderr, "recovery: %s: %s\n", options.json, strerror(-r));
    return r < 0 || tally.failed > 0;
}

static bool options_read(int argc, char **argv)
{
    static const struct option names[] = {
        {"only", required_argument, NULL, 'o'},
        {"runs", required_argument, NULL, 'r'},
        {"json", required_argument, NULL, 'j'},
        {NULL, 0, NULL, 0},
    };

    for (int c; (c = getopt_long(argc, argv, "", names, NULL)) >= 0;)
        switch (c) {
        case 'o':
            options.only = optarg;
            break;
        case 'r':
            options.runs = (unsigned)atoi(optarg);
            break;
        case 'j':
            options.json = optarg;
            break;
        default:
            return false;
        }
    return optind == argc && options.runs > 0 && options.runs <= SERIES_MAX / VICTIMS;
}

int main(int argc, char **argv)
{
    struct row_set sets[VICTIMS + 1];
    const struct row_set *pointers[VICTIMS + 1];
    struct machine machine;
    struct table *table;
    int r;

    if (!options_read(argc, argv)) {
        fputs("usage: recovery [--only SUBSTRING] [--runs N] [--json FILE]\n", stderr);
        return 2;
    }
    for (unsigned who = 0; who <= KERNEL; who++) {
        rows_make(&sets[who], who);
        pointers[who] = &sets[who];
    }
    table = table_new(pointers, VICTIMS + 1);
    if (!table)
        return 2;
    cpu_pair_find();
    trials = shared_new(sizeof(*trials));
    machine_look(&machine);
    machine_print(&machine, stdout);
    fflush(stdout); /* before any fork: a child must not print it again */
    lines_want(table);
    run_all(table);
    r = report(table, &machine);
    table_free(table);
    return r;
}
