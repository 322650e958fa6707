/*
 * A pool in trouble: workers and nurseries killed in the middle of other calls, workers that
 * cannot be watched, no memory.
 */
#include "full_arena.h"
#include "pools.h"

#include "task/pool.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/syscall.h>

enum { COUNT = 12 };

static int numbers[COUNT], squares[COUNT];

static struct trouble trouble_of(size_t bad, void (*what)(void))
{
    return (struct trouble){
        .task = squares_task(numbers, squares, COUNT, COUNT), .bad = bad, .what = what};
}

static void check_pool_works(struct piu_pool *pool)
{
    int in[] = {1, 2, 3}, out[3];

    CHECK_EQ(piu_map(pool, square, in, out), 0);
    CHECK(out[0] == 1 && out[1] == 4 && out[2] == 9);
}

/* Item 5 was lost and nothing else. */
static void check_5_is_lost(struct piu_result *r)
{
    const struct piu_loss *loss;
    struct piu_report *report;

    CHECK_EQ(piu_result_get(r, PIU_FOREVER), PIU_LOSSES);
    CHECK_EQ(piu_result_report(r, &report), 0);
    CHECK_EQ(piu_report_losses(report, &loss), 1);
    CHECK(loss->first == 5 && loss->last == 6 && loss->exitcode == -SIGKILL);
    for (int i = 0; i < COUNT; i++)
        CHECK_EQ(squares[i], i == 5 ? -1 : i * i);
    piu_report_free(report);
    piu_result_free(r);
}

/* ---- Killed while they hold, put or get -------------------------------------------------- */

struct things {
    struct piu_lock lock;
    struct piu_queue *full, *empty; /* of 1 message */
    _Atomic pid_t told;
    _Atomic bool open;
};

static int stand_with_lock(void *argument)
{
    struct things *t = argument;

    CHECK_EQ(piu_lock_acquire(&t->lock, PIU_FOREVER), 0);
    t->told = getpid();
    stand_still();
}

static int stand_in_put(void *argument)
{
    struct things *t = argument;
    int message = 2;

    t->told = getpid();
    return piu_queue_put(t->full, &message, sizeof(message), PIU_FOREVER);
}

static int stand_in_get(void *argument)
{
    struct things *t = argument;
    int message;

    t->told = getpid();
    return piu_queue_get(t->empty, &message, &(size_t){sizeof(message)}, PIU_FOREVER);
}

static int stand_idle(void *argument)
{
    struct things *t = argument;

    t->told = getpid();
    return 0;
}

static void put(struct piu_queue *q, int message)
{
    CHECK_EQ(piu_queue_put(q, &message, sizeof(message), PIU_NOW), 0);
}

static void check_gets(struct piu_queue *q, int wanted)
{
    int message = 0;

    CHECK_EQ(piu_queue_get(q, &message, &(size_t){sizeof(message)}, PIU_SEC(5)), 0);
    CHECK_EQ(message, wanted);
    CHECK_EQ(piu_queue_qsize(q), 0);
}

static struct things *things_new(void)
{
    struct things *t = piu_shared_new(1, sizeof(*t));

    CHECK(t);
    CHECK((t->full = piu_queue_new(.maxsize = 1)) &&
          (t->empty = piu_queue_new(.maxsize = 1)));
    put(t->full, 1);
    return t;
}

/* Nobody waits for the dead one, and nothing is lost or doubled. */
static void check_things(struct things *t, bool was_held)
{
    CHECK_EQ(piu_lock_acquire(&t->lock, PIU_SEC(5)), was_held ? PIU_OWNER_DIED : 0);
    CHECK_EQ(piu_lock_release(&t->lock), 0);
    check_gets(t->full, 1);
    put(t->full, 3);
    check_gets(t->full, 3);
    put(t->empty, 4);
    check_gets(t->empty, 4);
}

/* The only worker stands there and is killed, or the nursery, with which it dies. */
static void check_killed(int (*stand)(void *), bool nursery)
{
    struct things *t = things_new();
    struct piu_pool *pool = pool_of(1);
    struct piu_result *r = piu_pool_apply_async(pool, stand, t, sizeof(*t));
    bool was_idle = stand == stand_idle;

    wait_told(&t->told);
    if (was_idle)
        CHECK_EQ(piu_result_get(r, PIU_FOREVER), 0);
    test_wait_until(is_asleep(t->told));
    CHECK_EQ(kill(nursery ? parent_of_pid(t->told) : t->told, SIGKILL), 0);
    CHECK_EQ(piu_result_get(r, PIU_FOREVER), was_idle ? 0 : PIU_LOSSES);
    check_things(t, stand == stand_with_lock);
    check_pool_works(pool);
    piu_result_free(r);
    piu_pool_free(pool);
    piu_queue_free(t->full);
    piu_queue_free(t->empty);
    piu_shared_free(t);
}

