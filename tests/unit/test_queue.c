/* Put and get, alone and with others, in good order and with bad input. */
#include "queues.h"

TEST(what_is_put_is_got_in_order)
{
    struct piu_queue *q = queue_new();

    for (int i = 0; i < 1000; i++)
        CHECK_EQ(put_int(q, i, PIU_NOW), 0);
    CHECK_EQ(piu_queue_qsize(q), 1000);
    for (int i = 0; i < 1000; i++)
        CHECK_EQ(get_int(q, PIU_NOW), i);
    CHECK_EQ(piu_queue_qsize(q), 0);
    CHECK_EQ(get_int(q, PIU_NOW), -ETIMEDOUT);
    CHECK(queue_check(q));
    CHECK(!piu_queue_free(q));
}

TEST(messages_of_every_length_come_whole)
{
    static const size_t sizes[] = {0,    1,    7,    8,    9,    63,    64,     65,
                                   4088, 4095, 4096, 4097, 8192, 16384, 100000, 1 << 20};
    struct piu_queue *q = queue_new();

    for (unsigned i = 0; i < array_size(sizes); i++)
        put_pattern(q, sizes[i], i);
    for (unsigned i = 0; i < array_size(sizes); i++)
        get_pattern(q, sizes[i], i);
    CHECK_EQ(piu_queue_put(q, NULL, 0, PIU_NOW), 0); /* 0 bytes are a message too */
    CHECK_EQ(piu_queue_qsize(q), 1);
    get_pattern(q, 0, 0);
    CHECK(queue_check(q));
}

TEST(a_message_of_100_megabytes_comes_whole_and_its_memory_goes_back, .limit = 60)
{
    struct piu_queue *q = queue_new();
    uint64_t before = block_in_use();

    for (unsigned i = 0; i < 3; i++) {
        put_pattern(q, 100u << 20, i);
        CHECK(block_in_use() >= before + (100u << 20));
        get_pattern(q, 100u << 20, i);
        CHECK_EQ(block_in_use(), before);
    }
    CHECK(block_check());
}

TEST(a_message_that_is_longer_than_the_room_stays)
{
    struct piu_queue *q = queue_new();
    static const size_t sizes[] = {100, 10000};
    char small[10];

    for (unsigned i = 0; i < array_size(sizes); i++) {
        size_t size = sizeof(small);

        put_pattern(q, sizes[i], i);
        CHECK_EQ(piu_queue_get(q, small, &size, PIU_NOW), -EMSGSIZE);
        CHECK_EQ(size, sizes[i]);
        size = 0;
        CHECK_EQ(piu_queue_get(q, NULL, &size, PIU_NOW), -EMSGSIZE);
        CHECK_EQ(piu_queue_qsize(q), 1);
        get_pattern(q, sizes[i], i);
    }
}

TEST(get_new_brings_memory_that_is_the_callers)
{
    struct piu_queue *q = queue_new();
    static const size_t sizes[] = {0, 5, 4096, 4097, 1 << 20};

    for (unsigned i = 0; i < array_size(sizes); i++) {
        void *bytes;
        size_t size;

        put_pattern(q, sizes[i], i);
        CHECK_EQ(piu_queue_get_new(q, &bytes, &size, PIU_NOW), 0);
        check_pattern(bytes, size, sizes[i], i);
        free(bytes);
    }
}

/* ---- Bad input --------------------------------------------------------------------------- */

