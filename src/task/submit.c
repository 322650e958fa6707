/*
 * Submitting, and the jobs that their users have done with.
 *
 * A small job's block is used again and again, so that a single call neither allocates nor frees.
 * It stays in the list for a while after its end: looking whether a worker still names it (P3)
 * would take that worker's line away just when it is at the next job, so it is done for a few
 * jobs at once.
 */
#include "os/keywords.h"
#include "task/remote.h"

#include <stdlib.h>
#include <string.h>

#define PARKED    8u  /* small jobs that stay listed, before it is worth a look */
#define COLLECTED 16u /* jobs that are looked at then */

/* ---- Freeing, under the lock --------------------------------------------------------- */

/* J3 */
static bool job_retire(struct piu_pool *pool, struct job *j)
{
    struct pool_shared *p = pool->shared;

    if (atomic_load(&j->state) != JOB_ENDED)
        return false;
    pool_move_pick(p);                         /* P3 */
    atomic_thread_fence(memory_order_seq_cst); /* for the one in pick_first() */
    if (pool_is_named(p, j) || (unlikely(pool->remote) && remote_names(pool->remote, j)))
        return false;
    if (pool->collected == arena_offset(j))
        pool->collected = atomic_load(&j->next);
    atomic_store_explicit(&pool->moving, arena_offset(j), memory_order_release);
    pool_unlink(p, j);
    pool_drop_job(pool, j);
    return true;
}

/* Results that were freed while their jobs ran: a few at a time, all round. */
static void collect(struct piu_pool *pool)
{
    struct pool_shared *p = pool->shared;

    for (unsigned i = 0; i < COLLECTED && atomic_load(&pool->given_up); i++) {
        struct job *j = job_at(pool->collected);

        if (!j)
            j = job_at(atomic_load(&p->first));
        if (!j)
            return;
        pool->collected = atomic_load(&j->next);
        if (atomic_load(&j->given_up) && job_retire(pool, j))
            atomic_fetch_sub(&pool->given_up, 1);
    }
}

/* Small: some more may come, and then it is seen to.  Large: its memory is wanted back now. */
void pool_give_up(struct piu_pool *pool, struct job *j)
{
    bool large = !j->small;
    uint64_t who;

    if (!large) { /* from its mark on another thread may free it */
        atomic_store(&j->given_up, 1);
        if (atomic_fetch_add(&pool->given_up, 1) < PARKED)
            return;
    }
    if (member_who(&who) < 0)
        return;
    pool_lock(pool->shared, who);
    if (large && !job_retire(pool, j)) {
        atomic_store(&j->given_up, 1);
        atomic_fetch_add(&pool->given_up, 1);
    }
    if (atomic_load(&pool->given_up) > PARKED)
        collect(pool);
    pool_unlock(pool->shared);
}

/* ---- Submitting --------------------------------------------------------------------------- */

static int code_look_up(struct piu_pool *pool, code_function *function, uint64_t *ret)
{
    *ret = code_find(&pool->known, function);
    return *ret ? 0 : code_add(&pool->shared->codes, &pool->known, function, ret);
}

static int may_submit(struct pool_shared *p)
{
    switch (atomic_load_explicit(&p->state, memory_order_relaxed)) {
    case POOL_OPEN:
        return 0;
    case POOL_BROKEN:
        return -ECHILD;
    default:
        return -ESHUTDOWN;
    }
}

static void result_begin(struct piu_result *r, struct piu_pool *pool,
                         const struct job_wish *wish, struct job *j)
{
    *r = (struct piu_result){
        .pool = pool,
        .owner = pool->owner,
        .job = j,
        .shape = {j->count, j->chunk, j->chunks, j->out_size},
        .lookahead = wish->lookahead,
        .unordered = wish->unordered,
        .remote = pool->remote != NULL,
        .out = j->out && (const void *)(arena.base + j->out) != wish->task->out
                   ? wish->task->out
                   : NULL,
    };
}

struct submission {
    struct piu_pool *pool;
    uint64_t who;
    struct job_wish wish;
    struct job_plan plan;
    code_function *function; /* that the task needs beside run() ... */
    uint64_t *function_code; /* ... and where in the task it is named; NULL: none */
};

/* E2: from now on the pool's, whoever is killed and when. */
static void publish(struct piu_pool *pool, struct job *j, bool was_spare)
{
    if (!was_spare) {
        block_aim(j, &pool->moving);
        atomic_store(&pool->moving, arena_offset(j));
        block_give(j);
    }
    pool_append(pool->shared, j);
    atomic_store_explicit(&pool->moving, 0, memory_order_release);
}

/* Those of a range came as addresses. */
static int range_codes(struct submission *s)
{
    const struct range *range = s->wish.range;
    uint64_t *codes = &s->pool->shared->codes;
    int r = code_add_address(codes, &range->run, &s->wish.code);

    return r < 0 || !range->call_at
               ? r
               : code_add_address(codes, &range->call, s->function_code);
}

static int codes_look_up(struct submission *s)
{
    int r;

    if (unlikely(s->wish.range))
        return range_codes(s);
    r = code_look_up(s->pool, (code_function *)s->wish.task->run, &s->wish.code);
    return r < 0 || !s->function ? r
                                 : code_look_up(s->pool, s->function, s->function_code);
}

