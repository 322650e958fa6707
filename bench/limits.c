/*
 * What the processor and the kernel allow: nothing that shares memory or waits is faster.
 */
#include <linux/futex.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "measure.h"

struct words { /* one for each direction, each on lines of its own */
    alignas(LINE) _Atomic uint32_t there;
    alignas(LINE) _Atomic uint32_t back;
    alignas(LINE) struct trips trips;
};

/* PP: each writes the one word when the other has. */
static int pp_ping(void *arg, uint64_t count)
{
    struct words *w = arg;

    for (uint64_t i = 0; i < count; i++) {
        atomic_store_explicit(&w->there, 1, memory_order_release);
        while (atomic_load_explicit(&w->there, memory_order_acquire) != 0)
            cpu_relax();
    }
    return 0;
}

static int pp_pong(void *arg, uint64_t count)
{
    struct words *w = arg;

    for (uint64_t i = 0; i < count; i++) {
        while (atomic_load_explicit(&w->there, memory_order_acquire) != 1)
            cpu_relax();
        atomic_store_explicit(&w->there, 0, memory_order_release);
    }
    return 0;
}

static int pp_sample(const struct row *row, double *ret)
{
    struct duel duel = {{pp_ping, pp_pong}, .arg = shared_new(sizeof(struct words))};

    (void)row;
    return duel_run(&duel, ret);
}

/*
 * What any queue's message of 64 bytes with a length costs: two lines of bytes, and a third
 * that says they are there.  No lock, no room to look for, nobody to wake.
 */
enum { BARE_PLACES = 64 };

struct bare {
    alignas(LINE) struct {
        uint64_t size;
        char bytes[64];
    } places[BARE_PLACES];
    alignas(LINE) _Atomic uint64_t count;
};

struct bares {
    struct bare there, back;
};

static void bare_put(struct bare *b, uint64_t i, const char *data)
{
    b->places[i % BARE_PLACES].size = 64;
    memcpy(b->places[i % BARE_PLACES].bytes, data, 64);
    atomic_store_explicit(&b->count, i + 1, memory_order_release);
}

static void bare_get(struct bare *b, uint64_t i, char *data)
{
    while (atomic_load_explicit(&b->count, memory_order_acquire) != i + 1)
        cpu_relax();
    memcpy(data, b->places[i % BARE_PLACES].bytes, b->places[i % BARE_PLACES].size);
}

static int bare_ping(void *arg, uint64_t count)
{
    struct bares *b = arg;
    char data[64] = {0};
    uint64_t base = atomic_load(&b->there.count);

    for (uint64_t i = base; i < base + count; i++) {
        bare_put(&b->there, i, data);
        bare_get(&b->back, i, data);
    }
    return 0;
}

static int bare_pong(void *arg, uint64_t count)
{
    struct bares *b = arg;
    char data[64];
    uint64_t base = atomic_load(&b->back.count);

    for (uint64_t i = base; i < base + count; i++) {
        bare_get(&b->there, i, data);
        bare_put(&b->back, i, data);
    }
    return 0;
}

static int bare_sample(const struct row *row, double *ret)
{
    struct duel duel = {{bare_ping, bare_pong}, .arg = shared_new(sizeof(struct bares))};

    (void)row;
    return duel_run(&duel, ret);
}

static void futex_post(_Atomic uint32_t *word)
{
    atomic_store(word, 1);
    syscall(SYS_futex, word, FUTEX_WAKE, 1, NULL, NULL, 0);
}

static void futex_await(_Atomic uint32_t *word)
{
    while (atomic_exchange(word, 0) == 0)
        syscall(SYS_futex, word, FUTEX_WAIT, 0, NULL, NULL, 0);
}

static int futex_ping(void *arg, uint64_t count)
{
    struct words *w = arg;

    for (uint64_t i = 0; i < count; i++) {
        futex_post(&w->there);
        futex_await(&w->back);
    }
    return 0;
}

static int futex_ping_paused(void *arg, uint64_t count)
{
    struct words *w = arg;

    for (uint64_t i = 0; i < count; i++) {
        int64_t start;

        clock_spin(TRIP_PAUSE);
        start = clock_now();
        futex_post(&w->there);
        futex_await(&w->back);
        trips_add(&w->trips, clock_now() - start);
    }
    return 0;
}

static int futex_pong(void *arg, uint64_t count)
{
    struct words *w = arg;

    for (uint64_t i = 0; i < count; i++) {
        futex_await(&w->there);
        futex_post(&w->back);
    }
    return 0;
}

