/*
 * NULL where each public function wants a pointer: told, by -EINVAL or by what says "none", and
 * never followed.  tests/api/arguments checks that no function was forgotten.
 */
#include "pools.h"

#include <piu.h>

#include <limits.h>

enum { ENOUGH = 64 };

/* -EINVAL as errno, and no pointer. */
#define CHECK_NONE(call)                   \
    do {                                   \
        errno = 0;                         \
        CHECK(!(call) && errno == EINVAL); \
    } while (0)

TEST(the_library_its_memory_and_its_handles)
{
    char text[ENOUGH];
    struct piu_hold hold = {.object = NULL};
    int fd;

    CHECK_EQ(piu_begin(NULL), -EINVAL);
    CHECK_EQ(piu_name(NULL, "name"), -EINVAL);
    CHECK_STR(piu_name_of(NULL, text, sizeof(text)), "");
    CHECK_EQ(piu_family_text(NULL, 0, &fd), -EINVAL);
    CHECK_EQ(piu_family_text(text, sizeof(text), NULL), -EINVAL);
    CHECK_EQ(piu_family_join(NULL, 0), -EINVAL);
    CHECK(!piu_shared_free(NULL) && !piu_is_shared(NULL));
    CHECK_EQ(piu_hold_new(NULL, PIU_KIND_MEMORY, 1), -EINVAL);
    CHECK_EQ(piu_hold_queue(NULL, NULL), -EINVAL);
    CHECK_EQ(piu_hold_queue(&hold, NULL), -EINVAL);
    CHECK_EQ(piu_hold_take(&hold, NULL), -EINVAL);
    CHECK_EQ(piu_hold_take(NULL, &hold.handle), -EINVAL);
    CHECK_EQ(piu_hold_drop(NULL), -EINVAL);
    CHECK_EQ(piu_handle_send(NULL), -EINVAL);
    CHECK_EQ(piu_handle_land(NULL), -EINVAL);
}

TEST(processes)
{
    struct piu_process p = {.target = do_nothing};
    struct piu_death death;
    int exitcode;

    CHECK_EQ(piu_process_begin(NULL, NULL), -EINVAL);
    CHECK_EQ(piu_process_begin(&p, NULL), -EINVAL);
    CHECK_EQ(piu_process_join(NULL, PIU_FOREVER), -EINVAL);
    CHECK(!piu_process_is_alive(NULL));
    CHECK_EQ(piu_process_exitcode(NULL, &exitcode), -EINVAL);
    CHECK_EQ(piu_process_exitcode(&p, NULL), -EINVAL);
    CHECK_EQ(piu_process_sentinel(NULL), -EINVAL);
    CHECK_EQ(piu_process_terminate(NULL), -EINVAL);
    CHECK_EQ(piu_process_kill(NULL), -EINVAL);
    CHECK_EQ(piu_process_close(NULL), -EINVAL);
    CHECK_EQ(piu_process_pid(NULL), 0);
    CHECK_EQ(piu_process_report(NULL, &death), -EINVAL);
    CHECK_EQ(piu_process_report(&p, NULL), -EINVAL);
    CHECK_EQ(piu_wait_any(NULL, 1, PIU_NOW), -EINVAL);
}

