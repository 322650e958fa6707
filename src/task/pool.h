/*
 * A pool: what the user's process, the nursery and the workers share, and who does what.
 *
 *    user's process --submits--> jobs (a list in the arena) <--take chunks-- workers
 *          |                                                                   ^
 *          `--fork--> nursery --fork, reap, refill, time out, try again -------'
 *
 * P1  `first` leads through all listed jobs; `last` and `pick` are derived (list_repair)
 * P2  the list changes under list_lock only
 * P3  a job that a worker's record names is not freed.  A worker names one under the lock, or the
 *     one at `pick` without it: as PICKING first, and for good if `pick` still says so after a
 *     fence.  Who frees has moved `pick` on before it looks at the names.  Who reads another's
 *     record to follow it holds list_lock, and does not follow PICKING
 * P4  no job before `pick` has work that may be begun
 * P5  a worker writes its own record; the nursery writes it when that worker has ended
 * Crash: a dead worker is the nursery's, a dead nursery the user's process's (pool_revive),
 * and with a dead user's process all go, by the life pipe.
 */
#ifndef PIU_TASK_POOL_H
#define PIU_TASK_POOL_H

#include "shm/owner.h"
#include "task/child.h"
#include "task/code.h"
#include "task/job.h"

#define POOL_STAMP UINT64_C(0x7069752d706f6f6c)

/*
 *    OPEN --close--> CLOSED --join, all jobs ended--> FINISHED   workers leave by themselves
 *      `--------------`---terminate, free--> TERMINATED          the nursery kills them
 *      `--------------`---nursery, or revive--> BROKEN           nothing is begun any more
 */
enum pool_state { POOL_OPEN, POOL_CLOSED, POOL_FINISHED, POOL_TERMINATED, POOL_BROKEN };

enum worker_phase {
    WORKER_NONE,
    WORKER_STARTING,
    WORKER_IDLE,
    WORKER_BUSY,
    WORKER_LEAVING
};

#define WORKER_PICKING UINT64_C(1)

struct worker {
    alignas(128) _Atomic uint64_t job; /* offset, perhaps | WORKER_PICKING; 0: none */
    _Atomic uint64_t chunk;
    _Atomic uint64_t
        progress;          /* 1 + item: those before it are done; 0: run() does not say */
    _Atomic int64_t began; /* the chunk, clock_now(); 0: not taken down */
    _Atomic int64_t began_job;
    _Atomic uint32_t phase;
    _Atomic int32_t pid;
    _Atomic uint32_t tasks;  /* chunks so far */
    _Atomic uint32_t asleep; /* counted in `sleepers` */
    _Atomic uint64_t id;     /* member */
};

struct pool_shared {
    uint64_t stamp;
    unsigned places;
    unsigned maxtasksperchild;
    int (*initializer)(
        void *initarg); /* of this program: nursery and workers are forks of it */
    void *initarg;
    char name[NAME_SIZE];
    _Atomic uint32_t state;
    _Atomic uint32_t initializer_failed;
    _Atomic uint32_t born; /* 1: a worker was started; else -errno of the first try */
    int poke;              /* eventfd: something for the nursery to look at */
    int ended;             /* eventfd: a result has ended, for piu_pool_fd */
    _Atomic uint32_t ended_wanted;

    alignas(128) owner_word list_lock;
    _Atomic uint64_t first; /* job */
    uint64_t codes;         /* see code.h */
    /* on one line: who sees that there is work sees where, and whether that is all */
    alignas(128) _Atomic uint32_t work; /* counts submissions; idle workers sleep on it */
    _Atomic uint64_t pick, last;        /* jobs */
    alignas(128) _Atomic uint32_t
        sleepers; /* a worker killed asleep may count for ever: never too few */
    _Atomic uint32_t cancels; /* counts piu_result_cancel(), for the nursery */

    alignas(128) struct worker workers[];
};

struct remote;

struct piu_pool { /* private to the process that made it */
    uint64_t stamp;
    uint64_t owner; /* member id */
    struct pool_shared *shared;
    struct remote *remote; /* in place of nursery and workers, see remote.h; NULL: none */
    /* as *shared says, unless it was written over */
    unsigned places;
    int poke, ended;
    struct child nursery;
    _Atomic uint32_t reviving;  /* a thread starts another nursery */
    _Atomic uint32_t given_up;  /* jobs that are freed and still listed */
    _Atomic uint64_t shared_at; /* the offset of `shared`, as its block's owner (E1) */
    /* under list_lock */
    _Atomic uint64_t moving; /* a job on its way into or out of the list (E2); 0: none */
    uint64_t collected;      /* the job that collect() looks at next; 0: the first */
    uint64_t
        spares; /* blocks for small jobs, each with the offset of the next in front */
    unsigned spares_count;
    struct code_memory known;
};

struct job_shape { /* as it was when it was submitted: see result.c */
    uint64_t count, chunk, chunks, out_size;
};