TEST(senseless_arguments_are_refused)
{
    struct piu_queue *q = queue_new();
    size_t size = 4, count;
    void *bytes;
    int i = 0;

    errno = 0;
    CHECK(!piu_queue_create(NULL) && errno == EINVAL);
    CHECK(!piu_queue_free(NULL));
    CHECK_EQ(piu_queue_put(NULL, &i, sizeof(i), PIU_NOW), -EINVAL);
    CHECK_EQ(piu_queue_put(q, NULL, 1, PIU_NOW), -EINVAL);
    CHECK_EQ(piu_queue_get(NULL, &i, &size, PIU_NOW), -EINVAL);
    CHECK_EQ(piu_queue_get(q, &i, NULL, PIU_NOW), -EINVAL);
    CHECK_EQ(piu_queue_get(q, NULL, &size, PIU_NOW), -EINVAL);
    CHECK_EQ(piu_queue_get_new(q, NULL, &size, PIU_NOW), -EINVAL);
    CHECK_EQ(piu_queue_get_new(q, &bytes, NULL, PIU_NOW), -EINVAL);
    CHECK_EQ(piu_queue_take(q, NULL, &size, PIU_NOW), -EINVAL);
    CHECK_EQ(piu_queue_take(q, &bytes, NULL, PIU_NOW), -EINVAL);
    CHECK_EQ(piu_queue_reserve(q, 4, NULL, PIU_NOW), -EINVAL);
    CHECK_EQ(piu_queue_put_many(q, &i, 4, 1, NULL, PIU_NOW), -EINVAL);
    CHECK_EQ(piu_queue_put_many(q, NULL, 4, 1, &count, PIU_NOW), -EINVAL);
    CHECK_EQ(piu_queue_get_many(q, NULL, 4, 1, &count, PIU_NOW), -EINVAL);
    CHECK_EQ(piu_queue_get_many(q, &i, 4, 1, NULL, PIU_NOW), -EINVAL);
    CHECK_EQ(piu_queue_qsize(NULL), 0);
    CHECK_EQ(piu_queue_shutdown(NULL), -EINVAL);
    CHECK_EQ(piu_queue_commit(q, NULL), -EINVAL);
    CHECK_EQ(piu_queue_abort(q, NULL), -EINVAL);
    CHECK_EQ(piu_queue_drop(q, NULL), -EINVAL);
    CHECK_EQ(piu_queue_task_done(q), -EINVAL);
    CHECK_EQ(piu_queue_join(q, PIU_NOW), -EINVAL);
    CHECK_EQ(piu_queue_putter(q), -EINVAL);
    CHECK_EQ(piu_queue_putter_done(q), -EINVAL);
    CHECK_EQ(piu_queue_fd(NULL), -EINVAL);
    CHECK_EQ(piu_queue_qsize(q), 0);
    CHECK(queue_check(q));
}

TEST(a_private_address_is_refused)
{
    alignas(64) static char private_memory[QUEUE_BLOCK];
    struct piu_queue *no_queue = (struct piu_queue *)(void *)private_memory;
    struct piu_queue *q = queue_new();

    CHECK_EQ(put_int(no_queue, 1, PIU_NOW), -EFAULT);
    CHECK_EQ(get_int(no_queue, PIU_NOW), -EFAULT);
    CHECK_EQ(piu_queue_shutdown(no_queue), -EFAULT);
    errno = 0;
    CHECK(!piu_queue_free(no_queue) && errno == EFAULT);
    CHECK_EQ(put_int((struct piu_queue *)(void *)((char *)q + 8), 1, PIU_NOW), -EFAULT);
}

