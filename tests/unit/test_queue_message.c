/* In place: reserve, commit, abort, take, drop; and what a death leaves of them. */
#include "queues.h"

static void *reserve(struct piu_queue *q, size_t size)
{
    void *bytes;

    CHECK_EQ(piu_queue_reserve(q, size, &bytes, PIU_NOW), 0);
    return bytes;
}

static int take(struct piu_queue *q, size_t size, unsigned number, void **ret)
{
    size_t got;
    int r = piu_queue_take(q, ret, &got, PIU_SEC(2));

    if (r >= 0)
        check_pattern(*ret, got, size, number);
    return r;
}

static void commit_pattern(struct piu_queue *q, size_t size, unsigned number)
{
    unsigned char *bytes = pattern_new(size, number);
    void *place = reserve(q, size);

    memcpy(place, bytes, size);
    CHECK_EQ(piu_queue_commit(q, place), 0);
    free(bytes);
}

TEST(what_is_committed_is_got_and_taken)
{
    static const size_t sizes[] = {0, 1, 100, 4096, 5000, 1 << 20};
    struct piu_queue *q = queue_new();
    uint64_t before = block_count();
    void *bytes;

    for (unsigned i = 0; i < array_size(sizes); i++) {
        commit_pattern(q, sizes[i], i);
        get_pattern(q, sizes[i], i);
        put_pattern(q, sizes[i], i);
        CHECK_EQ(take(q, sizes[i], i, &bytes), 0);
        CHECK_EQ((uintptr_t)bytes % 64, 0);
        CHECK_EQ(piu_queue_qsize(q), 0);
        CHECK_EQ(piu_queue_drop(q, bytes), 0);
        CHECK_EQ(piu_queue_drop(q, bytes), -EINVAL);
    }
    CHECK_EQ(block_count(), before);
}

TEST(the_order_is_that_of_the_commits)
{
    struct piu_queue *q = queue_new();
    int *first = reserve(q, sizeof(int)), *second = reserve(q, sizeof(int));

    CHECK_EQ(piu_queue_qsize(q), 0);
    *first = 1;
    *second = 2;
    CHECK_EQ(piu_queue_commit(q, second), 0);
    CHECK_EQ(put_int(q, 3, PIU_NOW), 0);
    CHECK_EQ(piu_queue_commit(q, first), 0);
    CHECK_EQ(get_int(q, PIU_NOW), 2);
    CHECK_EQ(get_int(q, PIU_NOW), 3);
    CHECK_EQ(get_int(q, PIU_NOW), 1);
}

TEST(a_reservation_takes_a_unit_and_abort_gives_it_back)
{
    struct piu_queue *q = queue_new(.maxsize = 2);
    void *bytes = reserve(q, 100);

    CHECK_EQ(put_int(q, 1, PIU_NOW), 0);
    CHECK_EQ(put_int(q, 2, PIU_NOW), -ETIMEDOUT);
    check_times_out(piu_queue_reserve(q, 1, &bytes, PIU_MSEC(20)), PIU_MSEC(20));
    CHECK_EQ(piu_queue_abort(q, bytes), 0);
    CHECK_EQ(piu_queue_abort(q, bytes), -EINVAL);
    CHECK_EQ(put_int(q, 2, PIU_NOW), 0);
    CHECK_EQ(get_int(q, PIU_NOW), 1);
    bytes = reserve(q, 100);
    CHECK_EQ(put_int(q, 3, PIU_NOW), -ETIMEDOUT);
    CHECK_EQ(piu_queue_commit(q, bytes), 0); /* its unit becomes the message's */
    CHECK_EQ(put_int(q, 3, PIU_NOW), -ETIMEDOUT);
    CHECK_EQ(get_int(q, PIU_NOW), 2);
    CHECK_EQ(put_int(q, 3, PIU_NOW), 0);
}

TEST(reserving_waits_for_room_and_an_abort_makes_some)
{
    struct piu_queue *q = queue_new(.maxsize = 1);
    void *bytes = reserve(q, 4), *others;
    pid_t waiter =
        child_start({ CHECK_EQ(piu_queue_reserve(q, 4, &others, PIU_FOREVER), 0); });

    test_wait_until(is_asleep(waiter));
    CHECK_EQ(piu_queue_abort(q, bytes), 0);
    CHECK_EQ(child_wait(waiter), 0);
}

