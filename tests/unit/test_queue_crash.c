/*
 * A member is killed after each instruction of each thing that can be done with a queue; and
 * another one, that mends what the first left, after each of its own.  Then a survivor looks:
 * no message is lost or doubled, nobody waits for the dead, no memory is lost.
 *
 *     STEP_MSEC=60000 build/tests/test_queue_crash     longer, so more of the points
 *     STEP_AT=123 ... killed                           only this point of one of them
 */
#include "step.h"

#include "flow/queue.h"

#include <piu.h>

#include <stdlib.h>
#include <time.h>

#define NUMBERS 512
#define LARGE   (INLINE_MAX + 1000u)
#define SMALL   24u

enum fate_of { NEVER, MUST, MAY };

/* What the survivor knows. */
struct world {
    struct piu_queue *q;
    enum fate_of expected[NUMBERS]; /* by number: what was put */
    size_t size;                    /* of the messages of set_up */
    unsigned many;                  /* how many those are */
    unsigned may_miss; /* so many of MUST may have been received by the dead */
    void *held;        /* the victim's message, taken or reserved */
    bool ended;        /* the operation was done before the kill */
    bool tasks;
    unsigned char
        *received; /* where the victim's get copies to, LARGE * 2 bytes, shared */
};

struct crash {
    const char *name;
    void (*set_up)(struct world *w);    /* by the survivor, makes w->q */
    void (*prepare)(struct world *w);   /* by the victim, before it can be killed */
    void (*operation)(struct world *w); /* by the victim, killed in here */
    void (*survive)(struct world *w, unsigned order); /* NULL: survive() */
    bool leaves_one; /* a block may stay: the queue itself */
};

static char where[512];