TEST(a_freed_queue_is_stale_for_all_calls)
{
    struct piu_queue *q = queue_new(.tasks = true, .putters = true);
    size_t size, count;
    void *bytes;
    int i = 0;

    CHECK_EQ(put_int(q, 1, PIU_NOW), 0);
    piu_queue_free(q);
    CHECK_EQ(put_int(q, 1, PIU_NOW), -ESTALE);
    CHECK_EQ(get_int(q, PIU_NOW), -ESTALE);
    CHECK_EQ(get_int(q, PIU_FOREVER), -ESTALE);
    CHECK_EQ(piu_queue_get_new(q, &bytes, &size, PIU_NOW), -ESTALE);
    CHECK_EQ(piu_queue_take(q, &bytes, &size, PIU_NOW), -ESTALE);
    CHECK_EQ(piu_queue_drop(q, &i), -ESTALE);
    CHECK_EQ(piu_queue_reserve(q, 1, &bytes, PIU_NOW), -ESTALE);
    CHECK_EQ(piu_queue_commit(q, &i), -ESTALE);
    CHECK_EQ(piu_queue_abort(q, &i), -ESTALE);
    CHECK_EQ(piu_queue_put_many(q, &i, 4, 1, &count, PIU_NOW), -ESTALE);
    CHECK_EQ(piu_queue_get_many(q, &i, 4, 1, &count, PIU_NOW), -ESTALE);
    CHECK_EQ(piu_queue_shutdown(q), -ESTALE);
    CHECK_EQ(piu_queue_task_done(q), -ESTALE);
    CHECK_EQ(piu_queue_join(q, PIU_NOW), -ESTALE);
    CHECK_EQ(piu_queue_putter(q), -ESTALE);
    CHECK_EQ(piu_queue_putter_done(q), -ESTALE);
    CHECK_EQ(piu_queue_fd(q), -ESTALE);
    CHECK_EQ(piu_queue_qsize(q), 0);
    errno = 0;
    CHECK(!piu_queue_free(q) && errno == ESTALE);
}

TEST(sizes_that_overflow_are_refused)
{
    struct piu_queue *q = queue_new();
    size_t count = 77;
    void *bytes;
    int i = 0;

    CHECK_EQ(piu_queue_put(q, &i, SIZE_MAX, PIU_NOW), -EMSGSIZE);
    CHECK_EQ(piu_queue_put(q, &i, SIZE_MAX - 63, PIU_NOW), -EMSGSIZE);
    CHECK_EQ(piu_queue_put(q, &i, (size_t)1 << 62, PIU_NOW), -EMSGSIZE);
    CHECK_EQ(piu_queue_reserve(q, SIZE_MAX, &bytes, PIU_NOW), -EMSGSIZE);
    CHECK_EQ(piu_queue_put_many(q, &i, SIZE_MAX / 2 + 1, 2, &count, PIU_NOW), -EINVAL);
    CHECK_EQ(piu_queue_get_many(q, &i, 2, SIZE_MAX / 2 + 1, &count, PIU_NOW), -EINVAL);
    CHECK_EQ(count, 77);
    CHECK_EQ(piu_queue_qsize(q), 0);
    CHECK(block_check());
}

TEST(a_message_larger_than_memory_is_an_error_and_no_signal)
{
    struct piu_queue *q = queue_new();
    uint64_t before = block_count();
    void *bytes;
    int i = 0, r;

    r = piu_queue_reserve(q, arena.range - (64 << 20), &bytes, PIU_NOW);
    CHECK(r == -ENOMEM || r == -EMSGSIZE);
    r = piu_queue_put(q, &i, arena.range / 2, PIU_NOW); /* not copied: there is no room */
    CHECK(r == -ENOMEM || r == -EMSGSIZE);
    CHECK_EQ(block_count(), before);
    CHECK_EQ(put_int(q, 5, PIU_NOW), 0);
    CHECK_EQ(get_int(q, PIU_NOW), 5);
}

TEST(timeouts_of_0_negative_and_huge_mean_what_they_say)
{
    struct piu_queue *q = queue_new(.maxsize = 1);

    CHECK_EQ(get_int(q, PIU_NOW), -ETIMEDOUT);
    CHECK_EQ(get_int(q, -1), -ETIMEDOUT);
    CHECK_EQ(get_int(q, INT64_MIN), -ETIMEDOUT);
    check_times_out(get_int(q, PIU_MSEC(30)), PIU_MSEC(30));
    CHECK_EQ(put_int(q, 1, INT64_MIN), 0);
    CHECK_EQ(put_int(q, 1, PIU_NOW), -ETIMEDOUT);
    CHECK_EQ(put_int(q, 1, INT64_MIN), -ETIMEDOUT);
    check_times_out(put_int(q, 1, PIU_MSEC(30)), PIU_MSEC(30));
    CHECK_EQ(get_int(q, INT64_MAX - 1), 1);
}

