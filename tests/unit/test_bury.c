/*
 * What becomes of a dead worker's part in a job, of a list that somebody was killed at, and of a pool
 * whose owner died: state by state, also when who buried it was killed, and where there is no memory.
 */
#include "meanwhile.h"
#include "scarce.h"

#include "os/clock.h"
#include "shm/block.h"
#include "shm/heap.h"
#include "task/claim.h"
#include "task/note.h"
#include "task/pool.h"

#define PLACES 2

static int run(struct piu_task *self, size_t first, size_t last)
{
    (void)self;
    (void)first;
    (void)last;
    return 0;
}

static struct job *job_of(size_t count, size_t chunk, unsigned retries)
{
    struct piu_task task = {
        .run = run, .count = count, .chunk = chunk, .retries = retries};
    struct job_wish wish = {.task = &task, .places = PLACES};
    struct job_plan plan;
    struct job *j = NULL;

    CHECK_EQ(job_plan(&wish, &plan), 0);
    CHECK_EQ(job_new(&wish, &plan, 0, &j), 0);
    block_give(j);
    return j;
}

static void shared_fill(struct pool_shared *p)
{
    p->stamp = POOL_STAMP;
    p->places = PLACES;
    p->poke = p->ended = -1;
}

static struct pool_shared *shared_new(void)
{
    void *block = NULL;
    struct pool_shared *p;

    CHECK_EQ(block_new_family(sizeof(*p) + PLACES * sizeof(p->workers[0]), &block), 0);
    p = block;
    shared_fill(p);
    return p;
}

static void append(struct pool_shared *p, struct job *j)
{
    pool_lock(p, me());
    pool_append(p, j);
    pool_unlock(p);
}

/* ---- Workers ----------------------------------------------------------------------------------- */

/* The worker of place 0 had begun the first chunk, and said so much of its way. */
static void worker_dies(struct pool_shared *p, struct job *j, uint64_t id,
                        uint64_t progress)
{
    struct worker *w = &p->workers[0];
    struct piu_death death = {.pid = 100 + (pid_t)id, .exitcode = -SIGKILL};

    w->id = id;
    w->pid = death.pid;
    w->job = arena_offset(j);
    w->chunk = 0;
    w->progress = progress;
    job_states(j)[0] = CHUNK_STARTED;
    pool_lock(p, me());
    pool_bury(p, 0, &death, false);
    pool_unlock(p);
    CHECK_EQ(atomic_load(&w->job), 0);
    CHECK_EQ(atomic_load(&w->pid), 0);
}

static unsigned notes_in(const _Atomic uint64_t *list)
{
    const struct loss_note *note = arena_at(*list, sizeof(*note));
    unsigned count = 0;

    for (; note; note = arena_at(note->next, sizeof(*note)))
        count++;
    return count;
}

TEST(the_item_that_a_worker_said_it_was_at_is_lost_and_the_rest_goes_on)
{
    struct pool_shared *p = shared_new();
    struct job *j = job_of(10, 10, 0);

    append(p, j);
    worker_dies(p, j, 1, 4);
    CHECK_EQ(job_states(j)[0], CHUNK_AGAIN);
    CHECK_EQ(job_resume_of(j, 0)->item, 4);
    CHECK_EQ(atomic_load(&j->lost_items), 1);
    worker_dies(p, j, 2, 99); /* it wrote nonsense: then all that was left is suspect */
    CHECK_EQ(job_states(j)[0], CHUNK_LOST);
    CHECK_EQ(atomic_load(&j->lost_items), 7);
    CHECK_EQ(atomic_load(&j->state), JOB_ENDED);
}

