/*
 * A job: one map, apply or imap, in the arena.
 *
 *    struct job | a share for each worker place | a copy of the user's task
 *    states[chunks], in, out: blocks of their own (in and out may be the caller's, shared)
 *
 *    state of a chunk (16 bits)
 *        TODO --worker, CAS--> STARTED + place --that worker--> DONE or FAILED
 *                                   |---nursery, it died---> LOST
 *                                   `---nursery, it died---> AGAIN --worker, CAS--> STARTED ...
 *    state of the job
 *        RUNNING --who finds all chunks at an end--> ENDED
 *
 * J1  a chunk's state decides who runs it; shares only say where to look, and may lie
 * J2  STARTED + place is left by that worker, or after its end by the nursery
 * J3  a job leaves the pool's list when it has ended, no worker's record names it, and the
 *     user has freed it; then its blocks are freed
 * J4  nodes (losses, failures, resumes) are only ever added, in front, whole
 * J5  `finished` may have holes (who was killed between state and note), then `recount` is set
 * Crash: a dead worker's STARTED is found by the nursery through its record or by a look at
 * all states; what its share held is found by that look too (`rescan`).
 */
#ifndef PIU_TASK_JOB_H
#define PIU_TASK_JOB_H

#include "os/module.h"
#include "shm/block.h"

#include <piu.h>

enum chunk_state {
    CHUNK_TODO,
    CHUNK_AGAIN,
    CHUNK_DONE,
    CHUNK_FAILED,
    CHUNK_LOST,
    CHUNK_STARTED = 16
};

enum job_state { JOB_RUNNING, JOB_ENDED };

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

struct loss_node {
    _Atomic uint64_t next;
    struct piu_loss loss;
};

struct failure_node {
    _Atomic uint64_t next;
    struct piu_failure failure;
};

struct resume_node { /* an AGAIN chunk begins here */
    _Atomic uint64_t next;
    uint64_t chunk, item;
    uint32_t attempts; /* so far */
};

struct job {
    _Atomic uint64_t next, prev; /* in the pool's list; `next` is the truth */
    uint64_t number;             /* rises along the list; 0: not in it */
    _Atomic uint32_t state;
    _Atomic uint32_t waited;  /* somebody sleeps on `state` or `news` */
    _Atomic uint32_t news;    /* counts ends of chunks, where `iterated` */
    _Atomic uint32_t rescan;  /* look at all states for TODO and AGAIN */
    _Atomic uint32_t recount; /* the shares' counts are not to be trusted: count states */
    _Atomic uint32_t cancelled;
    _Atomic uint32_t given_up; /* freed by the user, still listed */
    _Atomic int32_t error;     /* the job's own: -ECANCELED, -ECHILD, -ENOEXEC */
    uint32_t iterated;
    uint32_t places; /* workers' */
    uint64_t count, chunk, chunks;
    int64_t timeout;
    uint32_t retries;
    uint64_t in, in_size, out, out_size; /* offsets; 0: none */
    uint32_t in_copied, out_copied;      /* blocks of ours */
    uint64_t states;                     /* offset of chunks words */
    uint64_t task, task_size;            /* offset in this block */
    struct code_address code;            /* of run() */
    /* 63..32 counts returns of chunks, 31..0 hint: no open chunk below */
    _Atomic uint64_t look;
    uint64_t
        finished; /* offset of chunks words: 1 + chunk in the order of their ends; 0: none */
    _Atomic uint64_t finished_count;
    _Atomic uint64_t limit;                     /* chunks that may be begun: look-ahead */
    _Atomic uint64_t losses, failures, resumes; /* nodes */
    _Atomic uint64_t lost_items;                /* in `losses` */
    _Atomic uint64_t gone_items;                /* of LOST chunks */
    struct share shares[];
};

struct job *job_at(uint64_t offset);
static inline _Atomic uint16_t *job_states(const struct job *j)
{
    return (_Atomic uint16_t *)(void *)(arena.base + j->states);
}

static inline uint64_t chunk_first(const struct job *j, uint64_t chunk)
{
    return chunk * j->chunk;
}

static inline uint64_t chunk_last(const struct job *j, uint64_t chunk)
{
    uint64_t first = chunk_first(j, chunk);

    return j->count - first > j->chunk ? first + j->chunk : j->count;
}

struct job_wish {
    const struct piu_task *task;
    unsigned places;
    bool iterated, unordered;
    uint64_t lookahead; /* chunks */
};

int job_new(const struct job_wish *wish, struct job **ret);
void job_free(struct job *j);

/* The next chunk for the worker at `place`; false: there is none (now). */
bool job_claim(struct job *j, unsigned place, bool batches, _Atomic uint64_t *record,
               uint64_t *ret_chunk);
/*
 * Chunks of this worker may have been passed over by one that looked while they moved: true
 * once after each such claim.
 */
bool job_moved(struct job *j, unsigned place);
bool job_has_work(struct job *j); /* a look, for pickers */
void job_finish_chunk(struct job *j, unsigned place, uint64_t chunk,
                      enum chunk_state how);
void job_note_news(struct job *j);                     /* wakes who iterates */
void job_note_finished(struct job *j, uint64_t chunk); /* for who iterates */
/* Chunks came back to AGAIN, or a worker's part may be lost: look at all states. */
void job_look_at_all(struct job *j);
/* All chunks at an end?  Then it has ENDED, once; waiters are woken.  True: it has. */
bool job_try_end(struct job *j);
void job_end_with(struct job *j, int error);
uint64_t job_items_done(struct job *j);

int job_add_failure(struct job *j, uint64_t first, uint64_t last, int code);
int job_add_loss(struct job *j, const struct piu_loss *loss);
int job_add_resume(struct job *j, uint64_t chunk, uint64_t item, uint32_t attempts);
/* Where an AGAIN chunk begins, and how often it was tried. */
void job_resume_of(const struct job *j, uint64_t chunk, uint64_t *item,
                   uint32_t *attempts);

#endif
