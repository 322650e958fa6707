/* A worker: takes chunks, runs them, tells. */
#include "os/clock.h"
#include "os/fd.h"
#include "os/futex.h"
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
        atomic_store_explicit(&own_record->progress, (uint64_t)item + 1, memory_order_relaxed);
}

static void *at_or_null(uint64_t offset)
{
    return offset ? arena.base + offset : NULL;
}

static int copy_make(struct copy *copy, struct job *j, void (*run)(void))
{
    if (copy->room < j->task_size) {
        struct piu_task *larger = realloc(copy->task, j->task_size);

        if (!larger)
            return -ENOMEM;
        copy->task = larger;
        copy->room = j->task_size;
    }
    memcpy((void *)copy->task, (char *)j + j->task, j->task_size);
    copy->task->run = (int (*)(struct piu_task *, size_t, size_t))run;
    copy->task->in = at_or_null(j->in);
    copy->task->out = at_or_null(j->out);
    return 0;
}

/* One chunk, from where it is to begin. */
static void chunk_run(struct job *j, struct worker *w, unsigned place, uint64_t chunk,
                      struct piu_task *task)
{
    uint64_t first = chunk_first(j, chunk), last = chunk_last(j, chunk);
    uint32_t attempts;
    int code;

    atomic_store_explicit(&w->progress, 0, memory_order_relaxed);
    if (unlikely(atomic_load_explicit(&j->resumes, memory_order_acquire)))
        job_resume_of(j, chunk, &first, &attempts);
    code = task->run(task, first, last);
    if (unlikely(code))
        job_add_failure(j, first, last, code);
    job_finish_chunk(j, place, chunk, code ? CHUNK_FAILED : CHUNK_DONE);
    atomic_fetch_add_explicit(&w->tasks, 1, memory_order_relaxed);
}

/* Is a clock before each chunk cheap beside the chunks? */
static bool wants_clock(const struct job *j)
{
    return j->timeout > 0 || j->chunks <= (uint64_t)j->places * 4096;
}

static void job_work(struct pool_shared *p, struct job *j, unsigned place, struct piu_task *task)
{
    struct worker *w = &p->workers[place];
    bool clocked = wants_clock(j);
    uint64_t chunk;

    atomic_store(&w->began_job, clock_now());
    atomic_store(&w->began, 0);
    while (!(p->maxtasksperchild && atomic_load(&w->tasks) >= p->maxtasksperchild) &&
           job_claim(j, place, &w->chunk, &chunk)) {
        if (clocked)
            atomic_store_explicit(&w->began, clock_now(), memory_order_relaxed);
        chunk_run(j, w, place, chunk, task);
    }
    if (job_try_end(j) && atomic_load(&p->ended_wanted))
        fd_event_post(p->ended);
}

static void job_do(struct pool_shared *p, struct job *j, unsigned place, struct copy *copy)
{
    void (*run)(void);
    int r = code_address_resolve(&j->code, &run);

    if (r == 0)
        r = copy_make(copy, j, run);
    if (r < 0)
        job_end_with(j, r);
    else
        job_work(p, j, place, copy->task);
}

/* ---- Waiting for work ------------------------------------------------------------------ */

static bool spin_for_work(struct pool_shared *p, uint32_t seen, int64_t spin)
{
    int64_t end = clock_now() + spin;

    do {
        for (int i = 0; i < 32; i++) {
            if (atomic_load_explicit(&p->work, memory_order_acquire) != seen)
                return true;
            cpu_relax();
        }
    } while (clock_now() < end);
    return false;
}

/* Spins while work comes soon; learns from sleeps that were short. */
static void wait_for_work(struct pool_shared *p, uint64_t who, unsigned place, uint32_t seen,
                          int64_t *spin)
{
    int64_t began;

    if (member_worth_spinning(who, 0) && spin_for_work(p, seen, *spin))
        return;
    atomic_store(&p->workers[place].asleep, 1);
    atomic_fetch_add(&p->sleepers, 1); /* a full fence, for the one in pool_wake() */
    began = clock_now();
    futex_wait(&p->work, seen, SLICE);
    atomic_fetch_sub(&p->sleepers, 1);
    atomic_store(&p->workers[place].asleep, 0);
    if (clock_now() - began < 2 * SPIN_MOST)
        *spin = min_timeout(*spin * 2, SPIN_MOST);
    else
        *spin = *spin / 2 > SPIN_LEAST ? *spin / 2 : SPIN_LEAST;
}

static bool has_to_leave(struct pool_shared *p, unsigned place)
{
    return atomic_load_explicit(&p->state, memory_order_relaxed) >= POOL_TERMINATED ||
           (p->maxtasksperchild && atomic_load(&p->workers[place].tasks) >= p->maxtasksperchild);
}

static void worker_loop(struct pool_shared *p, uint64_t who, unsigned place)
{
    struct worker *w = &p->workers[place];
    struct copy copy = {0};
    int64_t spin = SPIN_MOST;

    while (!has_to_leave(p, place)) {
        uint32_t seen = atomic_load(&p->work);
        struct job *j = pool_pick(p, who, place);

        if (!j) {
            wait_for_work(p, who, place, seen, &spin);
            continue;
        }
        atomic_store(&w->phase, WORKER_BUSY);
        job_do(p, j, place, &copy);
        atomic_store(&w->phase, WORKER_IDLE);
        atomic_store(&w->job, 0); /* P3: from here it may be freed */
    }
    free(copy.task);
}

_Noreturn void worker_main(struct pool_shared *p, unsigned place)
{
    struct worker *w = &p->workers[place];
    uint64_t who;

    own_record = w;
    atomic_store(&w->pid, (int32_t)getpid());
    if (member_who(&who) < 0)
        child_end(1);
    atomic_store(&w->id, who & ID_MASK);
    if (p->initializer && p->initializer(p->initarg) != 0) {
        atomic_store(&p->initializer_failed, 1);
        child_end(1);
    }
    atomic_store(&w->phase, WORKER_IDLE);
    worker_loop(p, who, place);
    atomic_store(&w->phase, WORKER_LEAVING);
    child_end(0);
}