#define EXPECT(expr) \
    ((expr) ? (void)0 : test_fail(__FILE__, __LINE__, "%s: %s", where, #expr))
#define EXPECT_EQ(a, b)                                                              \
    do {                                                                             \
        long long got_ = (long long)(a), want_ = (long long)(b);                     \
        if (got_ != want_)                                                           \
            test_fail(__FILE__, __LINE__, "%s: %s == %s: %lld, %lld", where, #a, #b, \
                      got_, want_);                                                  \
    } while (0)

static void too_long(int signal)
{
    (void)signal;
    test_fail(__FILE__, __LINE__, "%s: it hangs", where);
}

/* ---- Numbered messages --------------------------------------------------------------- */

static void fill(unsigned char *bytes, size_t size, unsigned number)
{
    for (size_t i = 0; i < size; i++)
        bytes[i] = (unsigned char)(number * 31 + i);
    memcpy(bytes, &number, sizeof(number));
}

static unsigned number_of(const unsigned char *bytes, size_t size)
{
    unsigned char whole[LARGE * 2];
    unsigned number;

    EXPECT(size >= sizeof(number) && size <= sizeof(whole));
    memcpy(&number, bytes, sizeof(number));
    EXPECT(number < NUMBERS);
    fill(whole, size, number);
    EXPECT(memcmp(whole, bytes, size) == 0);
    return number;
}

static int put(struct piu_queue *q, unsigned number, size_t size)
{
    unsigned char bytes[LARGE * 2];

    fill(bytes, size, number);
    return piu_queue_put(q, bytes, size, PIU_NOW);
}

static void put_all(struct world *w, unsigned from, unsigned count, size_t size)
{
    for (unsigned i = from; i < from + count; i++) {
        CHECK_EQ(put(w->q, i, size), 0);
        w->expected[i] = MUST;
    }
}

static void queue_with(struct world *w, size_t maxsize, size_t size, unsigned many)
{
    w->q = piu_queue_new(.maxsize = maxsize, .tasks = w->tasks);
    CHECK(w->q);
    w->size = size;
    w->many = many;
    put_all(w, 0, many, size);
}

/* ---- What the survivor looks for -------------------------------------------------------- */

static void drain(struct world *w, unsigned *seen, int64_t timeout)
{
    for (;;) {
        unsigned char bytes[LARGE * 2];
        size_t size = sizeof(bytes);
        int r = piu_queue_get(w->q, bytes, &size, timeout);

        if (r == -ETIMEDOUT || r == -EPIPE)
            return;
        EXPECT(r == 0 || r == PIU_REDELIVERED);
        seen[number_of(bytes, size)]++;
        if (w->tasks)
            EXPECT_EQ(piu_queue_task_done(w->q), 0);
    }
}

static void look_at_messages(struct world *w, const unsigned *seen)
{
    unsigned missing = 0;

    for (unsigned i = 0; i < NUMBERS; i++) {
        if (seen[i] > 1 || (seen[i] && w->expected[i] == NEVER))
            test_fail(__FILE__, __LINE__, "%s: message %u came %u times", where, i,
                      seen[i]);
        if (!seen[i] && w->expected[i] == MUST && ++missing > w->may_miss)
            test_fail(__FILE__, __LINE__, "%s: message %u is lost", where, i);
    }
}

/* All that can be done with a queue still can be. */
static void go_on(struct world *w, bool shut)
{
    unsigned seen[NUMBERS] = {0};
    unsigned char *batch = calloc(20, SMALL);
    struct world mine = {.q = w->q, .tasks = w->tasks};
    size_t count = 0;
    void *bytes;

    if (!shut) {
        put_all(&mine, 400, 5, SMALL);
        put_all(&mine, 405, 2, LARGE);
        for (unsigned i = 0; i < 20; i++) {
            fill(batch + i * SMALL, SMALL, 420 + i);
            mine.expected[420 + i] = MUST;
        }
        EXPECT_EQ(piu_queue_put_many(w->q, batch, SMALL, 20, &count, PIU_NOW), 0);
        EXPECT_EQ(count, 20);
        EXPECT_EQ(piu_queue_reserve(w->q, SMALL, &bytes, PIU_NOW), 0);
        fill(bytes, SMALL, 450);
        mine.expected[450] = MUST;
        EXPECT_EQ(piu_queue_commit(w->q, bytes), 0);
        EXPECT_EQ(piu_queue_qsize(w->q), 28);
        drain(&mine, seen, PIU_NOW);
        look_at_messages(&mine, seen);
    }
    free(batch);
    EXPECT_EQ(piu_queue_qsize(w->q), 0);
    EXPECT(queue_check(w->q));
    if (w->tasks)
        EXPECT(piu_queue_join(w->q, PIU_SEC(1)) >= 0);
    EXPECT_EQ(atomic_load(&w->q->put.reserved), 0);
    EXPECT_EQ(piu_queue_shutdown(w->q), 0);
    drain(&mine, seen, PIU_NOW);
    EXPECT_EQ(put(w->q, 1, SMALL), -EPIPE);
}

/* Three orders: the sweep first, the locks first (their repairs), or a wait that does both. */
static void survive(struct world *w, unsigned order)
{
    unsigned seen[NUMBERS] = {0};
    bool shut = atomic_load(&w->q->shut) != 0;

    if (order == 0)
        member_sweep_dead(true);
    if (order <= 1)
        drain(w, seen, PIU_NOW);
    member_sweep_dead(true);
    drain(w, seen, PIU_NOW);
    look_at_messages(w, seen);
    go_on(w, shut);
}

/* ---- The harness ------------------------------------------------------------------------- */

struct doing {
    const struct crash *crash;
    struct world *world;
};

static void prepare(void *argument)
{
    struct doing *d = argument;
    uint64_t who;

    CHECK_EQ(member_who(&who), 0);
    if (d->crash->prepare)
        d->crash->prepare(d->world);
}

static void operate(void *argument)
{
    struct doing *d = argument;

    d->crash->operation(d->world);
}

static int64_t now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static int64_t budget(void)
{
    const char *text = getenv("STEP_MSEC");

    return (text ? atoll(text) : 300) * 1000000;
}

static unsigned char *shared_bytes(void)
{
    static unsigned char *bytes;

    if (!bytes)
        bytes = test_shared(LARGE * 2);
    memset(bytes, 0xff, LARGE * 2);
    return bytes;
}

/* A get that was killed before the message was whole in its memory has not received it. */
static void receive(struct world *w)
{
    unsigned char whole[LARGE];
    unsigned first = 0;

    if (!w->received)
        return;
    while (first < NUMBERS && w->expected[first] != MUST)
        first++;
    fill(whole, w->size, first);
    if (memcmp(whole, w->received, w->size) != 0)
        w->may_miss = 0;
}

static uint64_t world_begin(const struct crash *crash, struct world *w)
{
    uint64_t blocks;

    member_sweep_dead(true);
    blocks = block_count();
    memset(w, 0, sizeof(*w));
    crash->set_up(w);
    return blocks;
}

static void world_end(const struct crash *crash, struct world *w, uint64_t blocks,
                      unsigned order)
{
    alarm(5);
    (crash->survive ? crash->survive : survive)(w, order);
    if (w->q)
        piu_queue_free(w->q);
    member_sweep_dead(true);
    EXPECT(block_check());
    if (!crash->leaves_one || block_count() != blocks + 1)
        EXPECT_EQ(block_count(), blocks);
    alarm(0);
}

/* Those who mend: killed at it themselves. */
static void mender_sweeps(struct world *w)
{
    (void)w;
    member_sweep_dead(false); /* the victim is reaped: memory tells */
}

static void mender_puts(struct world *w)
{
    put(w->q, 300, SMALL);
}

static void mender_gets(struct world *w)
{
    unsigned char bytes[LARGE * 2];
    size_t size = sizeof(bytes);

    piu_queue_get(w->q, bytes, &size, PIU_NOW);
}

static const struct crash menders[] = {
    {.name = "sweep", .operation = mender_sweeps},
    {.name = "put", .operation = mender_puts},
    {.name = "get", .operation = mender_gets},
};

static void mender_expects(const struct crash *mender, struct world *w)
{
    if (mender->operation == mender_puts)
        w->expected[300] = MAY;
    if (mender->operation == mender_gets)
        w->may_miss++;
}

/* Some of 0 .. count, evenly, other ones with each i; all if i goes so far. */
static size_t sample(size_t i, size_t count)
{
    size_t stride = (size_t)((double)(count + 1) * 0.618) | 1;

    while (__extension__({
        size_t a = stride, b = count + 1;
        while (b) {
            size_t c = a % b;
            a = b;
            b = c;
        }
        a != 1;
    }))
        stride++;
    return i * stride % (count + 1);
}

/* false: it took another way than when it was recorded, and was killed at its end. */
static bool kill_one(const struct crash *crash, const struct step_trace *trace, size_t n,
                     unsigned order)
{
    struct world w;
    struct doing d = {crash, &w};
    struct step step = {prepare, operate, &d};
    uint64_t blocks;

    snprintf(where, sizeof(where), "%s, STEP_AT=%zu (%s), order %u", crash->name, n,
             step_name(trace, n), order);
    blocks = world_begin(crash, &w);
    w.ended = !step_kill(&step, trace, n);
    receive(&w);
    world_end(crash, &w, blocks, order);
    return !w.ended || n >= trace->count;
}

static size_t kill_pairs(const struct crash *crash, const struct step_trace *trace,
                         size_t n, const struct crash *mender, size_t many)
{
    struct world w;
    struct doing d = {crash, &w}, d2 = {mender, &w};
    struct step step = {prepare, operate, &d}, step2 = {prepare, operate, &d2};
    struct step_trace trace2 = {0};
    size_t kills = 0;

    for (size_t i = 0; i <= many; i++) {
        uint64_t blocks = world_begin(crash, &w);
        size_t m = i ? sample(i * 7 + n, trace2.count) : 0;

        snprintf(where, sizeof(where), "%s, killed at %zu (%s), then ", crash->name, n,
                 step_name(trace, n));
        snprintf(where + strlen(where), sizeof(where) - strlen(where),
                 "%s, killed at %zu (%s)", mender->name, m,
                 i ? step_name(&trace2, m) : "its end");
        w.ended = !step_kill(&step, trace, n);
        receive(&w);
        mender_expects(mender, &w);
        alarm(10);
        if (i == 0)
            step_record(&step2, &trace2);
        else
            step_kill(&step2, &trace2, m);
        world_end(crash, &w, blocks, (unsigned)i % 3);
        kills++;
    }
    step_done(&trace2);
    return kills;
}

static void crash_everywhere(const struct crash *crash)
{
    struct world w;
    struct doing d = {crash, &w};
    struct step step = {prepare, operate, &d};
    struct step_trace trace = {0};
    const char *at = getenv("STEP_AT");
    size_t kills = 0, missed = 0, pairs = 0;
    int64_t begin;
    uint64_t blocks, who;

    CHECK_EQ(member_who(&who), 0);
    if (!step_is_possible())
        SKIP("ptrace is refused, or this is not x86-64");
    signal(SIGALRM, too_long);
    for (int warm = 0; warm < 2;
         warm++) { /* the first one grows the heap, resolves symbols */
        blocks = world_begin(crash, &w);
        snprintf(where, sizeof(where), "%s, killed at its end", crash->name);
        step_record(&step, &trace);
        w.ended = true;
        world_end(crash, &w, blocks, 2);
    }
    begin = now();
    if (at) {
        for (unsigned order = 0; order < 3; order++)
            kill_one(crash, &trace, (size_t)atol(at), order);
        step_done(&trace);
        return;
    }
    for (size_t i = 0; i <= trace.count * 3 && now() - begin < budget(); i++, kills++)
        missed += !kill_one(crash, &trace, sample(i, trace.count),
                            (unsigned)(i / (trace.count + 1) + i) % 3);
    begin = now();
    if (!crash->survive) {
        for (size_t i = 0; now() - begin < budget(); i++)
            pairs +=
                kill_pairs(crash, &trace, sample(i, trace.count), &menders[i % 3], 40);
    }
    printf("%-40s %5zu instructions, %5zu kills (%zu missed), %5zu pairs\n", crash->name,
           trace.count, kills, missed, pairs);
    step_done(&trace);
}

#define CRASH(sentence, ...)                                               \
    TEST(sentence, .limit = 600)                                           \
    {                                                                      \
        crash_everywhere(&(struct crash){.name = #sentence, __VA_ARGS__}); \
    }                                                                      \
    _Static_assert(true, "")

/* ---- States ------------------------------------------------------------------------------ */

static void three_small(struct world *w)
{
    queue_with(w, 0, SMALL, 3);
}

static void three_large(struct world *w)
{
    queue_with(w, 0, LARGE, 3);
}

static void bounded(struct world *w)
{
    queue_with(w, 100, SMALL, 3);
}

static void with_tasks(struct world *w)
{
    w->tasks = true;
    queue_with(w, 0, SMALL, 3);
}

static void with_large_tasks(struct world *w)
{
    w->tasks = true;
    queue_with(w, 0, LARGE, 3);
}

/* The next put has to have a new chunk. */
static void last_chunk_full(struct world *w)
{
    struct chunk *c;

    queue_with(w, 0, SMALL, 0);
    for (;;) {
        uint64_t tail;

        c = queue_chunk(atomic_load(&w->q->put_chunk));
        tail = atomic_load(&c->tail);
        if (place_of(tail) + 1 + units_of(SMALL) > c->capacity)
            return;
        put_all(w, w->many++, 1, SMALL);
    }
}

/* Through so many chunks that there are used ones; then as above. */
static void last_chunk_full_and_a_retired_one(struct world *w)
{
    unsigned char bytes[2048];

    queue_with(w, 0, SMALL, 0);
    for (unsigned chunks = 0; chunks < 4;) {
        uint64_t chunk = atomic_load(&w->q->put_chunk);

        fill(bytes, sizeof(bytes), 0);
        CHECK_EQ(piu_queue_put(w->q, bytes, sizeof(bytes), PIU_NOW), 0);
        chunks += atomic_load(&w->q->put_chunk) != chunk;
    }
    for (;;) {
        struct chunk *c = queue_chunk(atomic_load(&w->q->put_chunk));

        if (place_of(atomic_load(&c->tail)) + 1 + units_of(SMALL) > c->capacity)
            break;
        fill(bytes, sizeof(bytes), 0);
        if (place_of(atomic_load(&c->tail)) + 1 + units_of(sizeof(bytes)) <= c->capacity)
            CHECK_EQ(piu_queue_put(w->q, bytes, sizeof(bytes), PIU_NOW), 0);
        else
            CHECK_EQ(put(w->q, 0, SMALL), 0);
    }
    for (size_t size = sizeof(bytes); piu_queue_get(w->q, bytes, &size, PIU_NOW) == 0;) {
        size = sizeof(bytes);
        if (w->tasks)
            CHECK_EQ(piu_queue_task_done(w->q), 0);
    }
    CHECK(atomic_load(&w->q->first_chunk) != atomic_load(&w->q->get_chunk));
}

/* The next get goes on to the next chunk. */
static void first_chunk_drained(struct world *w)
{
    unsigned char bytes[SMALL];
    size_t size;

    last_chunk_full(w);
    for (unsigned i = 0; i < w->many; i++) {
        size = sizeof(bytes);
        CHECK_EQ(piu_queue_get(w->q, bytes, &size, PIU_NOW), 0);
        w->expected[number_of(bytes, size)] = NEVER;
    }
    w->many = 3;
    put_all(w, 0, 3, SMALL);
}

/* One message lies in the list of those whose taker died. */
static void one_returned(struct world *w)
{
    void *bytes;
    size_t size;

    queue_with(w, 0, LARGE, 3);
    in_child_killed({ CHECK_EQ(piu_queue_take(w->q, &bytes, &size, PIU_NOW), 0); });
    member_sweep_dead(true);
    CHECK(atomic_load(&w->q->get.returned));
}

static void one_returned_with_tasks(struct world *w)
{
    w->tasks = true;
    one_returned(w);
}

/* ---- Putting ------------------------------------------------------------------------------- */

static unsigned char
    flight[5][LARGE]; /* made before, so that the making is not stepped through */

static void put_in_flight(struct world *w, size_t size)
{
    piu_queue_put(w->q, flight[0], size, PIU_NOW);
}

static void op_put_small(struct world *w)
{
    put_in_flight(w, SMALL);
}

static void op_put_large(struct world *w)
{
    put_in_flight(w, LARGE);
}

/* What is put by the victim: whole or not at all, and surely if the call had come back. */
static void may_be_put(struct world *w, unsigned first, unsigned many)
{
    for (unsigned i = first; i < first + many; i++) {
        w->expected[i] = MAY;
        fill(flight[i - first], LARGE, i);
    }
}

#define STATE_WITH_FLIGHT(state)                    \
    static void state##_and_flight(struct world *w) \
    {                                               \
        state(w);                                   \
        may_be_put(w, 350, 1);                      \
    }                                               \
    _Static_assert(true, "")

STATE_WITH_FLIGHT(three_small);
STATE_WITH_FLIGHT(bounded);
STATE_WITH_FLIGHT(last_chunk_full);
STATE_WITH_FLIGHT(last_chunk_full_and_a_retired_one);

CRASH(put_small, .set_up = three_small_and_flight, .operation = op_put_small);
CRASH(put_small_bounded, .set_up = bounded_and_flight, .operation = op_put_small);
CRASH(put_large, .set_up = three_small_and_flight, .operation = op_put_large);
CRASH(put_into_a_new_chunk, .set_up = last_chunk_full_and_flight,
      .operation = op_put_small);
CRASH(put_large_into_a_new_chunk, .set_up = last_chunk_full_and_flight,
      .operation = op_put_large);
CRASH(put_into_a_used_chunk, .set_up = last_chunk_full_and_a_retired_one_and_flight,
      .operation = op_put_small);

static void five_in_flight(struct world *w)
{
    last_chunk_full(w);
    may_be_put(w, 350, 5);
}

static void op_put_many(struct world *w)
{
    unsigned char bytes[5 * SMALL];
    size_t count;

    for (unsigned i = 0; i < 5; i++)
        memcpy(bytes + i * SMALL, flight[i], SMALL);
    piu_queue_put_many(w->q, bytes, SMALL, 5, &count, PIU_NOW);
}

CRASH(put_many, .set_up = five_in_flight, .operation = op_put_many);

/* ---- Getting -------------------------------------------------------------------------------- */

/* Killed inside get: it may have been received, so it may be missing. */
static void op_get(struct world *w)
{
    unsigned char bytes[LARGE * 2];
    size_t size = sizeof(bytes);

    piu_queue_get(w->q, w->received ? w->received : bytes, &size, PIU_NOW);
}

static void op_get_new(struct world *w)
{
    size_t size;
    void *bytes;

    piu_queue_get_new(w->q, &bytes, &size, PIU_NOW);
}

static void op_get_many(struct world *w)
{
    unsigned char bytes[2 * SMALL];
    size_t count;

    piu_queue_get_many(w->q, bytes, SMALL, 2, &count, PIU_NOW);
}

#define STATE_WITH_MISS(state, many)                           \
    static void state##_and_##many##_may_miss(struct world *w) \
    {                                                          \
        state(w);                                              \
        w->may_miss = many;                                    \
    }                                                          \
    _Static_assert(true, "")

STATE_WITH_MISS(three_small, 1);
STATE_WITH_MISS(three_small, 2);
STATE_WITH_MISS(three_large, 1);

static void three_small_to_receive(struct world *w)
{
    three_small_and_1_may_miss(w);
    w->received = shared_bytes();
}

static void three_large_to_receive(struct world *w)
{
    three_large_and_1_may_miss(w);
    w->received = shared_bytes();
}

STATE_WITH_MISS(first_chunk_drained, 1);
STATE_WITH_MISS(with_tasks, 1);
STATE_WITH_MISS(with_large_tasks, 1);
STATE_WITH_MISS(one_returned, 1);
STATE_WITH_MISS(one_returned_with_tasks, 1);

CRASH(get_small, .set_up = three_small_to_receive, .operation = op_get);
CRASH(get_large, .set_up = three_large_to_receive, .operation = op_get);
CRASH(get_from_the_next_chunk, .set_up = first_chunk_drained_and_1_may_miss,
      .operation = op_get);
CRASH(get_new, .set_up = three_small_and_1_may_miss, .operation = op_get_new);
CRASH(get_new_large, .set_up = three_large_and_1_may_miss, .operation = op_get_new);
CRASH(get_many, .set_up = three_small_and_2_may_miss, .operation = op_get_many);
CRASH(get_with_tasks, .set_up = with_tasks_and_1_may_miss, .operation = op_get);
CRASH(get_large_with_tasks, .set_up = with_large_tasks_and_1_may_miss,
      .operation = op_get);
CRASH(get_what_was_returned, .set_up = one_returned_and_1_may_miss, .operation = op_get);
CRASH(get_what_was_returned_with_tasks, .set_up = one_returned_with_tasks_and_1_may_miss,
      .operation = op_get);

/* ---- Taking: a dead taker's message always comes again ------------------------------------------ */

static void op_take(struct world *w)
{
    size_t size;

    piu_queue_take(w->q, &w->held, &size, PIU_NOW);
}

static void op_drop(struct world *w)
{
    piu_queue_drop(w->q, w->held);
}

/* Another message with a task unfinished: what comes again is counted apart from it. */
static void get_one(struct world *w)
{
    op_get(w);
}

static void take_one(struct world *w)
{
    op_take(w);
}

CRASH(take_small, .set_up = three_small, .operation = op_take);
CRASH(take_large, .set_up = three_large, .operation = op_take);
CRASH(take_what_was_returned, .set_up = one_returned, .operation = op_take);
CRASH(take_with_tasks, .set_up = with_tasks_and_1_may_miss, .prepare = get_one,
      .operation = op_take);
CRASH(take_large_with_tasks, .set_up = with_large_tasks_and_1_may_miss,
      .prepare = get_one, .operation = op_take);
CRASH(take_what_was_returned_with_tasks, .set_up = one_returned_with_tasks,
      .operation = op_take);
CRASH(drop, .set_up = three_large_and_1_may_miss, .prepare = take_one,
      .operation = op_drop);
CRASH(drop_small, .set_up = three_small_and_1_may_miss, .prepare = take_one,
      .operation = op_drop);

/* ---- Sweeping: the sweeper is the victim -------------------------------------------------------- */

/* A dead one holds what it had taken, and reserved; nobody has noticed yet. */
static void dead_one_holds(struct world *w)
{
    void *bytes;

    in_child_killed({
        op_take(w);
        op_take(w);
        CHECK_EQ(piu_queue_reserve(w->q, LARGE, &bytes, PIU_NOW), 0);
    });
}

static void dead_one_holds_small(struct world *w)
{
    queue_with(w, 100, SMALL, 3);
    dead_one_holds(w);
}

static void dead_one_holds_large(struct world *w)
{
    queue_with(w, 0, LARGE, 3);
    dead_one_holds(w);
}

static void dead_one_holds_tasks(struct world *w)
{
    w->tasks = true;
    queue_with(w, 0, LARGE, 3);
    dead_one_holds(w);
}

static void dead_one_held_what_was_returned(struct world *w)
{
    one_returned_with_tasks(w);
    dead_one_holds(w);
}

CRASH(sweep_of_small, .set_up = dead_one_holds_small, .operation = mender_sweeps);
CRASH(sweep_of_large, .set_up = dead_one_holds_large, .operation = mender_sweeps);
CRASH(sweep_of_tasks, .set_up = dead_one_holds_tasks, .operation = mender_sweeps);
CRASH(sweep_of_what_was_returned, .set_up = dead_one_held_what_was_returned,
      .operation = mender_sweeps);

/* ---- With more blocks than cells: the sweep goes through the whole heap (B3) -------------- */

static void hold_many(void)
{
    void *block;

    for (int i = 0; i < HELD_CELLS + 3; i++)
        CHECK_EQ(block_new(100, BLOCK_SCRATCH, NULL, &block), 0);
}

static void get_one_holding_many(struct world *w)
{
    (void)w;
    hold_many();
}

static void take_one_holding_many(struct world *w)
{
    hold_many();
    op_take(w);
}

CRASH(put_large_holding_many, .set_up = three_small_and_flight,
      .prepare = get_one_holding_many, .operation = op_put_large);
CRASH(put_into_a_new_chunk_holding_many, .set_up = last_chunk_full_and_flight,
      .prepare = get_one_holding_many, .operation = op_put_small);
CRASH(take_large_holding_many, .set_up = three_large, .prepare = get_one_holding_many,
      .operation = op_take);
CRASH(take_small_holding_many, .set_up = three_small, .prepare = get_one_holding_many,
      .operation = op_take);
CRASH(take_what_was_returned_holding_many, .set_up = one_returned,
      .prepare = get_one_holding_many, .operation = op_take);
CRASH(drop_holding_many, .set_up = three_large_and_1_may_miss,
      .prepare = take_one_holding_many, .operation = op_drop);

/* ---- Reserving --------------------------------------------------------------------------------- */

static void op_reserve(struct world *w)
{
    piu_queue_reserve(w->q, SMALL, &w->held, PIU_NOW);
}

static void reserve_one(struct world *w)
{
    op_reserve(w);
    fill(w->held, SMALL, 350);
}

static void op_commit(struct world *w)
{
    piu_queue_commit(w->q, w->held);
}

static void op_abort(struct world *w)
{
    piu_queue_abort(w->q, w->held);
}

CRASH(reserve, .set_up = bounded, .operation = op_reserve);
CRASH(commit, .set_up = bounded_and_flight, .prepare = reserve_one,
      .operation = op_commit);
CRASH(commit_into_a_new_chunk, .set_up = last_chunk_full_and_flight,
      .prepare = reserve_one, .operation = op_commit);
CRASH(abort_one, .set_up = bounded, .prepare = reserve_one, .operation = op_abort);

/* ---- Tasks ---------------------------------------------------------------------------------------- */

static void op_task_done(struct world *w)
{
    piu_queue_task_done(w->q);
}

CRASH(task_done, .set_up = with_tasks_and_1_may_miss, .prepare = get_one,
      .operation = op_task_done);

/* All marks are taken by the living: the next getter's makes the roll grow. */
static void full_roll(struct world *w)
{
    struct queue_roll *roll;
    uint64_t who = 0;

    with_tasks(w);
    w->may_miss = 1;
    put_all(w, 3, 1, SMALL);
    op_get(w);
    CHECK_EQ(piu_queue_task_done(w->q), 0);
    w->expected[0] = NEVER;
    CHECK_EQ(member_who(&who), 0);
    roll = arena_at(atomic_load(&w->q->get.got_by), sizeof(*roll));
    for (uint32_t i = 0; i < roll->capacity; i++)
        atomic_store(&roll->marks[i].id, who & ID_MASK);
}

CRASH(get_with_a_full_roll, .set_up = full_roll, .operation = op_get);

/* ---- Ending ---------------------------------------------------------------------------------------- */

static void op_shutdown(struct world *w)
{
    piu_queue_shutdown(w->q);
}

CRASH(shutdown, .set_up = three_small, .operation = op_shutdown);

static void rich(struct world *w)
{
    size_t size;
    void *bytes;

    last_chunk_full_and_a_retired_one(w);
    put_all(w, 0, 2, SMALL);
    put_all(w, 2, 2, LARGE);
    in_child_killed({ CHECK_EQ(piu_queue_take(w->q, &bytes, &size, PIU_NOW), 0); });
    member_sweep_dead(true);
    CHECK(atomic_load(&w->q->get.returned));
}

static void rich_with_tasks(struct world *w)
{
    w->tasks = true;
    rich(w);
}

static void op_free(struct world *w)
{
    piu_queue_free(w->q);
}

/* Not begun, or done by the sweep. */
static void survive_free(struct world *w, unsigned order)
{
    if (order == 0)
        member_sweep_dead(true);
    if (put(w->q, 300, SMALL) == 0)
        w->expected[300] = MUST;
    member_sweep_dead(true);
    if (put(w->q, 301, SMALL) == 0) {
        EXPECT(!w->ended);
        w->expected[301] = MUST;
        survive(w, order);
    } else {
        EXPECT_EQ(put(w->q, 302, SMALL), -ESTALE);
        w->q = NULL;
    }
}

CRASH(free_one, .set_up = rich, .operation = op_free, .survive = survive_free);
CRASH(free_with_tasks, .set_up = rich_with_tasks, .operation = op_free,
      .survive = survive_free);

static void nothing(struct world *w)
{
    (void)w;
}

static void op_create(struct world *w)
{
    (void)w;
    (void)piu_queue_new(.maxsize = 3);
}

static void survive_create(struct world *w, unsigned order)
{
    (void)order;
    queue_with(w, 0, SMALL, 3);
    survive(w, 0);
}

CRASH(create, .set_up = nothing, .operation = op_create, .survive = survive_create,
      .leaves_one = true);
