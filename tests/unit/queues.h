/* What the tests of queues have in common. */
#ifndef TEST_QUEUES_H
#define TEST_QUEUES_H

#include "waits.h"

#include "flow/queue.h"

#include <piu.h>

#include <limits.h>

static inline struct piu_queue *queue_checked(struct piu_queue *q)
{
    CHECK(q);
    return q;
}

#define queue_new(...) queue_checked(piu_queue_new(__VA_ARGS__))

static inline int put_int(struct piu_queue *q, int i, int64_t timeout)
{
    return piu_queue_put(q, &i, sizeof(i), timeout);
}

/* The int, or what get said, which is negative (so use ints >= 0). */
static inline int get_int(struct piu_queue *q, int64_t timeout)
{
    size_t size = sizeof(int);
    int i;
    int r = piu_queue_get(q, &i, &size, timeout);

    if (r < 0)
        return r;
    CHECK_EQ(size, sizeof(i));
    return i;
}

/* Bytes that tell their number and their size. */
static inline unsigned char *pattern_new(size_t size, unsigned number)
{
    unsigned char *bytes = malloc(size ? size : 1);

    CHECK(bytes);
    for (size_t i = 0; i < size; i++)
        bytes[i] = (unsigned char)(number + i * 7 + (i >> 8));
    return bytes;
}

static inline void put_pattern(struct piu_queue *q, size_t size, unsigned number)
{
    unsigned char *bytes = pattern_new(size, number);

    CHECK_EQ(piu_queue_put(q, bytes, size, PIU_NOW), 0);
    free(bytes);
}

static inline void check_pattern(const void *got, size_t got_size, size_t size,
                                 unsigned number)
{
    unsigned char *bytes = pattern_new(size, number);

    CHECK_EQ(got_size, size);
    CHECK(memcmp(got, bytes, size) == 0);
    free(bytes);
}

static inline void get_pattern(struct piu_queue *q, size_t size, unsigned number)
{
    size_t got_size = size;
    void *got = malloc(size ? size : 1);

    CHECK(got);
    CHECK_EQ(piu_queue_get(q, got, &got_size, PIU_NOW), 0);
    check_pattern(got, got_size, size, number);
    free(got);
}

#endif
