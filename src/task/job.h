/*
 * A job: one map, apply or imap, in the arena.
 *
 *    0                 256                    384            (one block)
 *    | what to do      | how it ends          | shares | the user's task | states | ...
 *    | submitter, then | who ends it, seldom; |
 *    | its workers     | its waiters spin     |     ... | finished | in | out |
 *
 *    A small job (what fits into JOB_SMALL bytes) is one block, and that is used again; of others
 *    large `in` and `out` are blocks of their own.  Both may be the caller's, shared.  A job of a few
 *    chunks has no shares: whoever wants one looks at all states, which stand in the first part.
 *
 *    state of a chunk (16 bits)
 *        FRESH --worker, CAS--> STARTED + place --that worker--> DONE or FAILED
 *                                   |---nursery, it died---> LOST
 *                                   `---nursery, it died---> AGAIN --worker, CAS--> STARTED ...
 *    state of the job
 *        RUNNING --who finds all chunks at an end--> ENDED
 *
 * J1  a chunk's state decides who runs it; shares only say where to look, and may lie
 * J2  STARTED + place is left by that worker, or after its end by the nursery
 * J3  a job leaves the pool's list when it has ended, no worker's record names it, and the
 *     user has freed it; then its blocks are freed, or used for another
 * J4  notes (losses, failures, retries, resumes) are only ever added, in front, whole
 * J5  `finished` may have holes: of who was killed between state and note, then `recount` is set;
 *     and of who stands there, then the job may have ENDED before the note comes
 * J6  nobody but who ends it writes the line that waiters spin on; news and bad news excepted
 * Crash: a dead worker's STARTED is found by the nursery through its record or by a look at
 * all states; what its share held is found by that look too (`rescan`).
 */
#ifndef PIU_TASK_JOB_H
#define PIU_TASK_JOB_H

#include "shm/block.h"

#include <piu.h>

enum chunk_state {
    CHUNK_FRESH,
    CHUNK_AGAIN,
    CHUNK_DONE,
    CHUNK_FAILED,
    CHUNK_LOST,
    CHUNK_STARTED = 16
};

enum job_state { JOB_RUNNING, JOB_ENDED };

#define JOB_SMALL 1024u /* bytes of a block that is kept for the next job */
#define JOB_FEW   8u    /* chunks that need no shares */

/*
 * The owner takes batches from `next`, thieves from `end`.  A batch that its owner is slow to
 * begin (it stands in a long chunk, is stopped or dead) is open to all through `held`.
 */
struct share {
    alignas(128) _Atomic uint64_t range; /* 63..32 end, 31..0 next: chunks */
    _Atomic uint64_t held;               /* the same, of the batch */
    int64_t popped;                      /* clock_now(), of the batch */
    uint64_t batch;                      /* chunks */
    bool moved; /* chunks were in nobody's sight for a moment: see job_moved() */
    _Atomic uint64_t chunks; /* brought to an end by this worker */
    _Atomic uint64_t items;
};

struct job {
    /* what workers need: two lines, the first of which is not changed */
    uint64_t states;       /* offset of chunks words */
    uint64_t first, count; /* items; first: of a range, at the place that does it */
    uint64_t chunk, chunks;
    uint16_t shares_count; /* a place each; 0: a few chunks, without shares */
    uint16_t iterated;
    uint32_t task_size;
    int64_t timeout;
    uint64_t in, out;              /* offsets; 0: none */
    uint64_t code;                 /* of run(): see code.h */
    _Atomic uint16_t few[JOB_FEW]; /* the states, where they are that few */
    _Atomic uint64_t limit;        /* chunks that may be begun: look-ahead */
    /* 63..32 counts returns of chunks, 31..0 hint: no open chunk below */
    _Atomic uint64_t look;
    _Atomic uint64_t resumes; /* notes */
    _Atomic uint32_t cancelled;
    _Atomic uint16_t stopped; /* it was ended from outside: nothing more is begun */
    _Atomic uint16_t rescan;  /* look at all states for FRESH and AGAIN */

