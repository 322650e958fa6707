/*
 * The zygote: a process that stays as small as its starter was when it began, and forks
 * children for it.  It is their parent, so it reaps them and writes down how they ended.
 *
 *    starter                     zygote                     child
 *       | -- offset of the order -> |                          |
 *       |                           | -- fork ---------------> |
 *       | <----- pid and pidfd ---- |               ORDERED -> RUNS
 *       |                           | <- ends, is reaped ----- |
 *       | <---------- ENDED ------- |
 *
 *    ORDERED --child--> RUNS --zygote--> ENDED
 *       |`------zygote, it ended before------^
 *       `--starter, the zygote died--> CANCELLED: the child, if it comes at all, goes at once
 *
 * The zygote ends with its starter; so does a daemon child, whose life pipe is the starter's
 * too.  The zygote killed: children run on, how they end is known as far as they and the
 * kernel tell, and a start says -ECHILD until piu_init() makes another.
 */
#ifndef PIU_TASK_ZYGOTE_H
#define PIU_TASK_ZYGOTE_H

#include "os/module.h"
#include "task/child.h"

enum order_state { ORDER_NONE, ORDERED, ORDER_RUNS, ORDER_ENDED, ORDER_CANCELLED };

struct order { /* in the arena, for starter, zygote and child */
    _Atomic uint32_t state;
    int32_t exitcode; /* with ENDED */
    struct rusage usage;
    uint64_t id;     /* of the member to be */
    uint64_t zygote; /* member id */
    uint64_t process;
    _Atomic int32_t pid; /* with RUNS */
    bool daemon;
    bool has_target; /* code is p->target, not p->run */
    struct code_address code;
    char name[NAME_SIZE];
};

int zygote_begin(void); /* -EBUSY: there is one */
/*
 * Start what is ordered: process, daemon, has_target, code and name are set.
 *     -ENOTSUP   this process has no zygote      -ECHILD   it has been killed
 *     -ENOEXEC   it cannot find the code
 */
int zygote_start(struct order *order, struct child *ret);
int zygote_join(struct order *order, struct child *c, int64_t timeout);
void zygote_end(void); /* at exit */

#endif
