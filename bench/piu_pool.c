/*
 * piu's pool: maps over arrays in shared memory, and single calls.
 */
#include <piu.h>
#include <sched.h>
#include <unistd.h>

#include "map_rows.h"

static int map_run(struct piu_task *task, size_t first, size_t last)
{
    const int *in = task->in;
    int *out = task->out;

    for (size_t i = first; i < last; i++)
        out[i] = map_work(in[i]);
    return 0;
}

struct map_how {
    struct piu_pool *pool;
    size_t chunk;
};

static int map_with_piu(void *arg, const int *in, int *out)
{
    struct map_how *how = arg;
    struct piu_task task = {.run = map_run,
                            .count = MAP_ITEMS,
                            .chunk = how->chunk,
                            .in = in,
                            .in_size = sizeof(*in),
                            .out = out,
                            .out_size = sizeof(*out)};
    int r = piu_pool_map(how->pool, &task, NULL);

    return r > 0 ? -EPROTO : r;
}

static int map_sample(const struct row *row, double *ret)
{
    int *in = piu_shared_new(MAP_ITEMS, sizeof(*in));
    int *out = piu_shared_new(MAP_ITEMS, sizeof(*out));
    struct map_how how = {.pool = piu_pool_new(.processes = 0), .chunk = row->size};

    if (!in || !out || !how.pool)
        return -errno;
    return map_time(map_with_piu, &how, in, out, ret);
}

static int nothing(void *argument)
{
    (void)argument;
    return 0;
}

/* One worker, on the other core of the pair. */
static struct piu_pool *pool_of_one(void)
{
    struct piu_pool *pool = piu_pool_new(.processes = 1);
    size_t count = 0;
    pid_t worker;

    /* the first call is done when the worker lives */
    if (!pool || piu_pool_apply(pool, nothing, NULL, 0) != 0 ||
        piu_pool_workers(pool, &worker, 1, &count) < 0 || count != 1)
        return NULL;
    cpu_pin_other(worker, 1);
    cpu_pin(0);
    return pool;
}

static void apply_body(void *pool, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++)
        piu_pool_apply(pool, nothing, NULL, 0);
}

static int apply_sample(const struct row *row, double *ret)
{
    struct piu_pool *pool;

    (void)row;
    if (cpu_is_single())
        return -EOPNOTSUPP;
    pool = pool_of_one();
    return pool ? solo_run(apply_body, pool, ret) : -ECHILD;
}

static int apply_asleep_sample(const struct row *row, double *ret)
{
    struct trips *trips = shared_new(sizeof(*trips));
    struct piu_pool *pool;

    (void)row;
    if (cpu_is_single())
        return -EOPNOTSUPP;
    pool = pool_of_one();
    if (!pool)
        return -ECHILD;
    for (int i = 0; i < TRIPS; i++) {
        int64_t start;

        clock_spin(TRIP_PAUSE);
        start = clock_now();
        if (piu_pool_apply(pool, nothing, NULL, 0) != 0)
            return -EPROTO;
        trips_add(trips, clock_now() - start);
    }
    *ret = trips_quantile(trips, 0.5) / 1e3;
    return 0;
}

static const struct row rows[] = {
    {"map: piu's chunks", "ns", map_sample, 0, 0, {AT_MOST(1.15, ROW_OMP_STATIC)}},
    {"map: chunks of 1", "ns", map_sample, 1, 0, {AT_MOST(0.4, ROW_OMP_DYNAMIC)}},
    {"apply: worker hot", "ns", apply_sample, 0, 0, {AT_MOST(4, ROW_PP)}},
    {"apply: worker asleep",
     "us",
     apply_asleep_sample,
     0,
     0,
     {AT_MOST(1.2, ROW_FUTEX_ASLEEP)}},
};

const struct row_set piu_pool_rows = ROW_SET("piu: pool", rows);