TEST(only_who_reserved_or_took_it_may_pass_it_on)
{
    struct piu_queue *q = queue_new(), *other = queue_new();
    void *reserved = reserve(q, 100), *taken;
    alignas(64) char private_memory[128];

    put_pattern(q, 5000, 1);
    CHECK_EQ(take(q, 5000, 1, &taken), 0);
    CHECK_EQ(in_child({
                 CHECK_EQ(piu_queue_commit(q, reserved), -EINVAL);
                 CHECK_EQ(piu_queue_abort(q, reserved), -EINVAL);
                 CHECK_EQ(piu_queue_drop(q, taken), -EINVAL);
             }),
             0);
    CHECK_EQ(piu_queue_commit(other, reserved), -EINVAL);
    CHECK_EQ(piu_queue_abort(other, reserved), -EINVAL);
    CHECK_EQ(piu_queue_drop(other, taken), -EINVAL);
    CHECK_EQ(piu_queue_drop(q, reserved), -EINVAL);
    CHECK_EQ(piu_queue_commit(q, taken), -EINVAL);
    CHECK_EQ(piu_queue_commit(q, (char *)reserved + 8), -EINVAL);
    CHECK_EQ(piu_queue_commit(q, (char *)reserved + 64), -EINVAL);
    CHECK_EQ(piu_queue_commit(q, private_memory), -EINVAL);
    CHECK_EQ(piu_queue_drop(q, q), -EINVAL);
    CHECK_EQ(piu_queue_commit(q, reserved), 0);
    CHECK_EQ(piu_queue_drop(q, taken), 0);
}

/* ---- Deaths --------------------------------------------------------------------------------- */

TEST(what_a_dead_member_had_taken_comes_again_once_with_news)
{
    static const size_t sizes[] = {100, 5000};
    struct piu_queue *q = queue_new();
    uint64_t before = block_count();
    void *bytes;

    for (unsigned i = 0; i < array_size(sizes); i++) {
        put_pattern(q, sizes[i], i);
        put_pattern(q, sizes[i], 50 + i);
        in_child_killed({ CHECK_EQ(take(q, sizes[i], i, &bytes), 0); });
        member_sweep_dead(true);
        CHECK_EQ(piu_queue_qsize(q), 2);
        CHECK_EQ(take(q, sizes[i], i, &bytes), PIU_REDELIVERED);
        CHECK_EQ(piu_queue_drop(q, bytes), 0);
        CHECK_EQ(take(q, sizes[i], 50 + i, &bytes), 0);
        CHECK_EQ(piu_queue_drop(q, bytes), 0);
        CHECK_EQ(get_int(q, PIU_MSEC(150)), -ETIMEDOUT);
    }
    CHECK_EQ(block_count(), before);
}

TEST(each_way_to_get_tells_that_it_comes_again)
{
    struct piu_queue *q = queue_new();
    unsigned char bytes[5000];
    size_t size = sizeof(bytes), count;
    void *copy;

    for (unsigned i = 0; i < 3; i++)
        put_pattern(q, 5000, 1);
    in_child_killed({
        for (unsigned i = 0; i < 3; i++)
            CHECK_EQ(take(q, 5000, 1, &copy), 0);
    });
    CHECK_EQ(piu_queue_get(q, bytes, &size, PIU_SEC(2)), PIU_REDELIVERED);
    CHECK_EQ(piu_queue_get_new(q, &copy, &size, PIU_SEC(2)), PIU_REDELIVERED);
    check_pattern(copy, size, 5000, 1);
    free(copy);
    CHECK_EQ(piu_queue_get_many(q, bytes, 5000, 2, &count, PIU_SEC(2)), PIU_REDELIVERED);
    CHECK_EQ(count, 1);
}

TEST(a_waiting_getter_gets_what_a_killed_taker_held)
{
    struct piu_queue *q = queue_new();
    void *bytes;
    pid_t taker, getter;

    put_pattern(q, 100, 1);
    taker = child_start({
        CHECK_EQ(take(q, 100, 1, &bytes), 0);
        pause();
    });
    test_wait_until(piu_queue_qsize(q) == 0);
    getter = child_start({ CHECK_EQ(take(q, 100, 1, &bytes), PIU_REDELIVERED); });
    test_wait_until(is_asleep(getter));
    kill_and_reap(taker);
    CHECK_EQ(child_wait(getter), 0);
}

TEST(who_only_asks_and_never_waits_gets_it_too)
{
    struct piu_queue *q = queue_new(.maxsize = 1);
    void *bytes;

    put_pattern(q, 4, 1);
    in_child_killed({ CHECK_EQ(take(q, 4, 1, &bytes), 0); });
    test_wait_until(get_int(q, PIU_NOW) >= 0);
    in_child_killed({ reserve(q, 4); });
    test_wait_until(put_int(q, 1, PIU_NOW) == 0);
}

