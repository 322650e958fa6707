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
bool fd_event_drain(int fd); /* back to 0, never blocks; false: it was 0 */
/* Readable while `signal`, which is blocked, is pending; drain takes it.  O_NONBLOCK too. */
int fd_signal(int signal, int *ret_fd);
void fd_signal_drain(int fd);
/*
 * A message over a socket pair (SEQPACKET), with a descriptor or -1; EINTR is retried inside.
 *     -EPIPE   the other end is closed      -EMFILE   no room for the descriptor
 *     -EBADMSG it has another size
 */
int fd_socket_pair(int ret[2]);
int fd_send(int socket, const void *data, size_t size, int passed);
int fd_receive(int socket, void *data, size_t size, int *ret_passed);
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
 * has an open description of its own for the read end, made through /proc/self/fd and armed
 * (O_ASYNC, F_SETSIG): when the last write end closes, in whatever way its owner ended, the
 * kernel sends the child SIGKILL.
 *
 * open: by the starter, where /proc is warm, which closes its copy behind the fork.
 * arm: by the child, which keeps it open.  -EPIPE: the writer has gone already.
 */
int fd_life_open(int read_end, int *ret_fd);
int fd_life_arm(int own);

/*
 * A witness: a close-on-exec description of the caller's own of the file behind `fd`, with a lock
 * on byte `index`, which the kernel releases at exec and at the end of the process (OFD lock).
 * A fork child inherits the description and so the lock: it closes *ret_fd when it can.
 *     -EAGAIN   another description has this byte
 * In a process where /proc is warm, open costs a tenth of what it costs in a new one, which then
 * locks what it inherited.
 */
int fd_witness_open(int fd, int *ret_fd);
int fd_witness_lock(int witness, uint64_t index);
/* By anybody but the description `fd` itself.  true where it cannot be told. */
bool fd_witness_is_held(int fd, uint64_t index);

#endif