TEST(a_huge_timeout_waits_until_the_put)
{
    struct piu_queue *q = queue_new();
    pid_t getter = child_start({ CHECK_EQ(get_int(q, INT64_MAX - 1), 8); });

    test_wait_until(atomic_load(&q->getters.asleep) && is_asleep(getter));
    CHECK_EQ(put_int(q, 8, PIU_NOW), 0);
    CHECK_EQ(child_wait(getter), 0);
}

TEST(a_signal_handler_ends_each_wait)
{
    struct piu_queue *q = queue_new(.maxsize = 1, .tasks = true);
    struct piu_queue *full = queue_new(.maxsize = 1);
    unsigned char large[INLINE_MAX + 1] = {0};
    size_t size = 4, count;
    void *bytes;
    int i;

    CHECK_EQ(put_int(full, 1, PIU_NOW), 0);
    check_interrupted(get_int(q, PIU_FOREVER));
    check_interrupted(piu_queue_get_new(q, &bytes, &size, PIU_FOREVER));
    check_interrupted(piu_queue_take(q, &bytes, &size, PIU_FOREVER));
    check_interrupted(piu_queue_get_many(q, &i, 4, 1, &count, PIU_FOREVER));
    check_interrupted(put_int(full, 1, PIU_FOREVER));
    check_interrupted(piu_queue_put(full, large, sizeof(large), PIU_FOREVER));
    check_interrupted(piu_queue_put_many(full, &full, 4, 2, &count, PIU_FOREVER));
    check_interrupted(piu_queue_reserve(full, 4, &bytes, PIU_FOREVER));
    CHECK_EQ(put_int(q, 1, PIU_NOW), 0);
    check_interrupted(piu_queue_join(q, PIU_FOREVER));
    CHECK_EQ(get_int(q, PIU_NOW), 1);
    CHECK_EQ(get_int(full, PIU_NOW), 1);
    CHECK_EQ(get_int(full, PIU_NOW), -ETIMEDOUT);
}

/* ---- maxsize, batches, shutdown ------------------------------------------------------------- */

TEST(maxsize_counts_messages)
{
    struct piu_queue *q = queue_new(.maxsize = 3);

    for (int round = 0; round < 1000; round++) {
        for (int i = 0; i < 3; i++)
            CHECK_EQ(put_int(q, i, PIU_NOW), 0);
        CHECK_EQ(put_int(q, 9, PIU_NOW), -ETIMEDOUT);
        CHECK_EQ(get_int(q, PIU_NOW), 0);
        put_pattern(q, 10000, 1);
        CHECK_EQ(put_int(q, 9, PIU_NOW), -ETIMEDOUT);
        CHECK_EQ(get_int(q, PIU_NOW), 1);
        CHECK_EQ(get_int(q, PIU_NOW), 2);
        get_pattern(q, 10000, 1);
    }
}

TEST(a_putter_waits_for_room)
{
    struct piu_queue *q = queue_new(.maxsize = 1);
    pid_t putter;

    CHECK_EQ(put_int(q, 1, PIU_NOW), 0);
    putter = child_start({ CHECK_EQ(put_int(q, 2, PIU_FOREVER), 0); });
    test_wait_until(atomic_load(&q->putters.asleep) && is_asleep(putter));
    CHECK_EQ(get_int(q, PIU_NOW), 1);
    CHECK_EQ(get_int(q, PIU_FOREVER), 2);
    CHECK_EQ(child_wait(putter), 0);
}

