#include "frame.h"

#include "os/fd.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define READ_LEAST ((size_t)65536)

/* Room for `size` more bytes behind what is there. */
static int buffer_reserve(struct buffer *b, size_t size)
{
    size_t used = b->to - b->from;
    unsigned char *bytes;

    if (b->room - b->to >= size)
        return 0;
    if (b->from)
        memmove(b->bytes, b->bytes + b->from, used);
    b->from = 0;
    b->to = used;
    if (b->room - used >= size)
        return 0;
    bytes = realloc(b->bytes, 2 * used + size);
    if (!bytes)
        return -ENOMEM;
    b->bytes = bytes;
    b->room = 2 * used + size;
    return 0;
}

static void buffer_take(struct buffer *b, size_t size)
{
    b->from += size;
    if (b->from == b->to)
        b->from = b->to = 0;
}

static void buffer_add(struct buffer *b, const void *bytes, size_t size)
{
    if (size)
        memcpy(b->bytes + b->to, bytes, size);
    memset(b->bytes + b->to + size, 0, part_room(size) - size);
    b->to += part_room(size);
}

int stream_read(struct stream *s)
{
    for (;;) {
        int r = buffer_reserve(&s->in, READ_LEAST);
        ssize_t n;

        if (r < 0)
            return r;
        n = read(s->fd, s->in.bytes + s->in.to, s->in.room - s->in.to);
        if (n > 0)
            s->in.to += (size_t)n;
        else if (n == 0 || (errno != EINTR && errno != EAGAIN))
            return -EPIPE;
        else if (errno == EAGAIN)
            return 0;
        if (n > 0 && s->in.to < s->in.room)
            return 0; /* that was all there is now */
    }
}

const struct frame *stream_head(const struct stream *s)
{
    return s->in.to - s->in.from < sizeof(struct frame)
               ? NULL
               : (const struct frame *)(const void *)(s->in.bytes + s->in.from);
}

const void *stream_body(const struct stream *s)
{
    const struct frame *frame = stream_head(s);

    return frame && s->in.to - s->in.from - sizeof(*frame) >= frame->size ? frame + 1
                                                                          : NULL;
}

void stream_drop(struct stream *s)
{
    buffer_take(&s->in, sizeof(struct frame) + stream_head(s)->size);
}

int stream_put(struct stream *s, struct frame frame, const struct part *parts,
               size_t count)
{
    size_t size = 0;
    int r;

    for (size_t i = 0; i < count; i++)
        size += part_room(parts[i].size);
    r = buffer_reserve(&s->out, sizeof(frame) + size);
    if (r < 0)
        return r;
    frame.size += size;
    buffer_add(&s->out, &frame, sizeof(frame));
    for (size_t i = 0; i < count; i++)
        buffer_add(&s->out, parts[i].bytes, parts[i].size);
    return 0;
}

int stream_flush(struct stream *s)
{
    while (stream_has_unsent(s)) {
        ssize_t n = send(s->fd, s->out.bytes + s->out.from, s->out.to - s->out.from,
                         MSG_NOSIGNAL);

        if (n >= 0)
            buffer_take(&s->out, (size_t)n);
        else if (errno == EAGAIN)
            return 0;
        else if (errno != EINTR)
            return -EPIPE;
    }
    return 0;
}

bool stream_has_unsent(const struct stream *s)
{
    return s->out.to > s->out.from;
}

void stream_done(struct stream *s)
{
    s->fd = fd_close(s->fd);
    free(s->in.bytes);
    free(s->out.bytes);
}
