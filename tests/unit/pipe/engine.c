/* The near end: what remote.c sees. */
#include "pipe.h"

#include "os/clock.h"
#include "os/fd.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>

#define PATIENCE    (2 * SEC) /* with a place that is to end now */
#define FRAME_MOST  (UINT64_C(1) << 30)
#define ITEM_WINDOW 16u /* ranges that are out, to a worker */

struct sent {
    uint64_t ticket, most; /* bytes of its outcome */
};

struct pipe {
    struct engine engine;
    struct pipe *next; /* of all, so that no checker for leaks misses them */
    struct child place;
    const struct pool_shared *pool; /* the place's */
    struct stream stream;
    int news; /* an epoll: of the socket and of the place's end */
    bool gone, stopping, stopping_now;
    bool shown; /* the first frame was given out by next() */
    int64_t kill_at;
    unsigned window, count;
    struct sent sent[WINDOW_MOST];
};

static struct pipe *pipes;
static pid_t last_place;
_Atomic int *pipe_mischief;

pid_t pipe_place(void)
{
    return last_place;
}

static struct pipe *pipe_of(const struct engine *e)
{
    return (struct pipe *)(uintptr_t)e;
}

/* ---- The socket ----------------------------------------------------------------------------- */

static void watch(struct pipe *p, int operation)
{
    struct epoll_event event = {.events = EPOLLIN};

    if (stream_has_unsent(&p->stream))
        event.events |= EPOLLOUT;
    epoll_ctl(p->news, operation, p->stream.fd, &event);
}

static int flush(struct pipe *p)
{
    bool had_unsent = stream_has_unsent(&p->stream);
    int r = stream_flush(&p->stream);

    if (had_unsent != stream_has_unsent(&p->stream))
        watch(p, EPOLL_CTL_MOD);
    return r;
}

static int put(struct pipe *p, struct frame frame, const struct part *parts, size_t count)
{
    bool had_unsent = stream_has_unsent(&p->stream);
    int r = stream_put(&p->stream, frame, parts, count);

    if (r == 0 && !had_unsent)
        r = stream_flush(&p->stream);
    if (had_unsent != stream_has_unsent(&p->stream))
        watch(p, EPOLL_CTL_MOD);
    return r;
}

/* ---- Start ---------------------------------------------------------------------------------- */

static void pipe_free(struct pipe *p)
{
    struct pipe **at = &pipes;

    while (*at && *at != p)
        at = &(*at)->next;
    if (*at)
        *at = p->next;
    child_done(&p->place);
    stream_done(&p->stream);
    fd_close(p->news);
    free(p);
}

/* Ctrl-C is not for the place; and what is in our streams is not for it to write again. */
static int place_fork(struct pipe *p, int sockets[2],
                      const struct piu_pool_keywords *keywords)
{
    char name[NAME_SIZE];
    sigset_t all, before;
    int r;

    snprintf(name, sizeof(name), "%.24s-place", keywords->name);
    fflush(NULL);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    r = child_fork(&p->place, name, true);
    if (r > 0) {
        fd_close(sockets[0]);
        place_main(sockets[1], keywords);
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return r;
}

static int wait_for_hello(struct pipe *p)
{
    const struct wire_hello *hello;
    int r = 0;

    while (r == 0 && !(hello = stream_body(&p->stream))) {
        fd_wait_readable(p->news, CLOCK_FOREVER);
        r = stream_read(&p->stream);
    }
    if (stream_body(&p->stream))
        r = stream_head(&p->stream)->error;
    else
        r = -ECHILD;
    if (r == 0) {
        p->pool = arena_at(hello->pool, sizeof(*p->pool));
        stream_drop(&p->stream);
    }
    return r;
}

static int place_start(struct pipe *p, const struct piu_pool_keywords *keywords)
{
    struct epoll_event event = {.events = EPOLLIN};
    int sockets[2], r;

    p->news = epoll_create1(EPOLL_CLOEXEC);
    if (p->news < 0 ||
        socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, sockets) < 0)
        return -errno;
    p->stream.fd = sockets[0];
    r = place_fork(p, sockets, keywords);
    fd_close(sockets[1]);
    if (r < 0)
        return r;
    last_place = p->place.pid;
    watch(p, EPOLL_CTL_ADD);
    epoll_ctl(p->news, EPOLL_CTL_ADD, p->place.pidfd, &event);
    r = wait_for_hello(p);
    if (r < 0) {
        kill(p->place.pid, SIGKILL);
        while (child_join(&p->place, CLOCK_FOREVER) < 0)
            ;
    }
    return r;
}

