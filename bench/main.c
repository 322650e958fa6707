/*
 * piu's bench: one table of piu, its peers and the machine's limits, all of the same run.
 */
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "machine.h"
#include "measure.h"
#include "table.h"

static const struct row_set *const row_sets[] = {
    &limit_rows,          &limit_process_rows, &peer_stream_rows, &peer_ring_rows,
    &peer_lock_rows,      &peer_map_rows,      &piu_queue_rows,   &piu_lock_rows,
    &piu_succession_rows, &piu_pool_rows,      &piu_process_rows, &piu_memory_rows,
};

struct options {
    const char *only;
    const char *json;
    unsigned runs;
    int64_t limit; /* ns a sample may take */
    bool list;
};

static const char usage[] =
    "usage: bench [--only SUBSTRING] [--runs N] [--limit SECONDS] [--json FILE]\n"
    "       bench --list\n"
    "Rows whose part or name contains SUBSTRING, and the rows they are compared with.\n";

/* One sample of one row; NAN when there is none. */
static double line_sample(struct line *l, const struct options *o)
{
    double value = NAN;
    int r;

    if (l->absent)
        return NAN;
    if (isatty(STDERR_FILENO))
        fprintf(stderr, "\r\033[K%s", l->row->name);
    r = sample_in_child(l->row, o->limit, &value, l->failure, sizeof(l->failure));
    if (r == -EOPNOTSUPP || r == -ENOSYS)
        l->absent = true;
    if (r < 0)
        return NAN;
    series_add(&l->values, value);
    return value;
}

/*
 * The row, and straight after it the rows it is compared with: a virtual machine may be
 * twice as slow a minute later, the ratio of neighbours stays.
 */
static void line_run(struct table *t, struct line *l, const struct options *o)
{
    unsigned failures = 0;

    for (unsigned run = 0; run < o->runs && failures < 2 && !l->absent; run++) {
        double value = line_sample(l, o);

        if (isnan(value))
            failures++;
        for (unsigned c = 0; c < ROW_CLAIMS && l->row->claims[c].against && !isnan(value);
             c++) {
            double other = line_sample(table_find(t, l->row->claims[c].against), o);

            if (!isnan(other))
                series_add(&l->ratios[c], value / other);
        }
    }
}

static bool is_chosen(const struct line *l, const char *only)
{
    return !only || strstr(l->row->name, only) || strstr(l->title, only);
}

/* Rows with claims first: what they are compared with then has its samples already. */
static void table_run(struct table *t, const struct options *o)
{
    for (size_t i = 0; i < t->count; i++)
        t->lines[i].wanted = is_chosen(&t->lines[i], o->only);
    for (size_t i = 0; i < t->count; i++)
        for (unsigned c = 0; c < ROW_CLAIMS && t->lines[i].wanted; c++)
            if (t->lines[i].row->claims[c].against)
                table_find(t, t->lines[i].row->claims[c].against)->wanted = true;
    for (size_t i = 0; i < t->count; i++)
        if (t->lines[i].wanted && t->lines[i].row->claims[0].against)
            line_run(t, &t->lines[i], o);
    for (size_t i = 0; i < t->count; i++)
        if (t->lines[i].wanted && t->lines[i].values.count == 0)
            line_run(t, &t->lines[i], o);
    if (isatty(STDERR_FILENO))
        fputs("\r\033[K", stderr);
}

static double pp_sample(struct table *t, const struct options *o)
{
    struct line probe = {.row = table_find(t, ROW_PP)->row};

    return line_sample(&probe, o);
}

static void table_list(const struct table *t)
{
    for (size_t i = 0; i < t->count; i++)
        printf("%-24s %s\n", t->lines[i].title, t->lines[i].row->name);
}

static int report(const struct table *t, const struct machine *m, const char *json)
{
    struct tally tally = table_tally(t);
    char about[512];
    int r;

    machine_print_pp(m, stdout);
    table_print(t, stdout);
    printf("\n%u expectations met, %u not met, %u unknown; %u rows failed\n", tally.met,
           tally.unmet, tally.unknown, tally.failed);
    if (json) {
        machine_json(m, about, sizeof(about));
        r = table_write_json(t, about, json);
        if (r < 0) {
            fprintf(stderr, "bench: %s: %s\n", json, strerror(-r));
            return 1;
        }
    }
    return tally.failed > 0;
}

static bool options_read(int argc, char **argv, struct options *o)
{
    static const struct option names[] = {
        {"only", required_argument, NULL, 'o'}, {"runs", required_argument, NULL, 'r'},
        {"json", required_argument, NULL, 'j'}, {"limit", required_argument, NULL, 'l'},
        {"list", no_argument, NULL, 'L'},       {NULL, 0, NULL, 0},
    };

    for (int c; (c = getopt_long(argc, argv, "", names, NULL)) >= 0;)
        switch (c) {
        case 'o':
            o->only = optarg;
            break;
        case 'r':
            o->runs = (unsigned)atoi(optarg);
            break;
        case 'j':
            o->json = optarg;
            break;
        case 'l':
            o->limit = (int64_t)(atof(optarg) * 1e9);
            break;
        case 'L':
            o->list = true;
            break;
        default:
            return false;
        }
    return optind == argc && o->runs > 0 && o->limit > 0;
}

int main(int argc, char **argv)
{
    struct options o = {.runs = 5, .limit = 20 * INT64_C(1000000000)};
    struct machine machine;
    struct table *table;
    int r = 0;

    if (!options_read(argc, argv, &o)) {
        fputs(usage, stderr);
        return 2;
    }
    table = table_new(row_sets, sizeof(row_sets) / sizeof(row_sets[0]));
    if (!table)
        return 2;
    cpu_pair_find();
    if (o.list) {
        table_list(table);
    } else {
        machine_look(&machine);
        machine_print(&machine, stdout);
        fflush(stdout); /* before any fork: a child must not print it again */
        machine.pp_first = pp_sample(table, &o);
        table_run(table, &o);
        machine.pp_last = pp_sample(table, &o);
        r = report(table, &machine, o.json);
    }
    table_free(table);
    return r;
}
