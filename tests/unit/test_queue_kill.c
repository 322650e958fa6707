/*
 * Putters and takers at work, all at once, and SIGKILLs at random: this finds what needs two
 * processes inside at the same moment (tests/step has one at a time).
 */
#include "queues.h"

#define NUMBERS (1u << 20)
#define PUTTERS 3
#define TAKERS  3
#define LARGE   6000u

/* By number: what became of it.  Written by those at work, read when all have ended. */
struct record {
    _Atomic unsigned next; /* number to put */
    _Atomic unsigned char begun[NUMBERS];
    _Atomic unsigned char put[NUMBERS];
    _Atomic unsigned char received[NUMBERS]; /* how often, save where it came again */
    _Atomic unsigned char again[NUMBERS];
    _Atomic unsigned char
        fates[NUMBERS]; /* 1: its taker got so far as to say so, then maybe died */
    _Atomic int stop;
};

static size_t size_of(unsigned number)
{
    return number % 7 == 0 ? LARGE : 4 + number % 60;
}

static void check_number(const unsigned char *bytes, size_t size, unsigned *ret)
{
    memcpy(ret, bytes, sizeof(*ret));
    CHECK(*ret < NUMBERS);
    CHECK_EQ(size, size_of(*ret));
    for (size_t i = 4; i < size; i++)
        CHECK_EQ(bytes[i], (unsigned char)(*ret + i));
}

static void fill_number(unsigned char *bytes, unsigned number)
{
    memcpy(bytes, &number, sizeof(number));
    for (size_t i = 4; i < size_of(number); i++)
        bytes[i] = (unsigned char)(number + i);
}

static void put_for_ever(struct piu_queue *q, struct record *r)
{
    while (!r->stop) {
        unsigned number = atomic_fetch_add(&r->next, 1);
        unsigned char bytes[LARGE];
        void *place;

        if (number >= NUMBERS) { /* all have been used: the killing ends, too */
            sched_yield();
            continue;
        }
        fill_number(bytes, number);
        r->begun[number] = 1;
        if (number % 5) {
            if (piu_queue_put(q, bytes, size_of(number), PIU_MSEC(50)) == 0)
                r->put[number] = 1;
        } else if (piu_queue_reserve(q, size_of(number), &place, PIU_MSEC(50)) == 0) {
            memcpy(place, bytes, size_of(number));
            if (piu_queue_commit(q, place) == 0)
                r->put[number] = 1;
        }
    }
}

static int take_one(struct piu_queue *q, struct record *r, int64_t timeout)
{
    void *bytes;
    size_t size;
    unsigned number;
    int news = piu_queue_take(q, &bytes, &size, timeout);

    if (news < 0)
        return news;
    check_number(bytes, size, &number);
    if (news == PIU_REDELIVERED)
        r->again[number]++;
    else
        r->received[number]++;
    if (q->counts_tasks)
        CHECK_EQ(piu_queue_task_done(q), 0);
    r->fates[number] = 1;
    CHECK_EQ(piu_queue_drop(q, bytes), 0);
    return 0;
}

static void take_for_ever(struct piu_queue *q, struct record *r)
{
    while (!r->stop)
        take_one(q, r, PIU_MSEC(50));
}

static pid_t work(struct piu_queue *q, struct record *r, int i)
{
    return child_start({
        if (i < PUTTERS)
            put_for_ever(q, r);
        else
            take_for_ever(q, r);
    });
}

static unsigned check_record(const struct record *r)
{
    unsigned received = 0;

    for (unsigned i = 0; i < NUMBERS; i++) {
        if (r->received[i] > 1)
            test_fail(__FILE__, __LINE__, "message %u came %d times as new", i,
                      r->received[i]);
        if (r->again[i] && !r->begun[i])
            test_fail(__FILE__, __LINE__, "message %u was never put", i);
        if (r->put[i] && !r->fates[i])
            test_fail(__FILE__, __LINE__, "message %u is lost", i);
        received += r->fates[i];
    }
    return received;
}

static void kill_at_random(struct piu_queue *q, int kills)
{
    struct record *r = test_shared(sizeof(*r));
    uint64_t seed = 88172645463325252u + (uint64_t)kills;
    pid_t workers[PUTTERS + TAKERS];
    uint64_t before = block_count();

    for (int i = 0; i < PUTTERS + TAKERS; i++)
        workers[i] = work(q, r, i);
    for (int k = 0; k < kills && r->next < NUMBERS - 50000; k++) {
        int i = (int)(random_next(&seed) % (PUTTERS + TAKERS));

        usleep((unsigned)(random_next(&seed) % 3000));
        kill_and_reap(workers[i]);
        workers[i] = work(q, r, i);
    }
    r->stop = 1;
    for (int i = 0; i < PUTTERS + TAKERS; i++)
        CHECK_EQ(child_wait(workers[i]), 0);
    member_sweep_dead(true);
    while (take_one(q, r, PIU_NOW) >= 0)
        ;
    printf("%u messages\n", check_record(r));
    CHECK_EQ(atomic_load(&q->put.reserved), 0);
    CHECK(queue_check(q));
    CHECK(block_check());
    if (q->counts_tasks)
        CHECK(piu_queue_join(q, PIU_SEC(2)) >= 0);
    piu_queue_free(q);
    CHECK(block_count() <= before - 1);
}

TEST(killed_at_random_nothing_is_lost_or_doubled, .limit = 120)
{
    kill_at_random(queue_new(), 1500);
}

TEST(nor_in_a_narrow_queue, .limit = 120)
{
    kill_at_random(queue_new(.maxsize = 5), 1501);
}

static void a_poller(struct piu_queue *q)
{
    CHECK(piu_queue_fd(q) >= 0 || piu_queue_fd(q) == -ENOTSUP);
}

TEST(nor_while_somebody_polls, .limit = 120)
{
    struct piu_queue *q = queue_new(.maxsize = 20);

    a_poller(q);
    kill_at_random(q, 800);
}
