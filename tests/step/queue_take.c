/* The queue: take and drop, reserve, commit and abort, tasks, and the sweep of who held some. */
#include "queue.h"

#include "flow/tally.h"

/* ---- Taking: a dead taker's message always comes again ------------------------------------- */

static void take(void *world)
{
    struct world *w = world;
    size_t size;

    piu_queue_take(w->q, &w->held, &size, PIU_NOW);
}

static void drop(void *world)
{
    struct world *w = world;

    piu_queue_drop(w->q, w->held);
}

/* One message with a task unfinished. */
static void get_one(void *world)
{
    struct world *w = world;
    size_t size = sizeof(w->received);

    CHECK_EQ(piu_queue_get(w->q, w->received, &size, PIU_NOW), 0);
}

static void hold_many(void *world)
{
    void *block;

    (void)world;
    for (int i = 0; i < HELD_ENTRIES + 3; i++)
        CHECK_EQ(block_new(100, BLOCK_SCRATCH, NULL, &block), 0);
}

static void take_holding_many(void *world)
{
    hold_many(world);
    take(world);
}

static void small_may_miss(void *world)
{
    three_small(world);
    one_may_miss(world);
}

static void large_may_miss(void *world)
{
    three_large(world);
    one_may_miss(world);
}

static void tasks_may_miss(void *world)
{
    with_tasks(world);
    one_may_miss(world);
}

static void large_tasks_may_miss(void *world)
{
    with_large_tasks(world);
    one_may_miss(world);
}

static void returned_with_tasks(void *world)
{
    ((struct world *)world)->tasks = true;
    one_returned(world);
}

static void returned_with_tasks_may_miss(void *world)
{
    returned_with_tasks(world);
    one_may_miss(world);
}

QUEUE_CASE(take_small, .set_up = three_small, .operation = take);
QUEUE_CASE(take_large, .set_up = three_large, .operation = take);
QUEUE_CASE(take_returned, .set_up = one_returned, .operation = take);
QUEUE_CASE(take_with_tasks, .set_up = tasks_may_miss, .prepare = get_one,
           .operation = take);
QUEUE_CASE(take_large_with_tasks, .set_up = large_tasks_may_miss, .prepare = get_one,
           .operation = take);
QUEUE_CASE(take_returned_with_tasks, .set_up = returned_with_tasks, .operation = take);
QUEUE_CASE(take_large_holding_many, .set_up = three_large, .prepare = hold_many,
           .operation = take);
QUEUE_CASE(take_small_holding_many, .set_up = three_small, .prepare = hold_many,
           .operation = take);
QUEUE_CASE(take_returned_holding_many, .set_up = one_returned, .prepare = hold_many,
           .operation = take);
QUEUE_CASE(drop, .set_up = large_may_miss, .prepare = take, .operation = drop);
QUEUE_CASE(drop_small, .set_up = small_may_miss, .prepare = take, .operation = drop);
QUEUE_CASE(drop_holding_many, .set_up = large_may_miss, .prepare = take_holding_many,
           .operation = drop);

/* ---- Reserving -------------------------------------------------------------------------------- */

static void reserve(void *world)
{
    struct world *w = world;

    piu_queue_reserve(w->q, SMALL, &w->held, PIU_NOW);
}

static void reserve_and_write(void *world)
{
    reserve(world);
    memcpy(((struct world *)world)->held, flight[0], SMALL);
}

static void commit(void *world)
{
    struct world *w = world;

    piu_queue_commit(w->q, w->held);
}

static void abort_it(void *world)
{
    struct world *w = world;

    piu_queue_abort(w->q, w->held);
}

static void will_commit(void *world)
{
    bounded(world);
    may_be_put(world, 1);
}

static void will_commit_into_new_chunk(void *world)
{
    last_chunk_full(world);
    may_be_put(world, 1);
}

QUEUE_CASE(reserve, .set_up = bounded, .operation = reserve);
QUEUE_CASE(commit, .set_up = will_commit, .prepare = reserve_and_write,
           .operation = commit);
QUEUE_CASE(commit_into_new_chunk, .set_up = will_commit_into_new_chunk,
           .prepare = reserve_and_write, .operation = commit);
QUEUE_CASE(abort, .set_up = bounded, .prepare = reserve, .operation = abort_it);

/* ---- Tasks --------------------------------------------------------------------------------------- */

static void get(void *world)
{
    struct world *w = world;
    size_t size = sizeof(w->received);

    piu_queue_get(w->q, w->received, &size, PIU_NOW);
}

static void task_done(void *world)
{
    piu_queue_task_done(((struct world *)world)->q);
}

QUEUE_CASE(get_with_tasks, .set_up = tasks_may_miss, .operation = get);
QUEUE_CASE(get_large_with_tasks, .set_up = large_tasks_may_miss, .operation = get);
QUEUE_CASE(get_returned_with_tasks, .set_up = returned_with_tasks_may_miss,
           .operation = get);
QUEUE_CASE(task_done, .set_up = tasks_may_miss, .prepare = get_one,
           .operation = task_done);

/* All marks are taken by the living: the next getter's makes the tally grow. */
static void full_tally(void *world)
{
    struct world *w = world;
    struct tally *tally;

    with_tasks(w);
    put_all(w, 3, 1, SMALL);
    get_one(w);
    CHECK_EQ(piu_queue_task_done(w->q), 0);
    w->expected[0] = NEVER;
    one_may_miss(w);
    tally = arena_at(atomic_load(&w->q->get.got_by), sizeof(*tally));
    for (uint32_t i = 0; i < tally->capacity; i++)
        atomic_store(&tally->marks[i].id, kill_who() & ID_MASK);
}

QUEUE_CASE(get_with_full_tally, .set_up = full_tally, .operation = get);

/* ---- Sweeping: the sweeper is the victim ----------------------------------------------------------- */

/* A dead one holds what it had taken, and reserved; nobody has noticed yet. */
static void dead_one_holds(struct world *w)
{
    void *bytes;

    in_child_killed({
        take(w);
        take(w);
        CHECK_EQ(piu_queue_reserve(w->q, LARGE, &bytes, PIU_NOW), 0);
    });
}

static void dead_holds_small(void *world)
{
    bounded(world);
    dead_one_holds(world);
}

static void dead_holds_large(void *world)
{
    three_large(world);
    dead_one_holds(world);
}

static void dead_holds_tasks(void *world)
{
    with_large_tasks(world);
    dead_one_holds(world);
}

static void dead_holds_returned(void *world)
{
    returned_with_tasks(world);
    dead_one_holds(world);
}

QUEUE_CASE(sweep_of_small, .set_up = dead_holds_small, .operation = then_sweeps);
QUEUE_CASE(sweep_of_large, .set_up = dead_holds_large, .operation = then_sweeps);
QUEUE_CASE(sweep_of_tasks, .set_up = dead_holds_tasks, .operation = then_sweeps);
QUEUE_CASE(sweep_of_returned, .set_up = dead_holds_returned, .operation = then_sweeps);