TEST(a_chunk_is_buried_once_though_who_did_it_was_killed_before_it_had_said_so)
{
    struct pool_shared *p = shared_new();
    struct job *j = job_of(10, 10, 1), *other = job_of(10, 10, 0);

    append(p, j);
    append(p, other);
    for (int i = 0; i < 3; i++) { /* the first burial is done again, twice */
        worker_dies(p, j, 1, 0);
        CHECK_EQ(job_states(j)[0], CHUNK_AGAIN);
        CHECK_EQ(notes_in(&j->tries), 1);
        CHECK_EQ(notes_in(&j->resumes), 1);
    }
    j->resumes = 0; /* killed between both notes */
    worker_dies(p, j, 1, 0);
    CHECK_EQ(notes_in(&j->tries), 1);
    CHECK_EQ(notes_in(&j->resumes), 1);
    worker_dies(p, j, 2, 0); /* another death: the try was the last */
    CHECK_EQ(job_states(j)[0], CHUNK_LOST);
    CHECK_EQ(notes_in(&j->losses), 1);
    for (int i = 0; i < 2; i++) { /* killed behind the note */
        worker_dies(p, other, 3, 0);
        CHECK_EQ(notes_in(&other->losses), 1);
        CHECK_EQ(atomic_load(&other->lost_items), 10);
    }
}

TEST(losses_of_one_item_by_two_workers_and_of_two_items_by_one_are_different_ones)
{
    struct job *j = job_of(10, 1, 0);
    struct piu_loss losses[] = {{.first = 1, .last = 2, .pid = 5},
                                {.first = 1, .last = 2, .pid = 6},
                                {.first = 2, .last = 3, .pid = 6},
                                {.first = 2, .last = 3, .pid = 6}};

    for (unsigned i = 0; i < 4; i++)
        CHECK_EQ(job_add_loss(j, &losses[i]), 0);
    CHECK_EQ(notes_in(&j->losses), 3);
    CHECK_EQ(atomic_load(&j->lost_items), 3);
    j->losses = 12345; /* somebody wrote over it: there is none */
    CHECK_EQ(job_add_loss(j, &losses[3]), 0);
    CHECK_EQ(notes_in(&j->losses), 1);
}

TEST(what_was_cancelled_is_not_tried_again_nor_told_as_a_loss)
{
    struct pool_shared *p = shared_new();
    struct job *j = job_of(10, 10, 3);

    append(p, j);
    j->cancelled = 1;
    worker_dies(p, j, 1, 0);
    CHECK_EQ(job_states(j)[0], CHUNK_LOST);
    CHECK_EQ(notes_in(&j->losses) + notes_in(&j->tries), 0);
}

TEST(notes_where_a_chunk_goes_on_that_were_written_over_are_none)
{
    struct job *j = job_of(10, 1, 0);

    CHECK_EQ(job_add_resume(j, 3, 3, 1, 7), 0);
    CHECK(job_resume_of(j, 3));
    CHECK(!job_resume_of(j, 4));
    ((struct resume_note *)arena_at(j->resumes, 64))->next = atomic_load(&j->resumes);
    CHECK(!job_resume_of(j, 4)); /* a ring */
    j->resumes = 12345;
    CHECK(!job_resume_of(j, 3));
}

/* As many blocks of that size as there are notes to be made before there is no memory. */
static void free_again(void **blocks, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        CHECK_EQ(block_free(blocks[i]), 0);
}

TEST(without_memory_for_notes_a_chunk_is_lost_and_the_result_says_why)
{
    for (unsigned but = 0; but < 4; but++)
        CHECK_EQ(in_child({
                     struct pool_shared *p = shared_new();
                     struct job *j = job_of(10, 10, but < 2);
                     void *blocks[4];

                     append(p, j);
                     for (unsigned i = 0; i < 4; i++)
                         CHECK_EQ(block_new(sizeof(struct loss_note), BLOCK_SCRATCH, NULL,
                                            &blocks[i]),
                                  0);
                     use_up_memory();
                     free_again(blocks, but % 2);
                     worker_dies(p, j, 1, but < 2 ? 0 : 4);
                     CHECK_EQ(job_states(j)[0], CHUNK_LOST);
                     CHECK_EQ(atomic_load(&j->state), JOB_ENDED);
                     if (but % 2 == 0)
                         CHECK_EQ(atomic_load(&j->error), -ENOMEM);
                     CHECK(block_check());
                     have_memory();
                 }),
                 0);
}

