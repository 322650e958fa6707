/* One victim, at each instruction of its way. */
#include "job.h"

/* Of all the places that there are. */
static size_t many_of(size_t all)
{
    size_t most = job.c->most, budget = job.plan->budget;
    size_t many = most && most < all ? most : all;

    job.count->size = many;
    return budget && budget < many ? budget : many;
}

/* ---- The harness's own child ---------------------------------------------------------- */

static void record(void)
{
    kill_now = (struct kill_now){0};
    here.n = SIZE_MAX;
    if (!job.c->fresh)
        run_one(BREAKPOINT, SIZE_MAX); /* symbols, caches, the heap's first pieces */
    run_one(RECORD, SIZE_MAX);
}

/* By --way and --by. */
static bool is_among(int wanted, unsigned value)
{
    return wanted < 0 || (unsigned)wanted == value;
}

/* At one instruction: each way, and now and then the other deaths. */
static void all_at(size_t n, size_t i)
{
    const struct kill_plan *plan = job.plan;
    unsigned ways = job.c->ways ? job.c->ways : 1;

    for (unsigned how = 0; how < DEATHS; how++)
        for (unsigned way = 0; way < ways; way++) {
            bool due = how == DEATH_KILL ? !plan->budget || way == i % ways
                                         : i % 16 == 5 * how && way == i / 16 % ways;

            if (plan->at != SIZE_MAX)
                due = is_among(plan->way, way) && is_among(plan->how, how);
            if (!due)
                continue;
            kill_now = (struct kill_now){.way = way, .how = (enum death)how};
            run_one(BREAKPOINT, n);
        }
}

void all_alone(void)
{
    const size_t *last = job.trace.count;
    size_t many;

    record();
    many = many_of(*last + 1);
    if (job.plan->at != SIZE_MAX) {
        all_at(job.plan->at < *last ? job.plan->at : *last, 0);
        return;
    }
    for (size_t i; share_next(many, &i);) {
        job.count->points++;
        all_at(spread(i, *last), i / job.plan->shares);
        if (job.count->violations && job.c->twin)
            return;
    }
}

/* ---- One that piu starts ---------------------------------------------------------------- */

/* What a child becomes by exec before it is a member is no concern of piu's. */
static enum death inside_death(size_t i)
{
    if (i % 16 == 5)
        return DEATH_EXIT;
    return i % 16 == 10 && job.c->inside != ROLE_CHILD ? DEATH_EXEC : DEATH_KILL;
}

/* How far it comes is not the same each time: it waits, and others are about. */
void all_inside(void)
{
    uint32_t *places = test_shared(TRACE_MAX * sizeof(*places));
    size_t all, many;

    run_inside(SIZE_MAX);
    all = victim_inside_places(&job.trace, places);
    CHECK(all > 20);
    if (job.plan->at != SIZE_MAX) {
        kill_now.how = job.plan->how >= 0 ? (enum death)job.plan->how : DEATH_KILL;
        run_inside(job.plan->at);
        return;
    }
    many = many_of(all);
    for (size_t i; share_next(many, &i);) {
        kill_now.how = inside_death(i / job.plan->shares);
        run_inside(places[spread(i, all - 1)]);
    }
}
