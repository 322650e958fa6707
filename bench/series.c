#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "table.h"

static int double_compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

void series_add(struct series *s, double value)
{
    if (s->count < SERIES_MAX)
        s->values[s->count++] = value;
}

double series_median(const struct series *s)
{
    double sorted[SERIES_MAX];
    unsigned half = s->count / 2;

    if (s->count == 0)
        return NAN;
    memcpy(sorted, s->values, s->count * sizeof(double));
    qsort(sorted, s->count, sizeof(double), double_compare);
    return s->count % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
}

double series_min(const struct series *s)
{
    double min = NAN;

    for (unsigned i = 0; i < s->count; i++)
        min = fmin(min, s->values[i]); /* fmin skips the NAN */
    return min;
}

double series_max(const struct series *s)
{
    double max = NAN;

    for (unsigned i = 0; i < s->count; i++)
        max = fmax(max, s->values[i]);
    return max;
}