TEST(a_worker_killed_idle_with_a_lock_in_put_and_in_get_holds_up_nobody)
{
    check_killed(stand_idle, false);
    check_killed(stand_with_lock, false);
    check_killed(stand_in_put, false);
    check_killed(stand_in_get, false);
}

TEST(nor_does_the_nursery_killed_while_its_worker_stands_there)
{
    check_killed(stand_idle, true);
    check_killed(stand_with_lock, true);
    check_killed(stand_in_put, true);
    check_killed(stand_in_get, true);
}

/* ---- A worker that cannot be watched ------------------------------------------------------ */

struct late {
    _Atomic pid_t told; /* the worker, once it stands in a task */
    _Atomic bool armed;
    _Atomic pid_t nursery; /* it has no descriptors left */
};

static struct late *late;

static void limit_descriptors(pid_t pid, rlim_t most)
{
    struct rlimit limit;

    CHECK_EQ(prlimit(pid, RLIMIT_NOFILE, NULL, &limit), 0);
    limit.rlim_cur = most;
    CHECK_EQ(prlimit(pid, RLIMIT_NOFILE, &limit, NULL), 0);
}

/* In the nursery, between its fork and its look for the worker's pidfd. */
static void lose_descriptors(void)
{
    if (!late || !atomic_exchange(&late->armed, false))
        return;
    test_wait_until(late->told);
    limit_descriptors(0, 0);
    late->nursery = getpid();
}

static bool is_gone(pid_t pid)
{
    return kill(pid, 0) < 0;
}

TEST(a_worker_that_could_not_be_watched_is_killed_and_what_it_had_begun_is_lost)
{
    struct piu_pool *pool;
    struct piu_result *r;
    struct trouble t = trouble_of(5, stand_still);
    pid_t first;

    late = piu_shared_new(1, sizeof(*late));
    CHECK_EQ(pthread_atfork(NULL, lose_descriptors, NULL), 0);
    pool = pool_of(1);
    first = a_worker(pool);
    late->armed = true;
    CHECK_EQ(kill(first, SIGKILL), 0);
    test_wait_until(is_gone(first));
    t.told = &late->told;
    r = piu_pool_map_async(pool, &t.task);
    test_wait_until(late->nursery && is_gone(late->told));
    limit_descriptors(late->nursery, 256);
    check_5_is_lost(r);
    check_pool_works(pool);
    piu_pool_free(pool);
}

/* ---- The pool in its own task, in an owner that execs, under a nursery that is stopped ------ */

static int use_own_pool(void *argument)
{
    struct piu_pool *pool = *(struct piu_pool **)argument;

    CHECK_EQ(piu_pool_apply(pool, do_nothing, NULL, 0), -ECHILD);
    CHECK_EQ(piu_pool_close(pool), -ECHILD);
    CHECK_EQ(piu_pool_join(pool, PIU_FOREVER), -ECHILD);
    CHECK(!piu_pool_free(pool) && errno == ECHILD);
    return 0;
}

TEST(a_task_that_uses_its_own_pool_is_told)
{
    struct piu_pool *pool = pool_of(1);

    CHECK_EQ(piu_pool_apply(pool, use_own_pool, &pool, sizeof(pool)), 0);
    check_pool_works(pool);
    piu_pool_free(pool);
}

TEST(workers_work_under_a_nursery_that_is_stopped)
{
    struct piu_pool *pool = pool_of(2);
    pid_t nursery = nursery_of(pool);

    stop(nursery);
    for (int i = 0; i < 10; i++)
        check_pool_works(pool);
    CHECK_EQ(kill(nursery, SIGCONT), 0);
    piu_pool_free(pool);
}

static int pidfd(pid_t pid)
{
    int fd = (int)syscall(SYS_pidfd_open, pid, 0);

    CHECK(fd >= 0);
    return fd;
}

static void wait_ended(int fd)
{
    struct pollfd entry = {.fd = fd, .events = POLLIN};

    CHECK_EQ(poll(&entry, 1, -1), 1);
    close(fd);
}

