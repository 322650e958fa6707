/*
 * Messages over a descriptor, as the stdlib's Connection sends them: one of these may be at the
 * other end.
 *
 *    | size: 4 bytes, big-endian | bytes ...
 *    | -1: 4 bytes | size: 8 bytes, big-endian | bytes ...        over 2 GB
 *
 * N1  no byte behind a message is read: whoever asks select() is told of the next one
 * N2  what has begun is finished, also where the descriptor does not wait; half a message is left
 *     by a signal's handler that raises, and by an error, alone
 * Crash: a killed sender's half message is EOFError or OSError, as by the stdlib.
 */
#ifndef PIU_EXT_STREAM_H
#define PIU_EXT_STREAM_H

#include "module.h"

/* One end.  A new one is all zero but `handle`. */
struct stream {
    int handle; /* -1: closed */
    /* Whether a reader spins before it sleeps: learned, see stream.c */
    bool is_spinning, cannot_spin;
    uint16_t spin_in, spin_after; /* waits */
};

/* -1 with an exception: a handler's, EOFError, OSError.  The GIL is released meanwhile. */
int stream_write(struct stream *s, const void *bytes, size_t size);
/*
 * The size of the next message; where it is `room` at most its bytes, too.  Else they are to be
 * read by stream_read().
 */
int stream_read_first(struct stream *s, uint64_t *ret_size, void *bytes, size_t room);
int stream_read(struct stream *s, void *bytes, size_t size);
/* 1: there is something to be read, or an end; 0: not in `timeout` ns; -1 with an exception. */
int stream_poll(struct stream *s, int64_t timeout);

#endif