TEST(what_one_waits_for)
{
    struct piu_condition *c = piu_shared_new(1, sizeof(*c));

    CHECK_EQ(piu_lock_acquire(NULL, PIU_NOW), -EINVAL);
    CHECK_EQ(piu_lock_release(NULL), -EINVAL);
    CHECK_EQ(piu_lock_owner(NULL), 0);
    CHECK(!piu_lock_is_locked(NULL) && !piu_lock_is_mine(NULL));
    CHECK_EQ(piu_rlock_acquire(NULL, PIU_NOW), -EINVAL);
    CHECK_EQ(piu_rlock_release(NULL), -EINVAL);
    CHECK_EQ(piu_rlock_owner(NULL), 0);
    CHECK(!piu_rlock_is_locked(NULL) && piu_rlock_count(NULL) == 0);
    CHECK_EQ(piu_semaphore_init(NULL, 1, 0), -EINVAL);
    CHECK_EQ(piu_semaphore_acquire(NULL, PIU_NOW), -EINVAL);
    CHECK_EQ(piu_semaphore_release(NULL), -EINVAL);
    CHECK_EQ(piu_semaphore_enter(NULL, PIU_NOW), -EINVAL);
    CHECK_EQ(piu_semaphore_exit(NULL), -EINVAL);
    CHECK_EQ(piu_semaphore_value(NULL), 0);
    piu_semaphore_done(NULL);
    CHECK_EQ(piu_condition_wait(NULL, NULL, PIU_NOW), -EINVAL);
    CHECK_EQ(piu_condition_wait(c, NULL, PIU_NOW), -EINVAL);
    CHECK_EQ(piu_condition_wait_rlock(NULL, NULL, PIU_NOW), -EINVAL);
    CHECK_EQ(piu_condition_wait_rlock(c, NULL, PIU_NOW), -EINVAL);
    CHECK_EQ(piu_condition_wait_calling(c, NULL, PIU_NOW, NULL, NULL), -EINVAL);
    CHECK_EQ(piu_condition_wait_rlock_calling(c, NULL, PIU_NOW, NULL, NULL), -EINVAL);
    CHECK_EQ(piu_condition_notify(NULL, 1), -EINVAL);
    CHECK_EQ(piu_condition_notify_all(NULL), -EINVAL);
    CHECK_EQ(piu_condition_waiting(NULL), 0);
    piu_condition_done(NULL);
    CHECK_EQ(piu_event_set(NULL), -EINVAL);
    CHECK_EQ(piu_event_clear(NULL), -EINVAL);
    CHECK(!piu_event_is_set(NULL));
    CHECK_EQ(piu_event_wait(NULL, PIU_NOW), -EINVAL);
    CHECK_EQ(piu_barrier_init(NULL, 1), -EINVAL);
    CHECK_EQ(piu_barrier_wait(NULL, NULL, PIU_NOW), -EINVAL);
    CHECK_EQ(piu_barrier_meet(NULL, NULL, PIU_NOW), -EINVAL);
    CHECK_EQ(piu_barrier_release(NULL), -EINVAL);
    CHECK_EQ(piu_barrier_reset(NULL), -EINVAL);
    CHECK_EQ(piu_barrier_abort(NULL), -EINVAL);
    CHECK(piu_barrier_parties(NULL) == 0 && piu_barrier_waiting(NULL) == 0);
    CHECK(!piu_barrier_is_broken(NULL));
    piu_barrier_done(NULL);
    CHECK_EQ(piu_rwlock_acquire_read(NULL, PIU_NOW), -EINVAL);
    CHECK_EQ(piu_rwlock_acquire_write(NULL, PIU_NOW), -EINVAL);
    CHECK_EQ(piu_rwlock_release(NULL), -EINVAL);
    piu_rwlock_done(NULL);
}

