/* The queue: put and get, create, shutdown and free. */
#include "queue.h"

/* ---- Putting ------------------------------------------------------------------------------- */

static void put_small(void *world)
{
    piu_queue_put(((struct world *)world)->q, flight[0], SMALL, PIU_NOW);
}

static void put_large(void *world)
{
    piu_queue_put(((struct world *)world)->q, flight[0], LARGE, PIU_NOW);
}

static void put_many(void *world)
{
    unsigned char bytes[5 * SMALL];
    size_t count;

    for (unsigned i = 0; i < 5; i++)
        memcpy(bytes + (size_t)i * SMALL, flight[i], SMALL);
    piu_queue_put_many(((struct world *)world)->q, bytes, SMALL, 5, &count, PIU_NOW);
}

static void into_three(void *world)
{
    three_small(world);
    may_be_put(world, 1);
}

static void into_bounded(void *world)
{
    bounded(world);
    may_be_put(world, 1);
}

static void into_full(void *world)
{
    queue_with(world, 3, SMALL, 3);
}

static void into_new_chunk(void *world)
{
    last_chunk_full(world);
    may_be_put(world, 1);
}

static void into_used_chunk(void *world)
{
    retired_chunk(world);
    may_be_put(world, 1);
}

static void five_into_new_chunk(void *world)
{
    last_chunk_full(world);
    may_be_put(world, 5);
}

/* With more blocks than entries: the sweep goes through the whole heap (B3). */
static void hold_many(void *world)
{
    void *block;

    (void)world;
    for (int i = 0; i < HELD_ENTRIES + 3; i++)
        CHECK_EQ(block_new(100, BLOCK_SCRATCH, NULL, &block), 0);
}

QUEUE_CASE(put_small, .set_up = into_three, .operation = put_small);
QUEUE_CASE(put_bounded, .set_up = into_bounded, .operation = put_small);
QUEUE_CASE(put_full, .set_up = into_full, .operation = put_small);
QUEUE_CASE(put_large, .set_up = into_three, .operation = put_large);
QUEUE_CASE(put_into_new_chunk, .set_up = into_new_chunk, .operation = put_small);
QUEUE_CASE(put_large_into_new_chunk, .set_up = into_new_chunk, .operation = put_large);
QUEUE_CASE(put_into_used_chunk, .set_up = into_used_chunk, .operation = put_small);
QUEUE_CASE(put_many, .set_up = five_into_new_chunk, .operation = put_many);
QUEUE_CASE(put_large_holding_many, .set_up = into_three, .prepare = hold_many,
           .operation = put_large);
QUEUE_CASE(put_into_new_chunk_holding_many, .set_up = into_new_chunk,
           .prepare = hold_many, .operation = put_small);

/* ---- Getting -------------------------------------------------------------------------------- */

static void get(void *world)
{
    struct world *w = world;
    size_t size = sizeof(w->received);

    piu_queue_get(w->q, w->received, &size, PIU_NOW);
}

static void get_new(void *world)
{
    size_t size;
    void *bytes;

    piu_queue_get_new(((struct world *)world)->q, &bytes, &size, PIU_NOW);
}

static void get_many(void *world)
{
    unsigned char bytes[2 * SMALL];
    size_t count;

    piu_queue_get_many(((struct world *)world)->q, bytes, SMALL, 2, &count, PIU_NOW);
}

static void receive(struct world *w)
{
    one_may_miss(w);
    w->receives = true;
}

static void of_three_small(void *world)
{
    three_small(world);
    receive(world);
}

