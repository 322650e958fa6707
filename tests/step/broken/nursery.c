/* Nurseries that are wrong, each in one way: see programs.h. */
#include "programs.h"

#include <stdlib.h>
#include <sys/prctl.h>

static enum { FORGETS_THE_UNBORN, IS_OUTLIVED, FORGETS_CANCELS } mistake;

static int join_who_was_born(const struct pool_shared *p, unsigned place, struct child *c,
                             int64_t timeout)
{
    bool forgotten =
        mistake == FORGETS_THE_UNBORN && !atomic_load(&p->workers[place].pid);

    return forgotten ? -ETIMEDOUT : child_join(c, timeout);
}

static uint32_t cancels_at_birth(const struct pool_shared *p)
{
    return mistake == FORGETS_CANCELS ? atomic_load(&p->cancels) : 0;
}

static _Noreturn void broken_main(struct pool_shared *p);

#define nursery_main           broken_main
#define child_join(c, timeout) join_who_was_born(n->pool, i, c, timeout)
#define calloc(count, size)    (n.cancels = cancels_at_birth(p), calloc(count, size))
/* two things bind them */
#define child_fork(c, name, bound) child_fork(c, name, (bound) && mistake != IS_OUTLIVED)
#define prctl(...)                 (mistake == IS_OUTLIVED ? 0 : prctl(__VA_ARGS__))

#include "task/nursery.c"

void nursery_forgets_the_unborn(struct pool_shared *p)
{
    mistake = FORGETS_THE_UNBORN;
    broken_main(p);
}

void nursery_is_outlived(struct pool_shared *p)
{
    mistake = IS_OUTLIVED;
    broken_main(p);
}

void nursery_forgets_cancels(struct pool_shared *p)
{
    mistake = FORGETS_CANCELS;
    broken_main(p);
}
