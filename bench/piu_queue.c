/*
 * piu's queue, as any number of putters and getters may use it: it blocks, takes any
 * size, and survives the death of either side.
 */
#include <piu.h>

#include "calls.h"
#include "stream.h"

/* As many messages as the rings of the peers hold, so that all run in the same cache. */
static size_t queue_bound(size_t size)
{
    size_t fit = (256 << 10) / size;

    return fit > 4096 ? 4096 : fit < 8 ? 8 : fit;
}

static int queue_new(size_t size, void **ret)
{
    *ret = piu_queue_new(.maxsize = queue_bound(size));
    return *ret ? 0 : -errno;
}

static int queue_new_unbounded(size_t size, void **ret)
{
    (void)size;
    *ret = piu_queue_new(.maxsize = 0);
    return *ret ? 0 : -errno;
}

/* Nobody dies here: news would be a mistake of piu's. */
static inline int no_news(int r)
{
    return r > 0 ? -EPROTO : r;
}

static inline int queue_put(void *channel, void *data, size_t size)
{
    return no_news(piu_queue_put(channel, data, size, PIU_FOREVER));
}

static inline int queue_get(void *channel, void *data, size_t size)
{
    return no_news(piu_queue_get(channel, data, &size, PIU_FOREVER));
}

/* In place: only the number is written and read, the rest changes hands. */
static inline int queue_put_in_place(void *channel, void *data, size_t size)
{
    void *place;
    int r = piu_queue_reserve(channel, size, &place, PIU_FOREVER);

    if (r < 0)
        return r;
    memcpy(place, data, sizeof(uint64_t));
    return no_news(piu_queue_commit(channel, place));
}

static inline int queue_get_in_place(void *channel, void *data, size_t size)
{
    void *place;
    int r = no_news(piu_queue_take(channel, &place, &size, PIU_FOREVER));

    if (r < 0)
        return r;
    memcpy(data, place, sizeof(uint64_t));
    return no_news(piu_queue_drop(channel, place));
}

STREAM_KIND(queues, queue_new, NULL, queue_put, queue_get);
STREAM_KIND(queues_unbounded, queue_new_unbounded, NULL, queue_put, queue_get);
STREAM_KIND(queues_in_place, queue_new, NULL, queue_put_in_place, queue_get_in_place);

static int queue_sample(const struct row *row, double *ret)
{
    return stream_sample(row, &queues, ret);
}

static int unbounded_sample(const struct row *row, double *ret)
{
    return stream_sample(row, &queues_unbounded, ret);
}

static int in_place_sample(const struct row *row, double *ret)
{
    return stream_sample(row, &queues_in_place, ret);
}

enum { BATCH = 16 };

static int batch_putter(void *arg, uint64_t count)
{
    struct stream *s = arg;
    unsigned char *data = stream_buffer(BATCH * s->size);
    int r = 0;

    for (uint64_t i = 0; i < count && r == 0;) {
        size_t n = count - i < BATCH ? count - i : BATCH, moved = 0;

        for (size_t k = 0; k < n; k++) {
            uint64_t number = i + k;

            memcpy(data + k * s->size, &number, sizeof(number));
        }
        r = no_news(piu_queue_put_many(s->there, data, s->size, n, &moved, PIU_FOREVER));
        i += moved; /* a full queue takes a part: the rest is put again */
    }
    stream_buffer_done(data, BATCH * s->size);
    return r;
}

static int batch_getter(void *arg, uint64_t count)
{
    struct stream *s = arg;
    unsigned char *data = stream_buffer(BATCH * s->size);
    int r = 0;

    for (uint64_t i = 0; i < count && r == 0;) {
        size_t n = count - i < BATCH ? count - i : BATCH, moved = 0;

        r = no_news(piu_queue_get_many(s->there, data, s->size, n, &moved, PIU_FOREVER));
        for (size_t k = 0; k < moved && r == 0; k++) {
            uint64_t number;

            memcpy(&number, data + k * s->size, sizeof(number));
            r = number == i + k ? 0 : -EBADMSG;
        }
        i += moved;
    }
    stream_buffer_done(data, BATCH * s->size);
    return r;
}

