/* What lies behind piu_process.child. */
#ifndef PIU_TASK_PROCESS_H
#define PIU_TASK_PROCESS_H

#include "task/child.h"
#include "task/zygote.h"

/*
 *    NULL --start--> running --its end--> ended --close--> NULL
 *
 * Private memory, but in the arena where *process lies there: then any member may come along
 * with this pointer, and must find that the child is not its own.
 */
struct piu_child {
    struct child child;
    uint64_t starter; /* member id: the only one that may use what follows */
    struct piu_child *next;
    enum piu_start how;
    bool daemon;
    int sentinel;           /* where there is no pidfd; -1 */
    const char *users_name; /* p->name before a zygote's child got a copy of it */
    struct order order;     /* PIU_ZYGOTE */
};

/* The caller's own: 0, -EINVAL, -ESRCH, -ECHILD. */
int process_child(struct piu_process *p, struct piu_child **ret);
int process_join(struct piu_child *c, int64_t timeout);

/* In a new child, which is a member already: one of the two is set. */
_Noreturn void process_run(struct piu_process *p, int (*run)(struct piu_process *self),
                           int (*target)(void *argument));

#endif
