/*
 * Putters and getters at three queues.  Each getter stays at one of them, so that somebody is
 * always there who makes room.
 *
 *    wide      1,000 messages, counts tasks      put, reserve          get, get_new, take
 *    narrow    3 messages                        put, reserve          get, get_new, take
 *    declared  200, its putters are declared     put, put_many         get, get_many, take
 */
#include "message.h"

#include "flow/queue.h"

enum which { WIDE, NARROW, DECLARED, QUEUES };

#define GETTERS 6

static struct piu_queue *queues[QUEUES]; /* of the round; the actors are forked later */
static struct hand *hands;               /* plain shared */
static bool putter_done;                 /* the checker has said so */

static void set_up(void)
{
    if (!hands)
        hands = plain_shared_new(GETTERS * sizeof(*hands));
    messages_set_up();
    queues[WIDE] = piu_queue_new(.maxsize = 1000, .tasks = true);
    queues[NARROW] = piu_queue_new(.maxsize = 3);
    queues[DECLARED] = piu_queue_new(.maxsize = 200, .putters = true);
    /* or its getters would be told the end when all putters happen to be dead */
    putter_done = !queues[DECLARED] || piu_queue_putter(queues[DECLARED]) != 0;
    if (!queues[WIDE] || !queues[NARROW] || putter_done)
        violation("the queues cannot be made: %s", strerror(errno));
}

/* ---- Putters ----------------------------------------------------------------------------- */

static int64_t some_time(void)
{
    return now_and_then(8) ? PIU_MSEC(1) : PIU_FOREVER;
}

/* With a message in hand, now and then, so that a kill comes just there. */
static void linger(void)
{
    if (now_and_then(4))
        usleep(0);
}

static void put_said(uint64_t id, const char *what, int r)
{
    message_was_put(id, r == 0);
    if (r != 0 && r != -ETIMEDOUT)
        violation("%s: %s", what, piu_strerror(r));
}

static void put_in_place(struct actor *a, struct piu_queue *q, size_t size)
{
    void *place;
    int r = ACT("reserve", piu_queue_reserve(q, size, &place, some_time()));
    uint64_t id;

    if (r < 0) {
        if (r != -ETIMEDOUT)
            violation("reserve: %s", piu_strerror(r));
        return;
    }
    id = message_make(a->number, place, size);
    linger();
    if (now_and_then(16)) {
        message_was_put(id, false);
        r = ACT("abort", piu_queue_abort(q, place));
    } else {
        r = ACT("commit", piu_queue_commit(q, place));
        message_was_put(id, r == 0);
    }
    if (r != 0)
        violation("commit or abort: %s", piu_strerror(r));
}

static void put_many(struct actor *a, struct piu_queue *q)
{
    static unsigned char bytes[BATCH * SIZE_FIXED];
    uint64_t ids[BATCH];
    size_t count = 0;
    int r;

    for (unsigned i = 0; i < BATCH; i++)
        ids[i] = message_make(a->number, bytes + i * SIZE_FIXED, SIZE_FIXED);
    r = ACT("put_many",
            piu_queue_put_many(q, bytes, SIZE_FIXED, BATCH, &count, some_time()));
    for (unsigned i = 0; i < BATCH; i++)
        message_was_put(ids[i], i < count);
    if (r != 0 && r != -ETIMEDOUT)
        violation("put_many: %s", piu_strerror(r));
}

static void put_one(struct actor *a, enum which which)
{
    static unsigned char bytes[SIZE_MOST];
    size_t size = SIZE_FIXED;
    uint64_t id;

    if (which != DECLARED)
        size = now_and_then(16) ? 4000 + random_below(&a->random, SIZE_MOST - 4000 + 1)
                                : SIZE_LEAST + random_below(&a->random, 200);
    if (which != DECLARED && now_and_then(4)) {
        put_in_place(a, queues[which], size);
        return;
    }
    id = message_make(a->number, bytes, size);
    put_said(id, "put",
             ACT("put", piu_queue_put(queues[which], bytes, size, some_time())));
}

static void putter_play(struct actor *a)
{
    int r = ACT("putter", piu_queue_putter(queues[DECLARED]));

    if (r != 0)
        violation("putter: %s", piu_strerror(r));
    while (!atomic_load(&a->stop)) {
        enum which which = (enum which)random_below(&a->random, QUEUES);

        if (which == DECLARED && now_and_then(2))
            put_many(a, queues[DECLARED]);
        else
            put_one(a, which);
    }
}

/* ---- Getters ----------------------------------------------------------------------------- */

/* What one getter gets as new from one putter comes in the order in which it was put. */
static void order_check(uint64_t id)
{
    static uint64_t last[PUTTERS];
    uint64_t *before = &last[(id >> 32) - 1];

    if (id <= *before)
        violation("message %u came behind message %u of the same putter", (unsigned)id,
                  (unsigned)*before);
    *before = id;
}

