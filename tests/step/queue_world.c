/* The queue's survivor: no message is lost or doubled, nobody waits for the dead, no block is lost. */
#include "queue.h"

unsigned char flight[5][LARGE];

/* ---- Numbered messages --------------------------------------------------------------- */

void message_fill(unsigned char *bytes, size_t size, unsigned number)
{
    for (size_t i = 0; i < size; i++)
        bytes[i] = (unsigned char)(number * 31 + i);
    memcpy(bytes, &number, sizeof(number));
}

unsigned message_number(const unsigned char *bytes, size_t size)
{
    unsigned char whole[LARGE];
    unsigned number;

    CHECK(size >= sizeof(number) && size <= sizeof(whole));
    memcpy(&number, bytes, sizeof(number));
    CHECK(number < NUMBERS);
    message_fill(whole, size, number);
    CHECK(memcmp(whole, bytes, size) == 0);
    return number;
}

int message_put(struct piu_queue *q, unsigned number, size_t size)
{
    unsigned char bytes[LARGE];

    message_fill(bytes, size, number);
    return piu_queue_put(q, bytes, size, PIU_NOW);
}

void put_all(struct world *w, unsigned from, unsigned count, size_t size)
{
    for (unsigned i = from; i < from + count; i++) {
        CHECK_EQ(message_put(w->q, i, size), 0);
        w->expected[i] = MUST;
    }
}

void queue_with(struct world *w, size_t maxsize, size_t size, unsigned many)
{
    w->q = piu_queue_new(.maxsize = maxsize, .tasks = w->tasks);
    CHECK(w->q);
    w->maxsize = maxsize;
    w->size = size;
    w->many = many;
    put_all(w, 0, many, size);
}

void may_be_put(struct world *w, unsigned many)
{
    for (unsigned i = 0; i < many; i++) {
        w->expected[MINE + i] = MAY;
        message_fill(flight[i], LARGE, MINE + i);
    }
}

void one_may_miss(struct world *w)
{
    w->may_miss = 1;
    memset(w->received, 0xff, sizeof(w->received));
}

/* ---- What the survivor looks for -------------------------------------------------------- */

void drain(struct world *w, unsigned *seen, int64_t timeout)
{
    unsigned char bytes[LARGE];
    size_t size = sizeof(bytes);
    int r;

    while ((r = piu_queue_get(w->q, bytes, &size, timeout)) >= 0) {
        seen[message_number(bytes, size)]++;
        if (w->tasks)
            CHECK_EQ(piu_queue_task_done(w->q), 0);
        size = sizeof(bytes);
    }
    CHECK(r == -ETIMEDOUT || r == -EPIPE);
}

void look_at_messages(struct world *w, const unsigned *seen)
{
    unsigned missing = 0;

    for (unsigned i = 0; i < NUMBERS; i++) {
        if (seen[i] > 1 || (seen[i] && w->expected[i] == NEVER))
            test_fail(__FILE__, __LINE__, "message %u came %u times", i, seen[i]);
        if (!seen[i] && w->expected[i] == MUST && ++missing > w->may_miss)
            test_fail(__FILE__, __LINE__, "message %u is lost", i);
    }
}

/* A get that was killed before the message was whole in its memory has not received it. */
static void look_at_received(struct world *w)
{
    unsigned char whole[LARGE];
    unsigned first = 0;

    if (!w->receives)
        return;
    while (first < NUMBERS && w->expected[first] != MUST)
        first++;
    message_fill(whole, w->size, first);
    if (memcmp(whole, w->received, w->size) != 0)
        w->may_miss--;
}

/* One that is small has room for just so many. */
static void all_room_is_there(struct world *w)
{
    unsigned seen[NUMBERS] = {0};

    for (size_t i = 0; i < w->maxsize; i++)
        CHECK_EQ(message_put(w->q, 400, SMALL), 0);
    CHECK_EQ(message_put(w->q, 401, SMALL), -ETIMEDOUT);
    drain(w, seen, PIU_NOW);
    CHECK_EQ(seen[400], w->maxsize);
}

