#include "stream.h"

struct stage { /* a duel's argument: the stream and what its children do first */
    struct stream stream; /* first: the sides get its address */
    const struct stream_kind *kind;
};

void *stream_buffer(size_t size)
{
    return private_new(size < 4096 ? 4096 : size);
}

void stream_buffer_done(void *data, size_t size)
{
    private_done(data, size < 4096 ? 4096 : size);
}

static int stage_prepare(void *arg, int side)
{
    struct stage *stage = arg;
    int r = stage->kind->channel_begin(stage->stream.there, side == 0);

    if (r == 0 && stage->stream.back)
        r = stage->kind->channel_begin(stage->stream.back, side == 1);
    return r;
}

static int stage_open(struct stage *stage, bool both_ways)
{
    int r = stage->kind->channel_new(stage->stream.size, &stage->stream.there);

    if (r == 0 && both_ways)
        r = stage->kind->channel_new(stage->stream.size, &stage->stream.back);
    return r;
}

int stream_sample(const struct row *row, const struct stream_kind *kind, double *ret)
{
    enum stream_way way = (enum stream_way)row->variant;
    bool trip = way >= STREAM_TRIP;
    struct stage *stage = shared_new(sizeof(*stage));
    struct duel duel = {.arg = stage, .one_core = way == STREAM_TRIP_ONE};
    int r;

    stage->kind = kind;
    stage->stream.size = row->size;
    stage->stream.trips = shared_new(sizeof(struct trips));
    duel.side[0] = trip ? kind->ping : kind->putter;
    duel.side[1] = trip ? kind->pong : kind->getter;
    duel.prepare = kind->channel_begin ? stage_prepare : NULL;
    if (way == STREAM_TRIP_PAUSE) {
        duel.side[0] = kind->ping_paused;
        duel.count = TRIPS;
    }
    r = stage_open(stage, trip);
    if (r == 0)
        r = duel_run(&duel, ret);
    if (way == STREAM_TRIP_PAUSE)
        *ret = trips_quantile(stage->stream.trips, 0.5);
    if (way == STREAM_MESSAGES)
        *ret = 1e3 / *ret;
    else if (way == STREAM_BYTES)
        *ret = (double)row->size / *ret;
    else if (way != STREAM_TRIP)
        *ret /= 1e3;
    return r;
}