    /* the list's, under list_lock, and what is needed seldom */
    alignas(128) _Atomic uint64_t next; /* the truth */
    _Atomic uint64_t prev;
    uint64_t number;           /* rises along the list; 0: not in it */
    _Atomic uint32_t given_up; /* freed by the user, still listed */
    _Atomic uint32_t seen;     /* its owner knows that it has ended: for piu_pool_fd() */
    _Atomic uint32_t recount; /* the shares' counts are not to be trusted: count states */
    uint32_t retries;
    uint16_t small;   /* one block of JOB_SMALL bytes */
    uint16_t call_at; /* where the task has the code of another function; 0: nowhere */
    uint64_t in_size, out_size;
    uint64_t
        finished; /* offset of chunks words: 1 + chunk in the order of their ends; 0: none */
    uint32_t in_copied, out_copied; /* blocks of ours */

    alignas(128) _Atomic uint32_t state;
    _Atomic uint32_t waited; /* somebody sleeps on `state` or `news` */
    _Atomic uint32_t news;   /* counts ends of chunks, where `iterated` */
    _Atomic int32_t error;   /* the job's own: -ECANCELED, -ECHILD, -ENOEXEC */
    _Atomic uint64_t losses, failures, tries; /* notes */
    _Atomic uint64_t lost_items;              /* in `losses` */
    _Atomic uint64_t gone_items;              /* of LOST chunks */
    _Atomic uint64_t finished_count;
    struct share shares[];
};
static_assert(offsetof(struct job, state) == 256 && offsetof(struct job, shares) == 384,
              "one line for those who wait");

struct job *job_at(uint64_t offset);

static inline _Atomic uint16_t *job_states(const struct job *j)
{
    return (_Atomic uint16_t *)(void *)(arena.base + j->states);
}

/* The copy of the user's. */
static inline struct piu_task *job_task(struct job *j)
{
    return (struct piu_task *)(void *)&j->shares[j->shares_count];
}

static inline uint64_t chunk_first(const struct job *j, uint64_t chunk)
{
    return j->first + chunk * j->chunk;
}

static inline uint64_t chunk_last(const struct job *j, uint64_t chunk)
{
    uint64_t first = chunk * j->chunk;

    return j->first + (j->count - first > j->chunk ? first + j->chunk : j->count);
}

static inline bool chunk_is_open(uint16_t state)
{
    return state == CHUNK_FRESH || state == CHUNK_AGAIN;
}

static inline bool chunk_is_ended(uint16_t state)
{
    return state == CHUNK_DONE || state == CHUNK_FAILED || state == CHUNK_LOST;
}

struct range;

struct job_wish {
    const struct piu_task *task;
    const struct range *range; /* of the task, as one chunk; NULL: all of it */
    uint64_t code;             /* of task->run */
    uint16_t call_at;          /* in the task: the code of another function; 0: none */
    unsigned places;
    bool iterated, unordered;
    uint64_t lookahead; /* chunks */
};

/* Where things are in a job's block: offsets, 0: not there. */
struct job_plan {
    uint64_t count, chunk, chunks, shares;
    uint64_t task_size, states, finished, in, out, size;
    uint64_t in_bytes, out_bytes; /* of copies */
};

/* -EINVAL, -EFAULT, -ENOMEM: such a job cannot be. */
int job_plan(const struct job_wish *wish, struct job_plan *ret);
static inline bool job_is_small(const struct job_plan *plan)
{
    return plan->size <= JOB_SMALL;
}

/*
 * `spare`: a cleared small one that is the family's; 0: none, and the new one is the caller's.
 */
int job_new(const struct job_wish *wish, const struct job_plan *plan, uint64_t spare,
            struct job **ret);
/* What hangs on it is freed; may be done again after one who was killed at it. */
void job_strip(struct job *j);
/* A small one, stripped, as job_new() wants it. */
void job_clear(struct job *j);
void job_free(struct job *j);
/* From the family to the caller: it ends with it. */
void job_take(struct job *j);

void job_finish_chunk(struct job *j, unsigned place, uint64_t chunk,
                      enum chunk_state how);
void job_note_news(struct job *j);                     /* wakes who iterates */
void job_note_finished(struct job *j, uint64_t chunk); /* for who iterates */
/* All chunks at an end?  Then it has ENDED, once; waiters are woken.  True: it has. */
bool job_try_end(struct job *j);
void job_end_with(struct job *j, int error);
uint64_t job_items_done(struct job *j);

#endif
