#include "pools.h"

enum { COUNT = 12 };

static int numbers[COUNT], squares[COUNT];

static struct piu_task task_of(size_t chunk)
{
    return squares_task(numbers, squares, COUNT, chunk);
}

static void check_pool_works(struct piu_pool *pool)
{
    int in[] = {1, 2, 3}, out[3];

    CHECK_EQ(piu_map(pool, square, in, out), 0);
    CHECK(out[0] == 1 && out[1] == 4 && out[2] == 9);
}

/* Item 5 is lost, in just this way, and nothing else. */
static void check_lost(void (*what)(void), int exitcode, size_t chunk)
{
    struct piu_pool *pool = pool_of(2);
    struct trouble t = {.task = task_of(chunk), .bad = 5, .what = what};
    const struct piu_loss *loss;
    struct piu_report *report;

    CHECK_EQ(piu_pool_map(pool, &t.task, &report), PIU_LOSSES);
    CHECK_EQ(piu_report_losses(report, &loss), 1);
    CHECK_EQ(loss->first, 5);
    CHECK_EQ(loss->last, 6);
    CHECK_EQ(loss->exitcode, exitcode);
    CHECK_EQ(loss->attempts, 1);
    CHECK(!loss->timed_out && loss->pid > 0 && loss->duration >= 0);
    for (int i = 0; i < COUNT; i++)
        CHECK_EQ(squares[i], i == 5 ? -1 : i * i);
    piu_report_free(report);
    check_pool_works(pool);
    piu_pool_free(pool);
}

static void die_by_exit(void)
{
    exit(3);
}

static void die_by_segv(void)
{
    signal(SIGSEGV, SIG_DFL); /* a sanitizer has its own */
    raise(SIGSEGV);
}

static void die_by_abort(void)
{
    signal(SIGABRT, SIG_DFL);
    abort();
}

TEST(just_the_item_that_kills_its_worker_is_lost)
{
    check_lost(die_killed, -SIGKILL, 1);
    check_lost(die_killed, -SIGKILL, 4);
    check_lost(die_killed, -SIGKILL, COUNT);
}

TEST(exit_abort_and_segv_in_a_task)
{
    check_lost(die_by_exit, 3, 4);
    check_lost(die_by_abort, -SIGABRT, 4);
    check_lost(die_by_segv, -SIGSEGV, 4);
}

static int three_is_deadly(int x)
{
    if (x == 3 || x == 4)
        raise(SIGKILL);
    return x + 1;
}

static void become_sleep(void)
{
    execlp("sleep", "sleep", "1000", (char *)NULL);
}

TEST(a_worker_that_becomes_another_program_is_ended_and_its_item_lost)
{
    check_lost(become_sleep, -SIGKILL, 1);
}

TEST(a_plain_map_names_its_losses_by_get_and_keeps_the_callers_values)
{
    struct piu_pool *pool = pool_of(1);
    int in[] = {1, 2, 3, 4, 5, 6}, out[] = {-1, -2, -3, -4, -5, -6};

    CHECK_EQ(piu_map(pool, three_is_deadly, in, out), PIU_LOSSES);
    CHECK(out[0] == 2 && out[1] == 3 && out[2] == -3 && out[3] == -4 && out[4] == 6 &&
          out[5] == 7);
    piu_pool_free(pool);
}

TEST(a_task_that_kills_every_worker_loses_all_its_items_and_no_more)
{
    struct piu_pool *pool = pool_of(3);
    struct trouble t = {.task = task_of(1), .every = 1, .what = die_killed};
    const struct piu_loss *loss;
    struct piu_report *report;

    CHECK_EQ(piu_pool_map(pool, &t.task, &report), PIU_LOSSES);
    CHECK_EQ(piu_report_losses(report, &loss), COUNT);
    for (size_t i = 0; i < COUNT; i++)
        CHECK(loss[i].first == i && loss[i].last == i + 1);
    piu_report_free(report);
    check_pool_works(pool);
    piu_pool_free(pool);
}

