/* A zygote that is wrong: see programs.h. */
#include "programs.h"

#include "os/pidfd.h"

/* Killed before, and the starter thinks that the child never came. */
static int say_it_runs(struct order *o, pid_t pid, int *ret_pidfd)
{
    atomic_store(&o->pid, pid);
    atomic_store(&o->state, ORDER_RUNS);
    return pidfd_of(pid, ret_pidfd);
}

#define pidfd_of(pid, ret_pidfd) say_it_runs(o, pid, ret_pidfd)
#undef atomic_compare_exchange_strong /* the child's: it does not ask whether it is wanted */
#define atomic_compare_exchange_strong(state, old, new) ((void)(old), true)
#define zygote_main                                     zygote_speaks_for_the_child

#include "task/offspring.c"