/* Its threads, its memory and with it its pools are gone, though its pid lives on. */
TEST(nobody_is_left_of_the_pools_of_an_owner_that_execs)
{
    struct things *t = things_new();
    uint64_t before = block_count();
    pid_t owner = child_start({
        CHECK(piu_pool_apply_async(pool_of(1), stand_with_lock, t, sizeof(*t)));
        test_wait_until(t->open);
        execlp("sleep", "sleep", "1000", (char *)NULL);
    });
    int worker = pidfd(wait_told(&t->told)), nursery = pidfd(parent_of_pid(t->told));

    t->open = true;
    wait_ended(worker);
    wait_ended(nursery);
    check_things(t, true);
    test_wait_until((member_sweep_dead(true), block_count() == before));
    kill_and_reap(owner);
}

/* ---- No processes ---------------------------------------------------------------------------- */

/* root is not limited; the worker is killed, and none can be started in its place. */
static void check_without_processes(bool for_ever)
{
    struct rlimit many, none;
    struct piu_pool *pool;
    struct piu_result *r;
    pid_t nursery, worker;
    int out = 0;

    CHECK(geteuid() != 0 || setuid(65534) == 0);
    pool = pool_of(1);
    nursery = nursery_of(pool);
    worker = a_worker(pool);
    CHECK_EQ(prlimit(nursery, RLIMIT_NPROC, NULL, &many), 0);
    none = many;
    none.rlim_cur = 0;
    CHECK_EQ(prlimit(nursery, RLIMIT_NPROC, &none, NULL), 0);
    CHECK_EQ(kill(worker, SIGKILL), 0);
    r = piu_pool_apply_async(pool, do_nothing, &out, sizeof(out));
    CHECK(r);
    test_wait_until(count_workers(pool) == 0);
    CHECK_EQ(piu_result_wait(r, PIU_MSEC(100)), -ETIMEDOUT);
    if (!for_ever)
        CHECK_EQ(prlimit(nursery, RLIMIT_NPROC, &many, NULL), 0);
    CHECK_EQ(piu_result_get(r, PIU_FOREVER), for_ever ? -ECHILD : 0);
    if (!for_ever)
        check_pool_works(pool);
    piu_result_free(r);
    piu_pool_free(pool);
}

TEST(a_pool_without_processes_goes_on_when_there_are_some_again)
{
    CHECK_EQ(in_child({ check_without_processes(false); }), 0);
}

TEST(a_pool_that_gets_no_worker_for_5_seconds_says_so)
{
    CHECK_EQ(in_child({ check_without_processes(true); }), 0);
}

/* ---- Written over --------------------------------------------------------------------------- */

static void check_is_told(struct piu_pool *pool)
{
    int in[] = {1}, out[1];
    size_t count;

    CHECK_EQ(piu_map(pool, square, in, out), -EBADMSG);
    CHECK_EQ(piu_pool_apply(pool, do_nothing, NULL, 0), -EBADMSG);
    CHECK_EQ(piu_pool_close(pool), -EBADMSG);
    CHECK_EQ(piu_pool_join(pool, PIU_FOREVER), -EBADMSG);
    CHECK_EQ(piu_pool_terminate(pool), -EBADMSG);
    CHECK_EQ(piu_pool_workers(pool, NULL, 0, &count), -EBADMSG);
    CHECK_EQ(piu_pool_fd(pool), -EBADMSG);
    errno = 0;
    CHECK(!piu_pool_free(pool) && errno == EBADMSG);
}

TEST(a_pool_whose_words_lead_elsewhere_is_told_and_not_followed)
{
    struct piu_pool *pool = pool_of(1);
    struct pool_shared *shared = pool->shared,
                       *elsewhere[] = {
                           NULL, shared + 1, (struct pool_shared *)(void *)arena.base,
                           (struct pool_shared *)(void *)(arena.base + arena.range)};
    uint64_t at = pool->shared_at;

    for (size_t i = 0; i < sizeof(elsewhere) / sizeof(*elsewhere); i++) {
        pool->shared = elsewhere[i];
        check_is_told(pool);
        pool->shared_at = arena_offset(elsewhere[i]);
        check_is_told(pool);
        pool->shared = shared;
        check_is_told(pool);
        pool->shared_at = at;
        check_pool_works(pool);
    }
    piu_pool_free(pool);
}

