#include "pools.h"

#include "task/pool.h"

#include <poll.h>
#include <sys/resource.h>

/* ---- map and apply ------------------------------------------------------------------ */

TEST(five_numbers_are_squared_as_in_python)
{
    struct piu_pool *pool = pool_of(4);
    int in[] = {1, 2, 3, 4, 5}, out[5];

    CHECK_EQ(piu_map(pool, square, in, out), 0);
    for (int i = 0; i < 5; i++)
        CHECK_EQ(out[i], in[i] * in[i]);
    CHECK(piu_pool_free(pool) == NULL);
}

#define SIGNATURE(name, result, argument)                     \
    static result plus_one_##name(argument x)                 \
    {                                                         \
        return (result)x + 1;                                 \
    }                                                         \
    static void check_##name(struct piu_pool *pool)           \
    {                                                         \
        argument in[33];                                      \
        result out[33];                                       \
                                                              \
        for (int i = 0; i < 33; i++)                          \
            in[i] = (argument)i;                              \
        CHECK_EQ(piu_map(pool, plus_one_##name, in, out), 0); \
        for (int i = 0; i < 33; i++)                          \
            CHECK(out[i] == (result)(i + 1));                 \
    }

SIGNATURE(int, int, int)
SIGNATURE(unsigned, unsigned, unsigned)
SIGNATURE(long, long, long)
SIGNATURE(ulong, unsigned long, unsigned long)
SIGNATURE(llong, long long, long long)
SIGNATURE(ullong, unsigned long long, unsigned long long)
SIGNATURE(float, float, float)
SIGNATURE(double, double, double)
SIGNATURE(double_of_int, double, int)
SIGNATURE(double_of_long, double, long)

struct point {
    int x, y;
};

static void add_up(const void *in, void *out)
{
    const struct point *p = in;

    *(long *)out = p->x + p->y;
}

TEST(every_signature_of_piu_map)
{
    struct piu_pool *pool = pool_of(2);
    struct point points[] = {{1, 2}, {3, 4}, {5, 6}};
    long sums[3];

    check_int(pool);
    check_unsigned(pool);
    check_long(pool);
    check_ulong(pool);
    check_llong(pool);
    check_ullong(pool);
    check_float(pool);
    check_double(pool);
    check_double_of_int(pool);
    check_double_of_long(pool);
    CHECK_EQ(piu_map(pool, add_up, points, sums), 0);
    CHECK(sums[0] == 3 && sums[1] == 7 && sums[2] == 11);
    piu_pool_free(pool);
}

TEST(each_item_is_run_once_whatever_the_chunk)
{
    static const size_t counts[] = {0, 1, 2, 7, 64, 1000, 4099};
    static const size_t chunks[] = {0, 1, 3, 64, 5000, SIZE_MAX};
    struct piu_pool *pool = pool_of(3);
    _Atomic int *runs = piu_shared_new(5000, sizeof(*runs));
    int in[5000], out[5000];

    for (int i = 0; i < 5000; i++)
        in[i] = i % 1000;
    for (size_t c = 0; c < sizeof(counts) / sizeof(*counts); c++) {
        for (size_t k = 0; k < sizeof(chunks) / sizeof(*chunks); k++) {
            struct trouble t = {.task = {.run = trouble_run,
                                         .struct_size = sizeof(t),
                                         .count = counts[c],
                                         .chunk = chunks[k],
                                         .in = in,
                                         .in_size = sizeof(int),
                                         .out = out,
                                         .out_size = sizeof(int)},
                                .runs = runs};

            memset((void *)runs, 0, 5000 * sizeof(*runs));
            CHECK_EQ(piu_pool_map(pool, &t.task, NULL), 0);
            for (size_t i = 0; i < 5000; i++)
                CHECK_EQ(runs[i], i < counts[c]);
            for (size_t i = 0; i < counts[c]; i++)
                CHECK_EQ(out[i], in[i] * in[i]);
        }
    }
    piu_pool_free(pool);
}

TEST(half_a_million_chunks_of_one_item_are_each_run_once, .limit = 120)
{
    enum { COUNT = 500000 };
    struct piu_pool *pool = pool_of(4);
    int *in = piu_shared_new(COUNT, sizeof(*in)),
        *out = piu_shared_new(COUNT, sizeof(*out));
    _Atomic int *runs = piu_shared_new(COUNT, sizeof(*runs));
    struct trouble t = {.task = {.run = trouble_run,
                                 .struct_size = sizeof(t),
                                 .count = COUNT,
                                 .chunk = 1,
                                 .in = in,
                                 .out = out},
                        .runs = runs};

    for (int i = 0; i < COUNT; i++)
        in[i] = i % 1000;
    CHECK_EQ(piu_pool_map(pool, &t.task, NULL), 0);
    for (int i = 0; i < COUNT; i++)
        CHECK(runs[i] == 1 && out[i] == in[i] * in[i]);
    piu_pool_free(pool);
}

static int halves_fail(struct piu_task *self, size_t first, size_t last)
{
    (void)self, (void)last;
    return first % 2 ? (int)first : 0;
}

TEST(codes_of_run_are_in_the_report_in_order)
{
    struct piu_pool *pool = pool_of(2);
    struct piu_task task = {.run = halves_fail, .count = 10, .chunk = 1};
    const struct piu_failure *failure;
    struct piu_report *report;

    CHECK_EQ(piu_pool_map(pool, &task, &report), PIU_FAILED);
    CHECK_EQ(piu_report_failures(report, &failure), 5);
    CHECK_EQ(piu_report_losses(report, NULL), 0);
    for (int i = 0; i < 5; i++) {
        CHECK_EQ(failure[i].first, 2 * i + 1);
        CHECK_EQ(failure[i].last, 2 * i + 2);
        CHECK_EQ(failure[i].code, 2 * i + 1);
    }
    CHECK(piu_report_free(report) == NULL);
    piu_pool_free(pool);
}

static int add_one(void *number)
{
    ++*(int *)number;
    return 0;
}

static int give_seven(void *unused)
{
    (void)unused;
    return 7;
}

TEST(apply_works_on_a_copy_or_in_shared_memory)
{
    struct piu_pool *pool = pool_of(1);
    int private = 1, *shared = piu_shared_new(1, sizeof(*shared));

    CHECK_EQ(piu_pool_apply(pool, add_one, &private, sizeof(private)), 0);
    CHECK_EQ(private, 2);
    CHECK_EQ(piu_pool_apply(pool, add_one, shared, sizeof(*shared)), 0);
    CHECK_EQ(piu_pool_apply(pool, add_one, shared, 0), 0);
    CHECK_EQ(*shared, 2);
    CHECK_EQ(piu_pool_apply(pool, add_one, &private, 0), -EFAULT);
    CHECK_EQ(piu_pool_apply(pool, do_nothing, NULL, 0), 0);
    CHECK_EQ(piu_pool_apply(pool, give_seven, NULL, 0), PIU_FAILED);
    piu_pool_free(pool);
}

struct counting {
    struct piu_lock lock;
    int count;
    struct piu_queue *queue;
};

static int count_and_tell(void *argument)
{
    struct counting *c = argument;

    if (piu_lock_acquire(&c->lock, PIU_FOREVER) < 0)
        return 1;
    c->count++;
    piu_lock_release(&c->lock);
    return -piu_queue_put(c->queue, &c->count, sizeof(c->count), PIU_FOREVER);
}

TEST(a_task_uses_a_queue_and_a_lock)
{
    struct piu_pool *pool = pool_of(3);
    struct counting *c = piu_shared_new(1, sizeof(*c));
    struct piu_result *results[50];
    int got;

    c->queue = piu_queue_new(.maxsize = 0);
    for (int i = 0; i < 50; i++)
        CHECK((results[i] = piu_pool_apply_async(pool, count_and_tell, c, 0)));
    for (int i = 0; i < 50; i++) {
        CHECK_EQ(piu_result_get(results[i], PIU_FOREVER), 0);
        piu_result_free(results[i]);
    }
    for (int i = 0; i < 50; i++) {
        size_t size = sizeof(got);

        CHECK_EQ(piu_queue_get(c->queue, &got, &size, PIU_FOREVER), 0);
    }
    CHECK_EQ(c->count, 50);
    piu_pool_free(pool);
}

/* ---- Life of a pool -------------------------------------------------------------------- */

TEST(senseless_calls_are_told)
{
    struct piu_pool *pool = pool_of(1);
    struct piu_task task = {.count = 1};
    int in[1] = {1}, out[1];

    CHECK_EQ(piu_pool_map(NULL, &task, NULL), -EINVAL);
    CHECK_EQ(piu_pool_map(pool, NULL, NULL), -EINVAL);
    CHECK_EQ(piu_pool_map(pool, &task, NULL), -EINVAL);
    CHECK_EQ(piu_pool_apply(pool, NULL, NULL, 0), -EINVAL);
    CHECK_EQ(piu_pool_close(NULL), -EINVAL);
    CHECK_EQ(piu_pool_join(pool, PIU_NOW), -EBUSY);
    CHECK_EQ(piu_map_array(pool, (enum piu_signature)99, (void (*)(void))square, in, 1, 4,
                           out, 4),
             -EINVAL);
    CHECK(!piu_pool_new(.processes = 100000) && errno == EINVAL);
    task.run = halves_fail;
    task.count = SIZE_MAX;
    task.in = in;
    task.in_size = 4;
    CHECK_EQ(piu_pool_map(pool, &task, NULL), -ENOMEM);
    task.in_size = 0;
    CHECK_EQ(piu_pool_map(pool, &task, NULL), -EFAULT);
    CHECK(piu_pool_free(NULL) == NULL);
    CHECK_EQ(piu_result_wait(NULL, 0), -EINVAL);
    CHECK(piu_result_free(NULL) == NULL);
    piu_pool_free(pool);
    CHECK_EQ(piu_pool_close(pool), -ESTALE);
    CHECK_EQ(piu_map(pool, square, in, out), -ESTALE);
}

TEST(after_close_nothing_more_and_join_waits_for_what_is_there)
{
    struct piu_pool *pool = pool_of(2);
    int *shared = piu_shared_new(1, sizeof(*shared)), in[1] = {2}, out[1];
    struct piu_result *result =
        piu_pool_apply_async(pool, add_one, shared, sizeof(*shared));

    CHECK(result);
    CHECK_EQ(piu_pool_close(pool), 0);
    CHECK_EQ(piu_map(pool, square, in, out), -ESHUTDOWN);
    CHECK_EQ(piu_pool_join(pool, PIU_FOREVER), 0);
    CHECK_EQ(*shared, 1);
    CHECK_EQ(count_workers(pool), 0);
    CHECK_EQ(piu_result_get(result, PIU_NOW), 0);
    CHECK_EQ(piu_pool_join(pool, PIU_NOW), 0);
    piu_pool_free(pool);
    CHECK_EQ(piu_result_get(result, PIU_NOW), 0);
    piu_result_free(result);
}

static int print_a_line(void *file)
{
    return fputs("line\n", *(FILE **)file) < 0;
}

TEST(join_lets_workers_leave_and_write_what_they_have_printed_once)
{
    FILE *file = tmpfile();
    struct piu_pool *pool;
    char text[64];
    size_t length;

    CHECK(file && fputs("before\n", file) >= 0);
    pool = pool_of(2);
    CHECK_EQ(piu_pool_apply(pool, print_a_line, &file, sizeof(file)), 0);
    CHECK_EQ(piu_pool_close(pool), 0);
    CHECK_EQ(piu_pool_join(pool, PIU_FOREVER), 0);
    piu_pool_free(pool);
    rewind(file);
    length = fread(text, 1, sizeof(text) - 1, file);
    text[length] = '\0';
    CHECK_STR(text, "before\nline\n");
}

TEST(terminate_ends_what_waits_and_what_runs)
{
    struct piu_pool *pool = pool_of(1);
    _Atomic pid_t *told = piu_shared_new(1, sizeof(*told));
    struct piu_result *running =
        piu_pool_apply_async(pool, wait_for_ever, (void *)told, 0);
    struct piu_result *waiting = piu_pool_apply_async(pool, do_nothing, NULL, 0);

    wait_told(told);
    CHECK_EQ(piu_pool_terminate(pool), 0);
    CHECK_EQ(piu_result_get(running, PIU_FOREVER), -ECANCELED);
    CHECK_EQ(piu_result_get(waiting, PIU_FOREVER), -ECANCELED);
    CHECK_EQ(piu_pool_join(pool, PIU_FOREVER), 0);
    CHECK(kill(*told, 0) < 0 && errno == ESRCH);
    CHECK_EQ(piu_pool_apply(pool, do_nothing, NULL, 0), -ESHUTDOWN);
    piu_result_free(running);
    piu_pool_free(pool);
    piu_result_free(waiting);
}

TEST(a_list_of_jobs_that_was_written_over_to_lead_in_a_ring_stops_nobody)
{
    struct piu_pool *pool = pool_of(1);
    struct piu_result *ended = piu_pool_apply_async(pool, do_nothing, NULL, 0);
    struct piu_result *later;
    struct job *j;

    CHECK_EQ(piu_result_get(ended, PIU_FOREVER), 0);
    j = ended->job;
    atomic_store(&j->next, arena_offset(j));
    later = piu_pool_apply_async(pool, do_nothing, NULL, 0);
    CHECK(later);
    CHECK_EQ(piu_result_get(later, PIU_FOREVER), 0);
    atomic_store(&j->next, arena_offset(j));
    CHECK_EQ(piu_pool_close(pool), 0);
    CHECK_EQ(piu_pool_join(pool, PIU_FOREVER), 0);
    piu_pool_free(pool);
    piu_result_free(later);
    piu_result_free(ended);
}

TEST(a_cancel_in_a_list_that_leads_in_a_ring_ends_its_job)
{
    struct piu_pool *pool = pool_of(1);
    _Atomic pid_t *told = piu_shared_new(1, sizeof(*told));
    struct piu_result *ended = piu_pool_apply_async(pool, do_nothing, NULL, 0);
    struct piu_result *running;

    CHECK_EQ(piu_result_get(ended, PIU_FOREVER), 0);
    running = piu_pool_apply_async(pool, wait_for_ever, (void *)told, 0);
    wait_told(told);
    atomic_store(&running->job->next, arena_offset(ended->job));
    CHECK_EQ(piu_result_cancel(running), 0);
    CHECK_EQ(piu_result_get(running, PIU_FOREVER), -ECANCELED);
    piu_result_free(running);
    piu_result_free(ended);
    piu_pool_free(pool);
}

TEST(in_a_forked_child_a_pool_and_its_results_are_not_its_own)
{
    struct piu_pool *pool = pool_of(1);
    struct piu_result *result = piu_pool_apply_async(pool, do_nothing, NULL, 0);
    int status = in_child({
        CHECK_EQ(piu_pool_apply(pool, do_nothing, NULL, 0), -ECHILD);
        CHECK_EQ(piu_pool_close(pool), -ECHILD);
        CHECK_EQ(piu_result_wait(result, PIU_FOREVER), -ECHILD);
        CHECK_EQ(piu_result_cancel(result), -ECHILD);
        piu_pool_free(pool);
        piu_result_free(result);
    });

    CHECK_EQ(status, 0);
    CHECK_EQ(piu_result_get(result, PIU_FOREVER), 0);
    piu_result_free(result);
    CHECK_EQ(piu_pool_apply(pool, do_nothing, NULL, 0), 0);
    piu_pool_free(pool);
}

static int note_pid(void *pids)
{
    _Atomic pid_t *p = pids;
    int i = 0;

    while (p[i])
        i++;
    p[i] = getpid();
    return 0;
}

TEST(maxtasksperchild_refills)
{
    struct piu_pool *pool = piu_pool_new(.processes = 1, .maxtasksperchild = 2);
    _Atomic pid_t *pids = piu_shared_new(8, sizeof(*pids));

    for (int i = 0; i < 6; i++)
        CHECK_EQ(piu_pool_apply(pool, note_pid, (void *)pids, 8 * sizeof(*pids)), 0);
    CHECK(pids[0] == pids[1] && pids[1] != pids[2]);
    CHECK(pids[2] == pids[3] && pids[3] != pids[4] && pids[4] == pids[5]);
    piu_pool_free(pool);
}

TEST(a_thousand_pools_leave_nothing, .limit = 120)
{
    int in[] = {1, 2, 3}, out[3], fds = 0;
    uint64_t bytes = 0;

    for (int i = 0; i < 1000; i++) {
        struct piu_pool *pool = pool_of(1);

        if (i % 10 == 0)
            CHECK_EQ(piu_map(pool, square, in, out), 0);
        piu_pool_free(pool);
        if (i == 20) {
            fds = count_fds();
            bytes = block_in_use();
        }
    }
    CHECK_EQ(count_fds(), fds);
    CHECK_EQ(block_in_use(), bytes);
    CHECK(block_check());
}

TEST(out_of_descriptors_is_an_error_and_leaves_nothing)
{
    int status = in_child({
        struct rlimit limit;
        struct rlimit before;
        uint64_t bytes;
        int made = 0;

        piu_pool_free(pool_of(1));
        bytes = block_in_use();
        CHECK_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
        for (rlim_t n = (rlim_t)count_fds() - 3; !made && n < 64; n++) {
            struct piu_pool *pool;

            limit = before;
            limit.rlim_cur = n;
            CHECK_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
            pool = piu_pool_new(.processes = 1);
            CHECK(pool || errno == EMFILE);
            made = pool != NULL;
            piu_pool_free(pool);
        }
        CHECK(made);
        CHECK_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
        CHECK_EQ(block_in_use(), bytes);
    });

    CHECK_EQ(status, 0);
}

TEST(out_of_processes_is_an_error)
{
    int status;

    if (geteuid() != 0)
        SKIP("only root can become another user");
    status = in_child({
        struct rlimit limit = {0, 0};
        struct piu_pool *pool;

        CHECK_EQ(setgid(54321), 0);
        CHECK_EQ(setuid(54321), 0);
        CHECK_EQ(setrlimit(RLIMIT_NPROC, &limit), 0);
        pool = piu_pool_new(.processes = 2);
        CHECK(!pool);
        CHECK_EQ(errno, EAGAIN);
        _exit(0); /* the leak checker could not fork either */
    });
    CHECK_EQ(status, 0);
}

TEST(the_descriptor_is_readable_when_a_result_has_ended)
{
    struct piu_pool *pool = pool_of(1);
    struct pollfd pfd = {.fd = piu_pool_fd(pool), .events = POLLIN};
    struct piu_result *result;

    CHECK(pfd.fd >= 0);
    CHECK_EQ(poll(&pfd, 1, 0), 0);
    result = piu_pool_apply_async(pool, do_nothing, NULL, 0);
    CHECK_EQ(poll(&pfd, 1, -1), 1);
    CHECK(piu_result_ready(result));
    /* else an event loop would not sleep again; an engine may say it once more */
    test_wait_until(piu_result_ready(result) && poll(&pfd, 1, 0) == 0);
    piu_result_free(result);
    result = piu_pool_apply_async(pool, do_nothing, NULL, 0);
    CHECK_EQ(poll(&pfd, 1, -1), 1);
    CHECK(piu_result_ready(result));
    piu_result_free(result);
    piu_pool_free(pool);
}

static int wait_until_open(void *open)
{
    while (!*(_Atomic int *)open)
        usleep(100);
    return 0;
}

TEST(the_descriptor_stays_readable_for_an_end_that_nobody_has_seen)
{
    struct piu_pool *pool = pool_of(2);
    struct pollfd pfd = {.fd = piu_pool_fd(pool), .events = POLLIN};
    _Atomic int *open = piu_shared_new(2, 64);
    struct piu_result *early = piu_pool_apply_async(pool, wait_until_open, open, 0);
    struct piu_result *late = piu_pool_apply_async(pool, wait_until_open, open + 16, 0);

    CHECK(!piu_result_ready(early));
    open[0] = 1;
    CHECK_EQ(poll(&pfd, 1, -1), 1);
    CHECK(!piu_result_ready(late)); /* asks for another one */
    CHECK_EQ(poll(&pfd, 1, -1), 1);
    CHECK(piu_result_ready(early));
    test_wait_until(!piu_result_ready(late) && poll(&pfd, 1, 0) == 0);
    open[16] = 1;
    CHECK_EQ(poll(&pfd, 1, -1), 1);
    piu_result_free(early);
    piu_result_free(late);
    piu_pool_free(pool);
}

enum { WIDE = 4 << 20 };

static int fill_one(struct piu_task *self, size_t first, size_t last)
{
    memset((char *)self->out + first, 1, last - first);
    return 0;
}

static void get_and_change(int i, void *argument)
{
    struct piu_result *result = argument;
    char *out = result->out;

    CHECK_EQ(piu_result_get(result, PIU_FOREVER), 0);
    for (size_t k = (size_t)i; k < WIDE; k += 2)
        CHECK_EQ(out[k]++, 1);
}

TEST(of_two_threads_in_get_neither_writes_over_what_the_other_does_with_it)
{
    struct piu_pool *pool = pool_of(1);
    char *out = malloc(WIDE);
    struct piu_task task = {.run = fill_one, .count = WIDE, .out = out, .out_size = 1};

    for (int round = 0; round < 10; round++) {
        struct piu_result *result = piu_pool_map_async(pool, &task);

        CHECK(result);
        test_threads(2, get_and_change, result);
        for (size_t k = 0; k < WIDE; k++)
            CHECK_EQ(out[k], 2);
        piu_result_free(result);
    }
    free(out);
    piu_pool_free(pool);
}
