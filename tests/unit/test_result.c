#include "pools.h"

enum { COUNT = 1000 };

static int numbers[COUNT], squares[COUNT];

static struct piu_task task_of(size_t chunk)
{
    return squares_task(numbers, squares, COUNT, chunk);
}

TEST(a_result_is_ready_once_and_tells_how_far_it_is)
{
    struct piu_pool *pool = pool_of(2);
    struct trouble t = {.task = task_of(1)};
    struct piu_result *r = piu_pool_map_async(pool, &t.task);

    CHECK_EQ(piu_result_wait(r, PIU_FOREVER), 0);
    CHECK(piu_result_ready(r) && piu_result_successful(r));
    CHECK_EQ(piu_result_done(r), COUNT);
    CHECK_EQ(squares[2], -1); /* only get copies out */
    CHECK_EQ(piu_result_get(r, PIU_NOW), 0);
    CHECK_EQ(squares[2], 4);
    piu_result_free(r);
    piu_pool_free(pool);
}

TEST(a_wait_is_over_in_time)
{
    struct piu_pool *pool = pool_of(1);
    struct piu_result *r = piu_pool_apply_async(pool, wait_for_ever, NULL, 0);

    CHECK_EQ(piu_result_get(r, PIU_NOW), -ETIMEDOUT);
    check_times_out(piu_result_wait(r, PIU_MSEC(30)), PIU_MSEC(30));
    CHECK(!piu_result_ready(r) && !piu_result_successful(r));
    CHECK_EQ(piu_result_report(r, &(struct piu_report *){NULL}), -EBUSY);
    piu_result_free(r);
    piu_pool_free(pool);
}

TEST(imap_gives_chunks_in_order)
{
    struct piu_pool *pool = pool_of(3);
    struct trouble t = {.task = task_of(7)};
    struct piu_result *r = piu_pool_imap(pool, &t.task);
    size_t first, last, next = 0;

    while (piu_result_next(r, &first, &last, PIU_FOREVER) == 0) {
        CHECK_EQ(first, next);
        for (size_t i = first; i < last; i++)
            CHECK_EQ(squares[i], i * i);
        next = last;
    }
    CHECK_EQ(next, COUNT);
    CHECK_EQ(piu_result_next(r, &first, &last, PIU_FOREVER), -ENODATA);
    piu_result_free(r);
    piu_pool_free(pool);
}

TEST(imap_unordered_gives_each_chunk_once)
{
    struct piu_pool *pool = pool_of(3);
    struct trouble t = {.task = task_of(3)};
    struct piu_result *r = piu_pool_imap(pool, &t.task, .unordered = true);
    size_t first, last, sum = 0;
    bool seen[COUNT] = {false};

    while (piu_result_next(r, &first, &last, PIU_FOREVER) == 0) {
        CHECK(!seen[first]);
        seen[first] = true;
        sum += last - first;
    }
    CHECK_EQ(sum, COUNT);
    piu_result_free(r);
    piu_pool_free(pool);
}

TEST(unordered_does_not_wait_for_a_slow_chunk)
{
    struct piu_pool *pool = pool_of(2);
    _Atomic int *open = piu_shared_new(1, sizeof(*open));
    struct trouble t = {.task = task_of(1), .open = open, .bad = 0, .what = go_on};
    struct piu_result *r = piu_pool_imap(pool, &t.task, .unordered = true);
    size_t first, last;

    for (int i = 1; i < COUNT; i++) {
        CHECK_EQ(piu_result_next(r, &first, &last, PIU_FOREVER), 0);
        CHECK(first != 0);
    }
    *open = 1;
    CHECK_EQ(piu_result_next(r, &first, &last, PIU_FOREVER), 0);
    CHECK_EQ(first, 0);
    piu_result_free(r);
    piu_pool_free(pool);
}

static void check_lookahead(size_t lookahead, bool unordered)
{
    struct piu_pool *pool = pool_of(3);
    _Atomic int *runs = piu_shared_new(COUNT, sizeof(*runs));
    struct trouble t = {.task = task_of(1), .runs = runs};
    struct piu_result *r =
        piu_pool_imap(pool, &t.task, .lookahead = lookahead, .unordered = unordered);
    size_t first, last, seen = 0;

    for (;;) {
        size_t begun = 0;

        for (int i = 0; i < COUNT; i++)
            begun += (size_t)runs[i];
        CHECK(begun <= seen + lookahead);
        if (piu_result_next(r, &first, &last, PIU_FOREVER) != 0)
            break;
        seen++;
    }
    CHECK_EQ(seen, COUNT);
    for (int i = 0; i < COUNT; i++)
        CHECK_EQ(runs[i], 1);
    piu_result_free(r);
    piu_pool_free(pool);
}

TEST(no_more_is_begun_than_the_lookahead_allows)
{
    check_lookahead(1, false);
    check_lookahead(5, false);
    check_lookahead(1, true);
    check_lookahead(5, true);
    check_lookahead(COUNT + 5, false);
}

