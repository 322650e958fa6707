/*
 * Messages between two processes, the same for every peer and for piu: a stream one
 * way, or round trips over two channels.
 *
 * A kind of channel is a put and a get; STREAM_KIND makes the loops around them,
 * inlined, so that nobody pays for a call through a pointer.  Every message carries its
 * number and every get looks at it: a peer that loses or tears a message fails.
 */
#ifndef BENCH_STREAM_H
#define BENCH_STREAM_H

#include <string.h>

#include "measure.h"

enum stream_way {
    STREAM_MESSAGES,  /* M/s */
    STREAM_BYTES,     /* GB/s */
    STREAM_TRIP,      /* ns, there and back */
    STREAM_TRIP_US,   /* the same in us */
    STREAM_TRIP_ONE,  /* us, both processes on one core */
    STREAM_TRIP_PAUSE /* us, after a pause that lets the other side fall asleep */
};

struct stream {
    size_t size;
    void *there, *back; /* channels; back is NULL in a one-way stream */
    struct trips *trips;
};

typedef int stream_move(void *channel, void *data, size_t size); /* 0 or -errno */

struct stream_kind {
    /* A channel for messages of `size` bytes that children will share. */
    int (*channel_new)(size_t size, void **ret);
    /* In each child, before its first message; may be NULL. */
    int (*channel_begin)(void *channel, bool putter);
    int (*putter)(void *stream, uint64_t count);
    int (*getter)(void *stream, uint64_t count);
    int (*ping)(void *stream, uint64_t count);
    int (*pong)(void *stream, uint64_t count);
    int (*ping_paused)(void *stream, uint64_t count);
};

/* A row of row->size bytes, the way that row->variant says. */
int stream_sample(const struct row *row, const struct stream_kind *kind, double *ret);

/* The five rows of a peer that can block. */
#define STREAM_ROWS(name, sample)                                   \
    {name ": 8 B", "M/s", sample, 8, STREAM_MESSAGES},              \
        {name ": 64 B", "M/s", sample, 64, STREAM_MESSAGES},        \
        {name ": 1 KB", "M/s", sample, 1024, STREAM_MESSAGES},      \
        {name ": 1 MB", "GB/s", sample, 1 << 20, STREAM_BYTES},     \
    {                                                               \
        name ": round trip, 64 B", "us", sample, 64, STREAM_TRIP_US \
    }

void *stream_buffer(size_t size); /* private, present, at least 8 bytes */
void stream_buffer_done(void *data, size_t size);

#define STREAM_INLINE static inline __attribute__((always_inline))

STREAM_INLINE int stream_put(void *channel, void *data, size_t size, uint64_t i,
                             stream_move *put)
{
    memcpy(data, &i, sizeof(i));
    return put(channel, data, size);
}

STREAM_INLINE int stream_get(void *channel, void *data, size_t size, uint64_t i,
                             stream_move *get)
{
    uint64_t number;
    int r = get(channel, data, size);

    memcpy(&number, data, sizeof(number));
    return r < 0 ? r : number == i ? 0 : -EBADMSG;
}

STREAM_INLINE int stream_putter(struct stream *s, uint64_t count, stream_move *put)
{
    void *data = stream_buffer(s->size);
    int r = 0;

    for (uint64_t i = 0; i < count && r == 0; i++)
        r = stream_put(s->there, data, s->size, i, put);
    stream_buffer_done(data, s->size);
    return r;
}

STREAM_INLINE int stream_getter(struct stream *s, uint64_t count, stream_move *get)
{
    void *data = stream_buffer(s->size);
    int r = 0;

    for (uint64_t i = 0; i < count && r == 0; i++)
        r = stream_get(s->there, data, s->size, i, get);
    stream_buffer_done(data, s->size);
    return r;
}

STREAM_INLINE int stream_ping(struct stream *s, uint64_t count, bool paused,
                              stream_move *put, stream_move *get)
{
    void *data = stream_buffer(s->size);
    int64_t start = 0;
    int r = 0;

    for (uint64_t i = 0; i < count && r == 0; i++) {
        if (paused) {
            clock_spin(TRIP_PAUSE);
            start = clock_now();
        }
        r = stream_put(s->there, data, s->size, i, put);
        if (r == 0)
            r = stream_get(s->back, data, s->size, i, get);
        if (paused)
            trips_add(s->trips, clock_now() - start);
    }
    stream_buffer_done(data, s->size);
    return r;
}

STREAM_INLINE int stream_pong(struct stream *s, uint64_t count, stream_move *put,
                              stream_move *get)
{
    void *data = stream_buffer(s->size);
    int r = 0;

    for (uint64_t i = 0; i < count && r == 0; i++) {
        r = stream_get(s->there, data, s->size, i, get);
        if (r == 0)
            r = stream_put(s->back, data, s->size, i, put);
    }
    stream_buffer_done(data, s->size);
    return r;
}

#define STREAM_KIND(name, new_, begin_, put, get)                   \
    static int name##_putter(void *s, uint64_t count)               \
    {                                                               \
        return stream_putter(s, count, put);                        \
    }                                                               \
    static int name##_getter(void *s, uint64_t count)               \
    {                                                               \
        return stream_getter(s, count, get);                        \
    }                                                               \
    static int name##_ping(void *s, uint64_t count)                 \
    {                                                               \
        return stream_ping(s, count, false, put, get);              \
    }                                                               \
    static int name##_ping_paused(void *s, uint64_t count)          \
    {                                                               \
        return stream_ping(s, count, true, put, get);               \
    }                                                               \
    static int name##_pong(void *s, uint64_t count)                 \
    {                                                               \
        return stream_pong(s, count, put, get);                     \
    }                                                               \
    static const struct stream_kind name = {                        \
        new_,        begin_,      name##_putter,     name##_getter, \
        name##_ping, name##_pong, name##_ping_paused}

#endif
