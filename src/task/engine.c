/* Which engine the pools of this process have, and how it begins. */
#include "task/engine.h"

#include "task/pool.h"

static const struct engine_kind *kind_in_use;

void pool_use_engine(const struct engine_kind *kind)
{
    kind_in_use = kind;
}

const struct engine_kind *pool_engine(void)
{
    return kind_in_use;
}

int engine_start(const struct engine_kind *kind, const struct pool_shared *p,
                 struct engine **ret)
{
    struct piu_pool_keywords keywords = {.struct_size = sizeof(keywords),
                                         .processes = p->places,
                                         .maxtasksperchild = p->maxtasksperchild,
                                         .initializer = p->initializer,
                                         .initarg = p->initarg,
                                         .name = p->name};

    return kind->start(&keywords, ret);
}