TEST(a_result_outlives_that_its_pool_is_written_over)
{
    struct piu_pool *pool = pool_of(1);
    _Atomic pid_t *told = piu_shared_new(1, sizeof(*told));
    _Atomic int *open = piu_shared_new(1, sizeof(*open));
    struct trouble t = trouble_of(5, go_on);
    struct piu_result *r;

    t.told = told;
    t.open = open;
    r = piu_pool_map_async(pool, &t.task);
    wait_told(told);
    pool->shared = NULL;
    CHECK_EQ(piu_result_wait(r, PIU_NOW), -ETIMEDOUT);
    *open = 1;
    CHECK_EQ(piu_result_get(r, PIU_FOREVER), 0);
    CHECK_EQ(squares[COUNT - 1], (COUNT - 1) * (COUNT - 1));
    piu_result_free(r);
}

/* Another worker ended the job, while those of the last chunks were about to note them. */
TEST(unordered_gives_chunks_that_are_done_and_not_noted_yet)
{
    struct piu_pool *pool = pool_of(1);
    struct trouble t = trouble_of(COUNT, go_on);
    size_t first, last, seen = 0;
    struct piu_result *r;
    _Atomic uint32_t *finished;

    t.task.chunk = 1;
    r = piu_pool_imap(pool, &t.task, .unordered = true);
    CHECK_EQ(piu_result_wait(r, PIU_FOREVER), 0);
    test_wait_until(r->job->finished_count == COUNT);
    finished = (_Atomic uint32_t *)(void *)(arena.base + r->job->finished);
    finished[COUNT - 1] = finished[COUNT - 2] = 0;
    while (piu_result_next(r, &first, &last, PIU_SEC(5)) == 0)
        seen += last - first;
    CHECK_EQ(seen, COUNT);
    CHECK_EQ(piu_result_next(r, &first, &last, PIU_NOW), -ENODATA);
    piu_result_free(r);
    piu_pool_free(pool);
}

/* Each word in turn says something that cannot be. */
static void check_result_is_told(struct piu_result *r, uint64_t *word)
{
    uint64_t was = *word, strange[] = {was + 1, was << 20 | 1, UINT64_MAX, 1u << 30};
    size_t first, last;

    for (size_t i = 0; i < sizeof(strange) / sizeof(*strange); i++) {
        *word = strange[i];
        CHECK_EQ(piu_result_get(r, PIU_NOW), -EBADMSG);
        CHECK_EQ(piu_result_next(r, &first, &last, PIU_NOW), -EBADMSG);
        CHECK_EQ(piu_result_done(r), 0);
    }
    *word = was;
}

TEST(a_result_whose_job_is_written_over_is_told_and_not_followed)
{
    struct piu_pool *pool = pool_of(1);
    struct trouble t = trouble_of(COUNT, go_on);
    struct piu_result *r = piu_pool_imap(pool, &t.task);
    struct job *j = r->job;
    uint64_t out = j->out;
    size_t first, last;

    CHECK_EQ(piu_result_wait(r, PIU_FOREVER), 0);
    check_result_is_told(r, &j->count);
    check_result_is_told(r, &j->chunk);
    check_result_is_told(r, &j->chunks);
    check_result_is_told(r, &j->out_size);
    j->out = arena.range - 8;
    CHECK_EQ(piu_result_next(r, &first, &last, PIU_NOW), -EBADMSG);
    j->out = out;
    CHECK_EQ(piu_result_next(r, &first, &last, PIU_NOW), 0);
    CHECK(first == 0 && last == COUNT && squares[3] == 9);
    CHECK_EQ(piu_result_done(r), COUNT);
    piu_result_free(r);
    piu_pool_free(pool);
}

TEST(a_pool_whose_descriptors_are_written_over_is_told_and_closes_its_own)
{
    int mine = dup(1), before, *words[2];
    struct piu_pool *pool;

    piu_pool_free(pool_of(1));
    before = count_fds();
    pool = pool_of(1);
    words[0] = &pool->shared->poke;
    words[1] = &pool->shared->ended;
    for (int i = 0; i < 2; i++) {
        int was = *words[i];

        *words[i] = mine;
        check_is_told(pool);
        *words[i] = was;
    }
    piu_pool_free(pool);
    CHECK(fcntl(mine, F_GETFD) >= 0);
    CHECK_EQ(count_fds(), before);
}

