/*
 * A map within one process: serial, and OpenMP's three ways to share out a loop.
 */
#include "map_rows.h"

enum map_way { MAP_SERIAL, MAP_STATIC, MAP_DYNAMIC_1, MAP_DYNAMIC_64 };

static int map_serial(void *arg, const int *in, int *out)
{
    (void)arg;
    for (int i = 0; i < MAP_ITEMS; i++)
        out[i] = map_work(in[i]);
    return 0;
}

#ifdef _OPENMP
static int map_static(void *arg, const int *in, int *out)
{
    (void)arg;
#pragma omp parallel for schedule(static)
    for (int i = 0; i < MAP_ITEMS; i++)
        out[i] = map_work(in[i]);
    return 0;
}

static int map_dynamic_1(void *arg, const int *in, int *out)
{
    (void)arg;
#pragma omp parallel for schedule(dynamic, 1)
    for (int i = 0; i < MAP_ITEMS; i++)
        out[i] = map_work(in[i]);
    return 0;
}

static int map_dynamic_64(void *arg, const int *in, int *out)
{
    (void)arg;
#pragma omp parallel for schedule(dynamic, 64)
    for (int i = 0; i < MAP_ITEMS; i++)
        out[i] = map_work(in[i]);
    return 0;
}
#else
static int map_none(void *arg, const int *in, int *out)
{
    (void)arg, (void)in, (void)out;
    return -EOPNOTSUPP;
}
#define map_static     map_none
#define map_dynamic_1  map_none
#define map_dynamic_64 map_none
#endif

static int map_sample(const struct row *row, double *ret)
{
    static int (*const maps[])(void *, const int *, int *) = {
        map_serial, map_static, map_dynamic_1, map_dynamic_64};
    size_t size = MAP_ITEMS * sizeof(int);

    return map_time(maps[row->variant], NULL, private_new(size), private_new(size), ret);
}

static const struct row rows[] = {
    {"serial", "ns", map_sample, .variant = MAP_SERIAL},
    {ROW_OMP_STATIC, "ns", map_sample, .variant = MAP_STATIC},
    {ROW_OMP_DYNAMIC, "ns", map_sample, .variant = MAP_DYNAMIC_1},
    {"OpenMP dynamic,64", "ns", map_sample, .variant = MAP_DYNAMIC_64},
};

const struct row_set peer_map_rows = ROW_SET("map peers: 10 M ints, a task", rows);
