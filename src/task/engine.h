/*
 * The cut above the local pool.  A pool has its own workers, or an engine: what does the items at
 * places that share nothing with the caller, say pools on other hosts.
 *
 *    job in the arena --remote.c--> struct range --give--> engine ~ ~ ~ place: range_begin()
 *                     <--remote.c-- struct outcome <-next-    ~ ~ ~        range_outcome()
 *
 * A range is a piece of a job, and all that a place must know of it, by value.  A function goes as
 * (build-id, offset).  An array goes with its bytes where the task gives their size; without one
 * only its address goes, for places that have the caller's memory.
 *
 * One thread at a time calls an engine.  No call waits but start() and stop().
 */
#ifndef PIU_TASK_ENGINE_H
#define PIU_TASK_ENGINE_H

#include "os/module.h"

#include <piu.h>

struct range {
    uint64_t ticket; /* names it from give() to its outcome; no other range ever has it */
    struct code_address run;
    struct code_address call; /* of another function, whose code the task wants ... */
    uint32_t call_at;         /* ... at this offset; 0: none */
    uint32_t retries;         /* that are left of the task's */
    const void *task;         /* the user's, task_size bytes */
    size_t task_size;
    uint64_t first, last; /* items, by their numbers in the whole task */
    const void *in;       /* of these items; NULL: no bytes go */
    const void *out; /* what stands in the caller's shared memory; NULL: zeroes will do */
    size_t in_bytes;
    size_t out_bytes; /* of `out`, and of what comes back */
};

enum range_end {
    RANGE_FINISHED,  /* `out`, and notes of what did not go well */
    RANGE_CANCELLED, /* by cancel(): nothing of it runs any more */
    RANGE_LOST,      /* its place is gone, as `death` says */
    RANGE_REFUSED    /* `error` < 0: -ENOEXEC ...; -ECHILD: no workers can be had */
};

struct outcome { /* what it points to is good until the next call of the engine */
    uint64_t ticket;
    enum range_end how;
    int error;
    const void *out;
    size_t out_bytes;
    const struct piu_loss *losses, *tries;
    const struct piu_failure *failures;
    size_t losses_count, tries_count, failures_count;
    struct piu_death death;
};

struct engine { /* the first member of the engine's own struct */
    const struct engine_kind *kind;
};

struct engine_kind {
    /* As piu_pool_create(): a pool's keywords.  0 or -errno, and then nothing is left. */
    int (*start)(const struct piu_pool_keywords *keywords, struct engine **ret);
    /*
     * 0: the engine has copied what it needs.  -EAGAIN: it takes no more until something of
     * what is out has ended; fd() tells when.  -EPIPE: no place is left; next() says the rest.  Any other, -ENOMEM say, is the
     * error that the job ends with.
     */
    int (*give)(struct engine *e, const struct range *range);
    /* 1: *ret is set; 0: nothing yet; -EPIPE: no place is left, and what is out is lost. */
    int (*next)(struct engine *e, struct outcome *ret);
    /* Its outcome comes all the same: CANCELLED, or what it was before. */
    void (*cancel)(struct engine *e, uint64_t ticket);
    int (*fd)(
        const struct engine *e); /* readable when next() or give() may have more to say */
    /*
     * No more is given, and nothing else asked but stop() again.  Places end what they have begun, or with `now` kill it.  0: all have
     * ended, and the engine is freed; -ETIMEDOUT, -EINTR: to be called again.
     */
    int (*stop)(struct engine *e, bool now, int64_t timeout);
    /* pids of workers on this host, as piu_pool_workers(); for people and tests. */
    size_t (*workers)(const struct engine *e, pid_t *ret, size_t room);
};

struct pool_shared;

/* With the keywords of this pool. */
int engine_start(const struct engine_kind *kind, const struct pool_shared *p,
                 struct engine **ret);
/* Pools that this process makes from now on have such an engine; NULL: workers of their own. */
void pool_use_engine(const struct engine_kind *kind);
const struct engine_kind *pool_engine(void);

#endif
