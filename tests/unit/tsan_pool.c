/*
 * The pool's shared memory used by threads that play members on one mapping: for ThreadSanitizer.
 *
 *    submitter     submits, waits, iterates, cancels and frees as a user's process does
 *    workers       pick, claim, run, finish, note; and die in the middle of it
 *    undertaker    buries them and ends what was cancelled, as a nursery does
 *
 * What the kernel orders between processes (a fork, a death that is seen) `ended` does here.
 */
#include "pools.h"

#include "os/fd.h"
#include "os/futex.h"
#include "task/claim.h"
#include "task/note.h"
#include "task/pool.h"

enum { WORKERS = 3, ITEMS = 240, ROUNDS = 400, KEPT = 6 };

struct stage {
    _Atomic(struct pool_shared *) shared; /* once it is there */
    _Atomic bool over;
    _Atomic int acting;          /* workers and undertaker */
    _Atomic bool ended[WORKERS]; /* the worker there, and nobody has buried it */
    _Atomic unsigned deaths;
    int failing; /* one chunk in so many fails; 0: none.  Set once */
};

struct actor {
    struct stage *stage;
    struct pool_shared *p;
    uint64_t who, seed;
    unsigned place;
};

/* Without ThreadSanitizer threads are just threads of one member. */
static uint64_t play(void)
{
    uint64_t who = 0;

    if (PIU_TSAN)
        CHECK_EQ(member_play("thread"), 0);
    CHECK_EQ(member_who(&who), 0);
    return who;
}

static void play_end(bool died)
{
    if (PIU_TSAN)
        member_play_end(died);
}

static struct pool_shared *wait_for_pool(struct stage *s)
{
    test_wait_until(s->shared);
    return s->shared;
}

/* ---- Workers ------------------------------------------------------------------------ */

static bool is_to_die(struct actor *a)
{
    return random_next(&a->seed) % 32 == 0;
}

/* Plain reads and writes: they must be ordered by the chunk's state and the job's. */
static void run_items(struct job *j, struct worker *w, uint64_t first, uint64_t last)
{
    const int *in = (const int *)(void *)(arena.base + j->in);
    int *out = (int *)(void *)(arena.base + j->out);

    for (uint64_t i = first; i < last; i++) {
        atomic_store_explicit(&w->progress, i + 1, memory_order_release);
        out[i] = in[i] + 1;
    }
}

/* false: it died in there. */
static bool run_chunk(struct actor *a, struct job *j, uint64_t chunk)
{
    struct worker *w = &a->p->workers[a->place];
    const struct resume_note *resume = job_resume_of(j, chunk);
    uint64_t first = resume ? resume->item : chunk_first(j, chunk);
    uint64_t last = chunk_last(j, chunk);
    int failing = a->stage->failing;
    bool fails = failing && random_next(&a->seed) % (unsigned)failing == 0;
    bool dies = is_to_die(a);

    run_items(j, w, first, dies ? first + 1 : last);
    if (dies)
        return false;
    if (fails)
        CHECK_EQ(job_add_failure(j, first, last, 1), 0);
    job_finish_chunk(j, a->place, chunk, fails ? CHUNK_FAILED : CHUNK_DONE);
    return !is_to_die(a);
}

static bool do_job(struct actor *a, struct job *j)
{
    struct worker *w = &a->p->workers[a->place];
    uint64_t chunk;

    while (job_claim(j, a->place, !j->iterated, &w->chunk, &chunk)) {
        if (job_moved(j, a->place)) {
            pool_lock(a->p, a->who);
            pool_look_again(a->p, j);
            pool_unlock(a->p);
        }
        if (!run_chunk(a, j, chunk))
            return false;
        atomic_store(&w->progress, 0);
    }
    if (job_try_end(j))
        pool_tell_end(a->p);
    return true;
}

/* Until it dies (false), or all is over. */
static bool work(struct actor *a)
{
    struct worker *w = &a->p->workers[a->place];

    atomic_store(&w->id, a->who & ID_MASK);
    atomic_store(&w->pid, (int)a->place + 1);
    while (!a->stage->over) {
        uint32_t seen = atomic_load(&a->p->work);
        struct job *j = pool_pick(a->p, a->who, a->place);

        if (j && !do_job(a, j))
            return false;
        atomic_store_explicit(&w->job, 0, memory_order_release);
        if (!j)
            futex_wait(&a->p->work, seen, PIU_MSEC(1));
    }
    return true;
}