static void got(struct hand *h, unsigned i, const void *bytes, size_t size, int r)
{
    uint64_t id = message_read(bytes, size);

    if (!id)
        return;
    h->ids[i] = id;
    message_was_got(id, r == PIU_REDELIVERED);
    if (r == 0)
        order_check(id);
}

static int get_one(struct piu_queue *q, struct hand *h)
{
    size_t size = SIZE_MOST;
    int r = ACT("get", piu_queue_get(q, h->bytes, &size, PIU_FOREVER));

    if (r >= 0)
        got(h, 0, h->bytes, size, r);
    return r;
}

static int get_new(struct piu_queue *q, struct hand *h)
{
    size_t size;
    void *bytes;
    int r;

    atomic_store(&h->unseen, true);
    r = ACT("get_new", piu_queue_get_new(q, &bytes, &size, PIU_FOREVER));
    if (r >= 0) {
        got(h, 0, bytes, size, r);
        free(bytes);
    }
    atomic_store(&h->unseen, false);
    return r;
}

static int get_many(struct piu_queue *q, struct hand *h)
{
    size_t count = 0;
    int r = ACT("get_many",
                piu_queue_get_many(q, h->bytes, SIZE_FIXED, BATCH, &count, PIU_FOREVER));

    for (unsigned i = 0; i < count; i++)
        got(h, i, h->bytes + i * SIZE_FIXED, SIZE_FIXED, r);
    return r;
}

static int take_one(struct piu_queue *q, struct hand *h)
{
    size_t size;
    void *bytes;
    int r = ACT("take", piu_queue_take(q, &bytes, &size, PIU_FOREVER));
    int dropped;

    if (r < 0)
        return r;
    h->taken = message_read(bytes, size);
    got(h, 0, bytes, size, r);
    linger();
    h->taken = 0;
    dropped = ACT("drop", piu_queue_drop(q, bytes));
    if (dropped != 0)
        violation("drop: %s", piu_strerror(dropped));
    return r;
}

static int get_somehow(struct actor *a, enum which which, struct hand *h)
{
    struct piu_queue *q = queues[which];

    memset(h->ids, 0, sizeof(h->ids));
    for (unsigned i = 0; i < BATCH; i++)
        memset(h->bytes + i * SIZE_FIXED, 0, sizeof(struct message_head));
    switch (random_below(&a->random, 4)) {
    case 0:
        return take_one(q, h);
    case 1:
        return which == DECLARED ? get_many(q, h) : get_new(q, h);
    default:
        return get_one(q, h);
    }
}

/* To the end of the queue, not only to a->stop: nothing is to be left. */
static void getter_play(struct actor *a)
{
    enum which which = (enum which)(a->number % QUEUES);
    int r, done;

    while ((r = get_somehow(a, which, &hands[a->number])) >= 0) {
        if (which != WIDE)
            continue;
        done = ACT("task_done", piu_queue_task_done(queues[WIDE]));
        if (done != 0)
            violation("task_done: %s", piu_strerror(done));
    }
    if (r != -EPIPE || !atomic_load(&a->stop))
        violation("get: %s", piu_strerror(r));
}

/* All that it may have taken: what it says, and what lies where its get went to. */
static void getter_died(struct actor *a)
{
    struct hand *h = &hands[a->number];

    if (atomic_exchange(&h->unseen, false) && !h->ids[0])
        message_was_held_unseen();
    if (h->taken)
        message_was_taken(h->taken);
    h->taken = 0;
    for (unsigned i = 0; i < BATCH; i++) {
        struct message_head head;

        memcpy(&head, h->bytes + i * SIZE_FIXED, sizeof(head));
        message_was_held(h->ids[i]);
        if (i == 0 || head.size == SIZE_FIXED)
            message_was_held(head.id);
    }
}

/* ---- The end ----------------------------------------------------------------------------- */

static void close_queues(void)
{
    piu_queue_shutdown(queues[WIDE]);
    piu_queue_shutdown(queues[NARROW]);
    /* this one ends by itself: no declared putter is left */
    if (!putter_done && piu_queue_putter_done(queues[DECLARED]) != 0)
        violation("putter_done refused");
    putter_done = true;
}

static void check(void)
{
    for (enum which i = 0; i < QUEUES; i++) {
        size_t left = piu_queue_qsize(queues[i]);

        if (left != 0)
            violation("%zu messages are left behind the end", left);
        if (!queue_check(queues[i]))
            violation("a queue is not sound");
        if (atomic_load(&queues[i]->put.reserved) != 0)
            violation("a unit of maxsize is lost");
    }
    if (piu_queue_join(queues[WIDE], PIU_SEC(1)) < 0)
        violation("join: what dead getters had got counts for ever");
    messages_check();
    for (enum which i = 0; i < QUEUES; i++)
        queues[i] = piu_queue_free(queues[i]);
}

const struct subject queue_subject = {
    .name = "queue",
    .set_up = set_up,
    .close = close_queues,
    .check = check,
    .roles = {{.name = "putter", .count = PUTTERS, .play = putter_play},
              {.name = "getter",
               .count = GETTERS,
               .play = getter_play,
               .died = getter_died,
               .last = true}},
};
