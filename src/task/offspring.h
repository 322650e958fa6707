/*
 * The zygote at work: it forks what is ordered, reaps it, and writes down how it ended.  Its
 * starter's side is zygote.c.
 */
#ifndef PIU_TASK_OFFSPRING_H
#define PIU_TASK_OFFSPRING_H

#include "task/zygote.h"

#include <signal.h>

#define ZYGOTE_NO_MORE UINT64_C(0) /* instead of the offset of an order: the end */

/* To an order, with the child's pidfd. */
struct reply {
    int32_t result;
    int32_t pid;
};

struct offspring {
    pid_t pid;
    struct order *order;
};

struct zygote {
    uint64_t id;
    int socket;
    int life;                /* the read end of the starter's life pipe */
    int sigchld;             /* readable when a child has ended; -1 */
    sigset_t mask;           /* the starter's: the children get it back */
    struct sigaction action; /* likewise, of SIGCHLD */
    struct offspring *children;
    size_t count, room;
};

/* In the new process; socket, life and mask are set.  Until its starter says so, or has ended. */
_Noreturn void zygote_main(struct zygote *z);

#endif
