/*
 * Waiting at a queue: for a message, for room, for the last task_done.
 *
 * Sleepers set a bell's word and sleep on it; who has news clears the word and wakes one, who
 * wakes the next if there is more.  A dead sleeper costs one wake-up in vain; a wake-up that
 * a dead process swallowed or owed is made good by the slices (20 to 100 ms).
 */
#ifndef PIU_FLOW_WAIT_H
#define PIU_FLOW_WAIT_H

#include "flow/queue.h"
#include "os/fence.h"

typedef bool queue_looks(struct piu_queue *q);

struct waiting {
    int64_t timeout;
    int64_t deadline; /* 0: not begun */
    int64_t slice;
    unsigned slices;
    bool spun; /* and the other side came */
    bool slept;
    bool alone; /* nobody is left who could end it */
};

struct waiting waiting_begin(int64_t timeout);
/*
 * One step of a wait: 0 look again, -ETIMEDOUT, -EINTR, -EDEADLK: there is no timeout, and nobody
 * is left who could end it.  Locks are not held.
 */
int wait_at(struct bell *b, struct piu_queue *q, queue_looks *looks_ready, uint64_t who,
            struct waiting *w);
void waiting_end(struct waiting *w, struct piu_queue *q, struct bell *b,
                 queue_looks *looks_ready);

int wait_for_room(struct piu_queue *q, uint64_t who, struct waiting *w);

/* By a getter that has just waited, awake: lets the putter go ahead a little (lag.c). */
void getter_lags(struct piu_queue *q);

void bell_wake(struct bell *b);

/* Wakes one sleeper, if there is one. */
static inline void bell_ring(struct bell *b)
{
    /* for the fence in bell_sleep() */
    fence_often(arena_fences_lightly());
    if (unlikely(atomic_load_explicit(&b->asleep, memory_order_relaxed)))
        bell_wake(b);
}

void bell_ring_all(struct bell *b); /* wakes all */
int bell_sleep(struct bell *b, struct piu_queue *q, queue_looks *looks_ready,
               uint64_t who, int64_t slice); /* 0, -EINTR */

#endif