static void of_three_large(void *world)
{
    three_large(world);
    receive(world);
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

static void two_may_miss(void *world)
{
    three_small(world);
    ((struct world *)world)->may_miss = 2;
}

static void empty(void *world)
{
    queue_with(world, 0, SMALL, 0);
}

/* The next get goes on to the next chunk. */
static void first_chunk_drained(void *world)
{
    struct world *w = world;
    unsigned char bytes[SMALL];
    size_t size;

    last_chunk_full(w);
    for (unsigned i = 0; i < w->many; i++) {
        size = sizeof(bytes);
        CHECK_EQ(piu_queue_get(w->q, bytes, &size, PIU_NOW), 0);
        w->expected[message_number(bytes, size)] = NEVER;
    }
    w->many = 3;
    put_all(w, 0, 3, SMALL);
    one_may_miss(w);
}

static void one_returned_may_miss(void *world)
{
    one_returned(world);
    one_may_miss(world);
}

QUEUE_CASE(get_small, .set_up = of_three_small, .operation = get);
QUEUE_CASE(get_large, .set_up = of_three_large, .operation = get);
QUEUE_CASE(get_empty, .set_up = empty, .operation = get);
QUEUE_CASE(get_from_next_chunk, .set_up = first_chunk_drained, .operation = get);
QUEUE_CASE(get_new, .set_up = small_may_miss, .operation = get_new);
QUEUE_CASE(get_new_large, .set_up = large_may_miss, .operation = get_new);
QUEUE_CASE(get_many, .set_up = two_may_miss, .operation = get_many);
QUEUE_CASE(get_returned, .set_up = one_returned_may_miss, .operation = get);

/* ---- Two ------------------------------------------------------------------------------------ */

static void other_put(void *world)
{
    message_put(((struct world *)world)->q, HIS, SMALL);
}

static void two_will_put(void *world)
{
    into_three(world);
    ((struct world *)world)->expected[HIS] = MUST;
}

static void one_puts_one_gets(void *world)
{
    two_will_put(world);
    ((struct world *)world)->expected[MINE] = NEVER;
    one_may_miss(world);
}

/* B goes on to its end: what it got is gone, what it put is there. */
KILL(queue, two_putters, QUEUE, .set_up = two_will_put, .operation = put_small,
     .other = other_put, .check = survive);
KILL(queue, getter_and_putter, QUEUE, .set_up = one_puts_one_gets, .operation = get,
     .other = other_put, .check = survive);
KILL(queue, two_getters, QUEUE, .set_up = two_may_miss, .operation = get_new,
     .other = get_new, .check = survive);

/* ---- Beginning and end ------------------------------------------------------------------------ */

static void shut_down(void *world)
{
    piu_queue_shutdown(((struct world *)world)->q);
}

QUEUE_CASE(shutdown, .set_up = three_small, .operation = shut_down);

/* Of all kinds: used chunks, small and large messages, one that was returned. */
static void rich(void *world)
{
    struct world *w = world;
    size_t size;
    void *bytes;

    retired_chunk(w);
    put_all(w, 0, 2, SMALL);
    put_all(w, 2, 2, LARGE);
    in_child_killed({ CHECK_EQ(piu_queue_take(w->q, &bytes, &size, PIU_NOW), 0); });
    member_sweep_dead(true);
    CHECK(atomic_load(&w->q->get.returned));
}

static void rich_with_tasks(void *world)
{
    ((struct world *)world)->tasks = true;
    rich(world);
}

static void free_it(void *world)
{
    piu_queue_free(((struct world *)world)->q);
}

/* Not begun, or done by the sweep. */
static void it_is_there_or_gone(void *world)
{
    struct world *w = world;

    if (kill_now.way == 0)
        member_sweep_dead(true);
    if (message_put(w->q, HIS, SMALL) == 0)
        w->expected[HIS] = MUST;
    member_sweep_dead(true);
    if (message_put(w->q, HIS + 1, SMALL) == 0) {
        CHECK(!kill_now.ended);
        w->expected[HIS + 1] = MUST;
        survive(w);
    } else {
        CHECK_EQ(message_put(w->q, HIS + 2, SMALL), -ESTALE);
        CHECK_EQ(kill_blocks(), 0);
    }
}

KILL(queue, free, QUEUE, .set_up = rich, .operation = free_it,
     .check = it_is_there_or_gone);
KILL(queue, free_with_tasks, QUEUE, .set_up = rich_with_tasks, .operation = free_it,
     .check = it_is_there_or_gone);

static void create(void *world)
{
    (void)world;
    (void)piu_queue_new(.maxsize = 3);
}

static void another_works(void *world)
{
    struct world *w = world;

    member_sweep_dead(true);
    w->left = kill_blocks();
    CHECK(w->left == 0 || w->left == 1); /* the queue itself, when it was whole */
    three_small(w);
    survive(w);
}

KILL(queue, create, QUEUE, .operation = create, .check = another_works);
