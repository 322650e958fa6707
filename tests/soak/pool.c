/*
 * Owners of pools: every item of a map is done and right, or named as lost; none is done twice.
 * Owners, workers and nurseries are killed; what a dead owner's pool had goes back (pool.md).
 */
#include "soak.h"

#include <sched.h>

#define ITEMS 48

struct squares {
    struct piu_task task;
    _Atomic unsigned *runs; /* plain shared: how often each item was begun */
};

static int square_run(struct piu_task *task, size_t first, size_t last)
{
    const struct squares *s = (const struct squares *)(const void *)task;
    const int *in = task->in;
    int *out = task->out;

    for (size_t i = first; i < last; i++) {
        piu_task_progress(task, i);
        atomic_fetch_add(&s->runs[i], 1);
        if (i % 16 == 0)
            sched_yield();
        out[i] = in[i] * in[i];
    }
    return 0;
}

static int add_one(void *argument)
{
    *(int *)argument += 1;
    return 0;
}

static bool is_lost(const struct piu_loss *losses, size_t count, size_t item)
{
    for (size_t i = 0; i < count; i++)
        if (losses[i].first <= item && item < losses[i].last)
            return true;
    return false;
}

static void map_check(const int out[ITEMS], const _Atomic unsigned *runs,
                      const struct piu_report *report)
{
    const struct piu_loss *losses = NULL;
    size_t count = report ? piu_report_losses(report, &losses) : 0;

    for (size_t i = 0; i < ITEMS; i++) {
        bool lost = is_lost(losses, count, i);

        if (out[i] != (lost ? -1 : (int)(i * i)))
            violation("item %zu is %d%s", i, out[i], lost ? ", and is lost" : "");
        if (runs[i] > 1 || (!lost && runs[i] == 0))
            violation("item %zu was done %u times", i, runs[i]);
    }
}

/* false: the pool is broken. */
static bool map_once(struct piu_pool *pool, _Atomic unsigned *runs)
{
    int in[ITEMS], out[ITEMS], r;
    struct piu_report *report = NULL;
    struct squares s = {.task = {.run = square_run,
                                 .struct_size = sizeof(s),
                                 .count = ITEMS,
                                 .chunk = 1 + random_below(&self->random, 8),
                                 .in = in,
                                 .in_size = sizeof(int),
                                 .out = out,
                                 .out_size = sizeof(int)},
                        .runs = runs};

    for (int i = 0; i < ITEMS; i++) {
        in[i] = i;
        out[i] = -1;
        runs[i] = 0;
    }
    r = ACT("map", piu_pool_map(pool, &s.task, &report));
    if (r == 0 || r == PIU_LOSSES)
        map_check(out, runs, report);
    else if (r != -ECHILD)
        violation("map: %s", piu_strerror(r));
    piu_report_free(report);
    return r >= 0;
}

static bool apply_once(struct piu_pool *pool)
{
    int number = (int)random_below(&self->random, 1000), before = number;
    int r = ACT("apply", piu_pool_apply(pool, add_one, &number, sizeof(number)));

    if ((r == 0 && number != before + 1) || (r == PIU_LOSSES && number != before))
        violation("apply made %d of %d: %s", number, before, piu_strerror(r));
    if (r < 0 && r != -ECHILD)
        violation("apply: %s", piu_strerror(r));
    return r >= 0;
}

/* For the checker, who kills them. */
static void workers_note(struct actor *a, struct piu_pool *pool)
{
    pid_t pids[POOL_WORKERS] = {0};
    size_t count = 0;

    piu_pool_workers(pool, pids, POOL_WORKERS, &count);
    for (size_t i = 0; i < POOL_WORKERS; i++)
        atomic_store(&a->workers[i], pids[i]);
}

static void owner_play(struct actor *a)
{
    /* its own: workers of one that is dead may run a moment longer */
    _Atomic unsigned *runs = plain_shared_new(ITEMS * sizeof(*runs));

    while (!atomic_load(&a->stop)) {
        struct piu_pool *pool = ACT("pool_new", piu_pool_new(.processes = POOL_WORKERS));
        bool works = pool != NULL;

        if (!pool)
            violation("pool_new: %s", strerror(errno));
        while (works && !atomic_load(&a->stop) && !now_and_then(256)) {
            works = now_and_then(2) ? map_once(pool, runs) : apply_once(pool);
            workers_note(a, pool);
        }
        if (!works)
            atomic_fetch_add(&ledger->broken_pools, 1);
        ACT("pool_free", piu_pool_free(pool));
    }
}

const struct subject pool_subject = {
    .name = "pool",
    .roles = {{.name = "owner", .count = 2, .play = owner_play}},
};