static int futex_sample(const struct row *row, double *ret)
{
    struct duel duel = {{futex_ping, futex_pong}, .one_core = row->variant == 1};
    int r;

    duel.arg = shared_new(sizeof(struct words));
    r = duel_run(&duel, ret);
    *ret /= 1e3;
    return r;
}

static int futex_sample_paused(const struct row *row, double *ret)
{
    struct words *w = shared_new(sizeof(*w));
    struct duel duel = {{futex_ping_paused, futex_pong}, .arg = w, .count = TRIPS};
    int r = duel_run(&duel, ret);

    (void)row;
    *ret = trips_quantile(&w->trips, 0.5) / 1e3;
    return r;
}

/* One uncontended word: what a lock cannot be faster than. */
static void rmw_body(void *arg, uint64_t count)
{
    _Atomic uint64_t *word = arg;

    for (uint64_t i = 0; i < count; i++)
        atomic_fetch_add(word, 1);
}

static void rmw_pair_body(void *arg, uint64_t count)
{
    _Atomic uint64_t *word = arg;

    for (uint64_t i = 0; i < count; i++) {
        uint64_t free = 0;

        atomic_compare_exchange_strong(word, &free, 1);
        atomic_exchange(word, 0);
    }
}

static void getppid_body(void *arg, uint64_t count)
{
    (void)arg;
    for (uint64_t i = 0; i < count; i++)
        syscall(SYS_getppid);
}

static int solo_sample(const struct row *row, double *ret)
{
    static void (*const bodies[])(void *, uint64_t) = {rmw_body, rmw_pair_body,
                                                       getppid_body};

    return solo_run(bodies[row->variant], shared_new(LINE), ret);
}

/*
 * The best that copying can do between two processes: no queue, just two flags.  Three
 * slots, so that nobody waits for the other, few enough to stay in the caches (1 to 8
 * were tried).
 */
enum { COPY_SLOTS = 3 };

struct copies {
    alignas(LINE) _Atomic uint32_t full[COPY_SLOTS][LINE / 4];
    size_t size;
    alignas(4096) unsigned char bytes[];
};

static int copy_in(void *arg, uint64_t count)
{
    struct copies *c = arg;
    unsigned char *from = private_new(c->size);

    for (uint64_t i = 0; i < count; i++) {
        unsigned slot = i % COPY_SLOTS;

        while (atomic_load_explicit(&c->full[slot][0], memory_order_acquire))
            cpu_relax();
        memcpy(c->bytes + slot * c->size, from, c->size);
        atomic_store_explicit(&c->full[slot][0], 1, memory_order_release);
    }
    private_done(from, c->size);
    return 0;
}

static int copy_out(void *arg, uint64_t count)
{
    struct copies *c = arg;
    unsigned char *to = private_new(c->size);

    for (uint64_t i = 0; i < count; i++) {
        unsigned slot = i % COPY_SLOTS;

        while (!atomic_load_explicit(&c->full[slot][0], memory_order_acquire))
            cpu_relax();
        memcpy(to, c->bytes + slot * c->size, c->size);
        atomic_store_explicit(&c->full[slot][0], 0, memory_order_release);
    }
    private_done(to, c->size);
    return 0;
}

static int copy_sample(const struct row *row, double *ret)
{
    struct copies *c = shared_new(sizeof(*c) + COPY_SLOTS * row->size);
    struct duel duel = {{copy_in, copy_out}, .arg = c};
    int r;

    c->size = row->size;
    r = duel_run(&duel, ret);
    *ret = (double)row->size / *ret; /* bytes a ns: GB/s */
    return r;
}

static const struct row rows[] = {
    {ROW_PP, "ns", pp_sample},
    {ROW_BARE, "ns", bare_sample},
    {"locked read-modify-write", "ns", solo_sample, .variant = 0},
    {"compare-exchange and exchange, a lock's pair", "ns", solo_sample, .variant = 1},
    {"system call", "ns", solo_sample, .variant = 2},
    {ROW_FUTEX, "us", futex_sample, .variant = 2},
    {ROW_FUTEX_ASLEEP, "us", futex_sample_paused},
    {ROW_FUTEX_ONE, "us", futex_sample, .variant = 1},
    {ROW_COPY, "GB/s", copy_sample, .size = 1 << 20},
};

const struct row_set limit_rows = ROW_SET("limits: waiting and copying", rows);
