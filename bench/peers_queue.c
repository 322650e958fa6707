/*
 * What the kernel offers for messages: one call to put one, one call to get one.
 */
#include <fcntl.h>
#include <mqueue.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "stream.h"

struct fds {
    int putter, getter;
};

static struct fds *fds_new(int putter, int getter)
{
    struct fds *f = shared_new(sizeof(*f));

    f->putter = putter;
    f->getter = getter;
    return f;
}

static int pipe_new(size_t size, void **ret)
{
    int fd[2];

    (void)size;
    if (pipe2(fd, O_CLOEXEC) < 0)
        return -errno;
    fcntl(fd[1], F_SETPIPE_SZ, 1 << 20); /* the most that everybody may have */
    *ret = fds_new(fd[1], fd[0]);
    return 0;
}

static inline int pipe_put(void *channel, void *data, size_t size)
{
    struct fds *f = channel;

    return write(f->putter, data, size) == (ssize_t)size ? 0 : -EIO;
}

static inline int pipe_get(void *channel, void *data, size_t size)
{
    struct fds *f = channel;

    for (size_t got = 0; got < size;) {
        ssize_t n = read(f->getter, (char *)data + got, size - got);

        if (n <= 0)
            return n < 0 ? -errno : -EPIPE;
        got += (size_t)n;
    }
    return 0;
}

static int packet_new(size_t size, void **ret)
{
    int fd[2], room = (int)(4 * size > (1 << 20) ? 4 * size : 1 << 20);

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fd) < 0)
        return -errno;
    if (setsockopt(fd[0], SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof(room)) < 0)
        setsockopt(fd[0], SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
    *ret = fds_new(fd[0], fd[1]);
    return 0;
}

static inline int packet_put(void *channel, void *data, size_t size)
{
    struct fds *f = channel;

    if (send(f->putter, data, size, 0) == (ssize_t)size)
        return 0;
    return errno == EMSGSIZE ? -EOPNOTSUPP : -errno;
}

static inline int packet_get(void *channel, void *data, size_t size)
{
    struct fds *f = channel;

    return recv(f->getter, data, size, 0) == (ssize_t)size ? 0 : -EIO;
}

/* As many messages as this user may have: 10 by default, more for root. */
static int mq_new(size_t size, void **ret)
{
    static const long rooms[] = {1024, 256, 10, 4};
    struct rlimit unlimited = {RLIM_INFINITY, RLIM_INFINITY};
    static unsigned made;
    char name[48];
    mqd_t q = -1;

    setrlimit(RLIMIT_MSGQUEUE, &unlimited);
    snprintf(name, sizeof(name), "/piu-bench-%ld-%u", (long)getpid(), made++);
    for (int i = 0; i < 4 && q < 0; i++) {
        struct mq_attr attr = {.mq_maxmsg = rooms[i], .mq_msgsize = (long)size};

        q = mq_open(name, O_RDWR | O_CREAT | O_EXCL, 0600, &attr);
    }
    if (q < 0)
        return -EOPNOTSUPP; /* messages of this size need a privilege */
    mq_unlink(name);
    *ret = fds_new(q, q);
    return 0;
}

static inline int mq_put(void *channel, void *data, size_t size)
{
    return mq_send(((struct fds *)channel)->putter, data, size, 0) == 0 ? 0 : -errno;
}

static inline int mq_get(void *channel, void *data, size_t size)
{
    return mq_receive(((struct fds *)channel)->getter, data, size, NULL) >= 0 ? 0
                                                                              : -errno;
}

STREAM_KIND(pipes, pipe_new, NULL, pipe_put, pipe_get);
STREAM_KIND(packets, packet_new, NULL, packet_put, packet_get);
STREAM_KIND(mqs, mq_new, NULL, mq_put, mq_get);

static int pipe_sample(const struct row *row, double *ret)
{
    return stream_sample(row, &pipes, ret);
}

static int packet_sample(const struct row *row, double *ret)
{
    return stream_sample(row, &packets, ret);
}

static int mq_sample(const struct row *row, double *ret)
{
    return stream_sample(row, &mqs, ret);
}

static const struct row rows[] = {STREAM_ROWS("pipe", pipe_sample),
                                  STREAM_ROWS("unix seqpacket", packet_sample),
                                  STREAM_ROWS("POSIX mq", mq_sample)};

const struct row_set peer_stream_rows = ROW_SET("queue peers: the kernel", rows);
