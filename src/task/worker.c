/* A worker: takes chunks, runs them, tells. */
#include "os/clock.h"
#include "os/futex.h"
#include "task/claim.h"
#include "task/note.h"
#include "task/pool.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SPIN_MOST  (50 * INT64_C(1000))
#define SPIN_LEAST (5 * INT64_C(1000))
#define SLICE      (100 * MSEC)

/* What run() of this worker works in: piu_task_progress() finds it here. */
static struct worker *own_record;

struct copy { /* of the user's task, with its arrays where this process finds them */
    struct piu_task *task;
    size_t room;
};

void piu_task_progress(struct piu_task *self, size_t item)
{
    (void)self;
    if (own_record)
        /* release: what run() has written is not moved behind it */
        atomic_store_explicit(&own_record->progress, (uint64_t)item + 1,
                              memory_order_release);
}

static void *at_or_null(uint64_t offset)
{
    return offset ? arena.base + offset : NULL;
}

/* A range begins behind item 0, and its arrays where that would be. */
static void arrays_move(struct piu_task *task, uint64_t first)
{
    if (task->in)
        task->in = (const void *)((uintptr_t)task->in - first * task->in_size);
    if (task->out)
        task->out = (void *)((uintptr_t)task->out - first * task->out_size);
}

static int copy_make(struct copy *copy, struct job *j, code_function *run)
{
    if (copy->room < j->task_size) {
        free(copy->task);
        copy->room = 0;
        copy->task = aligned_alloc(
            64, round_up(j->task_size, 64)); /* as strict as user structs get */
        if (!copy->task)
            return -ENOMEM;
        copy->room = j->task_size;
    }
    memcpy((void *)copy->task, job_task(j), j->task_size);
    copy->task->run = (int (*)(struct piu_task *, size_t, size_t))run;
    copy->task->in = at_or_null(j->in);
    copy->task->out = at_or_null(j->out);
    if (unlikely(j->first))
        arrays_move(copy->task, j->first);
    return 0;
}

/* One chunk, from where it is to begin. */
static void chunk_run(struct job *j, struct worker *w, unsigned place, uint64_t chunk,
                      struct piu_task *task)
{
    const struct resume_note *resume = job_resume_of(j, chunk);
    uint64_t first = unlikely(resume) ? resume->item : chunk_first(j, chunk);
    uint64_t last = chunk_last(j, chunk);
    int code = task->run(task, first, last);

    if (unlikely(code))
        job_add_failure(j, first, last, code);
    job_finish_chunk(j, place, chunk, code ? CHUNK_FAILED : CHUNK_DONE);
    /* only this worker writes it */
    atomic_store_explicit(&w->tasks,
                          atomic_load_explicit(&w->tasks, memory_order_relaxed) + 1,
                          memory_order_relaxed);
}

/* Is a clock before each chunk cheap beside the chunks? */
static bool wants_clock(const struct job *j)
{
    return j->timeout > 0 || j->chunks <= JOB_FEW ||
           j->chunks <= (uint64_t)j->shares_count * 4096;
}

static bool is_used_up(const struct pool_shared *p, const struct worker *w)
{
    return p->maxtasksperchild &&
           atomic_load_explicit(&w->tasks, memory_order_relaxed) >= p->maxtasksperchild;
}

/* How a worker waits, and the time that it has read meanwhile. */
struct idleness {
    int64_t spin; /* ns, before it sleeps */
    int64_t now;  /* some us ago at most; 0: longer */
};

/* Only a time limit wants it to the us. */
static int64_t clock_begin(const struct job *j, struct idleness *idle)
{
    int64_t now = j->timeout > 0 || !idle->now ? clock_now() : idle->now;

    idle->now = 0;
    return now;
}

/* P4, after chunks that others could not see for a moment. */
static void show_again(struct pool_shared *p, uint64_t who, struct job *j)
{
    if (atomic_load(&p->pick) == arena_offset(j))
        return;
    pool_lock(p, who);
    pool_look_again(p, j);
    pool_unlock(p);
}

/*
 * What the record says of the last chunk (progress, began) goes before the next is claimed:
 * who reads it beside a chunk that is STARTED must not take the one for the other.
 */
static void job_work(struct pool_shared *p, uint64_t who, struct job *j, unsigned place,
                     struct piu_task *task, struct idleness *idle)
{
    struct worker *w = &p->workers[place];
    bool clocked = wants_clock(j);
    bool batches = !clocked && !j->iterated && !p->maxtasksperchild;
    int64_t now = clock_begin(j, idle);
    uint64_t chunk;