static int start(const struct piu_pool_keywords *keywords, struct engine **ret)
{
    struct pipe *p = calloc(1, sizeof(*p));
    int r;

    if (!p)
        return -ENOMEM;
    p->engine.kind = &pipe_engine;
    p->stream.fd = p->news = p->place.pidfd = -1;
    p->window =
        (unsigned)min_u64((uint64_t)keywords->processes * ITEM_WINDOW, WINDOW_MOST);
    p->next = pipes;
    pipes = p;
    r = place_start(p, keywords);
    if (r < 0)
        pipe_free(p);
    else
        *ret = &p->engine;
    return r;
}

/* ---- Giving ------------------------------------------------------------------------------ */

/* Its outcome has the bytes of its items, and for each item notes at most. */
static uint64_t outcome_most(const struct range *range)
{
    uint64_t notes = sizeof(struct piu_failure) +
                     (range->retries + UINT64_C(2)) * sizeof(struct piu_loss);
    uint64_t bytes;

    if (__builtin_mul_overflow(range->last - range->first, notes, &bytes) ||
        __builtin_add_overflow(
            bytes, range->out_bytes + sizeof(struct wire_outcome) + 320, &bytes))
        return FRAME_MOST;
    return min_u64(bytes, FRAME_MOST);
}

static int give(struct engine *e, const struct range *range)
{
    struct pipe *p = pipe_of(e);
    struct frame frame = {.kind = FRAME_RANGE, .ticket = range->ticket};
    struct wire_range wire = {.run = range->run,
                              .call = range->call,
                              .call_at = range->call_at,
                              .retries = range->retries,
                              .first = range->first,
                              .last = range->last,
                              .task_size = range->task_size,
                              .in_bytes = range->in_bytes,
                              .out_bytes = range->out_bytes,
                              .has_in = range->in != NULL,
                              .has_out = range->out != NULL};

    if (p->gone)
        return -EPIPE;
    if (p->count == p->window || stream_has_unsent(&p->stream))
        return -EAGAIN;
    p->sent[p->count++] = (struct sent){range->ticket, outcome_most(range)};
    put(p, frame,
        (struct part[]){{&wire, sizeof(wire)},
                        {range->task, range->task_size},
                        {range->in, range->in ? range->in_bytes : 0},
                        {range->out, range->out ? range->out_bytes : 0}},
        4);
    return 0;
}

static void cancel(struct engine *e, uint64_t ticket)
{
    put(pipe_of(e), (struct frame){.kind = FRAME_CANCEL, .ticket = ticket}, NULL, 0);
}

/* ---- What comes ---------------------------------------------------------------------------- */

static struct sent *sent_find(struct pipe *p, uint64_t ticket)
{
    for (unsigned i = 0; i < p->count; i++) {
        if (p->sent[i].ticket == ticket)
            return &p->sent[i];
    }
    return NULL;
}

static const void *notes_part(const unsigned char **at, uint64_t *left, uint64_t count,
                              size_t size)
{
    const void *part = *at;
    uint64_t bytes;

    if (__builtin_mul_overflow(count, size, &bytes) || bytes > *left ||
        part_room(bytes) > *left)
        return NULL;
    *at += part_room(bytes);
    *left -= part_room(bytes);
    return part;
}

/* -EBADMSG: counts and bytes do not go together. */
static int outcome_of(const struct frame *frame, const unsigned char *body,
                      struct outcome *ret)
{
    uint64_t left = frame->size;
    const struct wire_outcome *wire = notes_part(&body, &left, 1, sizeof(*wire));

    if (!wire)
        return -EBADMSG;
    *ret = (struct outcome){.ticket = frame->ticket,
                            .how = (enum range_end)wire->how,
                            .error = wire->error,
                            .losses_count = wire->losses_count,
                            .tries_count = wire->tries_count,
                            .failures_count = wire->failures_count,
                            .out_bytes = wire->out_bytes};
    ret->losses = notes_part(&body, &left, wire->losses_count, sizeof(*ret->losses));
    ret->tries = notes_part(&body, &left, wire->tries_count, sizeof(*ret->tries));
    ret->failures =
        notes_part(&body, &left, wire->failures_count, sizeof(*ret->failures));
    ret->out = notes_part(&body, &left, wire->out_bytes, 1);
    return ret->losses && ret->tries && ret->failures && ret->out &&
                   (ret->how == RANGE_FINISHED || ret->how == RANGE_CANCELLED ||
                    (ret->how == RANGE_REFUSED && ret->error < 0))
               ? 0
               : -EBADMSG;
}