TEST(iteration_goes_on_behind_a_loss)
{
    for (int unordered = 0; unordered < 2; unordered++) {
        struct piu_pool *pool = pool_of(2);
        struct trouble t = {.task = task_of(1), .bad = 4, .what = die_killed};
        struct piu_result *r =
            piu_pool_imap(pool, &t.task, .unordered = unordered, .lookahead = 3);
        size_t first, last, seen = 0;
        int e;

        while ((e = piu_result_next(r, &first, &last, PIU_FOREVER)) >= 0) {
            CHECK_EQ(e, first == 4 ? PIU_LOSSES : 0);
            seen++;
        }
        CHECK_EQ(e, -ENODATA);
        CHECK_EQ(seen, COUNT);
        CHECK_EQ(piu_result_done(r), COUNT);
        piu_result_free(r);
        piu_pool_free(pool);
    }
}

/* ---- Retries ------------------------------------------------------------------------------ */

TEST(retries_try_again_as_often_as_asked)
{
    struct piu_pool *pool = pool_of(2);
    _Atomic int *runs = piu_shared_new(COUNT, sizeof(*runs));
    struct trouble t = {.task = task_of(4), .bad = 6, .what = die_killed, .runs = runs};
    const struct piu_loss *loss;
    struct piu_report *report;

    t.task.retries = 2;
    CHECK_EQ(piu_pool_map(pool, &t.task, &report), PIU_LOSSES);
    CHECK_EQ(piu_report_losses(report, &loss), 1);
    CHECK_EQ(loss->first, 6);
    CHECK_EQ(loss->attempts, 3);
    for (int i = 0; i < COUNT; i++)
        CHECK_EQ(runs[i], i == 6 ? 3 : 1);
    piu_report_free(report);
    piu_pool_free(pool);
}

static _Atomic int *lives;

static void die_while_lives_last(void)
{
    if (--*lives >= 0)
        raise(SIGKILL);
}

TEST(a_retry_that_goes_well_is_no_loss)
{
    struct piu_pool *pool;
    struct trouble t = {.task = task_of(4), .bad = 6, .what = die_while_lives_last};
    struct piu_report *report;
    const struct piu_loss *tries;

    lives = piu_shared_new(1, sizeof(*lives));
    *lives = 2;
    pool = pool_of(2);
    t.task.retries = 2;
    CHECK_EQ(piu_pool_map(pool, &t.task, &report), 0);
    for (int i = 0; i < COUNT; i++)
        CHECK_EQ(squares[i], i * i);
    CHECK_EQ(piu_report_losses(report, NULL), 0);
    CHECK_EQ(piu_report_retries(report, &tries), 2);
    for (unsigned i = 0; i < 2; i++) {
        CHECK(tries[i].first == 6 && tries[i].last == 7 && tries[i].mended);
        CHECK(tries[i].attempts == i + 1 && tries[i].exitcode == -SIGKILL);
    }
    piu_report_free(report);
    piu_pool_free(pool);
}

/* ---- Time --------------------------------------------------------------------------------- */

TEST(what_takes_too_long_is_killed_and_others_are_not)
{
    struct piu_pool *pool = pool_of(2);
    struct trouble t = {.task = task_of(1), .bad = 2, .what = stand_still};
    const struct piu_loss *loss;
    struct piu_report *report;

    t.task.timeout = PIU_MSEC(300);
    CHECK_EQ(piu_pool_map(pool, &t.task, &report), PIU_LOSSES);
    CHECK_EQ(piu_report_losses(report, &loss), 1);
    CHECK_EQ(loss->first, 2);
    CHECK(loss->timed_out);
    CHECK_EQ(loss->exitcode, -SIGKILL);
    CHECK(loss->duration >= PIU_MSEC(300));
    piu_report_free(report);
    check_pool_works(pool);
    piu_pool_free(pool);
}

static void die_stopped(void)
{
    raise(SIGSTOP);
}

TEST(a_stopped_worker_is_ended_by_its_timeout)
{
    struct piu_pool *pool = pool_of(1);
    struct trouble t = {.task = task_of(1), .bad = 2, .what = die_stopped};

    t.task.timeout = PIU_MSEC(300);
    CHECK_EQ(piu_pool_map(pool, &t.task, NULL), PIU_LOSSES);
    CHECK_EQ(squares[2], -1);
    CHECK_EQ(squares[3], 9);
    piu_pool_free(pool);
}

