/* task_done and join; declared putters. */
#include "meanwhile.h"
#include "queues.h"

#include "flow/tally.h"

TEST(join_waits_until_all_that_was_put_is_done)
{
    struct piu_queue *q = queue_new(.tasks = true);
    pid_t worker;

    CHECK_EQ(piu_queue_join(q, PIU_NOW), 0);
    for (int i = 0; i < 10; i++)
        CHECK_EQ(put_int(q, i, PIU_NOW), 0);
    CHECK_EQ(piu_queue_join(q, PIU_NOW), -ETIMEDOUT);
    check_times_out(piu_queue_join(q, PIU_MSEC(30)), PIU_MSEC(30));
    worker = child_start({
        for (int i = 0; i < 10; i++) {
            CHECK_EQ(get_int(q, PIU_FOREVER), i);
            CHECK_EQ(piu_queue_task_done(q), 0);
        }
    });
    CHECK_EQ(piu_queue_join(q, PIU_FOREVER), 0);
    CHECK_EQ(child_wait(worker), 0);
    CHECK_EQ(piu_queue_task_done(q), -EINVAL);
}

TEST(each_way_to_get_counts)
{
    struct piu_queue *q = queue_new(.tasks = true);
    unsigned char bytes[12000];
    size_t size = sizeof(bytes), count;
    void *copy;

    put_pattern(q, 10, 1);
    put_pattern(q, 5000, 1);
    put_pattern(q, 10, 1);
    put_pattern(q, 5000, 1);
    for (int i = 0; i < 3; i++)
        put_pattern(q, 10, 1);
    put_pattern(q, 5000, 1);
    put_pattern(q, 5000, 1);
    CHECK_EQ(piu_queue_get(q, bytes, &size, PIU_NOW), 0);
    size = sizeof(bytes);
    CHECK_EQ(piu_queue_get(q, bytes, &size, PIU_NOW), 0);
    CHECK_EQ(piu_queue_take(q, &copy, &size, PIU_NOW), 0);
    CHECK_EQ(piu_queue_drop(q, copy), 0);
    CHECK_EQ(piu_queue_take(q, &copy, &size, PIU_NOW), 0);
    CHECK_EQ(piu_queue_get_many(q, bytes, 10, 9, &count, PIU_NOW), 0);
    CHECK_EQ(count, 3);
    CHECK_EQ(piu_queue_get_many(q, bytes, 5000, 2, &count, PIU_NOW), 0);
    CHECK_EQ(count, 2);
    for (int i = 0; i < 9; i++) {
        CHECK_EQ(piu_queue_join(q, PIU_NOW), -ETIMEDOUT);
        CHECK_EQ(piu_queue_task_done(q), 0);
    }
    CHECK_EQ(piu_queue_join(q, PIU_NOW), 0);
    CHECK_EQ(piu_queue_task_done(q), -EINVAL);
}

TEST(what_a_dead_getter_had_not_done_counts_as_lost)
{
    struct piu_queue *q = queue_new(.tasks = true);

    for (int i = 0; i < 5; i++)
        CHECK_EQ(put_int(q, i, PIU_NOW), 0);
    in_child_killed({
        for (int i = 0; i < 4; i++)
            CHECK_EQ(get_int(q, PIU_NOW), i);
        CHECK_EQ(piu_queue_task_done(q), 0);
    });
    CHECK_EQ(get_int(q, PIU_NOW), 4);
    CHECK_EQ(piu_queue_join(q, PIU_MSEC(50)), -ETIMEDOUT); /* ours is not done */
    CHECK_EQ(piu_queue_task_done(q), 0);
    CHECK_EQ(piu_queue_join(q, PIU_SEC(2)), PIU_LOSSES);
    CHECK_EQ(piu_queue_join(q, PIU_NOW), 0); /* told once */
}

TEST(a_waiting_join_ends_when_the_last_getter_is_killed)
{
    struct piu_queue *q = queue_new(.tasks = true);
    pid_t worker, joiner;

    CHECK_EQ(put_int(q, 1, PIU_NOW), 0);
    worker = child_start({
        CHECK_EQ(get_int(q, PIU_FOREVER), 1);
        pause();
    });
    test_wait_until(piu_queue_qsize(q) == 0);
    joiner = child_start({ CHECK_EQ(piu_queue_join(q, PIU_FOREVER), PIU_LOSSES); });
    test_wait_until(is_asleep(joiner));
    kill_and_reap(worker);
    CHECK_EQ(child_wait(joiner), 0);
}

TEST(what_comes_again_from_a_dead_taker_is_a_task_once)
{
    struct piu_queue *q = queue_new(.tasks = true);
    size_t size;
    void *bytes;

    put_pattern(q, 5000, 1);
    put_pattern(q, 10, 2);
    put_pattern(q, 10, 3);
    in_child_killed({
        CHECK_EQ(piu_queue_take(q, &bytes, &size, PIU_NOW), 0);
        CHECK_EQ(piu_queue_take(q, &bytes, &size, PIU_NOW), 0);
        get_pattern(q, 10, 3); /* received: lost with it */
    });
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(piu_queue_take(q, &bytes, &size, PIU_SEC(2)), PIU_REDELIVERED);
        CHECK_EQ(piu_queue_drop(q, bytes), 0);
        CHECK_EQ(piu_queue_join(q, PIU_NOW), -ETIMEDOUT);
        CHECK_EQ(piu_queue_task_done(q), 0);
    }
    CHECK_EQ(piu_queue_join(q, PIU_SEC(2)), PIU_LOSSES);
    CHECK_EQ(piu_queue_task_done(q), -EINVAL);
}