    atomic_store_explicit(&w->began_job, now, memory_order_relaxed);
    if (j->timeout > 0)
        pool_poke(p); /* the nursery looks at its clock */
    while (!is_used_up(p, w)) {
        atomic_store_explicit(&w->progress, 0, memory_order_relaxed);
        atomic_store_explicit(&w->began, 0, memory_order_relaxed);
        if (!job_claim(j, place, batches, &w->chunk, &chunk))
            break;
        if (clocked)
            atomic_store_explicit(&w->began, now ? now : clock_now(),
                                  memory_order_relaxed);
        now = 0; /* that of the first chunk is not old yet */
        if (unlikely(job_moved(j, place)))
            show_again(p, who, j);
        chunk_run(j, w, place, chunk, task);
    }
    if (job_try_end(j))
        pool_tell_end(p);
}

static void job_do(struct pool_shared *p, uint64_t who, struct job *j, unsigned place,
                   struct copy *copy, struct idleness *idle)
{
    code_function *run;
    int r = code_resolve(j->code, &run);

    if (r == 0)
        r = copy_make(copy, j, run);
    if (r < 0) {
        job_end_with(j, r);
        pool_tell_end(p);
    } else
        job_work(p, who, j, place, copy->task, idle);
}

/* ---- Waiting for work ------------------------------------------------------------------ */

static bool spin_for_work(struct pool_shared *p, uint32_t seen, struct idleness *idle)
{
    int64_t end;

    idle->now = clock_now();
    end = idle->now + idle->spin;
    do {
        for (int i = 0; i < 32; i++) {
            if (atomic_load_explicit(&p->work, memory_order_acquire) != seen)
                return true;
            cpu_relax();
        }
        idle->now = clock_now();
    } while (idle->now < end);
    return false;
}

/* Spins while work comes soon; learns from sleeps that were short. */
static void wait_for_work(struct pool_shared *p, uint64_t who, unsigned place,
                          uint32_t seen, struct idleness *idle)
{
    int64_t began;

    if (member_worth_spinning(who, 0) && spin_for_work(p, seen, idle))
        return;
    /* killed in between it counts for ever: an idle wake-up now and then, but none is missing */
    atomic_fetch_add(&p->sleepers, 1); /* a full fence, for the one in pool_wake() */
    atomic_store(&p->workers[place].asleep, 1);
    began = clock_now();
    futex_wait(&p->work, seen, SLICE);
    atomic_store(&p->workers[place].asleep, 0);
    atomic_fetch_sub(&p->sleepers, 1);
    idle->now = clock_now();
    if (idle->now - began < 2 * SPIN_MOST)
        idle->spin = min_timeout(idle->spin * 2, SPIN_MOST);
    else
        idle->spin = idle->spin / 2 > SPIN_LEAST ? idle->spin / 2 : SPIN_LEAST;
}

static bool has_to_leave(struct pool_shared *p, unsigned place)
{
    return atomic_load_explicit(&p->state, memory_order_relaxed) >= POOL_FINISHED ||
           is_used_up(p, &p->workers[place]);
}

/*
 * The last job of the list, done and with nothing that could come back into sight unannounced
 * (its chunks do not move), needs no second look: whatever is there to do since we have looked
 * has changed `work`.
 */
static void worker_loop(struct pool_shared *p, uint64_t who, unsigned place)
{
    struct worker *w = &p->workers[place];
    struct copy copy = {0};
    struct idleness idle = {.spin = SPIN_MOST};

    while (!has_to_leave(p, place)) {
        uint32_t seen = atomic_load(&p->work);
        struct job *j = pool_pick(p, who, place);
        bool was_all = !j;

        if (j) {
            atomic_store_explicit(&w->phase, WORKER_BUSY, memory_order_relaxed);
            job_do(p, who, j, place, &copy, &idle);
            was_all = !j->shares_count && atomic_load(&p->last) == arena_offset(j) &&
                      !job_has_work(j);
            atomic_store_explicit(&w->phase, WORKER_IDLE, memory_order_relaxed);
            /* P3: from here it may be freed.  release: what we did in it is done */
            atomic_store_explicit(&w->job, 0, memory_order_release);
        }
        if (was_all)
            wait_for_work(p, who, place, seen, &idle);
    }
    free(copy.task);
}

_Noreturn void worker_main(struct pool_shared *p, unsigned place)
{
    struct worker *w = &p->workers[place];
    uint64_t who;

    own_record = w;
    if (member_who(&who) < 0)
        child_end(1);
    atomic_store(&w->id,
                 who & ID_MASK); /* before the pid: workers_are_gone() asks for both */
    atomic_store(&w->pid, (int32_t)getpid());
    if (p->initializer && p->initializer(p->initarg) != 0) {
        atomic_store(&p->initializer_failed, 1);
        child_end(1);
    }
    atomic_store(&w->phase, WORKER_IDLE);
    worker_loop(p, who, place);
    atomic_store(&w->phase, WORKER_LEAVING);
    child_end(0);
}