/* Half of those that die hold the list's lock. */
static void die(struct actor *a)
{
    if (PIU_TSAN && random_next(&a->seed) % 2)
        pool_lock(a->p, a->who);
    play_end(true);
    a->stage->deaths++;
    a->stage->ended[a->place] = true;
}

static void be_worker(struct stage *s, unsigned place)
{
    struct actor a = {
        .stage = s, .p = wait_for_pool(s), .seed = 77 + place, .place = place};

    for (;;) {
        a.who = play();
        if (work(&a))
            break;
        die(&a);
        test_wait_until(!s->ended[place] || s->over);
    }
    play_end(false);
    s->acting--;
}

/* ---- The undertaker ------------------------------------------------------------------ */

static void bury(struct pool_shared *p, uint64_t who, unsigned place)
{
    struct piu_death death = {.pid = (int)place + 1, .exitcode = -SIGKILL};

    pool_lock(p, who);
    pool_bury(p, place, &death, false);
    pool_unlock(p);
}

/* What stands in the jobs that workers are in. */
static void look_around(struct pool_shared *p, uint64_t who)
{
    pool_lock(p, who);
    for (unsigned i = 0; i < WORKERS; i++) {
        const struct job *j = job_named(atomic_load(&p->workers[i].job));
        uint64_t chunk = atomic_load(&p->workers[i].chunk);

        CHECK(!j || chunk >= j->chunks || job_states(j)[chunk] || j->timeout == 0);
    }
    pool_unlock(p);
}

static void end_cancelled(struct pool_shared *p, uint64_t who)
{
    struct job_walk walk = job_walk_from(&p->first);

    pool_lock(p, who);
    for (struct job *j; (j = job_walk_next(&walk));) {
        if (atomic_load(&j->cancelled) && !pool_is_named(p, j))
            job_end_with(j, -ECANCELED);
    }
    pool_unlock(p);
}

static void be_undertaker(struct stage *s)
{
    struct pool_shared *p = wait_for_pool(s);
    uint64_t who = play();

    while (!s->over) {
        for (unsigned i = 0; i < WORKERS; i++) {
            if (s->ended[i]) {
                bury(p, who, i);
                s->ended[i] = false;
            }
        }
        look_around(p, who);
        end_cancelled(p, who);
        sched_yield();
    }
    play_end(false);
    s->acting--;
}

/* ---- The submitter ------------------------------------------------------------------- */

static struct pool_shared *make_shared(struct piu_pool *pool)
{
    struct pool_shared *p;
    void *block = NULL;

    CHECK_EQ(block_new_into(sizeof(*p) + WORKERS * sizeof(p->workers[0]),
                            &pool->shared_at, &block),
             0);
    p = block;
    p->places = pool->places = WORKERS;
    CHECK_EQ(fd_event(&pool->poke), 0);
    CHECK_EQ(fd_event(&pool->ended), 0);
    p->poke = pool->poke;
    p->ended = pool->ended;
    p->stamp = POOL_STAMP;
    return p;
}

/* As piu_pool_new() does it, but that no nursery is started nor looked after. */
static void make_pool(struct piu_pool **ret, uint64_t who)
{
    struct piu_pool *pool;
    void *block = NULL;

    CHECK_EQ(block_new(sizeof(*pool), BLOCK_SCRATCH, NULL, &block), 0);
    memset(block, 0, sizeof(*pool));
    block_set_purpose(block, BLOCK_POOL);
    pool = block;
    pool->shared = make_shared(pool);
    pool->owner = who & ID_MASK;
    pool->reviving = 1;
    pool->stamp = POOL_STAMP;
    *ret = pool;
}

static int never_run(struct piu_task *self, size_t first, size_t last)
{
    (void)self, (void)first, (void)last;
    return -1;
}

struct arrays {
    int in[ITEMS], out[ITEMS];
};

static struct piu_task task_of(struct arrays *a, int round)
{
    static const size_t counts[] = {1, 6, 40, ITEMS};

    for (int i = 0; i < ITEMS; i++) {
        a->in[i] = round + i;
        a->out[i] = -1;
    }
    return (struct piu_task){.run = never_run,
                             .count = counts[round % 4],
                             .chunk = 1 + (unsigned)round % 3,
                             .in = a->in,
                             .in_size = sizeof(int),
                             .out = a->out,
                             .out_size = sizeof(int),
                             .retries = round % 5 ? 0 : 1000};
}