TEST(any_number_of_short_lived_getters_need_no_more_memory)
{
    struct piu_queue *q = queue_new(.tasks = true);
    struct tally *tally;

    for (int i = 0; i < 100; i++) {
        CHECK_EQ(put_int(q, i, PIU_NOW), 0);
        CHECK_EQ(in_child({
                     CHECK_EQ(get_int(q, PIU_NOW), i);
                     CHECK_EQ(piu_queue_task_done(q), 0);
                 }),
                 0);
    }
    CHECK_EQ(piu_queue_join(q, PIU_NOW), 0);
    tally = arena_at(atomic_load(&q->get.got_by), sizeof(*tally));
    CHECK(tally->capacity <= 28);
}

TEST(many_getters_at_once_are_told_apart, .limit = 60)
{
    enum { GETTERS = 40 };
    struct piu_queue *q = queue_new(.tasks = true);
    struct notes *notes = test_shared(sizeof(*notes));
    pid_t getters[GETTERS];

    for (int i = 0; i < GETTERS; i++)
        CHECK_EQ(put_int(q, i, PIU_NOW), 0);
    for (int i = 0; i < GETTERS; i++)
        getters[i] = child_start({
            CHECK(get_int(q, PIU_FOREVER) >= 0);
            notes->count++;
            pause();
        });
    test_wait_until(notes->count == GETTERS);
    for (int i = 0; i < GETTERS; i++)
        kill_and_reap(getters[i]);
    CHECK_EQ(piu_queue_join(q, PIU_SEC(5)), PIU_LOSSES);
    CHECK_EQ(piu_queue_task_done(q), -EINVAL);
}

/* ---- Declared putters ------------------------------------------------------------------------ */

TEST(getters_are_told_when_the_last_declared_putter_is_done_left_or_died)
{
    static const char ways[] = "dlk"; /* done, left, killed */

    for (const char *way = ways; *way; way++) {
        struct piu_queue *q = queue_new(.putters = true);
        struct piu_queue *go = queue_new();
        pid_t putter, getter;

        CHECK_EQ(get_int(q, PIU_NOW), -ETIMEDOUT); /* there was none yet */
        putter = child_start({
            CHECK_EQ(piu_queue_putter(q), 0);
            CHECK_EQ(put_int(q, 5, PIU_NOW), 0);
            CHECK_EQ(get_int(go, PIU_FOREVER), 1);
            if (*way == 'd')
                CHECK_EQ(piu_queue_putter_done(q), 0);
            if (*way == 'k')
                test_die();
            if (*way == 'd')
                pause();
        });
        getter = child_start({
            CHECK_EQ(get_int(q, PIU_FOREVER), 5);
            CHECK_EQ(get_int(q, PIU_FOREVER), -EPIPE);
        });
        test_wait_until(atomic_load(&q->had_putter) && piu_queue_qsize(q) == 0);
        test_wait_until(is_asleep(getter));
        CHECK_EQ(put_int(go, 1, PIU_NOW), 0);
        CHECK_EQ(child_wait(getter), 0);
        if (*way == 'd')
            kill_and_reap(putter);
        else
            child_wait(putter);
        CHECK_EQ(get_int(q, PIU_NOW), -EPIPE);
    }
}

TEST(two_putters_both_have_to_end)
{
    struct piu_queue *q = queue_new(.putters = true);

    CHECK_EQ(piu_queue_putter(q), 0);
    in_child_killed({ CHECK_EQ(piu_queue_putter(q), 0); });
    CHECK_EQ(get_int(q, PIU_MSEC(50)), -ETIMEDOUT);
    CHECK_EQ(piu_queue_putter_done(q), 0);
    CHECK_EQ(piu_queue_putter_done(q), -EINVAL);
    CHECK_EQ(get_int(q, PIU_FOREVER), -EPIPE);
    CHECK_EQ(piu_queue_putter(q), 0); /* another one comes */
    CHECK_EQ(get_int(q, PIU_MSEC(50)), -ETIMEDOUT);
}

TEST(who_never_declared_itself_may_put_and_is_not_done)
{
    struct piu_queue *q = queue_new(.putters = true);

    CHECK_EQ(put_int(q, 1, PIU_NOW), 0);
    CHECK_EQ(piu_queue_putter_done(q), -EINVAL);
    CHECK_EQ(get_int(q, PIU_NOW), 1);
}

TEST(any_number_of_short_lived_putters_need_no_more_memory)
{
    struct piu_queue *q = queue_new(.putters = true);
    struct tally *tally;

    for (int i = 0; i < 100; i++)
        in_child_killed({ CHECK_EQ(piu_queue_putter(q), 0); });
    tally = arena_at(atomic_load(&q->put.putters), sizeof(*tally));
    CHECK(tally->capacity <= 28);
    CHECK_EQ(get_int(q, PIU_FOREVER), -EPIPE);
}

