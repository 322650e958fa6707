#include <errno.h>
#include <math.h>
#include <string.h>

#include "table.h"

static void json_string(FILE *out, const char *text)
{
    fputc('"', out);
    for (; *text; text++)
        if (*text == '"' || *text == '\\')
            fprintf(out, "\\%c", *text);
        else if ((unsigned char)*text < ' ')
            fprintf(out, "\\u%04x", (unsigned char)*text);
        else
            fputc(*text, out);
    fputc('"', out);
}

static void json_number(FILE *out, const char *key, double value)
{
    if (isnan(value))
        fprintf(out, ", \"%s\": null", key);
    else
        fprintf(out, ", \"%s\": %.6g", key, value);
}

static void json_series(FILE *out, const char *key, const struct series *s)
{
    fprintf(out, ", \"%s\": [", key);
    for (unsigned i = 0; i < s->count; i++)
        fprintf(out, "%s%.6g", i ? ", " : "", s->values[i]);
    fputc(']', out);
}

static void json_claim(FILE *out, const struct line *l, unsigned claim)
{
    const struct claim *c = &l->row->claims[claim];
    const struct series *judged = c->against ? &l->ratios[claim] : &l->values;

    fprintf(out, "%s{\"against\": ", claim ? ", " : "");
    if (c->against)
        json_string(out, c->against);
    else
        fputs("null", out);
    json_number(out, "ratio", c->against ? series_median(judged) : NAN);
    json_number(out, c->at_most ? "at_most" : "at_least", c->expected);
    fprintf(out, ", \"met\": %s}",
            judged->count == 0      ? "null"
            : line_is_met(l, claim) ? "true"
                                    : "false");
}

static void json_line(FILE *out, const struct line *l)
{
    fputs("{\"part\": ", out);
    json_string(out, l->title);
    fputs(", \"row\": ", out);
    json_string(out, l->row->name);
    fputs(", \"unit\": ", out);
    json_string(out, l->row->unit);
    json_number(out, "median", series_median(&l->values));
    json_number(out, "min", series_min(&l->values));
    json_number(out, "max", series_max(&l->values));
    json_series(out, "runs", &l->values);
    fputs(", \"claims\": [", out);
    for (unsigned c = 0; c < ROW_CLAIMS && l->row->claims[c].expected != 0; c++)
        json_claim(out, l, c);
    fputs("], \"absent\": ", out);
    fputs(l->absent ? "true" : "false", out);
    fputs(", \"failure\": ", out);
    json_string(out, l->failure);
    fputc('}', out);
}

int table_write_json(const struct table *t, const char *machine_json, const char *path)
{
    FILE *out = fopen(path, "we");
    bool first = true;

    if (!out)
        return -errno;
    fprintf(out, "{\"machine\": %s,\n\"rows\": [\n", machine_json);
    for (size_t i = 0; i < t->count; i++) {
        if (!t->lines[i].wanted)
            continue;
        fputs(first ? "" : ",\n", out);
        json_line(out, &t->lines[i]);
        first = false;
    }
    fputs("\n]}\n", out);
    return fclose(out) == 0 ? 0 : -errno;
}