TEST(others_go_on_beside_a_stopped_worker_that_later_goes_on_too)
{
    struct piu_pool *pool = pool_of(2);
    _Atomic pid_t *told = piu_shared_new(1, sizeof(*told));
    struct trouble t = {.task = task_of(1), .bad = 0, .what = die_stopped, .told = told};
    struct piu_result *r = piu_pool_map_async(pool, &t.task);

    wait_told(told);
    test_wait_until(piu_result_done(r) == COUNT - 1);
    check_pool_works(pool);
    CHECK(!piu_result_ready(r));
    test_wait_until(kill(*told, SIGCONT) < 0 || piu_result_ready(r));
    CHECK_EQ(piu_result_get(r, PIU_FOREVER), 0);
    CHECK_EQ(squares[0], 0);
    piu_result_free(r);
    piu_pool_free(pool);
}

TEST(refill_timeouts_and_retries_go_on_while_nobody_waits)
{
    struct piu_pool *pool = pool_of(2);
    _Atomic int *runs = piu_shared_new(COUNT, sizeof(*runs));
    struct trouble t = {
        .task = task_of(1), .every = 4, .what = stand_still, .runs = runs};
    struct piu_result *r;
    int sum = 0;

    t.task.timeout = PIU_MSEC(50);
    t.task.retries = 1;
    r = piu_pool_map_async(pool, &t.task);
    test_wait_until(piu_result_ready(r)); /* looks at a word, and does nothing */
    for (int i = 0; i < COUNT; i++)
        sum += runs[i];
    CHECK_EQ(sum, COUNT + 3);
    CHECK_EQ(piu_result_get(r, PIU_NOW), PIU_LOSSES);
    test_wait_until(count_workers(pool) == 2);
    piu_result_free(r);
    piu_pool_free(pool);
}

/* ---- Idle, holding, beginning ------------------------------------------------------------- */

TEST(a_worker_killed_idle_is_replaced)
{
    struct piu_pool *pool = pool_of(1);

    for (int i = 0; i < 3; i++) {
        pid_t worker = a_worker(pool);

        check_pool_works(pool);
        CHECK_EQ(kill(worker, SIGKILL), 0);
        test_wait_until(a_worker(pool) != worker);
    }
    check_pool_works(pool);
    piu_pool_free(pool);
}

static int hold_and_die(void *lock)
{
    if (piu_lock_acquire(lock, PIU_FOREVER) == 0)
        raise(SIGKILL);
    return 0;
}

TEST(a_worker_killed_with_a_lock_passes_it_on)
{
    struct piu_pool *pool = pool_of(1);
    struct piu_lock *lock = piu_shared_new(1, sizeof(*lock));

    CHECK_EQ(piu_pool_apply(pool, hold_and_die, lock, 0), PIU_LOSSES);
    CHECK_EQ(piu_lock_acquire(lock, PIU_SEC(5)), PIU_OWNER_DIED);
    CHECK_EQ(piu_lock_release(lock), 0);
    piu_pool_free(pool);
}

static int fail(void *count)
{
    if (count)
        ++*(_Atomic int *)count;
    return 1;
}

TEST(an_initializer_that_fails_is_an_error_and_no_storm)
{
    _Atomic int *count = piu_shared_new(1, sizeof(*count));
    struct piu_pool *pool =
        piu_pool_new(.processes = 2, .initializer = fail, .initarg = (void *)count);
    int in[] = {1}, out[1];

    CHECK(pool);
    CHECK_EQ(piu_map(pool, square, in, out), -ECHILD);
    CHECK(*count <= 6);
    CHECK_EQ(piu_map(pool, square, in, out), -ECHILD);
    CHECK_EQ(piu_pool_close(pool), 0);
    CHECK_EQ(piu_pool_join(pool, PIU_FOREVER), -EBUSY + EBUSY);
    piu_pool_free(pool);
}

