/*
 * The table: samples of every row, their statistics, and how they are told.
 */
#ifndef BENCH_TABLE_H
#define BENCH_TABLE_H

#include <stdio.h>

#include "row.h"

enum { SERIES_MAX = 256 };

struct series {
    double values[SERIES_MAX];
    unsigned count;
};

void series_add(struct series *s, double value); /* more than SERIES_MAX are left out */
double series_median(const struct series *s);    /* these three: NAN of an empty one */
double series_min(const struct series *s);
double series_max(const struct series *s);

struct line { /* a row and what was measured of it */
    const struct row *row;
    const char *title; /* of its set */
    struct series values;
    struct series ratios[ROW_CLAIMS]; /* value / value of the row claimed against */
    bool wanted;                      /* to be run, or needed by one that is */
    bool absent;                      /* not on this machine */
    char failure[96];
};

struct table {
    struct line *lines;
    size_t count;
};

/*
 * NULL: out of memory, or two rows of one name, or a claim against none (said on
 * stderr).
 */
struct table *table_new(const struct row_set *const *sets, size_t count);
struct table *table_free(struct table *t);

struct line *table_find(struct table *t, const char *name);
bool line_is_met(const struct line *l,
                 unsigned claim); /* false when it was not measured */
struct tally { /* claims of the wanted lines; unknown: one side was not measured */
    unsigned met, unmet, unknown;
    unsigned failed; /* rows */
};
struct tally table_tally(const struct table *t);

void table_print(const struct table *t, FILE *out);
int table_write_json(const struct table *t, const char *machine_json, const char *path);

#endif