TEST(a_batch_moves_a_prefix_and_says_how_many)
{
    struct piu_queue *q = queue_new(.maxsize = 5);
    int in[8] = {0, 1, 2, 3, 4, 5, 6, 7}, out[8];
    size_t count;

    CHECK_EQ(piu_queue_put_many(q, in, sizeof(int), 8, &count, PIU_FOREVER), 0);
    CHECK_EQ(count, 5);
    CHECK_EQ(piu_queue_put_many(q, in, sizeof(int), 8, &count, PIU_NOW), -ETIMEDOUT);
    CHECK_EQ(piu_queue_get_many(q, out, sizeof(int), 3, &count, PIU_NOW), 0);
    CHECK_EQ(count, 3);
    CHECK_EQ(piu_queue_put_many(q, in + 5, sizeof(int), 3, &count, PIU_NOW), 0);
    CHECK_EQ(count, 3);
    CHECK_EQ(piu_queue_get_many(q, out + 3, sizeof(int), 100, &count, PIU_NOW), 0);
    CHECK_EQ(count, 5);
    for (int i = 0; i < 8; i++)
        CHECK_EQ(out[i], i);
    CHECK_EQ(piu_queue_get_many(q, out, sizeof(int), 100, &count, PIU_NOW), -ETIMEDOUT);
    CHECK_EQ(piu_queue_get_many(q, out, sizeof(int), 0, &count, PIU_NOW), 0);
    CHECK_EQ(count, 0);
    CHECK_EQ(piu_queue_put_many(q, NULL, 0, 3, &count, PIU_NOW), 0);
    CHECK_EQ(count, 3);
    CHECK_EQ(piu_queue_get_many(q, NULL, 0, 9, &count, PIU_NOW), 0);
    CHECK_EQ(count, 3);
    CHECK(queue_check(q));
}

TEST(batches_go_through_many_chunks)
{
    enum { MANY = 100000 };
    struct piu_queue *q = queue_new();
    int *in = malloc(MANY * sizeof(int)), *out = malloc(MANY * sizeof(int));
    size_t count, done = 0;

    CHECK(in && out);
    for (int i = 0; i < MANY; i++)
        in[i] = i;
    CHECK_EQ(piu_queue_put_many(q, in, sizeof(int), MANY, &count, PIU_NOW), 0);
    CHECK_EQ(count, MANY);
    for (; done < MANY; done += count)
        CHECK_EQ(
            piu_queue_get_many(q, out + done, sizeof(int), MANY - done, &count, PIU_NOW),
            0);
    CHECK(memcmp(in, out, MANY * sizeof(int)) == 0);
    free(in);
    free(out);
}

TEST(a_message_of_another_length_ends_a_batch_and_stays)
{
    static const size_t others[] = {3, 5, 5000, 20000};
    struct piu_queue *q = queue_new();
    int out[4];
    size_t count;

    for (unsigned i = 0; i < array_size(others); i++) {
        CHECK_EQ(put_int(q, 1, PIU_NOW), 0);
        put_pattern(q, others[i], i);
        CHECK_EQ(piu_queue_get_many(q, out, sizeof(int), 4, &count, PIU_NOW), 0);
        CHECK_EQ(count, 1);
        CHECK_EQ(piu_queue_get_many(q, out, sizeof(int), 4, &count, PIU_NOW), -EMSGSIZE);
        get_pattern(q, others[i], i);
    }
}

TEST(batches_of_large_messages_work_and_lose_none_of_another_length)
{
    enum { SIZE = 6000 };
    struct piu_queue *q = queue_new();
    unsigned char *batch = pattern_new(3 * SIZE, 1), *out = malloc(4 * SIZE);
    size_t count;

    CHECK(out);
    CHECK_EQ(piu_queue_put_many(q, batch, SIZE, 3, &count, PIU_NOW), 0);
    CHECK_EQ(count, 3);
    put_pattern(q, SIZE - 500, 9); /* fits, and is of another length */
    CHECK_EQ(piu_queue_get_many(q, out, SIZE, 4, &count, PIU_NOW), 0);
    CHECK_EQ(count, 3);
    CHECK(memcmp(batch, out, 3 * SIZE) == 0);
    CHECK_EQ(piu_queue_get_many(q, out, SIZE, 4, &count, PIU_NOW), -EMSGSIZE);
    get_pattern(q, SIZE - 500, 9);
    free(batch);
    free(out);
}

