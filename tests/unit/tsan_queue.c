/* A queue used by threads that play members on one mapping: for ThreadSanitizer. */
#include "queues.h"

#define THREADS 4
#define TIMES   3000

struct shared {
    struct piu_queue *q;
    uint64_t guarded[THREADS *
                     TIMES]; /* plain: what a message names must be seen by its getter */
    _Atomic uint64_t sum, count;
    _Atomic int putting;
};

/* Without ThreadSanitizer threads are just threads of one member. */
static void play(void)
{
    if (PIU_TSAN)
        CHECK_EQ(member_play("thread"), 0);
}

static void play_end(bool died)
{
    if (PIU_TSAN)
        member_play_end(died);
}

static void put_one(struct shared *s, int i, uint64_t n)
{
    unsigned char large[INLINE_MAX + 8];
    void *place;

    s->guarded[n] = n + 1;
    memset(large, 0, sizeof(large));
    memcpy(large, &n, sizeof(n));
    if (n % 16 == 3) {
        CHECK_EQ(piu_queue_put(s->q, large, sizeof(large), PIU_FOREVER), 0);
    } else if (n % 16 == (uint64_t)i) {
        CHECK_EQ(piu_queue_reserve(s->q, sizeof(n), &place, PIU_FOREVER), 0);
        memcpy(place, &n, sizeof(n));
        CHECK_EQ(piu_queue_commit(s->q, place), 0);
    } else {
        CHECK_EQ(piu_queue_put(s->q, &n, sizeof(n), PIU_FOREVER), 0);
    }
}

static int get_one(struct shared *s, uint64_t turn)
{
    unsigned char bytes[INLINE_MAX + 8];
    size_t size = sizeof(bytes);
    uint64_t n;
    void *place;
    int r;

    if (turn % 5 == 0) {
        r = piu_queue_take(s->q, &place, &size, PIU_FOREVER);
        if (r < 0)
            return r;
        memcpy(&n, place, sizeof(n));
        CHECK_EQ(piu_queue_drop(s->q, place), 0);
    } else {
        r = piu_queue_get(s->q, bytes, &size, PIU_FOREVER);
        if (r < 0)
            return r;
        memcpy(&n, bytes, sizeof(n));
    }
    CHECK_EQ(s->guarded[n], n + 1);
    s->sum += n;
    s->count++;
    if (s->q->counts_tasks)
        CHECK_EQ(piu_queue_task_done(s->q), 0);
    return 0;
}

static void put_and_get(int i, void *argument)
{
    struct shared *s = argument;

    play();
    if (i < THREADS) {
        for (uint64_t n = 0; n < TIMES; n++)
            put_one(s, i, (uint64_t)i * TIMES + n);
        if (--s->putting == 0)
            CHECK_EQ(piu_queue_shutdown(s->q), 0);
    } else {
        for (uint64_t turn = 0; get_one(s, turn) >= 0; turn++)
            ;
    }
    play_end(false);
}

static void all_to_all(struct piu_queue *q)
{
    struct shared *s = calloc(1, sizeof(*s));
    uint64_t all = THREADS * TIMES;

    CHECK(s);
    s->q = q;
    s->putting = THREADS;
    test_threads(THREADS * 2, put_and_get, s);
    CHECK_EQ(s->count, all);
    CHECK_EQ(s->sum, all * (all - 1) / 2);
    CHECK(queue_check(q));
    if (q->counts_tasks)
        CHECK_EQ(piu_queue_join(q, PIU_NOW), 0);
    CHECK(!piu_queue_free(q));
    free(s);
}

TEST(a_message_brings_what_was_written_before_it, .limit = 120)
{
    all_to_all(queue_new());
}

TEST(so_does_one_through_a_narrow_queue, .limit = 120)
{
    all_to_all(queue_new(.maxsize = 8));
}

TEST(tasks_are_counted_right, .limit = 120)
{
    all_to_all(queue_new(.tasks = true));
}

static void take_and_die(int i, void *argument)
{
    struct piu_queue *q = argument;
    size_t size;
    void *bytes;

    (void)i;
    play();
    for (int n = 0; n < 20; n++) {
        CHECK(piu_queue_take(q, &bytes, &size, PIU_FOREVER) >= 0);
        if (n % 2)
            CHECK_EQ(piu_queue_drop(q, bytes), 0);
    }
    play_end(true);
}

TEST(what_the_dead_had_taken_comes_again, .limit = 60)
{
    struct piu_queue *q = queue_new();
    int left = 0;

    if (!PIU_TSAN)
        SKIP("threads are members under ThreadSanitizer only");
    for (int i = 0; i < THREADS * 20; i++)
        put_pattern(q, 100, 1);
    test_threads(THREADS, take_and_die, q);
    for (void *bytes; piu_queue_take(q, &bytes, &(size_t){0}, PIU_NOW) >= 0; left++)
        CHECK_EQ(piu_queue_drop(q, bytes), 0);
    CHECK_EQ(left, THREADS * 10);
    CHECK(queue_check(q));
}
