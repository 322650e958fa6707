#include "roles.h"

#include "kill.h"

#include "task/pool.h"
#include "task/offspring.h"

static _Atomic int *wanted;
static struct instead instead;

void roles_new(const struct instead *programs)
{
    instead = *programs;
    wanted = test_shared(sizeof(*wanted));
}

void role_is_wanted(enum role role)
{
    atomic_store(wanted, (int)role);
}

/* Is it wanted?  Then it is not any more: who asks becomes it. */
static bool role_take(enum role role)
{
    int expected = (int)role;

    return wanted && atomic_compare_exchange_strong(wanted, &expected, ROLE_NONE);
}

static void become(enum role role)
{
    if (role_take(role))
        role_begins();
}

pid_t __real_fork(void);

pid_t role_fork(void)
{
    /* not by the child: another may be wanted by then */
    bool chosen = role_take(ROLE_CHILD);
    pid_t pid = __real_fork();

    if (pid == 0 && chosen)
        role_begins();
    return pid;
}

_Noreturn void __real_nursery_main(struct pool_shared *p);
_Noreturn void __wrap_nursery_main(struct pool_shared *p);
_Noreturn void __wrap_nursery_main(struct pool_shared *p)
{
    become(ROLE_NURSERY);
    if (instead.nursery)
        instead.nursery(p);
    __real_nursery_main(p);
}

_Noreturn void __real_worker_main(struct pool_shared *p, unsigned place);
_Noreturn void __wrap_worker_main(struct pool_shared *p, unsigned place);
_Noreturn void __wrap_worker_main(struct pool_shared *p, unsigned place)
{
    become(ROLE_WORKER);
    if (instead.worker)
        instead.worker(p, place);
    __real_worker_main(p, place);
}

_Noreturn void __real_zygote_main(struct zygote *z);
_Noreturn void __wrap_zygote_main(struct zygote *z);
_Noreturn void __wrap_zygote_main(struct zygote *z)
{
    become(ROLE_ZYGOTE);
    if (instead.zygote)
        instead.zygote(z);
    __real_zygote_main(z);
}