TEST(queues)
{
    struct piu_queue *q = piu_queue_new(.tasks = true);
    char bytes[ENOUGH] = {0};
    size_t size = sizeof(bytes), count;
    void *message;

    CHECK_NONE(piu_queue_create(NULL));
    CHECK(!piu_queue_free(NULL));
    CHECK_EQ(piu_queue_put(NULL, bytes, 1, PIU_NOW), -EINVAL);
    CHECK_EQ(piu_queue_put(q, NULL, 1, PIU_NOW), -EINVAL);
    CHECK_EQ(piu_queue_get(NULL, bytes, &size, PIU_NOW), -EINVAL);
    CHECK_EQ(piu_queue_get(q, NULL, &size, PIU_NOW), -EINVAL);
    CHECK_EQ(piu_queue_get(q, bytes, NULL, PIU_NOW), -EINVAL);
    CHECK_EQ(piu_queue_get_new(NULL, &message, &size, PIU_NOW), -EINVAL);
    CHECK_EQ(piu_queue_get_new(q, NULL, &size, PIU_NOW), -EINVAL);
    CHECK_EQ(piu_queue_get_new(q, &message, NULL, PIU_NOW), -EINVAL);
    CHECK_EQ(piu_queue_put_many(NULL, bytes, 1, 1, &count, PIU_NOW), -EINVAL);
    CHECK_EQ(piu_queue_put_many(q, NULL, 1, 1, &count, PIU_NOW), -EINVAL);
    CHECK_EQ(piu_queue_put_many(q, bytes, 1, 1, NULL, PIU_NOW), -EINVAL);
    CHECK_EQ(piu_queue_get_many(NULL, bytes, 1, 1, &count, PIU_NOW), -EINVAL);
    CHECK_EQ(piu_queue_get_many(q, NULL, 1, 1, &count, PIU_NOW), -EINVAL);
    CHECK_EQ(piu_queue_get_many(q, bytes, 1, 1, NULL, PIU_NOW), -EINVAL);
    CHECK_EQ(piu_queue_reserve(NULL, 1, &message, PIU_NOW), -EINVAL);
    CHECK_EQ(piu_queue_reserve(q, 1, NULL, PIU_NOW), -EINVAL);
    CHECK_EQ(piu_queue_commit(NULL, bytes), -EINVAL);
    CHECK_EQ(piu_queue_commit(q, NULL), -EINVAL);
    CHECK_EQ(piu_queue_abort(NULL, bytes), -EINVAL);
    CHECK_EQ(piu_queue_abort(q, NULL), -EINVAL);
    CHECK_EQ(piu_queue_take(NULL, &message, &size, PIU_NOW), -EINVAL);
    CHECK_EQ(piu_queue_take(q, NULL, &size, PIU_NOW), -EINVAL);
    CHECK_EQ(piu_queue_take(q, &message, NULL, PIU_NOW), -EINVAL);
    CHECK_EQ(piu_queue_drop(NULL, bytes), -EINVAL);
    CHECK_EQ(piu_queue_drop(q, NULL), -EINVAL);
    CHECK_EQ(piu_queue_qsize(NULL), 0);
    CHECK_EQ(piu_queue_shutdown(NULL), -EINVAL);
    CHECK_EQ(piu_queue_task_done(NULL), -EINVAL);
    CHECK_EQ(piu_queue_join(NULL, PIU_NOW), -EINVAL);
    CHECK_EQ(piu_queue_putter(NULL), -EINVAL);
    CHECK_EQ(piu_queue_putter_done(NULL), -EINVAL);
    CHECK_EQ(piu_queue_fd(NULL), -EINVAL);
    CHECK_EQ(piu_queue_qsize(q), 0);
    piu_queue_free(q);
}

static int fail(void *unused)
{
    (void)unused;
    return 1;
}

static int run_nothing(struct piu_task *self, size_t first, size_t last)
{
    (void)self, (void)first, (void)last;
    return 0;
}

