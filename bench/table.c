#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "table.h"

struct line *table_find(struct table *t, const char *name)
{
    for (size_t i = 0; i < t->count; i++)
        if (strcmp(t->lines[i].row->name, name) == 0)
            return &t->lines[i];
    return NULL;
}

/* A misspelt claim would otherwise be a claim that nobody ever checks. */
static bool claim_is_sound(struct table *t, const struct row *row, const struct claim *c)
{
    struct line *other = c->against ? table_find(t, c->against) : NULL;

    if (!c->against || (other && strcmp(other->row->unit, row->unit) == 0))
        return true;
    fprintf(stderr, "bench: \"%s\" is compared with \"%s\": no such row in %s\n",
            row->name, c->against, row->unit);
    return false;
}

static bool table_is_sound(struct table *t)
{
    for (size_t i = 0; i < t->count; i++) {
        const struct row *row = t->lines[i].row;

        if (table_find(t, row->name) != &t->lines[i]) {
            fprintf(stderr, "bench: two rows are called \"%s\"\n", row->name);
            return false;
        }
        for (unsigned c = 0; c < ROW_CLAIMS; c++)
            if (!claim_is_sound(t, row, &row->claims[c]))
                return false;
    }
    return true;
}

struct table *table_new(const struct row_set *const *sets, size_t count)
{
    struct table *t = calloc(1, sizeof(*t));
    size_t lines = 0;

    for (size_t s = 0; s < count; s++)
        lines += sets[s]->count;
    if (!t || !(t->lines = calloc(lines, sizeof(*t->lines))))
        return table_free(t);
    for (size_t s = 0; s < count; s++)
        for (size_t r = 0; r < sets[s]->count; r++) {
            t->lines[t->count].row = &sets[s]->rows[r];
            t->lines[t->count++].title = sets[s]->title;
        }
    return table_is_sound(t) ? t : table_free(t);
}

struct table *table_free(struct table *t)
{
    if (t)
        free(t->lines);
    free(t);
    return NULL;
}

/* What a claim is judged by: the paired ratios, or the row's own value. */
static const struct series *line_judged(const struct line *l, unsigned claim)
{
    return l->row->claims[claim].against ? &l->ratios[claim] : &l->values;
}

bool line_is_met(const struct line *l, unsigned claim)
{
    const struct claim *c = &l->row->claims[claim];
    double got = series_median(line_judged(l, claim));

    return c->at_most ? got <= c->expected : got >= c->expected; /* NAN is neither */
}

struct tally table_tally(const struct table *t)
{
    struct tally tally = {0};

    for (size_t i = 0; i < t->count; i++) {
        const struct line *l = &t->lines[i];

        tally.failed += l->wanted && !l->absent && l->values.count == 0;
        for (unsigned c = 0; c < ROW_CLAIMS && l->wanted; c++) {
            if (l->row->claims[c].expected == 0)
                continue;
            if (line_judged(l, c)->count == 0)
                tally.unknown++;
            else if (line_is_met(l, c))
                tally.met++;
            else
                tally.unmet++;
        }
    }
    return tally;
}

/* Three digits that count, never an exponent. */
static const char *number(char text[24], double value)
{
    if (isnan(value))
        return "-";
    snprintf(text, 24, "%.*f",
             value >= 100  ? 0
             : value >= 10 ? 1
             : value >= 1  ? 2
                           : 3,
             value);
    return text;
}

static void print_claim(const struct line *l, unsigned claim, FILE *out)
{
    const struct claim *c = &l->row->claims[claim];
    const struct series *judged = line_judged(l, claim);
    bool known = judged->count > 0;
    char ratio[24], expected[24];

    fprintf(out, "  %8s  %s %-6s %-7s %s\n",
            c->against ? number(ratio, series_median(judged)) : "",
            c->at_most ? "<=" : ">=", number(expected, c->expected),
            !known                  ? "unknown"
            : line_is_met(l, claim) ? "met"
                                    : "NOT MET",
            c->against ? c->against : "");
}

static void print_line(const struct line *l, FILE *out)
{
    char median[24], min[24], max[24], span[56];

    if (l->values.count == 0) {
        fprintf(out, "  %-43s %-6s %9s  %s\n", l->row->name, l->row->unit,
                l->absent ? "absent" : "failed", l->failure);
        return;
    }
    snprintf(span, sizeof(span), "%s - %s", number(min, series_min(&l->values)),
             number(max, series_max(&l->values)));
    fprintf(out, "  %-43s %-6s %9s  %-17s", l->row->name, l->row->unit,
            number(median, series_median(&l->values)), span);
    if (l->row->claims[0].expected == 0)
        fputc('\n', out);
    for (unsigned c = 0; c < ROW_CLAIMS && l->row->claims[c].expected != 0; c++) {
        if (c > 0)
            fprintf(out, "  %-43s %-6s %9s  %-17s", "", "", "", "");
        print_claim(l, c, out);
    }
    if (l->failure[0]) /* some runs failed, not all: the median is of the others */
        fprintf(out, "  %-43s %s\n", "", l->failure);
}

void table_print(const struct table *t, FILE *out)
{
    const char *title = "";

    fprintf(out, "%-45s %-6s %9s  %-17s  %8s  %s\n", "", "unit", "median", "min - max",
            "ratio", "expected          against");
    for (size_t i = 0; i < t->count; i++) {
        const struct line *l = &t->lines[i];

        if (!l->wanted)
            continue;
        if (strcmp(title, l->title) != 0)
            fprintf(out, "%s\n", l->title);
        title = l->title;
        print_line(l, out);
    }
}