TEST(after_shutdown_what_a_dead_one_had_taken_comes_before_the_end)
{
    struct piu_queue *q = queue_new();
    void *bytes;

    put_pattern(q, 100, 1);
    in_child_killed({ CHECK_EQ(take(q, 100, 1, &bytes), 0); });
    CHECK_EQ(piu_queue_shutdown(q), 0);
    CHECK_EQ(take(q, 100, 1, &bytes), PIU_REDELIVERED);
    CHECK_EQ(get_int(q, PIU_FOREVER), -EPIPE);
}

TEST(who_leaves_has_received_what_it_took)
{
    struct piu_queue *q = queue_new();
    uint64_t before = block_count();
    void *bytes;

    put_pattern(q, 100, 1);
    CHECK_EQ(in_child({ CHECK_EQ(take(q, 100, 1, &bytes), 0); }), 0);
    CHECK_EQ(get_int(q, PIU_MSEC(150)), -ETIMEDOUT);
    CHECK_EQ(block_count(), before);
}

TEST(what_an_ended_member_had_reserved_is_never_seen_and_its_unit_comes_back)
{
    struct piu_queue *q = queue_new(.maxsize = 2);
    uint64_t before = block_count();

    in_child_killed({ reserve(q, 4); });
    CHECK_EQ(in_child({ reserve(q, 4); }), 0); /* left */
    CHECK_EQ(put_int(q, 1, PIU_SEC(2)), 0);
    CHECK_EQ(put_int(q, 2, PIU_SEC(2)), 0);
    CHECK_EQ(put_int(q, 3, PIU_NOW), -ETIMEDOUT);
    CHECK_EQ(get_int(q, PIU_NOW), 1);
    CHECK_EQ(get_int(q, PIU_NOW), 2);
    CHECK_EQ(atomic_load(&q->put.reserved), 0);
    CHECK_EQ(block_count(), before);
}

TEST(a_putter_that_waits_for_room_gets_the_unit_of_a_killed_reserver)
{
    struct piu_queue *q = queue_new(.maxsize = 1);
    pid_t reserver = child_start({
        reserve(q, 4);
        pause();
    });
    pid_t putter;

    test_wait_until(atomic_load(&q->put.reserved));
    putter = child_start({ CHECK_EQ(put_int(q, 1, PIU_FOREVER), 0); });
    test_wait_until(is_asleep(putter));
    kill_and_reap(reserver);
    CHECK_EQ(child_wait(putter), 0);
}

TEST(one_that_holds_more_than_a_member_has_entries_loses_nothing_either)
{
    enum { MANY = 3 * HELD_ENTRIES };
    struct piu_queue *q = queue_new();
    unsigned char seen[MANY] = {0};
    void *bytes;
    size_t size;

    for (int i = 0; i < MANY; i++)
        put_pattern(q, i % 2 ? 100 : 5000, (unsigned)i);
    in_child_killed({
        for (int i = 0; i < MANY; i++)
            CHECK_EQ(piu_queue_take(q, &bytes, &size, PIU_NOW), 0);
        for (int i = 0; i < MANY; i++)
            reserve(q, 10);
    });
    member_sweep_dead(true);
    CHECK_EQ(atomic_load(&q->put.reserved), 0);
    CHECK_EQ(piu_queue_qsize(q), MANY);
    for (int i = 0; i < MANY; i++) {
        CHECK_EQ(piu_queue_take(q, &bytes, &size, PIU_NOW), PIU_REDELIVERED);
        seen[*(unsigned char *)bytes] = 1; /* the first byte is the number */
        CHECK_EQ(piu_queue_drop(q, bytes), 0);
    }
    for (int i = 0; i < MANY; i++)
        CHECK(seen[i]);
}

TEST(what_was_taken_of_a_queue_that_is_freed_goes_with_its_taker)
{
    struct piu_queue *q = queue_new(), *next;
    uint64_t before;
    void *bytes;
    pid_t taker;

    put_pattern(q, 100, 1);
    put_pattern(q, 5000, 2);
    before = block_count();
    taker = child_start({
        CHECK_EQ(take(q, 100, 1, &bytes), 0);
        CHECK_EQ(take(q, 5000, 2, &bytes), 0);
        reserve(q, 10);
        pause();
    });
    test_wait_until(atomic_load(&q->put.reserved) == 1);
    piu_queue_free(q);
    next = queue_new();
    CHECK(next == q); /* the same place: another generation */
    kill_and_reap(taker);
    member_sweep_dead(true);
    CHECK_EQ(piu_queue_qsize(next), 0);
    CHECK_EQ(get_int(next, PIU_MSEC(100)), -ETIMEDOUT);
    CHECK_EQ(atomic_load(&next->put.reserved), 0);
    CHECK_EQ(block_count(), before - 1);
}