TEST(pools)
{
    struct piu_pool *pool = pool_of(1);
    struct piu_task task = {.run = run_nothing, .count = 1}, empty = {.count = 1};
    struct piu_imap_keywords keywords = {.struct_size = sizeof(keywords)};
    void (*function)(void) = (void (*)(void))square;
    int in[1] = {1}, out[1];
    size_t count;

    CHECK_NONE(piu_pool_create(NULL));
    CHECK(!piu_pool_free(NULL));
    CHECK_EQ(piu_pool_close(NULL), -EINVAL);
    CHECK_EQ(piu_pool_terminate(NULL), -EINVAL);
    CHECK_EQ(piu_pool_join(NULL, PIU_NOW), -EINVAL);
    CHECK_EQ(piu_pool_workers(NULL, NULL, 0, &count), -EINVAL);
    CHECK_EQ(piu_pool_workers(pool, NULL, 0, NULL), -EINVAL);
    CHECK_EQ(piu_pool_workers(pool, NULL, 1, &count), -EINVAL);
    CHECK_EQ(piu_pool_fd(NULL), -EINVAL);
    piu_task_progress(NULL, 0);
    CHECK_EQ(piu_pool_map(NULL, &task, NULL), -EINVAL);
    CHECK_EQ(piu_pool_map(pool, NULL, NULL), -EINVAL);
    CHECK_EQ(piu_pool_map(pool, &empty, NULL), -EINVAL);
    CHECK_NONE(piu_pool_map_async(NULL, &task));
    CHECK_NONE(piu_pool_map_async(pool, NULL));
    CHECK_EQ(piu_pool_apply(NULL, do_nothing, NULL, 0), -EINVAL);
    CHECK_EQ(piu_pool_apply(pool, NULL, NULL, 0), -EINVAL);
    CHECK_EQ(piu_pool_apply(pool, do_nothing, NULL, 1), -EINVAL);
    CHECK_NONE(piu_pool_apply_async(NULL, do_nothing, NULL, 0));
    CHECK_NONE(piu_pool_apply_async(pool, NULL, NULL, 0));
    CHECK_NONE(piu_pool_iterate(NULL, &task, &keywords));
    CHECK_NONE(piu_pool_iterate(pool, NULL, &keywords));
    CHECK_NONE(piu_pool_iterate(pool, &task, NULL));
    CHECK_EQ(piu_map_array(NULL, PIU_MAP_INT, function, in, 1, 4, out, 4), -EINVAL);
    CHECK_EQ(piu_map_array(pool, PIU_MAP_INT, NULL, in, 1, 4, out, 4), -EINVAL);
    CHECK_EQ(piu_map_array(pool, PIU_MAP_INT, function, NULL, 1, 4, out, 4), -EINVAL);
    CHECK_EQ(piu_map_array(pool, PIU_MAP_INT, function, in, 1, 4, NULL, 4), -EINVAL);
    CHECK_EQ(piu_map(pool, square, in, out), 0);
    piu_pool_free(pool);
}

TEST(results_and_reports)
{
    struct piu_pool *pool = pool_of(1);
    struct piu_task task = {.run = run_nothing, .count = 1};
    struct piu_result *r = piu_pool_imap(pool, &task);
    struct piu_report *report;
    size_t first, last;

    CHECK_EQ(piu_result_next(NULL, &first, &last, PIU_NOW), -EINVAL);
    CHECK_EQ(piu_result_next(r, NULL, &last, PIU_NOW), -EINVAL);
    CHECK_EQ(piu_result_next(r, &first, NULL, PIU_NOW), -EINVAL);
    CHECK_EQ(piu_result_wait(NULL, PIU_NOW), -EINVAL);
    CHECK_EQ(piu_result_get(NULL, PIU_NOW), -EINVAL);
    CHECK(!piu_result_ready(NULL) && !piu_result_successful(NULL));
    CHECK_EQ(piu_result_done(NULL), 0);
    CHECK_EQ(piu_result_cancel(NULL), -EINVAL);
    CHECK_EQ(piu_result_report(NULL, &report), -EINVAL);
    CHECK_EQ(piu_result_wait(r, PIU_FOREVER), 0);
    CHECK_EQ(piu_result_report(r, NULL), -EINVAL);
    CHECK_EQ(piu_report_losses(NULL, NULL), 0);
    CHECK_EQ(piu_report_retries(NULL, NULL), 0);
    CHECK_EQ(piu_report_failures(NULL, NULL), 0);
    CHECK(!piu_report_free(NULL) && !piu_result_free(NULL));
    piu_result_free(r);
    piu_pool_free(pool);
}

/* ---- Numbers at the edge -------------------------------------------------------------- */