/* ---- The list ----------------------------------------------------------------------------------- */

TEST(a_list_that_somebody_was_killed_at_is_made_anew_from_the_jobs_themselves)
{
    struct pool_shared *p = shared_new();
    struct job *jobs[3];

    for (unsigned i = 0; i < 3; i++)
        append(p, jobs[i] = job_of(4, 1, 0));
    in_child_killed({
        pool_lock(p, me());
        p->last = p->pick = 12345;
        jobs[1]->prev = jobs[2]->prev = 12345;
    });
    pool_lock(p, me());
    CHECK_EQ(p->last, arena_offset(jobs[2]));
    CHECK_EQ(p->pick, arena_offset(jobs[0]));
    CHECK_EQ(jobs[0]->prev, 0);
    CHECK_EQ(jobs[2]->prev, arena_offset(jobs[1]));
    pool_unlink(p, jobs[1]);
    CHECK_EQ(jobs[0]->next, arena_offset(jobs[2]));
    for (unsigned i = 0; i < 3; i += 2)
        pool_unlink(p, jobs[i]);
    pool_unlock(p);
    in_child_killed({ pool_lock(p, me()); });
    pool_lock(p, me());
    CHECK_EQ(atomic_load(&p->first) | atomic_load(&p->last) | atomic_load(&p->pick), 0);
    pool_unlock(p);
}

static void look_at_all(int i, void *j)
{
    begin_together(i);
    for (int n = 0; n < 2000000; n++)
        job_look_at_all(j);
}

TEST(chunks_that_come_back_at_once_are_all_counted)
{
    struct job *j = job_of(10, 1, 0);

    test_threads(2, look_at_all, j);
    CHECK_EQ(atomic_load(&j->look) >> 32, 4000000);
}

/* ---- A pool that breaks ---------------------------------------------------------------------------- */

TEST(a_pool_that_has_ended_is_not_broken_by_who_looked_before)
{
    static const uint32_t ends[] = {POOL_FINISHED, POOL_TERMINATED, POOL_BROKEN};
    struct pool_shared *p = shared_new();
    struct job *j = job_of(4, 1, 0);

    append(p, j);
    for (size_t i = 0; i < array_size(ends); i++) {
        p->state = ends[i];
        pool_break(p, me());
        CHECK_EQ(p->state, ends[i]);
        CHECK_EQ(j->state, JOB_RUNNING);
    }
    p->state = POOL_CLOSED;
    pool_break(p, me());
    CHECK_EQ(p->state, POOL_BROKEN);
    CHECK_EQ(j->state, JOB_ENDED);
}

struct breaking {
    struct pool_shared *pool;
    _Atomic bool done;
};

static void close_and_open_or_break(int i, void *argument)
{
    struct breaking *b = argument;
    struct pool_shared *p = b->pool;
    uint32_t state = POOL_OPEN;

    begin_together(i);
    while (i == 0 && !b->done) {
        uint32_t old = state;

        state = POOL_OPEN + POOL_CLOSED - state;
        atomic_compare_exchange_strong(&p->state, &old, state);
    }
    for (int n = 0; i == 1 && n < 300000; n++) {
        pool_break(p, me());
        CHECK_EQ(p->state, POOL_BROKEN);
        p->state = POOL_OPEN;
    }
    b->done = true;
}

TEST(a_pool_that_is_closed_at_the_same_time_is_broken_all_the_same)
{
    struct breaking b = {.pool = shared_new()};

    test_threads(2, close_and_open_or_break, &b);
}

/* ---- The owner -------------------------------------------------------------------------------------- */

struct told {
    _Atomic uint64_t id;
};

