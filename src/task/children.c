#include "task/children.h"

#include "os/pidfd.h"
#include "task/turn.h"

#include <signal.h>

/* For a daemon child that handles SIGTERM. */
#define TERMINATE_TIME (1 * SEC)

static struct {
    struct turn turn;
    struct piu_child *first;
} children;

void children_add(struct piu_child *c)
{
    if (!turn_take(&children.turn, c->starter))
        children.first = NULL;
    c->next = children.first;
    children.first = c;
    turn_give(&children.turn);
}

void children_remove(const struct piu_child *c)
{
    if (!turn_take(&children.turn, c->starter))
        children.first = NULL;
    for (struct piu_child **at = &children.first; *at; at = &(*at)->next) {
        if (*at == c) {
            *at = c->next;
            break;
        }
    }
    turn_give(&children.turn);
}

static void join_for_sure(struct piu_child *c, int64_t timeout)
{
    int64_t deadline = deadline_after(timeout);

    while (process_join(c, deadline_left(deadline)) == -EINTR)
        ;
}

static void daemons_terminate(void)
{
    int64_t deadline = deadline_after(TERMINATE_TIME);

    for (struct piu_child *c = children.first; c; c = c->next) {
        if (c->daemon && c->child.pidfd >= 0)
            pidfd_signal(c->child.pidfd, SIGTERM);
    }
    for (struct piu_child *c = children.first; c; c = c->next) {
        if (!c->daemon)
            continue;
        join_for_sure(c, deadline_left(deadline));
        if (c->child.pidfd >= 0)
            pidfd_signal(c->child.pidfd, SIGKILL); /* no harm to one that has ended */
        join_for_sure(c, CLOCK_FOREVER);
    }
}

/* As Python: daemons are ended, the others awaited.  Before member.c's destructor(101). */
__attribute__((destructor)) static void children_at_exit(void)
{
    /* a process that is no member has no children here */
    if (turn_is_ours(&children.turn, member_self_id())) {
        daemons_terminate();
        for (struct piu_child *c = children.first; c; c = c->next)
            join_for_sure(c, CLOCK_FOREVER);
    }
    zygote_end();
}
