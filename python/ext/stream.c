#include "stream.h"

#include "wait.h"

#include <endian.h>
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define SIZE_MOST   0x7fffffff /* of 4 bytes */
#define SPIN        60000 /* ns: longer than two wake-ups, or the ends never spin together */
#define AFTER_LEAST 16u /* waits */
#define AFTER_MOST  4096u

/* ---- Bytes, without the GIL ---------------------------------------------------------------------
 *
 * 1: all of them; 0: the end; -EINTR: go on after a look at signals; other errors.
 */

struct piece {
    unsigned char *at;
    size_t size, left;
};

static struct piece piece_of(void *bytes, size_t size)
{
    return (struct piece){.at = bytes, .size = size, .left = size};
}

static void piece_advance(struct piece *p, size_t size)
{
    p->at += size;
    p->left -= size;
}

/* N2: a descriptor that does not wait is waited for. */
static int wait_for(int handle, short events)
{
    struct pollfd one = {.fd = handle, .events = events};

    return poll(&one, 1, -1) < 0 ? -errno : 1;
}

static int read_piece(int handle, struct piece *p, bool has_begun)
{
    while (p->left > 0) {
        ssize_t n = read(handle, p->at, p->left);

        if (n == 0)
            return 0;
        if (n > 0)
            piece_advance(p, (size_t)n);
        else if (errno != EAGAIN || !(has_begun || p->left < p->size))
            return -errno;
        else if (wait_for(handle, POLLIN) < 0)
            return -errno;
    }
    return 1;
}

static int write_pieces(int handle, struct piece *head, struct piece *body)
{
    while (head->left + body->left > 0) {
        struct iovec parts[] = {{head->at, head->left}, {body->at, body->left}};
        ssize_t n = writev(handle, parts, body->left ? 2 : 1);

        if (n >= 0) {
            size_t of_head = (size_t)n < head->left ? (size_t)n : head->left;

            piece_advance(head, of_head);
            piece_advance(body, (size_t)n - of_head);
            if (body->left > 0)
                return -EINTR; /* a signal may have cut it short */
        } else if (errno != EAGAIN || head->left == head->size)
            return -errno;
        else if (wait_for(handle, POLLOUT) < 0)
            return -errno;
    }
    return 1;
}

/* ---- Spinning -----------------------------------------------------------------------------------
 *
 * Two processes on two CPUs that answer each other at once find each other spinning, and need no
 * wake-up.  Where they share a CPU who spins keeps the other from it, in vain.  So after a spin
 * in vain the next ones sleep at once; now and then it is tried again, more seldom each time.
 */

static bool is_spin_due(struct stream *s)
{
    if (s->is_spinning || s->spin_in == 0)
        return !s->cannot_spin;
    s->spin_in--;
    return false;
}

static void learn(struct stream *s, bool was_in_vain)
{
    s->is_spinning = !was_in_vain;
    if (!was_in_vain || s->spin_after == 0)
        s->spin_after = AFTER_LEAST;
    else if (s->spin_after < AFTER_MOST)
        s->spin_after = (uint16_t)(s->spin_after * 2);
    s->spin_in = s->spin_after;
}

/* -EAGAIN: nothing is there; -ENOTSUP: it cannot be asked so; else what is wrong, once alone. */
static ssize_t read_now(int handle, void *bytes, size_t size)
{
    struct iovec part = {.iov_base = bytes, .iov_len = size};
    ssize_t n = recv(handle, bytes, size, MSG_DONTWAIT);

    if (n >= 0 || errno != ENOTSOCK)
        return n < 0 ? -errno : n;
    n = preadv2(handle, &part, 1, -1, RWF_NOWAIT); /* of pipes: from Linux 6.5 on */
    return n >= 0 ? n : errno == EAGAIN ? -EAGAIN : -ENOTSUP;
}

/* 1: there is something, some of `p` or the end; else as read_now(). */
static int spin(int handle, struct piece *p)
{
    int64_t end = wait_clock() + SPIN;
    ssize_t n;

    do {
        n = read_now(handle, p->at, p->left);
    } while (n == -EAGAIN && wait_clock() < end);
    if (n > 0)
        piece_advance(p, (size_t)n);
    return n < 0 ? (int)n : 1;
}

