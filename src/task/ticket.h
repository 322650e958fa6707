/*
 * Tickets: which chunk is out under which number, and what an outcome does to it.  Private to the
 * user's process; only `job` is read by others (R3).
 */
#ifndef PIU_TASK_TICKET_H
#define PIU_TASK_TICKET_H

#include "task/engine.h"
#include "task/pool.h"

#define TICKETS 256u /* the most that are out; engines have smaller windows */

struct ticket {
    _Atomic uint64_t job; /* offset; 0: nothing is out under this one */
    uint64_t number;      /* 63..8 counts, 7..0 its place among `all` */
    uint64_t chunk;
    uint64_t first, last; /* items: of the chunk, or of what is left of it */
    uint32_t attempts;    /* before this one */
    bool told;            /* the engine knows that it is cancelled */
    int64_t began;
};

struct tickets {
    uint64_t count;
    unsigned free_count;
    uint8_t free[TICKETS];
    struct ticket all[TICKETS];
};

void tickets_begin(struct tickets *t);
bool tickets_name(const struct tickets *t, const struct job *j);
/* For a chunk that was claimed; NULL: all are out. */
struct ticket *ticket_new(struct tickets *t, struct job *j, uint64_t chunk);
struct ticket *ticket_find(struct tickets *t, uint64_t number); /* NULL: it is not out */
void ticket_free(struct tickets *t, struct ticket *ticket);
/* Nobody wants to know any more: its job was cancelled, or has ended. */
bool ticket_is_void(const struct ticket *ticket);
/* What stands in shared memory is checked: -EFAULT, -ENOEXEC. */
int ticket_range(const struct ticket *ticket, struct range *ret);
/* The outcome is the ticket's own: what it says is done to the job.  The ticket stays. */
void ticket_end(struct pool_shared *p, uint64_t who, const struct ticket *ticket,
                const struct outcome *outcome);

#endif
