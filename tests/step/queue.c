/* The queue: no message is lost or doubled, no block, no unit of maxsize. */
#include "kill.h"

#include "flow/queue.h"

#include <piu.h>

#define SMALL 24u
#define LARGE (INLINE_MAX + 1000u)
#define MINE  7u /* the number of what the victim puts */

struct state {
    struct piu_queue *q;
    size_t size;     /* of messages */
    bool puts, gets; /* what the victim may have done */
    void *held;
    unsigned char received[LARGE], message[LARGE];
};

static void fill(unsigned char *bytes, size_t size, unsigned number)
{
    for (size_t i = 0; i < size; i++)
        bytes[i] = (unsigned char)(number * 31 + i);
    bytes[0] = (unsigned char)number;
}

static void put_three(struct state *s, size_t size, size_t maxsize)
{
    unsigned char bytes[LARGE];

    s->size = size;
    s->q = piu_queue_new(.maxsize = maxsize);
    CHECK(s->q);
    for (unsigned i = 0; i < 3; i++) {
        fill(bytes, size, i);
        CHECK_EQ(piu_queue_put(s->q, bytes, size, PIU_NOW), 0);
    }
    fill(s->message, size, MINE);
}

static void small(void *state)
{
    put_three(state, SMALL, 0);
}

static void large(void *state)
{
    put_three(state, LARGE, 0);
}

static void bounded(void *state)
{
    put_three(state, SMALL, 10);
}

static void drain(struct state *s, unsigned *seen)
{
    static unsigned char bytes[LARGE], whole[LARGE];
    size_t size = sizeof(bytes);
    int r;

    while ((r = piu_queue_get(s->q, bytes, &size, PIU_NOW)) >= 0) {
        CHECK_EQ(size, s->size);
        CHECK(bytes[0] < 8);
        fill(whole, size, bytes[0]);
        CHECK(memcmp(bytes, whole, size) == 0);
        seen[bytes[0]]++;
        size = sizeof(bytes);
    }
    CHECK(r == -ETIMEDOUT || r == -EPIPE);
}

/* Two ways: the sweep first, or the locks first, which repair. */
static void nothing_is_lost(void *state)
{
    struct state *s = state;
    unsigned seen[8] = {0}, missing = 0;
    static unsigned char whole[LARGE];
    bool shut = atomic_load(&s->q->shut) != 0;

    if (kill_now.way == 0)
        member_sweep_dead(true);
    drain(s, seen);
    member_sweep_dead(true);
    drain(s, seen);
    for (unsigned i = 0; i < 3; i++) {
        CHECK(seen[i] <= 1);
        if (seen[i] == 0) {
            fill(whole, s->size, i);
            CHECK(s->gets && memcmp(s->received, whole, s->size) == 0);
            missing++;
        }
    }
    CHECK(missing <= 1);
    CHECK(seen[MINE] <= (s->puts ? 1 : 0));
    CHECK(!s->puts || !kill_now.ended || seen[MINE] == 1);
    CHECK_EQ(piu_queue_qsize(s->q), 0);
    CHECK(queue_check(s->q));
    CHECK_EQ(piu_queue_put(s->q, s->message, s->size, PIU_NOW), shut ? -EPIPE : 0);
    if (!shut) /* the next putter counts again */
        CHECK_EQ(atomic_load(&s->q->put.reserved), 0);
    piu_queue_free(s->q);
    member_sweep_dead(true);
    CHECK_EQ(kill_blocks(), 0);
}

static void will_put(void *state)
{
    ((struct state *)state)->puts = true;
}

static void will_get(void *state)
{
    ((struct state *)state)->gets = true;
}

static void put(void *state)
{
    struct state *s = state;

    piu_queue_put(s->q, s->message, s->size, PIU_NOW);
}

static void get(void *state)
{
    struct state *s = state;
    size_t size = sizeof(s->received);

    piu_queue_get(s->q, s->received, &size, PIU_NOW);
}

static void take(void *state)
{
    struct state *s = state;
    size_t size;

    piu_queue_take(s->q, &s->held, &size, PIU_NOW);
}

static void reserve(void *state)
{
    struct state *s = state;

    piu_queue_reserve(s->q, s->size, &s->held, PIU_NOW);
}

static void reserve_mine(void *state)
{
    struct state *s = state;

    will_put(s);
    reserve(s);
    memcpy(s->held, s->message, s->size);
}

static void commit(void *state)
{
    struct state *s = state;

    piu_queue_commit(s->q, s->held);
}

static void abort_it(void *state)
{
    struct state *s = state;

    piu_queue_abort(s->q, s->held);
}

static void shut(void *state)
{
    piu_queue_shutdown(((struct state *)state)->q);
}

static void dead_taker(void *state)
{
    large(state);
    in_child_killed({ take(state); });
}

static void sweep(void *state)
{
    (void)state;
    member_sweep_dead(true);
}

#define QUEUE .size = sizeof(struct state), .check = nothing_is_lost, .ways = 2

KILL(queue, put_small, QUEUE, .set_up = small, .prepare = will_put, .operation = put);
KILL(queue, put_large, QUEUE, .set_up = large, .prepare = will_put, .operation = put);
KILL(queue, put_bounded, QUEUE, .set_up = bounded, .prepare = will_put, .operation = put);
KILL(queue, get_small, QUEUE, .set_up = small, .prepare = will_get, .operation = get);
KILL(queue, get_large, QUEUE, .set_up = large, .prepare = will_get, .operation = get);
KILL(queue, take_small, QUEUE, .set_up = small, .operation = take);
KILL(queue, take_large, QUEUE, .set_up = large, .operation = take);
KILL(queue, reserve, QUEUE, .set_up = bounded, .operation = reserve);
KILL(queue, commit, QUEUE, .set_up = bounded, .prepare = reserve_mine,
     .operation = commit);
KILL(queue, abort, QUEUE, .set_up = bounded, .prepare = reserve, .operation = abort_it);
KILL(queue, shutdown, QUEUE, .set_up = small, .operation = shut);
KILL(queue, sweep_of_a_taker, QUEUE, .set_up = dead_taker, .operation = sweep);
