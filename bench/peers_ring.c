/*
 * What libraries offer for messages.  Concurrency Kit cannot block and carries one
 * fixed size: it is what is left of a queue when everything but speed is taken away.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "peers_boost.h"
#include "stream.h"

#ifdef HAVE_CK
#include <ck_ring.h>

struct m8 {
    char bytes[8];
};
struct m64 {
    char bytes[64];
};
struct m1k {
    char bytes[1024];
};
CK_RING_PROTOTYPE(m8, m8)
CK_RING_PROTOTYPE(m64, m64)
CK_RING_PROTOTYPE(m1k, m1k)

/* Tried 64 to 16384 entries: more than these, or less, were no faster at any size. */
enum { CK_BYTES = 256 << 10 };

struct ck_channel {
    ck_ring_t ring;
    alignas(LINE) char entries[];
};

static int ck_new(size_t size, void **ret)
{
    struct ck_channel *c = shared_new(sizeof(*c) + CK_BYTES);

    ck_ring_init(&c->ring, (unsigned)(CK_BYTES / size > 4096 ? 4096 : CK_BYTES / size));
    *ret = c;
    return 0;
}

#define CK_MOVES(type, way)                                                         \
    static inline int ck_put_##way##_##type(void *channel, void *data, size_t size) \
    {                                                                               \
        struct ck_channel *c = channel;                                             \
                                                                                    \
        (void)size;                                                                 \
        while (!ck_ring_enqueue_##way##_##type(&c->ring, (void *)c->entries, data)) \
            ck_pr_stall();                                                          \
        return 0;                                                                   \
    }                                                                               \
    static inline int ck_get_##way##_##type(void *channel, void *data, size_t size) \
    {                                                                               \
        struct ck_channel *c = channel;                                             \
                                                                                    \
        (void)size;                                                                 \
        while (!ck_ring_dequeue_##way##_##type(&c->ring, (void *)c->entries, data)) \
            ck_pr_stall();                                                          \
        return 0;                                                                   \
    }                                                                               \
    STREAM_KIND(ck_##way##_##type, ck_new, NULL, ck_put_##way##_##type,             \
                ck_get_##way##_##type)

CK_MOVES(m8, spsc);
CK_MOVES(m64, spsc);
CK_MOVES(m1k, spsc);
CK_MOVES(m8, mpmc);
CK_MOVES(m64, mpmc);
CK_MOVES(m1k, mpmc);

static int ck_spsc_sample(const struct row *row, double *ret)
{
    return stream_sample(row,
                         row->size == 8    ? &ck_spsc_m8
                         : row->size == 64 ? &ck_spsc_m64
                                           : &ck_spsc_m1k,
                         ret);
}

static int ck_mpmc_sample(const struct row *row, double *ret)
{
    return stream_sample(row,
                         row->size == 8    ? &ck_mpmc_m8
                         : row->size == 64 ? &ck_mpmc_m64
                                           : &ck_mpmc_m1k,
                         ret);
}
#else
static int ck_spsc_sample(const struct row *row, double *ret)
{
    (void)row, (void)ret;
    return -EOPNOTSUPP;
}
#define ck_mpmc_sample ck_spsc_sample
#endif

#ifdef HAVE_ZMQ
#include <zmq.h>

struct zmq_channel {
    char address[64];
    void *socket; /* each process has its own: contexts do not survive fork */
};

static int zmq_new(size_t size, void **ret)
{
    static unsigned made;
    struct zmq_channel *c = private_new(sizeof(*c));

    (void)size;
    snprintf(c->address, sizeof(c->address), "ipc://@piu-bench-%ld-%u", (long)getpid(),
             made++);
    *ret = c;
    return 0;
}

static int zmq_begin(void *channel, bool putter)
{
    static void *context;
    struct zmq_channel *c = channel;
    int r;

    if (!context)
        context = zmq_ctx_new();
    /*
     * Its own thread starts here: on the caller's processor it would only be in the
     * way.
     */
    cpu_unpin();
    c->socket = zmq_socket(context, putter ? ZMQ_PUSH : ZMQ_PULL);
    if (!c->socket)
        return -zmq_errno();
    r = putter ? zmq_bind(c->socket, c->address) : zmq_connect(c->socket, c->address);
    return r == 0 ? 0 : -zmq_errno();
}

static inline int zmq_put(void *channel, void *data, size_t size)
{
    return zmq_send(((struct zmq_channel *)channel)->socket, data, size, 0) < 0
               ? -zmq_errno()
               : 0;
}

static inline int zmq_get(void *channel, void *data, size_t size)
{
    return zmq_recv(((struct zmq_channel *)channel)->socket, data, size, 0) < 0
               ? -zmq_errno()
               : 0;
}

STREAM_KIND(zmqs, zmq_new, zmq_begin, zmq_put, zmq_get);

static int zmq_sample(const struct row *row, double *ret)
{
    return stream_sample(row, &zmqs, ret);
}
#else
static int zmq_sample(const struct row *row, double *ret)
{
    (void)row, (void)ret;
    return -EOPNOTSUPP;
}
#endif

#ifdef HAVE_BOOST
STREAM_KIND(boosts, boost_channel_new, NULL, boost_put, boost_get);

static int boost_sample(const struct row *row, double *ret)
{
    return stream_sample(row, &boosts, ret);
}
#else
static int boost_sample(const struct row *row, double *ret)
{
    (void)row, (void)ret;
    return -EOPNOTSUPP;
}
#endif

static const struct row rows[] = {
    {"ck ring spsc: 8 B", "M/s", ck_spsc_sample, 8, STREAM_MESSAGES},
    {"ck ring spsc: 64 B", "M/s", ck_spsc_sample, 64, STREAM_MESSAGES},
    {"ck ring spsc: 1 KB", "M/s", ck_spsc_sample, 1024, STREAM_MESSAGES},
    {"ck ring spsc: round trip, 64 B", "ns", ck_spsc_sample, 64, STREAM_TRIP},
    {ROW_CK_MPMC("8 B"), "M/s", ck_mpmc_sample, 8, STREAM_MESSAGES},
    {ROW_CK_MPMC("64 B"), "M/s", ck_mpmc_sample, 64, STREAM_MESSAGES},
    {ROW_CK_MPMC("1 KB"), "M/s", ck_mpmc_sample, 1024, STREAM_MESSAGES},
    {"ck ring mpmc: round trip, 64 B", "ns", ck_mpmc_sample, 64, STREAM_TRIP},
    STREAM_ROWS("Boost message_queue", boost_sample),
    STREAM_ROWS("ZeroMQ ipc", zmq_sample),
};

const struct row_set peer_ring_rows = ROW_SET("queue peers: libraries", rows);