TEST(kinds_sizes_and_counts_that_cannot_be_are_refused)
{
    struct piu_hold hold;
    struct piu_barrier *b = piu_shared_new(1, sizeof(*b));
    struct piu_semaphore *s = piu_shared_new(1, sizeof(*s));
    struct piu_queue *q = piu_queue_new();
    size_t size = SIZE_MAX, count;
    char byte = 0;
    void *message;

    CHECK_NONE(piu_shared_new(0, 1));
    CHECK_NONE(piu_shared_new(1, 0));
    CHECK_EQ(piu_hold_new(&hold, (enum piu_kind)0, 64), -EINVAL);
    CHECK_EQ(piu_hold_new(&hold, (enum piu_kind)99, 64), -EINVAL);
    CHECK_EQ(piu_hold_new(&hold, PIU_KIND_QUEUE, 64), -EINVAL);
    CHECK_EQ(piu_hold_new(&hold, PIU_KIND_MEMORY, 0), -EINVAL);
    CHECK_EQ(piu_hold_new(&hold, PIU_KIND_MEMORY, SIZE_MAX), -ENOMEM);
    CHECK_EQ(piu_hold_new(&hold, PIU_KIND_BARRIER, 1), -EINVAL);
    CHECK_EQ(piu_barrier_init(b, 0), -EINVAL);
    CHECK_EQ(piu_barrier_init((void *)((char *)b + 8), 2), -EINVAL);
    CHECK_EQ(piu_semaphore_init((void *)((char *)s + 8), 1, 0), -EINVAL);
    CHECK_EQ(piu_semaphore_init(s, UINT_MAX, 0), -EINVAL);
    CHECK_EQ(piu_semaphore_init(s, 1, UINT_MAX), -EINVAL);
    CHECK(piu_queue_put(q, &byte, SIZE_MAX, PIU_NOW) < 0);
    CHECK(piu_queue_reserve(q, SIZE_MAX, &message, PIU_NOW) < 0);
    CHECK(piu_queue_put_many(q, &byte, SIZE_MAX, 2, &count, PIU_NOW) < 0);
    CHECK(piu_queue_put_many(q, &byte, 2, SIZE_MAX, &count, PIU_NOW) < 0);
    CHECK_EQ(piu_queue_put(q, &byte, 1, PIU_NOW), 0);
    CHECK_EQ(piu_queue_get(q, &byte, &size, PIU_NOW), 0);
    CHECK_EQ(size, 1);
    CHECK_EQ(piu_queue_qsize(q), 0);
}

TEST(numbers_that_are_as_good_as_none_work)
{
    struct piu_barrier *b = piu_shared_new(1, sizeof(*b));
    struct piu_condition *c = piu_shared_new(1, sizeof(*c));
    struct piu_queue *q = piu_queue_new(.maxsize = SIZE_MAX);
    char byte = 1;

    CHECK_EQ(piu_condition_notify(c, UINT_MAX), 0);
    CHECK_EQ(piu_queue_put(q, &byte, 1, PIU_NOW), 0);
    CHECK_EQ(piu_queue_get(q, &byte, &(size_t){1}, PIU_NOW), 0);
    if (piu_barrier_init(b, UINT_MAX) == 0)
        CHECK_EQ(piu_barrier_wait(b, NULL, PIU_NOW), -ETIMEDOUT);
}

static _Atomic pid_t *parent_of_tasks;

static int note_parent(struct piu_task *self, size_t first, size_t last)
{
    (void)self, (void)first, (void)last;
    *parent_of_tasks = getppid();
    return 0;
}

static int stay(struct piu_task *self, size_t first, size_t last)
{
    note_parent(self, first, last);
    stand_still();
}