/* ---- While others are at it ---------------------------------------------------------------- */

TEST(what_a_getter_that_left_had_not_done_waits_for_somebody_else)
{
    struct piu_queue *q = queue_new(.tasks = true);

    CHECK_EQ(put_int(q, 1, PIU_NOW), 0);
    CHECK_EQ(in_child({ CHECK_EQ(get_int(q, PIU_NOW), 1); }), 0);
    CHECK_EQ(piu_queue_join(q, PIU_MSEC(30)), -ETIMEDOUT);
    CHECK_EQ(piu_queue_task_done(q), 0);
    CHECK_EQ(piu_queue_join(q, PIU_NOW), 0);
}

/* As many as one tally has room for, and two more; none is taken for another. */
static void all_stay(struct piu_queue *q, struct notes *notes,
                     void (*declare)(struct piu_queue *))
{
    enum { MANY = 16 };
    pid_t members[MANY];

    for (int i = 0; i < MANY; i++) {
        members[i] = child_start({
            declare(q);
            notes->count++;
            test_wait_until(notes->unguarded);
        });
        test_wait_until(notes->count == i + 1);
    }
    notes->unguarded = 1;
    for (int i = 0; i < MANY; i++)
        CHECK_EQ(child_wait(members[i]), 0);
}

static void declare_putter(struct piu_queue *q)
{
    CHECK_EQ(piu_queue_putter(q), 0);
    CHECK(!queue_has_ended(q));
}

static void put_and_get(struct piu_queue *q)
{
    CHECK_EQ(put_int(q, 1, PIU_NOW), 0);
    CHECK_EQ(get_int(q, PIU_NOW), 1);
}

TEST(a_tally_full_of_the_living_grows)
{
    struct piu_queue *q = queue_new(.tasks = true, .putters = true);

    all_stay(q, test_shared(sizeof(struct notes)), declare_putter);
    CHECK(queue_has_ended(q));
    all_stay(q, test_shared(sizeof(struct notes)), put_and_get);
    for (int i = 0; i < 16; i++) {
        CHECK_EQ(piu_queue_join(q, PIU_NOW), -ETIMEDOUT);
        CHECK_EQ(piu_queue_task_done(q), 0);
    }
    CHECK_EQ(piu_queue_join(q, PIU_NOW), 0);
}

TEST(a_tally_of_putters_that_was_written_over_is_none)
{
    struct piu_queue *q = queue_new(.putters = true);

    declare_putter(q);
    q->put.putters = 12345;
    CHECK_EQ(get_int(q, PIU_FOREVER), -EPIPE);
}

static struct piu_queue *queue_with_a_dead_getter(void)
{
    struct piu_queue *q = queue_new(.tasks = true);

    CHECK_EQ(put_int(q, 1, PIU_NOW), 0);
    in_child_killed({ CHECK_EQ(get_int(q, PIU_NOW), 1); });
    return q;
}

static void join_fails(void *q)
{
    CHECK_EQ(piu_queue_join(q, PIU_FOREVER), -ESTALE);
}

TEST(a_join_ends_when_the_queue_is_freed_wherever_it_stands)
{
    for (int way = 0; way < 2; way++) {
        struct piu_queue *q = queue_with_a_dead_getter();
        struct held_up h;

        q->get.finishing = (uint64_t)way; /* somebody was killed in task_done() */
        hold_up(&h, &q->get.lock, join_fails, q);
        q->get.finishing = 0;
        atomic_store(&q->stamp, 0); /* as the first step of a free has it */
        let_go_on(&h);
        atomic_store(&q->stamp, QUEUE_STAMP);
        CHECK_EQ(piu_queue_join(q, PIU_NOW), PIU_LOSSES);
    }
}

static _Atomic int joined;

static void join_well(void *q)
{
    joined = piu_queue_join(q, PIU_FOREVER);
    CHECK(joined >= 0);
}

TEST(of_two_joiners_one_hears_of_the_losses)
{
    struct piu_queue *q = queue_with_a_dead_getter();
    struct held_up h;
    pid_t other;
    int status;

    hold_up(&h, &q->get.lock, join_well, q);
    other = child_start({ exit(piu_queue_join(q, PIU_FOREVER)); });
    test_wait_until(is_asleep(other));
    let_go_on(&h);
    status = child_wait(other);
    CHECK(WIFEXITED(status));
    CHECK_EQ(WEXITSTATUS(status) + joined, PIU_LOSSES);
}

TEST(what_is_done_for_a_dead_getter_meanwhile_is_not_lost)
{
    struct piu_queue *q = queue_with_a_dead_getter();
    struct tally *tally = arena_at(q->get.got_by, sizeof(*tally));
    struct held_up h;

    hold_up(&h, &q->get.lock, join_well, q);
    tally->marks[0].count = 0; /* as task_done() does it */
    q->get.finished = 1;
    let_go_on(&h);
    CHECK_EQ(joined, 0);
}