/* 1: an outcome; 0: not yet; -EBADMSG: such a place is not to be listened to. */
static int take_frame(struct pipe *p, struct outcome *ret)
{
    const struct frame *frame;
    struct sent *sent;
    const void *body;

    if (p->shown)
        stream_drop(&p->stream);
    p->shown = false;
    frame = stream_head(&p->stream);
    if (!frame)
        return 0;
    sent = sent_find(p, frame->ticket);
    if (frame->kind != FRAME_OUTCOME || !sent || frame->size > sent->most)
        return -EBADMSG;
    body = stream_body(&p->stream);
    if (!body)
        return 0;
    if (outcome_of(frame, body, ret) < 0)
        return -EBADMSG;
    *sent = p->sent[--p->count];
    p->shown = true;
    return 1;
}

/* One after the other is lost; then there is no place. */
static int tell_lost(struct pipe *p, struct outcome *ret)
{
    ret->how = RANGE_LOST;
    ret->death = p->place.death;
    if (!p->count)
        return -EPIPE;
    ret->ticket = p->sent[--p->count].ticket;
    return 1;
}

static int next(struct engine *e, struct outcome *ret)
{
    struct pipe *p = pipe_of(e);
    int r = p->gone ? -EPIPE : take_frame(p, ret);

    if (r == 0) {
        /* before the read: what it has sent, it sent before its end */
        int ended = child_join(&p->place, 0) == 0 ? -EPIPE : 0;

        flush(p);
        r = stream_read(&p->stream) < 0 ? -EPIPE : ended;
        if (stream_head(&p->stream)) {
            int taken = take_frame(p, ret);

            r = taken ? taken : r;
        }
    }
    if (r >= 0)
        return r;
    if (!p->gone) {
        kill(p->place.pid, SIGKILL);
        while (child_join(&p->place, CLOCK_FOREVER) < 0)
            ;
    }
    p->gone = true;
    return tell_lost(p, ret);
}

static int fd(const struct engine *e)
{
    return pipe_of(e)->news;
}

/* ---- Stop ---------------------------------------------------------------------------------- */

static void stop_begin(struct pipe *p, bool now)
{
    if (!p->gone && (!p->stopping || (now && !p->stopping_now))) {
        put(p, (struct frame){.kind = FRAME_STOP, .error = now}, NULL, 0);
        p->kill_at = deadline_after(now ? PATIENCE : CLOCK_FOREVER);
    }
    p->stopping = true;
    p->stopping_now |= now;
}

/* What still comes is for nobody, but would hold it up. */
static void discard(struct pipe *p)
{
    if (flush(p) < 0 || stream_read(&p->stream) < 0)
        epoll_ctl(p->news, EPOLL_CTL_DEL, p->stream.fd, NULL);
    p->stream.in.from = p->stream.in.to = 0;
    p->shown = false;
}

static int stop(struct engine *e, bool now, int64_t timeout)
{
    struct pipe *p = pipe_of(e);
    int64_t deadline = deadline_after(timeout);

    stop_begin(p, now);
    while (child_join(&p->place, 0) < 0) {
        int64_t left = deadline_left(deadline);
        int r;

        if (left == 0)
            return -ETIMEDOUT;
        r = fd_wait_readable(p->news, min_timeout(left, deadline_left(p->kill_at)));
        if (r == -EINTR)
            return r;
        discard(p);
        if (deadline_left(p->kill_at) == 0)
            kill(p->place.pid, SIGKILL);
    }
    pipe_free(p);
    return 0;
}

/* ---- Looking -------------------------------------------------------------------------------- */

static size_t workers(const struct engine *e, pid_t *ret, size_t room)
{
    const struct pool_shared *pool = pipe_of(e)->pool;
    size_t count = 0;

    for (unsigned i = 0; pool && !pipe_of(e)->gone && i < pool->places; i++) {
        pid_t pid = atomic_load(&pool->workers[i].pid);

        if (pid && count++ < room)
            ret[count - 1] = pid;
    }
    return count;
}

const struct engine_kind pipe_engine = {.start = start,
                                        .give = give,
                                        .next = next,
                                        .cancel = cancel,
                                        .fd = fd,
                                        .stop = stop,
                                        .workers = workers};

__attribute__((constructor)) static void pipe_use(void)
{
    pipe_mischief = mmap(NULL, sizeof(*pipe_mischief), PROT_READ | PROT_WRITE,
                         MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (pipe_mischief == MAP_FAILED)
        abort();
    pool_use_engine(&pipe_engine);
}