TEST(of_a_task_too)
{
    struct piu_pool *pool;
    struct piu_task task = {.run = note_parent, .count = 100, .chunk = 1};
    struct piu_result *r;
    size_t first, last, seen = 0;

    parent_of_tasks = piu_shared_new(1, sizeof(*parent_of_tasks));
    pool = pool_of(1);
    task.timeout = INT64_MIN;
    CHECK_EQ(piu_pool_map(pool, &task, NULL), 0);
    task.timeout = PIU_FOREVER;
    CHECK_EQ(piu_pool_map(pool, &task, NULL), 0);
    r = piu_pool_imap(pool, &task, .lookahead = SIZE_MAX);
    while (piu_result_next(r, &first, &last, PIU_SEC(5)) == 0)
        seen++;
    CHECK_EQ(seen, 100);
    piu_result_free(r);
    task.struct_size = sizeof(task) - 1;
    CHECK_EQ(piu_pool_map(pool, &task, NULL), -EINVAL);
    task.struct_size = SIZE_MAX;
    CHECK_EQ(piu_pool_map(pool, &task, NULL), -EINVAL);
    task.struct_size = 0;
    task.reserved[3] = 1;
    CHECK_EQ(piu_pool_map(pool, &task, NULL), -EINVAL);
    task.reserved[3] = 0;
    task.count = SIZE_MAX;
    CHECK_EQ(piu_pool_map(pool, &task, NULL), -EINVAL);
    task.chunk = 0;
    CHECK_EQ(piu_pool_map(pool, &task, NULL), 0);
    *parent_of_tasks = 0;
    task.run = stay;
    task.count = 1;
    task.retries = UINT_MAX;
    r = piu_pool_map_async(pool, &task);
    test_wait_until(*parent_of_tasks && is_asleep(*parent_of_tasks)); /* not in haste */
    CHECK_EQ(piu_result_cancel(r), 0);
    CHECK_EQ(piu_result_get(r, PIU_FOREVER), -ECANCELED);
    piu_result_free(r);
    piu_pool_free(pool);
}

/* ---- Options ------------------------------------------------------------------------ */

/* One that the library does not know, behind those that it does. */
#define NEWER(type)     \
    struct {            \
        type known;     \
        uint64_t newer; \
    }

TEST(options_of_a_newer_header_are_refused_where_they_are_set)
{
    NEWER(struct piu_queue_keywords) queue = {{.struct_size = sizeof(queue)}, 1};
    NEWER(struct piu_pool_keywords)
    pool = {{.struct_size = sizeof(pool), .processes = 1}, 1};
    NEWER(struct piu_imap_keywords) imap = {{.struct_size = sizeof(imap)}, 1};
    struct piu_task task = {.run = run_nothing, .count = 1};
    struct piu_pool *p;
    struct piu_queue *q;
    struct piu_result *r;

    CHECK_NONE(piu_queue_create(&queue.known));
    CHECK_NONE(piu_pool_create(&pool.known));
    queue.newer = pool.newer = 0;
    CHECK((q = piu_queue_create(&queue.known)) && (p = piu_pool_create(&pool.known)));
    CHECK_NONE(piu_pool_iterate(p, &task, &imap.known));
    imap.newer = 0;
    CHECK((r = piu_pool_iterate(p, &task, &imap.known)));
    piu_result_free(r);
    piu_pool_free(p);
    piu_queue_free(q);
}

/* What stands behind it is not its own. */
TEST(options_that_an_older_header_has_not_are_as_if_not_set)
{
    struct piu_queue_keywords queue = {sizeof(queue.struct_size), .maxsize = 1};
    struct piu_pool_keywords pool = {offsetof(struct piu_pool_keywords, initializer), 1,
                                     .initializer = fail};
    struct piu_imap_keywords imap = {sizeof(imap.struct_size), .lookahead = 1};
    struct piu_task task = {.run = run_nothing, .count = 4, .chunk = 1};
    struct piu_queue *q = piu_queue_create(&queue);
    struct piu_pool *p = piu_pool_create(&pool);
    struct piu_result *r;

    CHECK(q && p);
    CHECK_EQ(piu_queue_put(q, &task, 1, PIU_NOW), 0);
    CHECK_EQ(piu_queue_put(q, &task, 1, PIU_NOW), 0);
    CHECK((r = piu_pool_iterate(p, &task, &imap)));
    CHECK_EQ(piu_result_wait(r, PIU_FOREVER), 0); /* without next: no look-ahead */
    piu_result_free(r);
    piu_pool_free(p);
    piu_queue_free(q);
    queue.struct_size = pool.struct_size = 0;
    CHECK_NONE(piu_queue_create(&queue));
    CHECK_NONE(piu_pool_create(&pool));
}