struct piu_result { /* next: one thread at a time; all others: any */
    struct piu_pool *pool;
    uint64_t owner; /* member id */
    struct job *job;
    struct job_shape shape;
    void *out;                /* the caller's private array; NULL: nothing to copy out */
    _Atomic uint32_t copying; /* out, by one thread, once */
    _Atomic bool cancelled;
    bool unordered;
    bool remote; /* its pool has an engine */
    uint64_t lookahead;
    uint64_t cursor;   /* the next chunk in order; unordered: the next in `finished` */
    uint64_t seen;     /* chunks given out by next */
    uint8_t *was_seen; /* unordered: a bit a chunk */
};

/* ---- The list of jobs (list.c) ------------------------------------------------------ */

void pool_lock(struct pool_shared *p, uint64_t who); /* repairs the list after a death */
void pool_unlock(struct pool_shared *p);
/*
 * Along the list from what a word of it leads to, `first` say; under the lock.  It ends as well
 * where somebody wrote over the list and it leads in a ring.
 */
struct job_walk {
    const _Atomic uint64_t *at;
    uint64_t left;
};

struct job_walk job_walk_from(const _Atomic uint64_t *word);
struct job *job_walk_next(struct job_walk *walk); /* NULL: that was the last */
void pool_append(struct pool_shared *p, struct job *j);
/* Under the lock: on from jobs that have ended (P4). */
void pool_move_pick(struct pool_shared *p);
/* A job with work for this worker, whose record then names it; NULL: none. */
struct job *pool_pick(struct pool_shared *p, uint64_t who, unsigned place);
/* Under the lock, `pick` being elsewhere: does a worker's record name it? */
bool pool_is_named(struct pool_shared *p, const struct job *j);
/* Under the lock: the job that a worker's record gives as its own; NULL: none, or not for good. */
struct job *job_named(uint64_t name);
/* Under the lock: out of the list. */
void pool_unlink(struct pool_shared *p, struct job *j);
/* Under the lock: chunks of a job behind `pick` can be begun again; wakes all. */
void pool_look_again(struct pool_shared *p, struct job *j);
void pool_tell_end(struct pool_shared *p); /* for piu_pool_fd() */
void pool_end_all(struct pool_shared *p, int error);
/* By the owner, who has drained it: again, if there is an end that he does not know. */
void pool_tell_unseen(struct piu_pool *pool);
/* BROKEN, unless its end has begun; what waits is told -ECHILD. */
void pool_break(struct pool_shared *p, uint64_t who);
void pool_wake(struct pool_shared *p, uint64_t wanted);

/* A worker (of a nursery that lives or died) has ended: what it had begun is lost or again. */
void pool_bury(struct pool_shared *p, unsigned place, const struct piu_death *death,
               bool timed_out);

_Noreturn void nursery_main(struct pool_shared *p);
_Noreturn void worker_main(struct pool_shared *p, unsigned place);
int nursery_start(struct piu_pool *pool);

int pool_use(struct piu_pool *pool); /* 0, -EINVAL, -ESTALE, -ECHILD, -EBADMSG */

/* ---- Submitting (submit.c) ----------------------------------------------------------- */

/*
 * *ret is the caller's, to be ended by result_done().  Another function that the task needs,
 * if any, is written into the task, as workers will find it.
 */
int pool_submit(struct piu_pool *pool, struct piu_task *task,
                const struct piu_imap_keywords *keywords, struct piu_result *ret);
int pool_submit_call(struct piu_pool *pool, struct piu_task *task,
                     code_function *function, uint64_t *code, struct piu_result *ret);
/* A range of the task, at the place that does it; the same for the code of its function. */
int pool_submit_range(struct piu_pool *pool, struct piu_task *task,
                      const struct range *range, struct piu_result *ret);
/* The user has done with it: freed now or later. */
void pool_give_up(struct piu_pool *pool, struct job *j);

/* ---- What hangs on a pool (estate.c) ---------------------------------------------------- */

uint64_t spare_take(
    struct piu_pool *pool); /* under the lock: it is `moving` now; 0: none */
/* Under the lock: the job, out of the list, is kept for another or freed. */
void pool_drop_job(struct piu_pool *pool, struct job *j);
/* What it shares, if that is sound: checked before it is followed.  NULL: written over. */
struct pool_shared *pool_shared_of(const struct piu_pool *pool);
bool pool_workers_are_gone(struct pool_shared *p); /* false: some have not, yet */
/* All that the pool has, and itself: by its owner or, `swept`, by who found that one's end. */
void pool_dissolve(struct piu_pool *pool, bool swept);

void result_done(struct piu_result *r);
/* One slice of waiting in the user's process also looks after the nursery. */
void pool_look_after(struct piu_pool *pool);
void pool_poke(struct pool_shared *p);

struct piu_report *report_of(const struct job *j);

#endif