/* Some of `p` or nothing, and then it is to be slept for; or an error. */
static int spin_first(struct stream *s, struct piece *p)
{
    int r;

    Py_BEGIN_ALLOW_THREADS
    r = spin(s->handle, p);
    Py_END_ALLOW_THREADS
    s->cannot_spin = r == -ENOTSUP;
    learn(s, r < 0);
    return r == -EAGAIN || r == -EINTR || r == -ENOTSUP ? 0 : r;
}

/* ---- Messages ---------------------------------------------------------------------------------- */

/* For another try: 1; 0: `r` is what there is to say.  A handler's exception is set. */
static bool is_interrupted(int r)
{
    return r == -EINTR && PyErr_CheckSignals() == 0;
}

static int raise_errno(int r)
{
    if (!PyErr_Occurred()) { /* a handler's */
        errno = -r;
        PyErr_SetFromErrno(PyExc_OSError);
    }
    return -1;
}

static int read_failed(int r, const struct piece *p)
{
    if (r < 0)
        return raise_errno(r);
    if (p->left == p->size)
        PyErr_SetNone(PyExc_EOFError);
    else
        PyErr_SetString(PyExc_OSError, "got end of file during message");
    return -1;
}

int stream_write(struct stream *s, const void *bytes, size_t size)
{
    bool is_short = size <= SIZE_MOST;
    struct __attribute__((packed)) {
        uint32_t size;
        uint64_t more;
    } words = {is_short ? htobe32((uint32_t)size) : UINT32_MAX, htobe64(size)};
    struct piece head = piece_of(&words, is_short ? sizeof(words.size) : sizeof(words));
    struct piece body = piece_of((void *)(uintptr_t)bytes, size);
    int handle = s->handle, r;

    do {
        Py_BEGIN_ALLOW_THREADS
        r = write_pieces(handle, &head, &body);
        Py_END_ALLOW_THREADS
    } while (is_interrupted(r));
    return r < 0 ? raise_errno(r) : 0;
}

int stream_read(struct stream *s, void *bytes, size_t size)
{
    struct piece p = piece_of(bytes, size);
    int handle = s->handle, r;

    do {
        Py_BEGIN_ALLOW_THREADS
        r = read_piece(handle, &p, true);
        Py_END_ALLOW_THREADS
    } while (is_interrupted(r));
    return r > 0 ? 0 : read_failed(r, &p);
}

int stream_read_first(struct stream *s, uint64_t *ret_size, void *bytes, size_t room)
{
    uint32_t word;
    struct piece head = piece_of(&word, sizeof(word)), body = piece_of(bytes, 0);
    int handle = s->handle, r;
    bool has_size = false;

    if (is_spin_due(s)) {
        r = spin_first(s, &head);
        /* a signal that came while it spun does not end the sleep; a message is not torn by it */
        if (r < 0 || (head.left == head.size && PyErr_CheckSignals() < 0))
            return raise_errno(r);
    }
    do {
        Py_BEGIN_ALLOW_THREADS
        r = read_piece(handle, &head, false);
        if (r > 0) {
            if (!has_size && be32toh(word) <= room)
                body = piece_of(bytes, be32toh(word));
            has_size = true;
            r = read_piece(handle, &body, true);
        }
        Py_END_ALLOW_THREADS
    } while (is_interrupted(r));
    if (r <= 0)
        return read_failed(r, has_size ? &body : &head);
    *ret_size = be32toh(word);
    if (word != UINT32_MAX)
        return 0;
    if (stream_read(s, ret_size, sizeof(*ret_size)) < 0)
        return -1;
    *ret_size = be64toh(*ret_size);
    return *ret_size <= room ? stream_read(s, bytes, *ret_size) : 0;
}

static int call_poll(void *argument, int64_t timeout)
{
    const struct stream *s = argument;
    struct pollfd one = {.fd = s->handle, .events = POLLIN};
    struct timespec time = {.tv_sec = timeout / PIU_SEC(1),
                            .tv_nsec = timeout % PIU_SEC(1)};
    int r = ppoll(&one, 1, &time, NULL);

    return r > 0 ? 0 : r == 0 ? -ETIMEDOUT : -errno;
}

int stream_poll(struct stream *s, int64_t timeout)
{
    int r = call_poll(s, PIU_NOW);

    if (r == -EINTR || (r == -ETIMEDOUT && timeout > 0))
        r = wait_in_slices(call_poll, s, timeout);
    if (r == -ETIMEDOUT)
        return 0;
    return r < 0 ? raise_errno(r) : 1;
}