TEST(after_shutdown_getters_drain_and_are_told)
{
    struct piu_queue *q = queue_new();
    void *bytes;

    CHECK_EQ(put_int(q, 1, PIU_NOW), 0);
    CHECK_EQ(piu_queue_reserve(q, 4, &bytes, PIU_NOW), 0);
    CHECK_EQ(piu_queue_shutdown(q), 0);
    CHECK_EQ(piu_queue_shutdown(q), 0);
    CHECK_EQ(put_int(q, 2, PIU_FOREVER), -EPIPE);
    CHECK_EQ(piu_queue_commit(q, bytes), -EPIPE);
    CHECK_EQ(piu_queue_abort(q, bytes), 0);
    CHECK_EQ(piu_queue_reserve(q, 4, &bytes, PIU_FOREVER), -EPIPE);
    CHECK_EQ(get_int(q, PIU_FOREVER), 1);
    CHECK_EQ(get_int(q, PIU_FOREVER), -EPIPE);
    CHECK_EQ(get_int(q, PIU_NOW), -EPIPE);
}

TEST(shutdown_wakes_who_waits)
{
    struct piu_queue *q = queue_new(), *full = queue_new(.maxsize = 1);
    pid_t getters[3], putter;

    CHECK_EQ(put_int(full, 1, PIU_NOW), 0);
    for (int i = 0; i < 3; i++)
        getters[i] = child_start({ CHECK_EQ(get_int(q, PIU_FOREVER), -EPIPE); });
    putter = child_start({ CHECK_EQ(put_int(full, 1, PIU_FOREVER), -EPIPE); });
    for (int i = 0; i < 3; i++)
        test_wait_until(is_asleep(getters[i]));
    test_wait_until(is_asleep(putter));
    CHECK_EQ(in_child({ piu_queue_shutdown(q); }), 0);
    CHECK_EQ(piu_queue_shutdown(full), 0);
    for (int i = 0; i < 3; i++)
        CHECK_EQ(child_wait(getters[i]), 0);
    CHECK_EQ(child_wait(putter), 0);
}

TEST(free_wakes_who_waits_and_they_are_told)
{
    struct piu_queue *q = queue_new(.maxsize = 1, .tasks = true),
                     *full = queue_new(.maxsize = 1);
    pid_t getter, putter, joiner;

    CHECK_EQ(put_int(full, 1, PIU_NOW), 0);
    CHECK_EQ(put_int(q, 1, PIU_NOW), 0);
    CHECK_EQ(get_int(q, PIU_NOW), 1);
    getter = child_start({ CHECK_EQ(get_int(q, PIU_FOREVER), -ESTALE); });
    putter = child_start({ CHECK_EQ(put_int(full, 1, PIU_FOREVER), -ESTALE); });
    joiner = child_start({ CHECK_EQ(piu_queue_join(q, PIU_FOREVER), -ESTALE); });
    test_wait_until(is_asleep(getter) && is_asleep(putter) && is_asleep(joiner));
    piu_queue_free(q);
    piu_queue_free(full);
    CHECK_EQ(child_wait(getter), 0);
    CHECK_EQ(child_wait(putter), 0);
    CHECK_EQ(child_wait(joiner), 0);
}

/* ---- With others ------------------------------------------------------------------------------ */

TEST(a_put_that_has_returned_is_in_even_if_the_putter_is_killed)
{
    struct piu_queue *q = queue_new();

    in_child_killed({
        put_int(q, 1, PIU_NOW);
        put_pattern(q, 50000, 2);
    });
    CHECK_EQ(get_int(q, PIU_NOW), 1);
    get_pattern(q, 50000, 2);
}

