/* The far end: ranges come, a pool does them, outcomes go. */
#include "pipe.h"

#include "os/fd.h"
#include "task/range.h"

#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#define LOOK 20 /* ms: a pool's nursery is looked after by who waits */

struct place {
    struct stream stream;
    struct piu_pool *pool;
    unsigned count;
    struct range_work *works[WINDOW_MOST];
};

static _Noreturn void leave(struct place *place, int exitcode)
{
    piu_pool_free(place->pool);
    child_end(exitcode);
}

static void send_frame(struct place *place, struct frame frame, const struct part *parts,
                       size_t count)
{
    if (stream_put(&place->stream, frame, parts, count) < 0)
        leave(place, 1);
}

/* ---- Outcomes ---------------------------------------------------------------------------- */

static void make_mischief(struct frame *frame, struct wire_outcome *wire,
                          struct outcome *o)
{
    static struct piu_loss foreign = {.first = 1000000, .last = 1000001};

    switch (atomic_load(pipe_mischief)) {
    case MISCHIEF_SIZE:
        frame->size = UINT64_C(1) << 60;
        break;
    case MISCHIEF_COUNT:
        wire->losses_count = UINT64_MAX / sizeof(struct piu_loss) + 2;
        break;
    case MISCHIEF_TICKET:
        frame->ticket += 256;
        break;
    case MISCHIEF_ITEMS:
        wire->losses_count = o->losses_count = 1;
        o->losses = &foreign;
        break;
    case MISCHIEF_SHORT:
        wire->out_bytes = o->out_bytes = o->out_bytes / 2;
        break;
    case MISCHIEF_KIND:
        frame->kind = FRAME_RANGE;
        break;
    default:
        break;
    }
}

static void send_outcome(struct place *place, struct outcome o)
{
    struct frame frame = {.kind = FRAME_OUTCOME, .ticket = o.ticket};
    struct wire_outcome wire = {.how = (int32_t)o.how,
                                .error = o.error,
                                .losses_count = o.losses_count,
                                .tries_count = o.tries_count,
                                .failures_count = o.failures_count,
                                .out_bytes = o.out_bytes};

    make_mischief(&frame, &wire, &o);
    send_frame(place, frame,
               (struct part[]){{&wire, sizeof(wire)},
                               {o.losses, o.losses_count * sizeof(*o.losses)},
                               {o.tries, o.tries_count * sizeof(*o.tries)},
                               {o.failures, o.failures_count * sizeof(*o.failures)},
                               {o.out, o.out_bytes}},
               5);
}

static void send_ended(struct place *place)
{
    for (unsigned i = 0; i < place->count;) {
        struct range_work *work = place->works[i];
        struct outcome o;

        if (!piu_result_ready(&work->result)) {
            i++;
            continue;
        }
        if (range_outcome(work, &o) < 0)
            leave(place, 1);
        send_outcome(place, o);
        range_free(work);
        place->works[i] = place->works[--place->count];
    }
}

/* ---- Frames ------------------------------------------------------------------------------ */

/* From *at on: `size` bytes of the body, if it has them. */
static const void *body_part(const unsigned char **at, size_t *left, uint64_t size)
{
    const void *part = *at;

    if (size > *left || part_room(size) > *left)
        return NULL;
    *at += part_room(size);
    *left -= part_room(size);
    return part;
}

static void take_range(struct place *place, const struct frame *frame,
                       const unsigned char *body)
{
    size_t left = frame->size;
    const struct wire_range *wire = body_part(&body, &left, sizeof(*wire));
    struct outcome refused = {.ticket = frame->ticket, .how = RANGE_REFUSED};
    struct range range = {.ticket = frame->ticket};

    if (!wire || place->count == WINDOW_MOST)
        leave(place, 1);
    range.run = wire->run;
    range.call = wire->call;
    range.call_at = wire->call_at;
    range.retries = wire->retries;
    range.first = wire->first;
    range.last = wire->last;
    range.task_size = wire->task_size;
    range.in_bytes = wire->in_bytes;
    range.out_bytes = wire->out_bytes;
    range.task = body_part(&body, &left, wire->task_size);
    if (wire->has_in)
        range.in = body_part(&body, &left, wire->in_bytes);
    if (wire->has_out)
        range.out = body_part(&body, &left, wire->out_bytes);
    if (!range.task || (wire->has_in && !range.in) || (wire->has_out && !range.out))
        leave(place, 1);
    refused.error = range_begin(place->pool, &range, &place->works[place->count]);
    if (refused.error == 0)
        place->count++;
    else
        send_outcome(place, refused);
}

static void take_cancel(struct place *place, uint64_t ticket)
{
    for (unsigned i = 0; i < place->count; i++) {
        if (place->works[i]->ticket == ticket)
            piu_result_cancel(&place->works[i]->result);
    }
}

static _Noreturn void take_stop(struct place *place, bool now)
{
    if (!now) {
        piu_pool_close(place->pool);
        piu_pool_join(place->pool, PIU_FOREVER);
    }
    leave(place, 0);
}

static void take_frames(struct place *place)
{
    int r = stream_read(&place->stream);
    const void *body;

    while ((body = stream_body(&place->stream))) {
        const struct frame *frame = stream_head(&place->stream);

        if (frame->kind == FRAME_RANGE)
            take_range(place, frame, body);
        else if (frame->kind == FRAME_CANCEL)
            take_cancel(place, frame->ticket);
        else
            take_stop(place, frame->error);
        stream_drop(&place->stream);
    }
    if (r < 0)
        leave(place, 1);
}

/* ---- The loop ---------------------------------------------------------------------------- */

static void send_hello(struct place *place)
{
    struct frame frame = {.kind = FRAME_HELLO, .error = place->pool ? 0 : -errno};
    struct wire_hello hello = {0};

    if (place->pool)
        hello.pool = arena_offset(place->pool->shared);
    send_frame(place, frame, &(struct part){&hello, sizeof(hello)}, 1);
    stream_flush(&place->stream);
    if (!place->pool)
        child_end(1);
}

_Noreturn void place_main(int socket, const struct piu_pool_keywords *keywords)
{
    struct place place = {.stream = {.fd = socket}};
    int news;

    signal(SIGCHLD, SIG_DFL);
    pool_use_engine(NULL);
    place.pool = piu_pool_create(keywords);
    send_hello(&place);
    news = piu_pool_fd(place.pool);
    for (;;) {
        struct pollfd fds[2] = {{.fd = socket, .events = POLLIN},
                                {.fd = news, .events = POLLIN}};

        if (stream_has_unsent(&place.stream))
            fds[0].events |= POLLOUT;
        poll(fds, 2, place.count ? LOOK : -1);
        fd_event_drain(news);
        take_frames(&place);
        send_ended(&place);
        if (place.count)
            pool_look_after(place.pool);
        if (stream_flush(&place.stream) < 0)
            leave(&place, 1);
    }
}