/* Nobody works in there any more: the nursery ends, and its workers with it. */
TEST(a_number_of_workers_that_was_written_over_ends_the_pool_and_nothing_else)
{
    struct piu_pool *pool = pool_of(2);
    pid_t nursery = nursery_of(pool), workers[2];
    int ends[2];
    size_t count;

    test_wait_until(count_workers(pool) == 2);
    CHECK_EQ(piu_pool_workers(pool, workers, 2, &count), 0);
    for (int i = 0; i < 2; i++)
        ends[i] = pidfd(workers[i]);
    pool->shared->places = 1u << 30;
    check_is_told(pool);
    CHECK_EQ(kill(workers[0], SIGKILL), 0); /* so that the nursery looks */
    CHECK_EQ(WEXITSTATUS(child_wait(nursery)), 1);
    for (int i = 0; i < 2; i++)
        wait_ended(ends[i]);
    check_is_told(pool);
    CHECK(block_check());
}

/* ---- No memory ------------------------------------------------------------------------------ */

static int fail_at_bad(struct piu_task *self, size_t first, size_t last)
{
    int r = trouble_run(self, first, last);

    return r ? r : 7;
}

/* What cannot be told makes the whole result one that is not to be had. */
static void check_untold(int (*run)(struct piu_task *, size_t, size_t),
                         void (*what)(void), bool kill_nursery, unsigned retries)
{
    static struct filler filler;
    struct piu_pool *pool = pool_of(1);
    _Atomic pid_t *told = piu_shared_new(1, sizeof(*told));
    _Atomic int *open = piu_shared_new(1, sizeof(*open));
    struct trouble t = trouble_of(5, what);
    struct piu_result *r;

    t.task.run = run;
    t.task.retries = retries;
    t.told = told;
    t.open = open;
    r = piu_pool_map_async(pool, &t.task);
    CHECK(r);
    wait_told(told);
    fill_arena(&filler);
    CHECK(!piu_pool_map_async(pool, &t.task) && errno == ENOMEM);
    if (kill_nursery)
        CHECK_EQ(kill(parent_of_pid(*told), SIGKILL), 0);
    else
        *open = 1;
    CHECK_EQ(piu_result_get(r, PIU_FOREVER), -ENOMEM);
    CHECK_EQ(squares[0], -1); /* nothing was copied out */
    empty_arena(&filler);
    check_pool_works(pool);
    piu_result_free(r);
    piu_pool_free(pool);
    piu_shared_free((void *)told);
    piu_shared_free((void *)open);
}

TEST(what_a_full_arena_has_no_room_to_tell_is_an_error_and_no_wait)
{
    uint64_t blocks;

    piu_pool_free(pool_of(1));
    limit_arena();
    blocks = block_count();
    check_untold(fail_at_bad, go_on, false, 0);
    check_untold(trouble_run, die_killed, false, 0);
    check_untold(trouble_run, die_killed, false, 1);
    check_untold(trouble_run, go_on, true, 0);
    CHECK_EQ(block_count(), blocks);
    CHECK(block_check());
}

struct large {
    struct trouble trouble;
    char bytes[32 << 20];
};

/* What the worker has is enough for all but a copy of that. */
static int limit_address_space(void *unused)
{
    FILE *file = fopen("/proc/self/statm", "re");
    unsigned long pages = 0;
    struct rlimit limit;

    (void)unused;
    CHECK(file && fscanf(file, "%lu", &pages) == 1);
    fclose(file);
    limit.rlim_cur = limit.rlim_max = pages * (rlim_t)sysconf(_SC_PAGESIZE) + (4 << 20);
    return setrlimit(RLIMIT_AS, &limit);
}

TEST(a_task_that_a_worker_has_no_memory_to_copy_is_an_error_and_the_pool_goes_on)
{
#if defined(__SANITIZE_ADDRESS__)
    SKIP("AddressSanitizer needs the whole address space");
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
    SKIP("AddressSanitizer needs the whole address space");
#endif
#endif
    static struct large large;
    struct piu_pool *pool =
        piu_pool_new(.processes = 1, .initializer = limit_address_space);
    pid_t worker;

    CHECK(pool);
    check_pool_works(pool);
    worker = a_worker(pool);
    large.trouble = trouble_of(COUNT, go_on);
    large.trouble.task.struct_size = sizeof(large);
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(piu_pool_map(pool, &large.trouble.task, NULL), -ENOMEM);
        check_pool_works(pool);
    }
    CHECK_EQ(a_worker(pool), worker);
    piu_pool_free(pool);
}