struct dying {
    _Atomic int count;
    int signal;
};

static int die_in_initializer(void *argument)
{
    struct dying *d = argument;

    d->count++;
    signal(d->signal, SIG_DFL); /* a sanitizer has its own */
    raise(d->signal);
    return 0;
}

static void check_broken(int signal, int most)
{
    struct dying *d = piu_shared_new(1, sizeof(*d));
    struct piu_pool *pool;
    int in[] = {1}, out[1];

    d->signal = signal;
    pool = piu_pool_new(.processes = 2, .initializer = die_in_initializer, .initarg = d);
    CHECK(pool);
    CHECK_EQ(piu_map(pool, square, in, out), -ECHILD);
    CHECK(d->count <= most);
    piu_pool_free(pool);
}

TEST(workers_that_crash_in_the_initializer_break_the_pool_at_once)
{
    check_broken(SIGSEGV, 8);
}

TEST(workers_that_are_killed_in_the_initializer_are_no_storm_and_break_the_pool_in_time)
{
    check_broken(SIGKILL, 70);
}

/* Where it was born already; it has not got a task, so nobody is charged. */
static void kill_one_idle(struct piu_pool *pool)
{
    pid_t pid = a_worker(pool), now;

    CHECK_EQ(kill(pid, SIGKILL), 0);
    do
        now = a_worker(pool);
    while (now == pid);
}

/* As an impatient OOM killer does: one after the other, and no task comes to its end. */
TEST(a_pool_outlives_that_its_workers_are_killed_again_and_again)
{
    struct piu_pool *pool = pool_of(1);

    for (int i = 0; i < 9; i++)
        kill_one_idle(pool);
    check_pool_works(pool);
    piu_pool_free(pool);
}

/* ---- The nursery ----------------------------------------------------------------------------- */

TEST(the_nursery_killed_idle_is_started_again_by_the_next_wait)
{
    struct piu_pool *pool = pool_of(2);

    for (int i = 0; i < 5; i++) {
        check_pool_works(pool);
        CHECK_EQ(kill(nursery_of(pool), SIGKILL), 0);
    }
    check_pool_works(pool);
    piu_pool_free(pool);
}

TEST(a_pool_whose_nursery_is_stopped_can_be_freed)
{
    struct piu_pool *pool = pool_of(2);
    pid_t nursery = nursery_of(pool);

    CHECK_EQ(kill(nursery, SIGSTOP), 0);
    piu_pool_free(pool);
    CHECK(kill(nursery, 0) < 0);
}

TEST(the_nursery_killed_in_a_task_loses_what_was_begun_and_no_more)
{
    struct piu_pool *pool = pool_of(1);
    _Atomic pid_t *told = piu_shared_new(1, sizeof(*told));
    _Atomic int *open = piu_shared_new(1, sizeof(*open));
    struct trouble t = {
        .task = task_of(4), .bad = 5, .what = go_on, .told = told, .open = open};
    struct piu_result *r = piu_pool_map_async(pool, &t.task);
    const struct piu_loss *loss;
    struct piu_report *report;

    CHECK_EQ(kill(parent_of_pid(wait_told(told)), SIGKILL), 0);
    CHECK_EQ(piu_result_get(r, PIU_FOREVER), PIU_LOSSES);
    CHECK_EQ(piu_result_report(r, &report), 0);
    CHECK_EQ(piu_report_losses(report, &loss), 1);
    CHECK_EQ(loss->first, 5);
    CHECK_EQ(loss->last, 6);
    for (int i = 0; i < COUNT; i++)
        CHECK_EQ(squares[i], i == 5 ? -1 : i * i);
    piu_report_free(report);
    piu_result_free(r);
    piu_pool_free(pool);
}

/* ---- The owner ------------------------------------------------------------------------------- */