/* All that can be done with a queue still can be. */
static void go_on(struct world *w, bool shut)
{
    static struct world mine;
    unsigned seen[NUMBERS] = {0};
    unsigned char batch[20 * SMALL];
    size_t count = 0;
    void *bytes;

    memset(&mine, 0, sizeof(mine));
    mine.q = w->q;
    mine.tasks = w->tasks;
    if (!shut && w->maxsize && w->maxsize < 28) {
        all_room_is_there(w);
    } else if (!shut) {
        put_all(&mine, 400, 5, SMALL);
        put_all(&mine, 405, 2, LARGE);
        for (unsigned i = 0; i < 20; i++) {
            message_fill(batch + (size_t)i * SMALL, SMALL, 420 + i);
            mine.expected[420 + i] = MUST;
        }
        CHECK_EQ(piu_queue_put_many(w->q, batch, SMALL, 20, &count, PIU_NOW), 0);
        CHECK_EQ(count, 20);
        CHECK_EQ(piu_queue_reserve(w->q, SMALL, &bytes, PIU_NOW), 0);
        message_fill(bytes, SMALL, 450);
        mine.expected[450] = MUST;
        CHECK_EQ(piu_queue_commit(w->q, bytes), 0);
        CHECK_EQ(piu_queue_qsize(w->q), 28);
        drain(&mine, seen, PIU_NOW);
        look_at_messages(&mine, seen);
    }
    CHECK_EQ(piu_queue_qsize(w->q), 0);
    CHECK(queue_check(w->q));
    if (w->tasks)
        CHECK(piu_queue_join(w->q, PIU_SEC(1)) >= 0);
    CHECK_EQ(atomic_load(&w->q->put.reserved), 0);
    CHECK_EQ(piu_queue_shutdown(w->q), 0);
    drain(&mine, seen, PIU_NOW);
    CHECK_EQ(message_put(w->q, 1, SMALL), -EPIPE);
}

void survive(void *world)
{
    struct world *w = world;
    unsigned seen[NUMBERS] = {0};
    bool shut = atomic_load(&w->q->shut) != 0;

    look_at_received(w);
    if (kill_now.way == 0)
        member_sweep_dead(true);
    if (kill_now.way <= 1)
        drain(w, seen, PIU_NOW);
    member_sweep_dead(true);
    drain(w, seen, PIU_NOW);
    look_at_messages(w, seen);
    for (unsigned i = MINE; i < MINE + 5; i++) /* it returned: it was put */
        CHECK(w->expected[i] != MAY || !kill_now.ended || seen[i] == 1 || shut);
    go_on(w, shut);
    piu_queue_free(w->q);
    member_sweep_dead(true);
    CHECK_EQ(kill_blocks(), w->left);
}

/* ---- States ------------------------------------------------------------------------------ */

void three_small(void *world)
{
    queue_with(world, 0, SMALL, 3);
}

void three_large(void *world)
{
    queue_with(world, 0, LARGE, 3);
}

void bounded(void *world)
{
    queue_with(world, 100, SMALL, 3);
}

void with_tasks(void *world)
{
    ((struct world *)world)->tasks = true;
    three_small(world);
}

void with_large_tasks(void *world)
{
    ((struct world *)world)->tasks = true;
    three_large(world);
}

static bool chunk_has_room(const struct world *w, size_t size)
{
    struct chunk *c = queue_chunk(atomic_load(&w->q->put_chunk));

    return c && place_of(atomic_load(&c->tail)) + 1 + units_of(size) <= c->capacity;
}

void last_chunk_full(void *world)
{
    struct world *w = world;

    queue_with(w, 0, SMALL, 0);
    while (chunk_has_room(w, SMALL))
        put_all(w, w->many++, 1, SMALL);
}

void retired_chunk(void *world)
{
    struct world *w = world;
    unsigned char bytes[2048];
    size_t size = sizeof(bytes);

    queue_with(w, 0, SMALL, 0);
    for (unsigned chunks = 0; chunks < 4;) {
        uint64_t chunk = atomic_load(&w->q->put_chunk);

        CHECK_EQ(message_put(w->q, 0, size), 0);
        chunks += atomic_load(&w->q->put_chunk) != chunk;
    }
    while (chunk_has_room(w, SMALL))
        CHECK_EQ(message_put(w->q, 0, chunk_has_room(w, size) ? size : SMALL), 0);
    for (; piu_queue_get(w->q, bytes, &size, PIU_NOW) == 0; size = sizeof(bytes))
        if (w->tasks)
            CHECK_EQ(piu_queue_task_done(w->q), 0);
    CHECK(atomic_load(&w->q->first_chunk) != atomic_load(&w->q->get_chunk));
}

void one_returned(void *world)
{
    struct world *w = world;
    void *bytes;
    size_t size;

    queue_with(w, 0, LARGE, 3);
    in_child_killed({ CHECK_EQ(piu_queue_take(w->q, &bytes, &size, PIU_NOW), 0); });
    member_sweep_dead(true);
    CHECK(atomic_load(&w->q->get.returned));
}

/* ---- Second victims ------------------------------------------------------------------------ */

void expect_his(void *world)
{
    ((struct world *)world)->expected[HIS] = MAY;
}

void expect_a_miss(void *world)
{
    ((struct world *)world)->may_miss++;
}

void then_sweeps(void *world)
{
    (void)world;
    member_sweep_dead(false); /* the first is reaped: memory tells */
}

void then_puts(void *world)
{
    message_put(((struct world *)world)->q, HIS, SMALL);
}

void then_gets(void *world)
{
    unsigned char bytes[LARGE];
    size_t size = sizeof(bytes);

    piu_queue_get(((struct world *)world)->q, bytes, &size, PIU_NOW);
}
