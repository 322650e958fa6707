#include "lock_rows.h"

static int lock_sample_by_two(struct guarded *g, const struct lock_kind *kind,
                              double *ret)
{
    struct duel duel = {{kind->by_two, kind->by_two}, .arg = g};
    int r = duel_run(&duel, ret);

    if (r < 0)
        return r;
    *ret = 2e3 / *ret; /* both sides made a pair in that time */
    return g->count == g->made ? 0 : -EBADMSG;
}

int lock_sample(const struct row *row, const struct lock_kind *kind, double *ret)
{
    struct guarded *g = shared_new(sizeof(*g));

    g->lock = kind->lock_new();
    if (!g->lock)
        return -ENOMEM;
    if (row->variant == LOCK_ALONE)
        return solo_run(kind->alone, g, ret);
    return lock_sample_by_two(g, kind, ret);
}
