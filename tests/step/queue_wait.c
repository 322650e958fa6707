/* The queue with somebody asleep at it: whom a dead one did not wake gets up all the same. */
#include "queue.h"

/* ---- A getter sleeps, the victim puts ------------------------------------------------------ */

static void empty(void *world)
{
    queue_with(world, 0, SMALL, 0);
    may_be_put(world, 1);
    ((struct world *)world)->expected[HIS] = MAY;
}

static void peer_gets(void *world)
{
    struct world *w = world;
    size_t size = sizeof(w->received);

    peer_is_ready();
    w->about_to_wait = 1;
    CHECK(piu_queue_get(w->q, w->received, &size, PIU_FOREVER) >= 0);
    w->result = (int)message_number(w->received, size);
}

static void put_small(void *world)
{
    CHECK_EQ(piu_queue_put(((struct world *)world)->q, flight[0], SMALL, PIU_FOREVER), 0);
}

/* It gets what the victim put; else what the survivor does. */
static void the_getter_has_one(void *world)
{
    struct world *w = world;
    int mine;

    if (!kill_now.ended)
        CHECK_EQ(message_put(w->q, HIS, SMALL), 0);
    peer_join(0);
    mine = w->result == (int)MINE;
    CHECK(mine || (w->result == (int)HIS && !kill_now.ended));
    w->expected[w->result] = NEVER;
    w->expected[HIS] = mine && !kill_now.ended ? MUST : NEVER;
    w->expected[MINE] = NEVER;
    survive(w);
}

KILL(queue, put_a_getter_sleeps, QUEUE, .set_up = empty, .peers = {peer_gets},
     .operation = put_small, .check = the_getter_has_one);

/* ---- A putter sleeps, the victim gets ------------------------------------------------------- */

static void full(void *world)
{
    struct world *w = world;

    queue_with(w, 3, SMALL, 3);
    one_may_miss(w);
    w->expected[HIS] = MUST;
}

static void peer_puts(void *world)
{
    struct world *w = world;
    unsigned char bytes[SMALL];

    message_fill(bytes, SMALL, HIS);
    peer_is_ready();
    CHECK_EQ(piu_queue_put(w->q, bytes, SMALL, PIU_FOREVER), 0);
}

static void get(void *world)
{
    unsigned char bytes[SMALL];
    size_t size = sizeof(bytes);

    CHECK(piu_queue_get(((struct world *)world)->q, bytes, &size, PIU_FOREVER) >= 0);
}

/* There is room from the moment of the victim's commit on; else the survivor makes some. */
static void the_putter_has_put(void *world)
{
    struct world *w = world;
    unsigned seen[NUMBERS] = {0};
    unsigned char bytes[SMALL];
    size_t size = sizeof(bytes);

    if (!kill_now.ended) {
        CHECK_EQ(piu_queue_get(w->q, bytes, &size, PIU_NOW), 0);
        seen[message_number(bytes, size)]++;
    }
    peer_join(0);
    member_sweep_dead(true);
    drain(w, seen, PIU_NOW);
    look_at_messages(w, seen);
    for (unsigned i = 0; i < NUMBERS; i++)
        w->expected[i] = NEVER;
    survive(w);
}

KILL(queue, get_a_putter_sleeps, QUEUE, .set_up = full, .peers = {peer_puts},
     .operation = get, .check = the_putter_has_put);

/* ---- A joiner sleeps, the victim does the last task -------------------------------------------- */

static void one_task(void *world)
{
    struct world *w = world;

    w->tasks = true;
    queue_with(w, 0, SMALL, 1);
    one_may_miss(w);
}

static void peer_joins(void *world)
{
    struct world *w = world;

    peer_is_ready();
    w->result = piu_queue_join(w->q, PIU_FOREVER);
}

static void task_done(void *world)
{
    piu_queue_task_done(((struct world *)world)->q);
}

/* A task that a dead one had got and not done counts as lost: join says so. */
static void the_joiner_is_told(void *world)
{
    struct world *w = world;

    member_sweep_dead(true);
    peer_join(0);
    CHECK(w->result == 0 || (w->result == PIU_LOSSES && !kill_now.ended));
    survive(w);
}

KILL(queue, task_done_a_joiner_sleeps, QUEUE, .set_up = one_task, .prepare = get,
     .peers = {peer_joins}, .operation = task_done, .check = the_joiner_is_told);

static void get_and_finish(void *world)
{
    get(world);
    task_done(world);
}