TEST(a_queue_and_a_lock_travel_through_a_queue)
{
    struct piu_queue *q = queue_new(), *answers = queue_new();
    pid_t child = child_start({
        struct piu_queue *got;
        size_t size = sizeof(got);

        CHECK_EQ(piu_queue_get(q, &got, &size, PIU_FOREVER), 0);
        CHECK_EQ(put_int(got, 42, PIU_NOW), 0);
    });

    CHECK_EQ(piu_queue_put(q, &answers, sizeof(struct piu_queue *), PIU_NOW), 0);
    CHECK_EQ(get_int(answers, PIU_FOREVER), 42);
    CHECK_EQ(child_wait(child), 0);
}

struct tally {
    _Atomic uint64_t sum;
    _Atomic uint64_t count;
};

static void put_range(struct piu_queue *q, int from, int count)
{
    for (int i = from; i < from + count; i++) {
        if (i % 16 == 0)
            sched_yield();
        CHECK_EQ(put_int(q, i, PIU_FOREVER), 0);
    }
}

static void get_until_the_end(struct piu_queue *q, struct tally *tally)
{
    int i;

    while ((i = get_int(q, PIU_FOREVER)) >= 0) {
        tally->sum += (uint64_t)i;
        tally->count++;
    }
    CHECK_EQ(i, -EPIPE);
}

static void many_to_many(size_t maxsize, int each)
{
    enum { PUTTERS = 4, GETTERS = 4 };
    struct piu_queue *q = queue_new(.maxsize = maxsize);
    struct tally *tally = test_shared(sizeof(*tally));
    pid_t putters[PUTTERS], getters[GETTERS];
    uint64_t all = (uint64_t)PUTTERS * (uint64_t)each;

    for (int i = 0; i < GETTERS; i++)
        getters[i] = child_start({ get_until_the_end(q, tally); });
    for (int i = 0; i < PUTTERS; i++)
        putters[i] = child_start({ put_range(q, i * each, each); });
    for (int i = 0; i < PUTTERS; i++)
        CHECK_EQ(child_wait(putters[i]), 0);
    CHECK_EQ(piu_queue_shutdown(q), 0);
    for (int i = 0; i < GETTERS; i++)
        CHECK_EQ(child_wait(getters[i]), 0);
    CHECK_EQ(tally->count, all);
    CHECK_EQ(tally->sum, all * (all - 1) / 2);
    CHECK(queue_check(q));
}

TEST(many_putters_and_many_getters_lose_nothing, .limit = 60)
{
    many_to_many(0, 50000);
}

TEST(many_putters_and_many_getters_lose_nothing_in_a_narrow_queue, .limit = 60)
{
    many_to_many(2, 5000);
}

TEST(bursts_leave_no_memory_behind)
{
    struct piu_queue *q = queue_new();
    uint64_t peak = 0;

    for (int round = 0; round < 50; round++) {
        for (int i = 0; i < 20000; i++)
            CHECK_EQ(put_int(q, i, PIU_NOW), 0);
        for (unsigned i = 0; i < 20; i++)
            put_pattern(q, 10000 + i * 1000, i);
        for (int i = 0; i < 20000; i++)
            CHECK_EQ(get_int(q, PIU_NOW), i);
        for (unsigned i = 0; i < 20; i++)
            get_pattern(q, 10000 + i * 1000, i);
        if (round < 5)
            peak = max_u64(peak, block_in_use());
        CHECK(block_in_use() <= peak);
    }
    CHECK(block_check());
}

TEST(a_queue_that_comes_and_goes_leaves_no_memory_behind)
{
    uint64_t before;

    queue_new();
    before = block_count();
    for (int i = 0; i < 2000; i++) {
        struct piu_queue *q = queue_new(.tasks = true, .putters = true);
        void *reserved;

        CHECK_EQ(piu_queue_putter(q), 0);
        for (int j = 0; j < 300; j++)
            CHECK_EQ(put_int(q, j, PIU_NOW), 0);
        put_pattern(q, 5000, 1);
        CHECK_EQ(piu_queue_reserve(q, 10, &reserved, PIU_NOW), 0);
        CHECK_EQ(piu_queue_abort(q, reserved), 0);
        CHECK_EQ(get_int(q, PIU_NOW), 0);
        piu_queue_free(q);
    }
    CHECK_EQ(block_count(), before);
}

