#include "os/fd.h"

#include "os/clock.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

void fd_done(int *fd)
{
    int error = errno;

    if (*fd >= 0)
        close(*fd); /* Linux has freed the number even where it says EINTR: never again */
    *fd = -1;
    errno = error;
}

int fd_close(int fd)
{
    fd_done(&fd);
    return -1;
}

int fd_set_inheritable(int fd, bool inheritable)
{
    int flags = fcntl(fd, F_GETFD);

    if (flags < 0)
        return -errno;
    flags = inheritable ? flags & ~FD_CLOEXEC : flags | FD_CLOEXEC;
    return fcntl(fd, F_SETFD, flags) < 0 ? -errno : 0;
}

int fd_pipe(int ret[2])
{
    return pipe2(ret, O_CLOEXEC) < 0 ? -errno : 0;
}

int fd_event(int *ret_fd)
{
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

    if (fd < 0)
        return -errno;
    *ret_fd = fd;
    return 0;
}

void fd_event_post(int fd)
{
    uint64_t one = 1;

    (void)!write(fd, &one, sizeof(one)); /* EAGAIN: full, so it is readable anyway */
}

bool fd_event_drain(int fd)
{
    uint64_t count;

    return read(fd, &count, sizeof(count)) == (ssize_t)sizeof(count); /* else EAGAIN */
}

int fd_signal(int signal, int *ret_fd)
{
    sigset_t set;
    int fd;

    sigemptyset(&set);
    sigaddset(&set, signal);
    fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (fd < 0)
        return -errno;
    *ret_fd = fd;
    return 0;
}

void fd_signal_drain(int fd)
{
    struct signalfd_siginfo info;

    while (read(fd, &info, sizeof(info)) > 0)
        ;
}

int fd_socket_pair(int ret[2])
{
    return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ret) < 0 ? -errno : 0;
}

/* The room that a descriptor takes beside a message. */
union passing {
    struct cmsghdr header;
    unsigned char bytes[CMSG_SPACE(sizeof(int))];
};

int fd_send(int socket, const void *data, size_t size, int passed)
{
    struct iovec part = {.iov_base = (void *)(uintptr_t)data, .iov_len = size};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    union passing room = {.bytes = {0}};
    ssize_t n;

    if (passed >= 0) {
        message.msg_control = &room;
        message.msg_controllen = sizeof(room);
        room.header.cmsg_level = SOL_SOCKET;
        room.header.cmsg_type = SCM_RIGHTS;
        room.header.cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(&room.header), &passed, sizeof(passed));
    }
    do
        n = sendmsg(socket, &message, MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    return n >= 0 ? 0 : errno == ECONNRESET ? -EPIPE : -errno;
}

int fd_receive(int socket, void *data, size_t size, int *ret_passed)
{
    struct iovec part = {.iov_base = data, .iov_len = size};
    union passing room = {.bytes = {0}};
    struct msghdr message = {
        .msg_iov = &part,
        .msg_iovlen = 1,
        .msg_control = &room,
        .msg_controllen = sizeof(room),
    };
    ssize_t n;

    do
        n = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
    while (n < 0 && errno == EINTR);
    *ret_passed = -1;
    if (n <= 0)
        return n == 0 || errno == ECONNRESET ? -EPIPE : -errno;
    if (CMSG_FIRSTHDR(&message) && room.header.cmsg_type == SCM_RIGHTS)
        memcpy(ret_passed, CMSG_DATA(&room.header), sizeof(*ret_passed));
    if ((size_t)n == size && !(message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)))
        return 0;
    *ret_passed = fd_close(*ret_passed);
    return message.msg_flags & MSG_CTRUNC ? -EMFILE : -EBADMSG;
}

int fd_wait_readable(int fd, int64_t timeout)
{
    struct pollfd entry = {.fd = fd, .events = POLLIN};
    struct timespec span = timespec_of(timeout);
    int r = ppoll(&entry, 1, timeout == CLOCK_FOREVER ? NULL : &span, NULL);

    if (r < 0)
        return -errno;
    if (r == 0)
        return fd < 0 ? -EBADF : -ETIMEDOUT; /* poll passes over negative numbers */
    return entry.revents & POLLNVAL ? -EBADF : 0;
}

int fd_read_text(const char *path, char *text, size_t size)
{
    cleanup(fd_done) int fd = open(path, O_RDONLY | O_CLOEXEC);
    size_t used = 0;
    ssize_t n;

    if (fd < 0)
        return -errno;
    do {
        if (used + 1 >= size)
            return -EFBIG;
        n = read(fd, text + used, size - 1 - used);
        if (n < 0 && errno != EINTR)
            return -errno;
        if (n > 0)
            used += (size_t)n;
    } while (n != 0);
    text[used] = '\0';
    return 0;
}

/* A description of our own of what is behind `fd`; dup() would share flags and locks. */
static int fd_reopen(int fd, int flags)
{
    char path[64];
    int own;

    /* Not /proc/self: it has no descriptors left once the main thread has ended. */
    snprintf(path, sizeof(path), "/proc/thread-self/fd/%d", fd);
    own = open(path, flags | O_CLOEXEC);
    return own < 0 ? -errno : own;
}

int fd_life_open(int read_end, int *ret_fd)
{
    int own = fd_reopen(read_end, O_RDONLY | O_NONBLOCK);

    if (own < 0)
        return own;
    *ret_fd = own;
    return 0;
}

int fd_life_arm(int own)
{
    struct pollfd entry = {.fd = own, .events = POLLIN};

    if (fcntl(own, F_SETOWN, getpid()) < 0 || fcntl(own, F_SETSIG, SIGKILL) < 0 ||
        fcntl(own, F_SETFL, O_ASYNC | O_NONBLOCK) < 0)
        return -errno;
    /* A writer that went before the arming sent no signal: look once more, behind it. */
    if (poll(&entry, 1, 0) < 0)
        return -errno;
    return entry.revents & POLLHUP ? -EPIPE : 0;
}

/* An OFD lock: a lock of the process would go when any descriptor of the file is closed. */
static struct flock witness_lock(uint64_t index)
{
    return (struct flock){
        .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = (off_t)index, .l_len = 1};
}

int fd_witness_open(int fd, int *ret_fd)
{
    int own = fd_reopen(fd, O_RDWR);

    if (own < 0)
        return own;
    *ret_fd = own;
    return 0;
}

int fd_witness_lock(int witness, uint64_t index)
{
    struct flock lock = witness_lock(index);

    if (fcntl(witness, F_OFD_SETLK, &lock) < 0)
        return errno == EACCES ? -EAGAIN : -errno;
    return 0;
}

bool fd_witness_is_held(int fd, uint64_t index)
{
    struct flock lock = witness_lock(index);

    if (fcntl(fd, F_OFD_GETLK, &lock) < 0)
        return true; /* not knowing is never "dead" */
    return lock.l_type != F_UNLCK;
}