/* Once the message is out of the queue, nobody but the joiner looks after it. */
static void got_or_not(void *world)
{
    struct world *w = world;

    member_sweep_dead(true);
    if (piu_queue_qsize(w->q) > 0)
        get_and_finish(world);
    the_joiner_is_told(world);
}

KILL(queue, get_a_joiner_sleeps, QUEUE, .set_up = one_task, .peers = {peer_joins},
     .operation = get_and_finish, .check = got_or_not);

/* ---- The victim sleeps, and is woken ---------------------------------------------------------------- */

static void peer_puts_later(void *world)
{
    peer_is_ready();
    peer_awaits_victim();
    CHECK_EQ(message_put(((struct world *)world)->q, HIS, SMALL), 0);
}

static void woken_getter(void *world)
{
    queue_with(world, 0, SMALL, 0);
    one_may_miss(world);
    ((struct world *)world)->expected[HIS] = MUST;
}

static void peer_has_put(void *world)
{
    peer_join(0);
    survive(world);
}

KILL(queue, get_woken, QUEUE, .set_up = woken_getter, .peers = {peer_puts_later},
     .operation = get, .check = peer_has_put);

static void peer_gets_later(void *world)
{
    struct world *w = world;
    unsigned char bytes[SMALL];
    size_t size = sizeof(bytes);

    peer_is_ready();
    peer_awaits_victim();
    CHECK_EQ(piu_queue_get(w->q, bytes, &size, PIU_NOW), 0);
    w->expected[message_number(bytes, size)] = NEVER;
}

static void woken_putter(void *world)
{
    queue_with(world, 3, SMALL, 3);
    may_be_put(world, 1);
}

KILL(queue, put_woken, QUEUE, .set_up = woken_putter, .peers = {peer_gets_later},
     .operation = put_small, .check = peer_has_put);

/* ---- A getter sleeps, the victim shuts down, or is the last putter ------------------------------------ */

static void peer_gets_the_end(void *world)
{
    struct world *w = world;
    unsigned char bytes[SMALL];
    size_t size = sizeof(bytes);

    peer_is_ready();
    w->result = piu_queue_get(w->q, bytes, &size, PIU_FOREVER);
}

static void shut_down(void *world)
{
    piu_queue_shutdown(((struct world *)world)->q);
}

static void nothing_in_it(void *world)
{
    queue_with(world, 0, SMALL, 0);
}

static void the_getter_is_told(void *world)
{
    struct world *w = world;

    if (!kill_now.ended)
        shut_down(w);
    peer_join(0);
    CHECK_EQ(w->result, -EPIPE);
    survive(w);
}

KILL(queue, shutdown_a_getter_sleeps, QUEUE, .set_up = nothing_in_it,
     .peers = {peer_gets_the_end}, .operation = shut_down, .check = the_getter_is_told);

static void with_putters(void *world)
{
    struct world *w = world;

    w->q = piu_queue_new(.putters = true);
    CHECK(w->q);
    w->size = SMALL;
}

static void be_a_putter(void *world)
{
    CHECK_EQ(piu_queue_putter(((struct world *)world)->q), 0);
}

static void be_done(void *world)
{
    CHECK_EQ(piu_queue_putter_done(((struct world *)world)->q), 0);
}

/* Done or dead: there was a putter, and none is left. */
static void the_end_comes(void *world)
{
    struct world *w = world;

    peer_join(0);
    CHECK_EQ(w->result, -EPIPE);
    survive(w);
}

KILL(queue, last_putter, QUEUE, .set_up = with_putters, .prepare = be_a_putter,
     .peers = {peer_gets_the_end}, .operation = be_done, .check = the_end_comes);

/* Not declared, or declared and dead: the next one counts, and the end comes behind it. */
static void the_next_putter_counts(void *world)
{
    struct world *w = world;
    unsigned char bytes[SMALL];
    size_t size = sizeof(bytes);

    be_a_putter(w);
    CHECK_EQ(message_put(w->q, HIS, SMALL), 0);
    be_done(w);
    CHECK_EQ(piu_queue_get(w->q, bytes, &size, PIU_SEC(10)), 0);
    size = sizeof(bytes);
    CHECK_EQ(piu_queue_get(w->q, bytes, &size, PIU_SEC(10)), -EPIPE);
    survive(w);
}

KILL(queue, declare_a_putter, QUEUE, .set_up = with_putters, .operation = be_a_putter,
     .check = the_next_putter_counts);
