#include "budget.h"

#include "cases.h"
#include "options.h"
#include "shares.h"

#include "os/clock.h"

#include <sys/mman.h>

/* 0: no limit */
static const size_t budgets[MODES] = {[QUICK] = 11000, [PAIRS] = 1100000};

#define QUICK_PAIRS 10 /* of a case */

/* For the cases that are still to come. */
static struct {
    size_t kills; /* 0: no limit */
    double weight;
    int64_t until; /* clock_now() */
} left;

static size_t grid_size(const struct kill_case *c)
{
    struct kill_count *count = test_shared(sizeof(*count));
    unsigned shares = plan.shares;
    size_t size;

    plan.shares = 1;
    plan.only_size = true;
    shares_run(c, count);
    plan.only_size = false;
    plan.shares = shares;
    size = count->size;
    munmap(count, sizeof(*count));
    return size;
}

/* Half of the budget goes to all cases alike, half of it by the size of their grids. */
static void weigh_by_grids(void)
{
    double half = (double)left.kills / 2, cases = 0, all = 0;

    for (struct kill_case *c = NULL; (c = case_next(c)) && !*plan.stop; cases++)
        all += c->weight = (double)grid_size(c);
    for (struct kill_case *c = NULL; (c = case_next(c));) {
        double size = c->weight, alike = half / cases;

        c->weight = (size < alike ? size : alike) + half * size / (all > 0 ? all : 1);
        left.weight += c->weight;
    }
}

/* A new family each time, processes to be started, or steps that a tracer is woken at. */
static bool is_slow(const struct kill_case *c)
{
    return c->fresh || c->inside || c->forks;
}

static void weigh_alike(void)
{
    for (struct kill_case *c = NULL; (c = case_next(c));) {
        c->weight = case_is_extra(c) ? 0 : left.kills && is_slow(c) ? 0.125 : 1;
        left.weight += c->weight;
    }
}

void budget_begin(void)
{
    left.kills = options.budget ? options.budget : budgets[options.mode];
    left.until =
        options.seconds ? clock_now() + (int64_t)options.seconds * SEC : CLOCK_FOREVER;
    plan.until = CLOCK_FOREVER;
    if (options.mode == PAIRS && !one_is_wanted())
        weigh_by_grids();
    else
        weigh_alike();
}

void budget_give(const struct kill_case *c)
{
    int64_t now = clock_now();
    double part = left.weight > 0 ? c->weight / left.weight : 0;

    plan.budget = left.kills ? 1 + (size_t)(part * (double)left.kills) : 0;
    plan.until = left.until;
    if (case_is_extra(c)) {
        plan.budget = QUICK_PAIRS;
        plan.shares = 1; /* one row: its record costs more than the rest */
    } else if (left.until != CLOCK_FOREVER) {
        plan.until = now + (int64_t)(part * (double)(left.until - now));
    }
}

void budget_take_back(const struct kill_case *c, const struct kill_count *count)
{
    size_t done = kill_is_of_two(c) ? count->pairs : count->points;

    left.weight -= c->weight;
    if (left.kills && !case_is_extra(c))
        left.kills = done < left.kills ? left.kills - done : 1;
}
