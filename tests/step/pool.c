/* Pools: their owner is killed, or a worker, or the nursery, whatever it does. */
#include "kill.h"

#include "broken/programs.h"

#include <piu.h>
#include <sched.h>

#define ITEMS 6

/* Two workers, at least, are in the first map: counted in shared memory; NULL: nobody waits. */
static _Atomic int *both;

static int square_each(struct piu_task *self, size_t first, size_t last)
{
    const int *in = self->in;
    int *out = self->out;

    for (size_t i = first; i < last; i++)
        out[i] = in[i] * in[i];
    if (both)
        for ((*both)++; *both < 2;)
            sched_yield();
    return 0;
}

static int square_all(struct piu_pool *pool, int *out)
{
    const int in[ITEMS] = {0, 1, 2, 3, 4, 5};
    struct piu_task task = {.run = square_each,
                            .count = ITEMS,
                            .chunk = 1,
                            .in = in,
                            .in_size = sizeof(in[0]),
                            .out = out,
                            .out_size = sizeof(out[0])};

    return piu_pool_map(pool, &task, NULL);
}

static void map_and_free(void *state)
{
    struct piu_pool *pool = piu_pool_new(.processes = 2);
    int out[ITEMS];

    (void)state;
    CHECK(pool);
    CHECK_EQ(square_all(pool, out), 0);
    CHECK_EQ(out[5], 25);
    piu_pool_free(pool);
}

/*
 * What a killed owner's pool had goes back, but for the one block that it was killed at between
 * unlinking and freeing.
 */
static void all_workers_end(void *state)
{
    (void)state;
    kill_all_end();
    CHECK(kill_blocks() <= 1);
    CHECK(kill_blocks() == 0 || !kill_now.ended);
}

KILL(pool, parent, .forks = true, .most = 500, .operation = map_and_free,
     .check = all_workers_end);

/* ---- One of the pool's own is killed ------------------------------------------------------------ */

static struct piu_pool *pool_of_two(void)
{
    struct piu_pool *pool = piu_pool_new(.processes = 2);

    if (!pool) /* its nursery was killed before there was a worker: that is told */
        pool = piu_pool_new(.processes = 2);
    CHECK(pool);
    return pool;
}

/* What was lost is told. */
static void map_once(struct piu_pool *pool)
{
    int out[ITEMS] = {-1, -1, -1, -1, -1, -1};
    int r = square_all(pool, out), lost = 0;

    CHECK(r == 0 || r == PIU_LOSSES);
    for (int i = 0; i < ITEMS; i++) {
        CHECK(out[i] == i * i || out[i] == -1);
        lost += out[i] == -1;
    }
    CHECK((lost > 0) == (r == PIU_LOSSES));
}

/* The victim may have lived so far; one map is whole, for there is one kill. */
static void goes_on(struct piu_pool *pool)
{
    map_once(pool);
    map_once(pool);
    map_once(pool);
    piu_pool_free(pool);
    kill_all_end();
    CHECK_EQ(kill_blocks(), 0);
}

static void maps(void *state)
{
    both = state;
    goes_on(pool_of_two());
}

#define MAPS .size = sizeof(*both), .check = maps

KILL(pool, worker, MAPS, .most = 1000, .inside = ROLE_WORKER);
KILL(pool, nursery, MAPS, .most = 1000, .inside = ROLE_NURSERY);
KILL(pool, nursery_not_yet, MAPS, .most = 600, .inside = ROLE_CHILD);

TWIN(pool, worker_named_late, MAPS, .inside = ROLE_WORKER,
     .instead.worker = worker_named_late);

/* ---- While a worker's place is filled again ------------------------------------------------------ */

static pid_t workers_wait(struct piu_pool *pool)
{
    pid_t pids[2];
    size_t count = 0;

    do
        CHECK_EQ(piu_pool_workers(pool, pids, 2, &count), 0);
    while (count < 2 && sched_yield() == 0);
    return pids[1];
}

static void a_worker_is_killed(void *state)
{
    struct piu_pool *pool;
    pid_t pid;

    both = state; /* workers have it from their birth on */
    pool = pool_of_two();
    pid = workers_wait(pool);
    victim_inside_opens();
    CHECK_EQ(kill(pid, SIGKILL), 0);
    goes_on(pool);
}

#define REFILLS .size = sizeof(*both), .waits = true, .check = a_worker_is_killed

KILL(pool, nursery_refills, REFILLS, .most = 1000, .inside = ROLE_NURSERY);
KILL(pool, worker_not_yet, REFILLS, .most = 600, .inside = ROLE_CHILD);

TWIN(pool, nursery_forgets_the_unborn, REFILLS, .inside = ROLE_CHILD,
     .instead.nursery = nursery_forgets_the_unborn);

/* ---- While a task is cancelled --------------------------------------------------------------- */

struct begun {
    _Atomic int count;
};

struct endless {
    struct piu_task task;
    struct begun *begun;
};

static int run_for_ever(struct piu_task *self, size_t first, size_t last)
{
    (void)first, (void)last;
    atomic_fetch_add(&((struct endless *)(void *)self)->begun->count, 1);
    while (pause() < 0)
        ;
    return 0;
}

/* All that was begun is killed; the victim, too, if it was not before. */
static void cancel(struct piu_result *result)
{
    CHECK_EQ(piu_result_cancel(result), 0);
    CHECK_EQ(piu_result_get(result, PIU_FOREVER), -ECANCELED);
    piu_result_free(result);
}

static struct piu_result *begin_endless(struct piu_pool *pool, struct begun *begun)
{
    struct endless endless = {.task = {.run = run_for_ever,
                                       .struct_size = sizeof(endless),
                                       .count = 4,
                                       .chunk = 1},
                              .begun = begun};
    struct piu_result *result = piu_pool_map_async(pool, &endless.task);

    CHECK(result);
    return result;
}

static void a_worker_in_it_is_cancelled(void *state)
{
    struct begun *begun = state;
    struct piu_pool *pool = pool_of_two();
    struct piu_result *result;

    workers_wait(pool);
    victim_inside_opens();
    result = begin_endless(pool, begun);
    test_wait_until(begun->count >= 2); /* of three at most: one may be killed before */
    cancel(result);
    goes_on(pool);
}

static void the_nursery_cancels(void *state)
{
    struct begun *begun = state;
    struct piu_pool *pool = pool_of_two();
    struct piu_result *result = begin_endless(pool, begun);

    test_wait_until(begun->count >= 2);
    victim_inside_opens();
    cancel(result);
    goes_on(pool);
}

#define CANCELS .size = sizeof(struct begun), .waits = true

KILL(pool, worker_cancelled, CANCELS, .most = 1000, .inside = ROLE_WORKER,
     .check = a_worker_in_it_is_cancelled);
KILL(pool, nursery_cancels, CANCELS, .most = 1000, .inside = ROLE_NURSERY,
     .check = the_nursery_cancels);

TWIN(pool, nursery_forgets_cancels, CANCELS, .inside = ROLE_NURSERY,
     .check = the_nursery_cancels, .instead.nursery = nursery_forgets_cancels);
TWIN(pool, nursery_is_outlived, CANCELS, .inside = ROLE_NURSERY,
     .check = the_nursery_cancels, .instead.nursery = nursery_is_outlived);
