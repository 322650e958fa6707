/* Descriptors: cleanup, ownership, a few flags. */
#ifndef PIU_OS_FD_H
#define PIU_OS_FD_H

#include "os/base.h"

void fd_done(int *fd); /* closes *fd unless it is < 0, sets it to -1; keeps errno */
int fd_close(int fd);  /* always returns -1: fd = fd_close(fd) */
int fd_set_inheritable(int fd, bool inheritable); /* across exec */
int fd_pipe(int ret[2]);                          /* O_CLOEXEC */
int fd_event(int *ret_fd);                        /* an eventfd: O_CLOEXEC, O_NONBLOCK */
void fd_event_post(int fd);                       /* add 1; never blocks */
void fd_event_drain(int fd);                      /* back to 0; never blocks */
/* 0: readable or hung up, -ETIMEDOUT, -EINTR, -EBADF */
int fd_wait_readable(int fd, int64_t timeout);

/*
 * Read a small text file (of /proc or a cgroup) into `text`, NUL-terminated.  -EFBIG: `size`
 * bytes do not hold it all.
 */
int fd_read_text(const char *path, char *text, size_t size);

static inline int take_fd(int *fd)
{
    int taken = *fd;

    *fd = -1;
    return taken;
}

/*
 * The life pipe.  A process that has daemon children keeps the only write end; each child
 * calls fd_life_attach() on the read end: when the last write end closes, in whatever way
 * its owner ended, the kernel sends the child SIGKILL (O_ASYNC, F_SETSIG on the child's own
 * open description, made through /proc/self/fd).  If the writer has gone already: -EPIPE.
 * On success *ret_fd is the child's own description, to be kept open.
 */
int fd_life_attach(int read_end, int *ret_fd);

/*
 * A lock on a close-on-exec description of the caller's own, on byte `index` of the file
 * behind `fd`: released by the kernel at exec and at the end of the process (OFD lock).
 * A fork child inherits the description and so the hold: it closes *ret_fd when it can.
 *     -EAGAIN   another description holds this byte
 */
int fd_witness_hold(int fd, uint64_t index, int *ret_fd);
/* By anybody but the description `fd` itself.  true where it cannot be told. */
bool fd_witness_is_held(int fd, uint64_t index);

#endif