TEST(a_running_task_is_cancelled_and_the_pool_goes_on)
{
    struct piu_pool *pool = pool_of(1);
    _Atomic pid_t *told = piu_shared_new(1, sizeof(*told));
    struct piu_result *r = piu_pool_apply_async(pool, wait_for_ever, (void *)told, 0);
    struct piu_result *behind = piu_pool_apply_async(pool, do_nothing, NULL, 0);

    wait_told(told);
    CHECK_EQ(piu_result_cancel(r), 0);
    CHECK_EQ(piu_result_get(r, PIU_FOREVER), -ECANCELED);
    CHECK_EQ(piu_result_cancel(r), 0);
    CHECK_EQ(piu_result_get(behind, PIU_FOREVER), 0);
    CHECK_EQ(piu_result_cancel(behind), 0);
    CHECK_EQ(piu_result_get(behind, PIU_FOREVER), 0);
    piu_result_free(r);
    piu_result_free(behind);
    piu_pool_free(pool);
}

TEST(a_waiting_task_that_is_cancelled_is_never_begun)
{
    struct piu_pool *pool = pool_of(1);
    _Atomic pid_t *told = piu_shared_new(2, sizeof(*told));
    struct piu_result *r = piu_pool_apply_async(pool, wait_for_ever, (void *)told, 0);
    struct piu_result *waiting;

    wait_told(told);
    waiting = piu_pool_apply_async(pool, wait_for_ever, (void *)(told + 1), 0);
    CHECK_EQ(piu_result_cancel(waiting), 0);
    CHECK_EQ(piu_result_get(waiting, PIU_FOREVER), -ECANCELED);
    CHECK_EQ(told[1], 0);
    CHECK(!piu_result_ready(r));
    piu_result_free(waiting);
    piu_result_free(r);
    piu_pool_free(pool);
}

static int add_to(void *sum)
{
    (*(_Atomic int *)sum)++;
    return 0;
}

TEST(a_hundred_thousand_results_freed_before_they_end, .limit = 60)
{
    struct piu_pool *pool = pool_of(2);
    _Atomic int *sum = piu_shared_new(1, sizeof(*sum));
    uint64_t blocks = block_count();

    for (int i = 0; i < 100000; i++) {
        struct piu_result *r = piu_pool_apply_async(pool, add_to, (void *)sum, 0);

        CHECK(r);
        piu_result_free(r);
    }
    piu_pool_close(pool);
    CHECK_EQ(piu_pool_join(pool, PIU_FOREVER), 0);
    CHECK_EQ(*sum, 100000);
    piu_pool_free(pool);
    CHECK(block_count() < blocks); /* the pool itself is gone too */
    CHECK(block_check());
}

TEST(results_kept_and_freed_from_the_last_to_the_first, .limit = 60)
{
    enum { MANY = 50000 };
    struct piu_pool *pool = pool_of(2);
    _Atomic int *sum = piu_shared_new(1, sizeof(*sum));
    struct piu_result **r = calloc(MANY, sizeof(*r));

    for (int i = 0; i < MANY; i++)
        CHECK((r[i] = piu_pool_apply_async(pool, add_to, (void *)sum, 0)));
    for (int i = MANY; i-- > 0;) {
        CHECK_EQ(piu_result_get(r[i], PIU_FOREVER), 0);
        piu_result_free(r[i]);
    }
    CHECK_EQ(*sum, MANY);
    free(r);
    piu_pool_free(pool);
}

static void map_often(int i, void *pool)
{
    int in[100], out[100];

    for (int k = 0; k < 100; k++)
        in[k] = k + i;
    for (int n = 0; n < 300; n++) {
        memset(out, 0, sizeof(out));
        CHECK_EQ(piu_map((struct piu_pool *)pool, square, in, out), 0);
        for (int k = 0; k < 100; k++)
            CHECK_EQ(out[k], in[k] * in[k]);
    }
}

TEST(threads_share_a_pool)
{
    struct piu_pool *pool = pool_of(2);

    test_threads(4, map_often, pool);
    piu_pool_free(pool);
}

struct waited {
    struct piu_result *result;
    _Atomic int *open;
    _Atomic int waiting;
};

static void wait_or_open(int i, void *argument)
{
    struct waited *w = argument;

    if (i == 0) {
        test_wait_until(w->waiting == 3);
        *w->open = 1;
    } else {
        w->waiting++;
        CHECK_EQ(piu_result_wait(w->result, PIU_FOREVER), 0);
    }
}

TEST(threads_wait_for_one_result)
{
    struct piu_pool *pool = pool_of(1);
    _Atomic int *open = piu_shared_new(1, sizeof(*open));
    struct trouble t = {.task = task_of(0), .open = open, .bad = 3, .what = go_on};
    struct waited w = {.result = piu_pool_map_async(pool, &t.task), .open = open};

    test_threads(4, wait_or_open, &w);
    CHECK_EQ(piu_result_get(w.result, PIU_FOREVER), 0);
    piu_result_free(w.result);
    piu_pool_free(pool);
}