/* The lock is held.  A large one is made without it. */
static int submit_locked(struct submission *s, struct job **ret)
{
    struct piu_pool *pool = s->pool;
    bool small = job_is_small(&s->plan);
    uint64_t spare;
    int r = codes_look_up(s);

    if (r < 0)
        return r;
    spare = small ? spare_take(pool) : 0;
    if (!small)
        pool_unlock(pool->shared);
    r = job_new(&s->wish, &s->plan, spare, ret);
    if (!small)
        pool_lock(pool->shared, s->who);
    if (r == 0)
        publish(pool, *ret, spare != 0);
    else if (spare)
        block_free_from(&pool->moving);
    return r;
}

static int submit_job(struct submission *s, struct job **ret)
{
    struct pool_shared *p = s->pool->shared;
    int r = s->wish.task->run ? member_who(&s->who) : -EINVAL;

    s->wish.places = p->places;
    if (r == 0)
        r = may_submit(p);
    if (r == 0)
        r = job_plan(&s->wish, &s->plan);
    if (r < 0)
        return r;
    pool_lock(p, s->who);
    if (atomic_load_explicit(&s->pool->given_up, memory_order_relaxed) > PARKED)
        collect(s->pool);
    r = submit_locked(s, ret);
    pool_unlock(p);
    return r;
}

static int submit(struct submission *s, struct piu_result *ret)
{
    struct pool_shared *p = s->pool->shared;
    struct job *j;
    int r = submit_job(s, &j);

    if (r < 0)
        return r;
    if (j->chunks == 0) {
        job_try_end(j);
        pool_tell_end(p);
    } else
        pool_wake(p, min_u64(j->chunks, p->places));
    result_begin(ret, s->pool, &s->wish, j);
    /* since we looked: nobody else would end it */
    if (atomic_load(&p->state) >= POOL_FINISHED)
        job_end_with(j, atomic_load(&p->state) == POOL_BROKEN ? -ECHILD : -ECANCELED);
    if (unlikely(s->pool->remote))
        remote_push(s->pool);
    return 0;
}

int pool_submit(struct piu_pool *pool, struct piu_task *task,
                const struct piu_imap_keywords *keywords, struct piu_result *ret)
{
    struct submission s = {.pool = pool,
                           .wish = {.task = task, .iterated = keywords != NULL}};

    if (keywords) {
        s.wish.lookahead = keywords->lookahead;
        s.wish.unordered = keywords->unordered;
    }
    return submit(&s, ret);
}

int pool_submit_call(struct piu_pool *pool, struct piu_task *task,
                     code_function *function, uint64_t *code, struct piu_result *ret)
{
    struct submission s = {
        .pool = pool,
        .wish = {.task = task,
                 .call_at = (uint16_t)((const char *)code - (const char *)task)},
        .function = function,
        .function_code = code};

    return submit(&s, ret);
}

int pool_submit_range(struct piu_pool *pool, struct piu_task *task,
                      const struct range *range, struct piu_result *ret)
{
    struct submission s = {
        .pool = pool,
        .wish = {.task = task, .range = range, .call_at = (uint16_t)range->call_at}};

    if (range->call_at)
        s.function_code = (uint64_t *)(void *)((char *)task + range->call_at);
    return submit(&s, ret);
}

static int submit_new(struct piu_pool *pool, struct piu_task *task,
                      const struct piu_imap_keywords *keywords, struct piu_result **ret)
{
    struct piu_result *result = malloc(sizeof(*result));
    int r = result ? pool_submit(pool, task, keywords, result) : -ENOMEM;

    if (r < 0) {
        free(result);
        return r;
    }
    if (result->unordered) {
        result->was_seen = calloc(result->job->chunks / 8 + 1, 1);
        if (!result->was_seen) {
            piu_result_free(result);
            return -ENOMEM;
        }
    }
    *ret = result;
    return 0;
}

struct piu_result *piu_pool_map_async(struct piu_pool *pool, struct piu_task *task)
{
    struct piu_result *result = NULL;
    int r = task ? pool_use(pool) : -EINVAL;

    if (r == 0)
        r = submit_new(pool, task, NULL, &result);
    if (r < 0)
        errno = -r;
    return result;
}

struct piu_result *piu_pool_iterate(struct piu_pool *pool, struct piu_task *task,
                                    const struct piu_imap_keywords *keywords)
{
    struct piu_imap_keywords k;
    struct piu_result *result = NULL;
    int r = task ? keywords_read(&k, sizeof(k), keywords) : -EINVAL;

    if (r == 0)
        r = pool_use(pool);
    if (r == 0)
        r = submit_new(pool, task, &k, &result);
    if (r < 0)
        errno = -r;
    return result;
}

/* Under -EINTR the task is cancelled: nobody would ask for it any more. */
int piu_pool_map(struct piu_pool *pool, struct piu_task *task, struct piu_report **ret)
{
    struct piu_result result;
    int r = task ? pool_use(pool) : -EINVAL;

    if (r == 0)
        r = pool_submit(pool, task, NULL, &result);
    if (r < 0)
        return r;
    r = piu_result_get(&result, CLOCK_FOREVER);
    if (r == -EINTR)
        piu_result_cancel(&result);
    if (r >= 0 && ret)
        *ret = report_of(result.job);
    if (r >= 0 && ret && !*ret)
        r = -ENOMEM;
    result_done(&result);
    return r;
}
