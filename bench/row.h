/*
 * A row of the table: one thing measured, and what is claimed of it.
 *
 * A row is sampled in a forked child of its own, so sample() may pin itself, leak, hang
 * or crash: that row says "failed" and the rest go on.
 */
#ifndef BENCH_ROW_H
#define BENCH_ROW_H

#include <errno.h>
#include <stdalign.h>
#include <stdbool.h>
#include <stddef.h>

enum { ROW_CLAIMS = 2 };

/*
 * value / (value of `against`, sampled right after it) is at least, or at most,
 * `expected`. Without `against` the value itself is compared.  No claim: expected == 0.
 */
struct claim {
    const char *against; /* name of a row with the same unit */
    double expected;
    bool at_most;
};

struct row {
    const char *name; /* unique: claims and --only find rows by it */
    const char *unit;
    /* One run.  0; -EOPNOTSUPP: not on this machine; any other -errno: failed */
    int (*sample)(const struct row *row, double *ret);
    size_t size; /* what these two mean is sample()'s own affair */
    int variant;
    struct claim claims[ROW_CLAIMS];
};

struct row_set {
    const char *title;
    const struct row *rows;
    size_t count;
};

#define ROW_SET(title, rows)                          \
    {                                                 \
        title, rows, sizeof(rows) / sizeof((rows)[0]) \
    }
#define AT_LEAST(times, row)                  \
    {                                         \
        .against = (row), .expected = (times) \
    }
#define AT_MOST(times, row)                                    \
    {                                                          \
        .against = (row), .expected = (times), .at_most = true \
    }
#define UNDER(value)                         \
    {                                        \
        .expected = (value), .at_most = true \
    }

/* Names that are claimed against, spelt once. */
#define ROW_BARE          "64 B in bare lines there and back"
#define ROW_PP            "cache line there and back (PP)"
#define ROW_FUTEX         "futex round trip, 2 cores"
#define ROW_FUTEX_ASLEEP  "futex round trip, 2 cores, after a pause"
#define ROW_FUTEX_ONE     "futex round trip, 1 core"
#define ROW_COPY          "copy in + copy out, 2 processes, 1 MB"
#define ROW_FORK          "fork + exit + wait"
#define ROW_ROBUST        "pthread robust: pair"
#define ROW_ROBUST_TWO    "pthread robust: by two"
#define ROW_CK_MPMC(size) "ck ring mpmc: " size
#define ROW_BOOST(size)   "Boost message_queue: " size
#define ROW_OMP_STATIC    "OpenMP static"
#define ROW_OMP_DYNAMIC   "OpenMP dynamic,1"

extern const struct row_set limit_rows, limit_process_rows, peer_stream_rows,
    peer_ring_rows, peer_lock_rows, peer_map_rows, piu_queue_rows, piu_lock_rows,
    piu_succession_rows, piu_pool_rows, piu_process_rows, piu_memory_rows;

#endif