static int batch_sample(const struct row *row, double *ret)
{
    static const struct stream_kind batches = {
        .channel_new = queue_new, .putter = batch_putter, .getter = batch_getter};

    return stream_sample(row, &batches, ret);
}

/* Its buffers are made before: the count is of the queue's calls only. */
static unsigned char calls_buffer[4096];

static int calls_putter(void *arg, uint64_t count)
{
    struct stream *s = arg;
    int r = 0;

    for (uint64_t i = 0; i < count && r == 0; i++)
        r = stream_put(s->there, calls_buffer, s->size, i, queue_put);
    return r;
}

static int calls_getter(void *arg, uint64_t count)
{
    struct stream *s = arg;
    int r = 0;

    for (uint64_t i = 0; i < count && r == 0; i++)
        r = stream_get(s->there, calls_buffer, s->size, i, queue_get);
    return r;
}

static int calls_sample(const struct row *row, double *ret)
{
    int (*side[2])(void *, uint64_t) = {calls_putter, calls_getter};
    struct stream stream = {.size = row->size};
    const uint64_t count = 1000000;
    uint64_t calls = 0;
    int r = queue_new(row->size, &stream.there);

    if (r == 0)
        r = calls_count(side, &stream, 100000, count, &calls);
    *ret = (double)calls / (double)(count / 1000);
    return r;
}

#define ROW_QUEUE(size) "queue: " size
#define ROW_TRIP        "queue: round trip, 64 B, hot"

static const struct row rows[] = {
    {ROW_QUEUE("8 B"),
     "M/s",
     queue_sample,
     8,
     STREAM_MESSAGES,
     {AT_LEAST(3, ROW_CK_MPMC("8 B")), AT_LEAST(10, ROW_BOOST("8 B"))}},
    {ROW_QUEUE("64 B"),
     "M/s",
     queue_sample,
     64,
     STREAM_MESSAGES,
     {AT_LEAST(3, ROW_CK_MPMC("64 B")), AT_LEAST(10, ROW_BOOST("64 B"))}},
    {ROW_QUEUE("1 KB"),
     "M/s",
     queue_sample,
     1024,
     STREAM_MESSAGES,
     {AT_LEAST(1.3, ROW_CK_MPMC("1 KB")), AT_LEAST(10, ROW_BOOST("1 KB"))}},
    {ROW_QUEUE("64 B, no maxsize"), "M/s", unbounded_sample, 64, STREAM_MESSAGES},
    {ROW_QUEUE("8 B, batches of 16"),
     "M/s",
     batch_sample,
     8,
     STREAM_MESSAGES,
     {AT_LEAST(3, ROW_QUEUE("8 B"))}},
    {ROW_QUEUE("64 B, batches of 16"),
     "M/s",
     batch_sample,
     64,
     STREAM_MESSAGES,
     {AT_LEAST(3, ROW_QUEUE("64 B"))}},
    {ROW_TRIP,
     "ns",
     queue_sample,
     64,
     STREAM_TRIP,
     {AT_MOST(2, ROW_PP), AT_MOST(1.5, ROW_BARE)}},
    {"queue: round trip, 64 B, asleep",
     "us",
     queue_sample,
     64,
     STREAM_TRIP_PAUSE,
     {AT_MOST(1.1, ROW_FUTEX_ASLEEP)}},
    {"queue: round trip, 64 B, one core",
     "us",
     queue_sample,
     64,
     STREAM_TRIP_ONE,
     {AT_MOST(1.5, ROW_FUTEX_ONE)}},
    {"queue: 1 MB copied in and out",
     "GB/s",
     queue_sample,
     1 << 20,
     STREAM_BYTES,
     {AT_LEAST(0.8, ROW_COPY)}},
    {"queue: round trip, 1 MB in place",
     "ns",
     in_place_sample,
     1 << 20,
     STREAM_TRIP,
     {AT_MOST(1.5, ROW_TRIP)}},
    {"queue: system calls per 1000 streamed, 64 B",
     "calls",
     calls_sample,
     64,
     0,
     {UNDER(0.1)}},
};

const struct row_set piu_queue_rows = ROW_SET("piu: queue", rows);
