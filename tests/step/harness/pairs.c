/* Two victims: the grid of their ways, row by row. */
#include "job.h"

/* A row costs a record, some tens of columns. */
struct grid {
    size_t rows, all_rows, columns; /* SIZE_MAX: all */
};

static struct grid grid_plan(size_t all_rows)
{
    const struct kill_plan *plan = job.plan;
    struct grid g = {all_rows, all_rows, SIZE_MAX};

    if (plan->budget) {
        g.rows = plan->budget / 150 > plan->shares ? plan->budget / 150 : plan->shares;
        g.rows = g.rows < all_rows ? g.rows : all_rows;
        g.columns = 1 + plan->budget / g.rows;
    }
    return g;
}

/* The i-th kill of a row. */
static void pair_at(size_t i, size_t n, size_t m)
{
    const struct kill_plan *plan = job.plan;
    unsigned ways = job.c->ways ? job.c->ways : 1;
    bool there;

    here.n = plan->at != SIZE_MAX ? plan->at : n;
    here.m = plan->with != SIZE_MAX ? plan->with : m;
    kill_now.way = plan->way >= 0 ? (unsigned)plan->way : (unsigned)(n + m) % ways;
    kill_now.how = plan->how >= 0 ? (enum death)plan->how
                   : i % 16 == 5  ? DEATH_EXIT
                                  : DEATH_KILL;
    there = job.c->then ? run_then(BREAKPOINT, here.n, here.m)
                        : run_grid(BREAKPOINT, here.n, here.m);
    *(there ? &job.count->pairs : &job.count->missed) += 1;
}

/* B stands there.  A's way may be another than alone, and end where it would sleep. */
static void row_of_grid(size_t m, const struct grid *g, size_t limit)
{
    size_t columns;
    bool ends;

    here.m = m;
    here.n = 0;
    ends = run_grid(RECORD, limit, m);
    columns = *job.trace.count + ends;
    for (size_t i = 0; i < columns && i < g->columns && !time_is_up(); i++) {
        pair_at(i, spread(i, columns - 1), m);
        if (job.plan->at != SIZE_MAX)
            return;
    }
}

static void row_of_then(size_t n, const struct grid *g)
{
    const size_t *last = job.other_trace.count;

    here.n = n;
    here.m = 0;
    run_then(RECORD, n, 0);
    for (size_t i = 0; i <= *last && i < g->columns && !time_is_up(); i++) {
        pair_at(i, n, spread(i, *last));
        if (job.plan->at != SIZE_MAX)
            return;
    }
}

void all_pairs(void)
{
    const struct kill_plan *plan = job.plan;
    const bool then = job.c->then != NULL;
    const size_t *a = job.trace.count, *b = job.other_trace.count;
    struct grid g;
    size_t limit;

    kill_now = (struct kill_now){0};
    if (!then || plan->only_size)
        record_b();
    record_a();
    limit = *a + 200;
    job.count->size = (*a + 1) * (*b + 1);
    if (plan->only_size)
        return;
    g = grid_plan((then ? *a : *b) + 1);
    for (size_t i; share_next(g.rows, &i);) {
        size_t row = spread(i, g.all_rows - 1);

        if (plan->at != SIZE_MAX)
            row = then ? plan->at : plan->with;
        kill_now = (struct kill_now){0};
        if (then)
            row_of_then(row, &g);
        else
            row_of_grid(row, &g, limit);
        if (plan->at != SIZE_MAX)
            return;
    }
}