/* Jobs that run, have ended, and are kept by results; spares, notes, arrays of their own. */
static void use_much_of(struct piu_pool *pool)
{
    enum { MANY = 4000 };
    static int in[MANY], out[MANY];
    static struct piu_result
        *volatile kept[3]; /* so that no checker for leaks misses them */
    struct trouble t = {.task = task_of(4), .bad = 5, .what = die_killed};
    struct piu_task large = {.run = trouble_run,
                             .struct_size = sizeof(t),
                             .count = MANY,
                             .in = in,
                             .in_size = sizeof(int),
                             .out = out,
                             .out_size = sizeof(int)};
    struct trouble u = {.task = large};

    CHECK_EQ(piu_pool_map(pool, &t.task, NULL), PIU_LOSSES);
    kept[0] = piu_pool_map_async(pool, &t.task);
    CHECK(kept[0]);
    check_pool_works(pool);
    CHECK_EQ(piu_pool_map(pool, &u.task, NULL), 0);
    kept[1] = piu_pool_map_async(pool, &u.task);
    CHECK(kept[1]);
    for (int i = 0; i < 20; i++)
        CHECK_EQ(piu_pool_apply(pool, do_nothing, NULL, 0), 0);
    t.task.retries = 1;
    kept[2] = piu_pool_map_async(pool, &t.task);
    CHECK(kept[2]);
}

static void check_nothing_is_left_of(void (*owner)(void), bool killed)
{
    struct piu_lock *lock = piu_shared_new(1, sizeof(*lock));
    uint64_t before;

    CHECK_EQ(in_child({ piu_lock_acquire(lock, PIU_FOREVER), exit(0); }), 0);
    member_sweep_dead(true);
    before = block_count();
    for (int i = 0; i < 3; i++) {
        if (killed)
            in_child_killed({ owner(); });
        else
            CHECK_EQ(in_child({ owner(); }), 0);
        test_wait_until((member_sweep_dead(true), block_count() == before));
        CHECK(block_check());
    }
    piu_shared_free(lock);
}

static void have_a_pool(void)
{
    use_much_of(pool_of(2));
}

static void have_many_pools(void)
{
    for (int i = 0; i < 30; i++) /* more than a member has cells for blocks */
        check_pool_works(pool_of(1));
}

static void have_results_of_a_freed_pool(void)
{
    struct piu_pool *pool = pool_of(2);

    use_much_of(pool);
    piu_pool_free(pool);
}

TEST(a_killed_owner_leaves_nothing_of_its_pools_to_the_family, .limit = 60)
{
    check_nothing_is_left_of(have_a_pool, true);
    check_nothing_is_left_of(have_many_pools, true);
    check_nothing_is_left_of(have_results_of_a_freed_pool, true);
}

TEST(an_owner_that_exits_without_a_word_leaves_nothing_of_its_pools)
{
    check_nothing_is_left_of(have_a_pool, false);
}

/* Nothing is lost but what was begun, whoever is killed and whenever. */
TEST(workers_and_nurseries_killed_at_random_times, .limit = 60)
{
    enum { MANY = 3000 };
    struct piu_pool *pool = pool_of(3);
    _Atomic int *runs = piu_shared_new(MANY, sizeof(*runs));
    int *in = piu_shared_new(MANY, sizeof(*in)),
        *out = piu_shared_new(MANY, sizeof(*out));
    uint64_t seed = 88172645463325252u;

    for (int round = 0; round < 40; round++) {
        struct trouble t = {.task = {.run = trouble_run,
                                     .struct_size = sizeof(t),
                                     .count = MANY,
                                     .chunk = 1 + random_next(&seed) % 9,
                                     .in = in,
                                     .out = out,
                                     .retries = 100},
                            .runs = runs};
        struct piu_result *r;

        memset((void *)runs, 0, MANY * sizeof(*runs));
        for (int i = 0; i < MANY; i++) {
            in[i] = i;
            out[i] = -1;
        }
        r = piu_pool_map_async(pool, &t.task);
        usleep(random_next(&seed) % 300);
        kill(round % 4 == 3 ? nursery_of(pool) : a_worker(pool), SIGKILL);
        CHECK_EQ(piu_result_get(r, PIU_FOREVER), 0);
        for (int i = 0; i < MANY; i++)
            CHECK(runs[i] >= 1 && out[i] == i * i);
        piu_result_free(r);
    }
    piu_pool_free(pool);
}