/* What was lost has the caller's value. */
static void check_items(const struct arrays *a, size_t first, size_t last, bool whole)
{
    for (size_t i = first; i < last; i++)
        CHECK(a->out[i] == a->in[i] + 1 || (!whole && a->out[i] == -1));
}

static void map(struct piu_pool *pool, struct arrays *a, int round)
{
    struct piu_task task = task_of(a, round);
    int r = piu_pool_map(pool, &task, NULL);

    CHECK(r == 0 || r == PIU_FAILED || (r == PIU_LOSSES && !task.retries));
    check_items(a, 0, task.count, r != PIU_LOSSES);
}

/* Without a wait: the look at the job's state alone brings the items. */
static void look(struct piu_pool *pool, struct arrays *a, int round)
{
    struct piu_task task = task_of(a, round);
    struct piu_result *result = piu_pool_map_async(pool, &task);
    int r;

    CHECK(result);
    test_wait_until(piu_result_ready(result));
    r = piu_result_get(result, PIU_NOW);
    CHECK(r >= 0);
    check_items(a, 0, task.count, r != PIU_LOSSES);
    piu_result_free(result);
}

static void iterate(struct piu_pool *pool, struct arrays *a, int round)
{
    struct piu_task task = task_of(a, round);
    struct piu_result *result = piu_pool_imap(pool, &task, .unordered = round & 1,
                                              .lookahead = (unsigned)round % 3 * 4);
    size_t first, last, seen = 0;
    int r;

    CHECK(result);
    while ((r = piu_result_next(result, &first, &last, PIU_FOREVER)) >= 0) {
        check_items(a, first, last, r != PIU_LOSSES);
        seen += last - first;
    }
    CHECK_EQ(r, -ENODATA);
    CHECK_EQ(seen, task.count);
    piu_result_free(result);
}

static void cancel(struct piu_pool *pool, struct arrays *a, int round)
{
    struct piu_task task = task_of(a, round);
    struct piu_result *result = piu_pool_map_async(pool, &task);
    int r;

    CHECK(result);
    CHECK_EQ(piu_result_cancel(result), 0);
    r = piu_result_get(result, PIU_FOREVER);
    CHECK(r == -ECANCELED || r >= 0);
    piu_result_free(result);
}

/* Results that are freed while their jobs run, or long after their end. */
static void keep(struct piu_pool *pool, struct arrays *a, int round,
                 struct piu_result *kept[KEPT])
{
    struct piu_task task = task_of(a, round);
    unsigned i = (unsigned)round / 4 % KEPT;

    piu_result_free(kept[i]);
    kept[i] = piu_pool_map_async(pool, &task);
    CHECK(kept[i]);
    if (round % 8 == 0)
        kept[i] = piu_result_free(kept[i]);
}

static void be_submitter(struct stage *s)
{
    struct piu_pool *pool;
    struct arrays *a = calloc(1, sizeof(*a)), *lasting = calloc(1, sizeof(*lasting));
    struct piu_result *kept[KEPT] = {NULL};

    CHECK(a && lasting);
    make_pool(&pool, play());
    s->shared = pool->shared;
    for (int round = 0; round < ROUNDS; round++) {
        keep(pool, lasting, round, kept);
        map(pool, a, round);
        look(pool, a, round);
        iterate(pool, a, round);
        cancel(pool, a, round);
    }
    for (int i = 0; i < KEPT; i++) {
        CHECK(!kept[i] || piu_result_wait(kept[i], PIU_FOREVER) == 0);
        piu_result_free(kept[i]);
    }
    free(a);
    free(lasting);
    s->over = true;
    test_wait_until(s->acting == 0);
    CHECK(!s->shared->first || pool->given_up > 0); /* some jobs stay listed: PARKED */
    pool_dissolve(pool, false);
    play_end(false);
}

static void be_one(int i, void *argument)
{
    struct stage *s = argument;

    if (i == 0)
        be_submitter(s);
    else if (i == 1)
        be_undertaker(s);
    else
        be_worker(s, (unsigned)i - 2);
}

static void play_all(struct stage *s)
{
    s->acting = WORKERS + 1;
    test_threads(WORKERS + 2, be_one, s);
    CHECK(s->deaths > 0);
    CHECK(block_check());
}

TEST(all_that_a_pool_shares_is_ordered_also_when_workers_die, .limit = 180)
{
    struct stage s = {.failing = 0};

    play_all(&s);
}

TEST(so_are_the_notes_of_chunks_that_fail, .limit = 180)
{
    struct stage s = {.failing = 3};

    play_all(&s);
}
