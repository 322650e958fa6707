/*
 * Frames over a stream socket, in both directions at once; nothing waits.
 *
 *    | kind, ticket, size | size bytes: parts, each from a multiple of 64 on |
 */
#ifndef PIPE_FRAME_H
#define PIPE_FRAME_H

#include "os/base.h"

enum frame_kind { FRAME_HELLO, FRAME_RANGE, FRAME_CANCEL, FRAME_STOP, FRAME_OUTCOME };

struct frame {
    alignas(64) uint32_t kind;
    int32_t error; /* hello: of the place's pool; stop: 1 now */
    uint64_t ticket;
    uint64_t size;
};

struct part {
    const void *bytes;
    size_t size;
};

struct buffer {
    unsigned char *bytes;
    size_t from, to, room;
};

struct stream {
    int fd;
    struct buffer in, out;
};

static inline size_t part_room(size_t size)
{
    return round_up(size, 64);
}

/* Takes what has come: 0; -EPIPE: that was all; -ENOMEM */
int stream_read(struct stream *s);
/* The first frame's head; NULL: it has not come yet. */
const struct frame *stream_head(const struct stream *s);
/* What follows it; NULL: not all of it has come yet. */
const void *stream_body(const struct stream *s);
void stream_drop(struct stream *s); /* that frame */
/* 0; -ENOMEM.  It goes now or by stream_flush(). */
int stream_put(struct stream *s, struct frame frame, const struct part *parts,
               size_t count);
int stream_flush(struct stream *s); /* 0; -EPIPE */
bool stream_has_unsent(const struct stream *s);
void stream_done(struct stream *s);

#endif