/* A pool without processes, with two jobs and a spare block, and what is `moving`. */
static struct piu_pool *pool_by_hand(struct told *told, enum block_purpose purpose,
                                     size_t size)
{
    struct pool_shared *p;
    struct piu_pool *pool;
    void *block;

    CHECK_EQ(block_new(size, BLOCK_SCRATCH, NULL, &block), 0);
    pool = memset(block, 0, size);
    told->id = pool->owner = me() & ID_MASK;
    block_set_purpose(pool, purpose);
    CHECK_EQ(block_new_into(sizeof(*p) + PLACES * sizeof(p->workers[0]), &pool->shared_at,
                            &block),
             0);
    p = pool->shared = block;
    shared_fill(p);
    for (int i = 0; i < 2; i++)
        append(p, job_of(4, 1, 0));
    block = job_of(4, 1, 0);
    job_clear(block);
    pool->spares = arena_offset(block);
    pool->spares_count = 1;
    return pool;
}

TEST(all_that_a_dead_owners_pool_had_goes_once_wherever_it_stood)
{
    struct told *told = piu_shared_new(1, sizeof(*told));
    uint64_t before = block_count();

    for (int way = 0; way < 3; way++) {
        in_child_killed({
            struct piu_pool *pool = pool_by_hand(told, BLOCK_POOL, sizeof(*pool));

            if (way == 1) /* on its way out of the list */
                pool->moving = atomic_load(&job_at(pool->shared->first)->next);
            if (way == 2) /* and among the spares */
                pool->moving = pool->spares;
        });
        sweep_one(&told->id);
        CHECK_EQ(block_count(), before);
        CHECK(block_check());
    }
}

TEST(what_seems_to_be_a_pool_and_cannot_be_one_is_freed_alone)
{
    struct told *told = piu_shared_new(1, sizeof(*told));
    uint64_t before = block_count();

    in_child_killed({
        void *block;

        told->id = me() & ID_MASK;
        CHECK_EQ(block_new(64, BLOCK_POOL, NULL, &block), 0);
    });
    sweep_one(&told->id);
    CHECK_EQ(block_count(), before);
    in_child_killed({ /* more places than there is memory */
                      struct piu_pool *pool =
                          pool_by_hand(told, BLOCK_POOL, sizeof(*pool));

                      pool->shared->places = UINT32_MAX;
    });
    sweep_one(&told->id);
    CHECK_EQ(block_count(), before + 4); /* what hung on it cannot be found */
    CHECK(block_check());
}

TEST(a_worker_that_was_never_a_member_is_gone)
{
    struct pool_shared *p = shared_new();

    p->workers[0].pid = getpid();
    CHECK(pool_workers_are_gone(p));
    p->workers[0].id = me() & ID_MASK;
    CHECK(!pool_workers_are_gone(p));
}

static pid_t sweeper(struct told *told)
{
    return child_start({
        me();
        sweep_one(&told->id);
    });
}

TEST(of_two_who_sweep_a_pool_or_a_queue_at_once_one_takes_it)
{
    struct told *told = piu_shared_new(1, sizeof(*told));
    uint64_t before = block_count();

    for (int way = 0; way < 3; way++) {
        struct held_up h;
        pid_t other;

        in_child_killed({
            struct piu_hold hold;

            if (way == 0)
                pool_by_hand(told, BLOCK_POOL, sizeof(struct piu_pool));
            if (way == 1)
                CHECK_EQ(block_take(piu_queue_new(), BLOCK_FREEING, NULL), 0);
            if (way == 2)
                CHECK_EQ(piu_hold_new(&hold, PIU_KIND_MEMORY, 64), 0);
            told->id = me() & ID_MASK;
        });
        hold_up(&h, &member_of(me())->held_lock, sweep_one, &told->id);
        other = sweeper(told);
        CHECK_EQ(child_wait(other), 0);
        let_go_on(&h);
        CHECK_EQ(block_count(), before + (way == 2 ? 2 : 0)); /* the table of handles */
        CHECK(block_check());
    }
}