TEST(an_empty_queue_takes_less_than_16_kilobytes)
{
    CHECK(QUEUE_BLOCK < 16384);
    CHECK_EQ(block_size(queue_new()), QUEUE_BLOCK);
}

TEST(a_stopped_member_stops_nobody_else)
{
    struct piu_queue *q = queue_new(.maxsize = 10);
    int status;
    pid_t stopped = child_start({
        void *taken, *reserved;
        size_t size;

        CHECK_EQ(get_int(q, PIU_FOREVER), 1);
        CHECK_EQ(piu_queue_take(q, &taken, &size, PIU_FOREVER), 0);
        CHECK_EQ(piu_queue_reserve(q, 4, &reserved, PIU_FOREVER), 0);
        raise(SIGSTOP);
        memset(reserved, 0, 4);
        CHECK_EQ(piu_queue_commit(q, reserved), 0);
        CHECK_EQ(piu_queue_drop(q, taken), 0);
    });

    CHECK_EQ(put_int(q, 1, PIU_NOW), 0);
    CHECK_EQ(put_int(q, 2, PIU_NOW), 0);
    CHECK_EQ(waitpid(stopped, &status, WUNTRACED), stopped);
    for (int i = 0; i < 9; i++) /* one unit is the stopped one's */
        CHECK_EQ(put_int(q, i, PIU_NOW), 0);
    CHECK_EQ(put_int(q, 9, PIU_MSEC(150)), -ETIMEDOUT); /* alive: it keeps it */
    for (int i = 0; i < 9; i++)
        CHECK_EQ(get_int(q, PIU_NOW), i);
    CHECK_EQ(kill(stopped, SIGCONT), 0);
    CHECK_EQ(get_int(q, PIU_FOREVER), 0);
    CHECK_EQ(child_wait(stopped), 0);
}

TEST(a_bounded_queue_whose_only_getter_died_is_full_and_goes_on_with_the_next_one)
{
    struct piu_queue *q = queue_new(.maxsize = 2);
    pid_t getter = child_start({
        CHECK_EQ(get_int(q, PIU_FOREVER), 0);
        for (;;)
            pause();
    });

    CHECK_EQ(put_int(q, 0, PIU_NOW), 0);
    test_wait_until(piu_queue_qsize(q) == 0);
    CHECK_EQ(put_int(q, 1, PIU_NOW), 0);
    CHECK_EQ(put_int(q, 2, PIU_NOW), 0);
    kill_and_reap(getter);
    check_times_out(put_int(q, 3, PIU_MSEC(100)), PIU_MSEC(100));
    getter = child_start({ CHECK_EQ(get_int(q, PIU_FOREVER), 1); });
    CHECK_EQ(put_int(q, 3, PIU_FOREVER), 0);
    CHECK_EQ(child_wait(getter), 0);
    CHECK_EQ(get_int(q, PIU_NOW), 2);
    CHECK_EQ(get_int(q, PIU_NOW), 3);
}

TEST(getters_that_are_killed_asleep_keep_no_wake_up)
{
    struct piu_queue *q = queue_new();
    pid_t first, second;

    for (int i = 0; i < 20; i++) {
        first = child_start({ get_int(q, PIU_FOREVER); });
        second = child_start({ CHECK_EQ(get_int(q, PIU_FOREVER), 7); });
        test_wait_until(is_asleep(first) && is_asleep(second));
        kill_and_reap(first);
        CHECK_EQ(put_int(q, 7, PIU_NOW), 0);
        CHECK_EQ(child_wait(second), 0);
    }
}
