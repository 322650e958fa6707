/* Remote, with an engine that does nothing but what the test tells it to. */
#include "pools.h"

#include "os/clock.h"
#include "os/fd.h"
#include "task/range.h"
#include "task/remote.h"
#include "task/ticket.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SYS_futex_waitv
#define SYS_futex_waitv 449 /* since Linux 5.16; older headers lack it */
#endif

enum { COUNT = 12, MOST = 64 };

struct given {
    struct range range;
    bool answered, cancelled;
};

static struct script {
    struct engine engine;
    int fd;
    unsigned starts, stops, window, refused; /* times that it had enough */
    bool gone;                               /* no place is left */
    bool cannot_start;
    bool works_on;       /* stop() ends nothing ... */
    _Atomic bool killed; /* ... unless it is `now` */
    int give_error;      /* 0: none */
    unsigned count, out;
    struct given given[MOST];
    pthread_mutex_t lock;
    _Atomic unsigned looks; /* calls of next() */
    unsigned first, last;   /* outcomes that wait */
    struct outcome outcomes[MOST];
} script = {.lock = PTHREAD_MUTEX_INITIALIZER};

static const struct engine_kind script_kind;

static int script_start(const struct piu_pool_keywords *keywords, struct engine **ret)
{
    CHECK_STR(keywords->name, "Pool-1");
    if (script.cannot_start)
        return -EAGAIN;
    script.engine.kind = &script_kind;
    script.starts++;
    script.gone = false;
    script.out = 0;
    if (script.starts == 1)
        CHECK_EQ(fd_event(&script.fd), 0);
    *ret = &script.engine;
    return 0;
}

static int script_give(struct engine *e, const struct range *range)
{
    CHECK(e == &script.engine && script.count < MOST);
    if (script.gone)
        return -EPIPE;
    if (script.give_error)
        return script.give_error;
    if (script.out == script.window) {
        script.refused++;
        return -EAGAIN;
    }
    script.out++;
    script.given[script.count++] = (struct given){.range = *range};
    return 0;
}

static int script_next(struct engine *e, struct outcome *ret)
{
    bool any;

    CHECK(e == &script.engine);
    script.looks++;
    fd_event_drain(script.fd);
    pthread_mutex_lock(&script.lock);
    any = script.first < script.last;
    if (any) {
        *ret = script.outcomes[script.first++];
        script.out--;
    }
    pthread_mutex_unlock(&script.lock);
    return any ? 1 : script.gone ? -EPIPE : 0;
}

static void script_cancel(struct engine *e, uint64_t ticket)
{
    CHECK(e == &script.engine);
    for (unsigned i = 0; i < script.count; i++) {
        if (script.given[i].range.ticket == ticket) {
            CHECK(!script.given[i].cancelled);
            script.given[i].cancelled = true;
        }
    }
}

static int script_fd(const struct engine *e)
{
    (void)e;
    return script.fd;
}

/* As of an engine whose place works on until it is killed. */
static int script_stop(struct engine *e, bool now, int64_t timeout)
{
    CHECK(e == &script.engine);
    script.stops++;
    if (!script.works_on)
        return 0;
    if (now)
        atomic_store(&script.killed, true);
    else
        poll(NULL, 0, (int)(timeout / MSEC));
    return now && timeout ? 0 : -ETIMEDOUT;
}

static size_t script_workers(const struct engine *e, pid_t *ret, size_t room)
{
    (void)e, (void)ret, (void)room;
    return 0;
}

static const struct engine_kind script_kind = {.start = script_start,
                                               .give = script_give,
                                               .next = script_next,
                                               .cancel = script_cancel,
                                               .fd = script_fd,
                                               .stop = script_stop,
                                               .workers = script_workers};

static struct piu_pool *pool_with_window(unsigned window)
{
    script.window = window;
    pool_use_engine(&script_kind);
    return pool_of(2);
}

static void answer(struct outcome o)
{
    pthread_mutex_lock(&script.lock);
    script.outcomes[script.last++] = o;
    pthread_mutex_unlock(&script.lock);
    fd_event_post(script.fd);
}

/* As a place that squares would, for the range that was given as number i. */
static struct outcome squares_of(unsigned i)
{
    static int out[MOST][COUNT];
    const struct range *range = &script.given[i].range;
    const int *in = range->in;

    for (uint64_t k = 0; k < range->last - range->first; k++)
        out[i][k] = in[k] * in[k];
    script.given[i].answered = true;
    return (struct outcome){.ticket = range->ticket,
                            .how = RANGE_FINISHED,
                            .out = out[i],
                            .out_bytes = range->out_bytes};
}

static void answer_all(struct piu_result *r)
{
    for (unsigned i = 0; i < script.count; i++) {
        if (!script.given[i].answered)
            answer(squares_of(i));
        piu_result_ready(r);
    }
}

static struct outcome ending(unsigned i, enum range_end how)
{
    script.given[i].answered = true;
    return (struct outcome){.ticket = script.given[i].range.ticket,
                            .how = how,
                            .death = {.pid = 77, .exitcode = -SIGKILL}};
}

static int numbers[COUNT], squares[COUNT];

static struct trouble trouble_of(size_t chunk)
{
    return (struct trouble){.task = squares_task(numbers, squares, COUNT, chunk)};
}

static void check_squares(size_t first, size_t last)
{
    for (size_t i = 0; i < COUNT; i++)
        CHECK_EQ(squares[i], i >= first && i < last ? -1 : (int)(i * i));
}

/* ---- Windows ------------------------------------------------------------------------------- */

TEST(what_an_engine_has_no_room_for_goes_when_there_is_room)
{
    struct piu_pool *pool = pool_with_window(3);
    struct trouble t = trouble_of(1);
    struct piu_result *r = piu_pool_map_async(pool, &t.task);

    CHECK_EQ(script.count, 3);
    CHECK_EQ(script.refused, 1);
    answer(squares_of(1));
    CHECK(!piu_result_ready(r));
    CHECK_EQ(script.count, 4);
    CHECK_EQ(piu_result_done(r), 1);
    answer_all(r);
    CHECK_EQ(script.count, COUNT);
    CHECK_EQ(piu_result_get(r, PIU_FOREVER), 0);
    check_squares(0, 0);
    piu_result_free(r);
    piu_pool_free(pool);
    CHECK_EQ(script.stops, 1);
}

TEST(a_range_is_its_items_and_no_more)
{
    struct piu_pool *pool = pool_with_window(MOST);
    struct trouble t = trouble_of(5);
    struct piu_result *r = piu_pool_map_async(pool, &t.task);
    const struct range *range = &script.given[2].range;

    CHECK_EQ(script.count, 3);
    CHECK(range->first == 10 && range->last == 12);
    CHECK(range->in_bytes == 2 * sizeof(int) && range->out_bytes == 2 * sizeof(int));
    CHECK(*(const int *)range->in == 10 && !range->out);
    CHECK(range->task_size == sizeof(t) && range->call_at == 0);
    CHECK_EQ(((const struct piu_task *)range->task)->count, COUNT);
    answer_all(r);
    CHECK_EQ(piu_result_get(r, PIU_FOREVER), 0);
    check_squares(0, 0);
    piu_result_free(r);
    piu_pool_free(pool);
}

/* ---- What comes back wrong ------------------------------------------------------------------- */

static void check_is_lost(struct outcome wrong)
{
    struct piu_pool *pool = pool_of(2);
    struct trouble t = trouble_of(4);
    struct piu_result *r = piu_pool_map_async(pool, &t.task);
    const struct piu_loss *loss;
    struct piu_report *report;
    unsigned at = script.count - 2;

    wrong.ticket = script.given[at].range.ticket;
    script.given[at].answered = true;
    answer(wrong);
    answer_all(r);
    CHECK_EQ(piu_result_get(r, PIU_FOREVER), PIU_LOSSES);
    check_squares(4, 8);
    CHECK_EQ(piu_result_report(r, &report), 0);
    CHECK_EQ(piu_report_losses(report, &loss), 1);
    CHECK(loss->first == 4 && loss->last == 8 && loss->pid == 0);
    piu_report_free(report);
    piu_result_free(r);
    piu_pool_free(pool);
}

static int start_any(const struct piu_pool_keywords *keywords, struct engine **ret)
{
    struct piu_pool_keywords same = *keywords;

    same.name = "Pool-1";
    return script_start(&same, ret);
}

TEST(an_outcome_that_does_not_fit_its_ticket_is_a_loss)
{
    static const int bytes[COUNT];
    struct engine_kind kind = script_kind;
    struct piu_loss before = {.first = 3, .last = 5}, empty = {.first = 5, .last = 5},
                    behind = {.first = 7, .last = 9};
    struct piu_failure foreign = {.first = 0, .last = 4, .code = 1};
    struct outcome good = {.how = RANGE_FINISHED, .out = bytes, .out_bytes = 16}, o;

    kind.start = start_any;
    script.window = MOST;
    pool_use_engine(&kind);
    o = good, o.out_bytes = 12;
    check_is_lost(o);
    o = good, o.losses = &before, o.losses_count = 1;
    check_is_lost(o);
    o = good, o.losses = &empty, o.losses_count = 1;
    check_is_lost(o);
    o = good, o.tries = &behind, o.tries_count = 1;
    check_is_lost(o);
    o = good, o.failures = &foreign, o.failures_count = 1;
    check_is_lost(o);
    o = good, o.how = RANGE_CANCELLED; /* nobody has cancelled it */
    check_is_lost(o);
}

TEST(an_outcome_of_a_ticket_that_is_not_out_changes_nothing)
{
    struct piu_pool *pool = pool_with_window(MOST);
    struct trouble t = trouble_of(12);
    struct piu_result *r = piu_pool_map_async(pool, &t.task);
    struct outcome o = squares_of(0), other = o, none = o;

    other.ticket += 256;
    none.ticket = 0;
    answer(other);
    answer(none);
    CHECK(!piu_result_ready(r));
    answer(o);
    answer(ending(0, RANGE_LOST)); /* it has been answered */
    CHECK_EQ(piu_result_get(r, PIU_FOREVER), 0);
    check_squares(0, 0);
    piu_result_free(r);
    piu_pool_free(pool);
}

TEST(items_that_a_place_has_lost_keep_what_the_caller_has)
{
    struct piu_pool *pool = pool_with_window(MOST);
    struct trouble t = trouble_of(12);
    int *out = piu_shared_new(COUNT, sizeof(*out));
    struct piu_result *r;
    struct piu_loss losses[] = {{.first = 9, .last = 12, .attempts = 1},
                                {.first = 2, .last = 3, .attempts = 1}};
    struct outcome o;

    for (int i = 0; i < COUNT; i++)
        out[i] = -1;
    t.task.out = out;
    r = piu_pool_map_async(pool, &t.task);
    CHECK(script.given[0].range.out == out);
    o = squares_of(0);
    o.losses = losses;
    o.losses_count = 2;
    answer(o);
    CHECK_EQ(piu_result_get(r, PIU_FOREVER), PIU_LOSSES);
    for (int i = 0; i < COUNT; i++)
        CHECK_EQ(out[i], i == 2 || i >= 9 ? -1 : i * i);
    piu_result_free(r);
    piu_pool_free(pool);
}

/* ---- Lost, refused, cancelled ---------------------------------------------------------------- */

TEST(a_lost_range_is_tried_again_as_often_as_asked)
{
    struct piu_pool *pool = pool_with_window(MOST);
    struct trouble t = trouble_of(4);
    const struct piu_loss *loss, *tries;
    struct piu_report *report;
    struct piu_result *r;

    t.task.retries = 1;
    r = piu_pool_map_async(pool, &t.task);
    CHECK_EQ(script.given[1].range.retries, 1);
    answer(ending(1, RANGE_LOST));
    CHECK(!piu_result_ready(r));
    CHECK_EQ(script.count, 4);
    CHECK(script.given[3].range.first == 4 && script.given[3].range.retries == 0);
    CHECK(script.given[3].range.ticket != script.given[1].range.ticket);
    answer(ending(3, RANGE_LOST));
    answer_all(r);
    CHECK_EQ(piu_result_get(r, PIU_FOREVER), PIU_LOSSES);
    check_squares(4, 8);
    CHECK_EQ(piu_result_report(r, &report), 0);
    CHECK_EQ(piu_report_losses(report, &loss), 1);
    CHECK(loss->first == 4 && loss->last == 8 && loss->pid == 77 && loss->attempts == 2);
    CHECK_EQ(loss->exitcode, -SIGKILL);
    CHECK_EQ(piu_report_retries(report, &tries), 1);
    CHECK_EQ(tries->attempts, 1);
    piu_report_free(report);
    piu_result_free(r);
    piu_pool_free(pool);
}

TEST(a_refused_range_ends_its_job_and_is_taken_back_elsewhere)
{
    struct piu_pool *pool = pool_with_window(2);
    struct trouble t = trouble_of(4);
    struct piu_result *r = piu_pool_map_async(pool, &t.task), *other;
    struct outcome o = ending(0, RANGE_REFUSED);

    o.error = -ENOEXEC;
    answer(o);
    CHECK_EQ(piu_result_get(r, PIU_FOREVER), -ENOEXEC);
    CHECK(script.given[1].cancelled);
    CHECK_EQ(script.count, 2); /* what was held was never given */
    answer(ending(1, RANGE_CANCELLED));
    piu_result_free(r);
    other = piu_pool_map_async(pool, &t.task);
    answer_all(other);
    CHECK_EQ(piu_result_get(other, PIU_FOREVER), 0);
    piu_result_free(other);
    piu_pool_free(pool);
}

TEST(an_engine_that_can_have_no_workers_breaks_the_pool)
{
    struct piu_pool *pool = pool_with_window(MOST);
    struct trouble t = trouble_of(4);
    struct piu_result *r = piu_pool_map_async(pool, &t.task);
    struct outcome o = ending(0, RANGE_REFUSED);

    o.error = -ECHILD;
    answer(o);
    CHECK_EQ(piu_result_get(r, PIU_FOREVER), -ECHILD);
    CHECK_EQ(piu_pool_map(pool, &t.task, NULL), -ECHILD);
    CHECK_EQ(piu_pool_close(pool), 0);
    CHECK_EQ(piu_pool_join(pool, PIU_FOREVER), 0);
    CHECK_EQ(script.stops, 1);
    piu_result_free(r);
    piu_pool_free(pool);
    CHECK_EQ(script.stops, 1);
}

TEST(a_cancelled_job_ends_when_nothing_of_it_is_out)
{
    struct piu_pool *pool = pool_with_window(2);
    struct trouble t = trouble_of(4);
    struct piu_result *r = piu_pool_map_async(pool, &t.task);

    CHECK_EQ(piu_result_cancel(r), 0);
    CHECK(script.given[0].cancelled && script.given[1].cancelled);
    CHECK(!piu_result_ready(r));
    answer(ending(0, RANGE_CANCELLED));
    CHECK(!piu_result_ready(r));
    answer(squares_of(1)); /* it was done before it heard of it */
    CHECK_EQ(piu_result_get(r, PIU_FOREVER), -ECANCELED);
    CHECK_EQ(script.count, 2);
    piu_result_free(r);
    piu_pool_free(pool);
}

TEST(a_freed_job_stays_while_a_ticket_names_it)
{
    struct piu_pool *pool = pool_with_window(2);
    static int large[2000], out[2000];
    struct piu_task task = {.run = trouble_run,
                            .struct_size = sizeof(struct trouble),
                            .count = 2000,
                            .chunk = 2,
                            .in = large,
                            .in_size = sizeof(int),
                            .out = out,
                            .out_size = sizeof(int)};
    struct trouble t = {.task = task};
    struct piu_result *r = piu_pool_map_async(pool, &t.task);
    struct outcome o = ending(0, RANGE_REFUSED);
    struct job *j = r->job;

    o.error = -ENOEXEC;
    answer(o);
    CHECK_EQ(piu_result_get(r, PIU_FOREVER), -ENOEXEC);
    piu_result_free(r);
    CHECK(block_is(j)); /* the other range is out */
    answer(ending(1, RANGE_CANCELLED));
    for (int i = 0; i < 20; i++) { /* small ones are looked after a few at a time */
        r = piu_pool_apply_async(pool, do_nothing, NULL, 0);
        answer((struct outcome){.ticket = script.given[script.count - 1].range.ticket});
        CHECK_EQ(piu_result_get(r, PIU_FOREVER), 0);
        piu_result_free(r);
    }
    CHECK(!block_is(j));
    piu_pool_free(pool);
}

/* ---- No place is left ------------------------------------------------------------------------ */

TEST(when_no_place_is_left_the_engine_is_started_again)
{
    struct piu_pool *pool = pool_with_window(2);
    struct trouble t = trouble_of(4);
    struct piu_result *r;

    t.task.retries = 1;
    r = piu_pool_map_async(pool, &t.task);
    script.gone = true; /* with two out, and one held */
    CHECK(!piu_result_ready(r));
    CHECK(script.starts == 2 && script.stops == 1);
    CHECK_EQ(script.count, 4);
    CHECK(script.given[2].range.first == 8 && script.given[2].range.retries == 1);
    CHECK(script.given[3].range.first == 0 && script.given[3].range.retries == 0);
    answer(squares_of(0)); /* of an engine that is no more */
    answer(squares_of(1));
    CHECK(!piu_result_ready(r));
    CHECK_EQ(piu_result_done(r), 0);
    answer_all(r);
    CHECK_EQ(script.count, 5);
    CHECK_EQ(piu_result_get(r, PIU_FOREVER), 0);
    check_squares(0, 0);
    piu_result_free(r);
    piu_pool_free(pool);
}

TEST(a_pool_whose_places_end_again_and_again_is_broken)
{
    struct piu_pool *pool = pool_with_window(MOST);
    struct trouble t = trouble_of(4);
    struct piu_result *r;

    t.task.retries = 100;
    r = piu_pool_map_async(pool, &t.task);
    for (int i = 0; i < 3; i++) {
        script.gone = true;
        CHECK(!piu_result_ready(r));
    }
    script.gone = true;
    CHECK(piu_result_ready(r));
    CHECK_EQ(piu_result_get(r, PIU_NOW), -ECHILD);
    CHECK(script.starts == 4 && script.stops == 4);
    piu_result_free(r);
    piu_pool_free(pool);
    CHECK_EQ(script.stops, 4);
}

TEST(an_engine_that_cannot_start_again_breaks_the_pool)
{
    struct piu_pool *pool = pool_with_window(MOST);
    struct trouble t = trouble_of(4);
    struct piu_result *r = piu_pool_map_async(pool, &t.task);

    script.gone = script.cannot_start = true;
    CHECK_EQ(piu_result_get(r, PIU_FOREVER), PIU_LOSSES);
    CHECK_EQ(piu_pool_map(pool, &t.task, NULL), -ECHILD);
    piu_result_free(r);
    piu_pool_free(pool);
    CHECK(!piu_pool_new(.processes = 2, .name = "Pool-1") && errno == EAGAIN);
}

TEST(a_pool_whose_word_for_its_engine_was_written_over_says_so)
{
    struct piu_pool *pool = pool_with_window(MOST);
    struct remote *remote = pool->remote;
    struct trouble t = trouble_of(4);

    for (size_t i = 0; i < 3; i++) {
        void *wrong[] = {&t, (char *)remote + 64, pool};

        pool->remote = wrong[i];
        CHECK_EQ(piu_pool_map(pool, &t.task, NULL), -EBADMSG);
    }
    pool->remote = remote;
    piu_pool_free(pool);
}

TEST(a_forked_child_that_looks_leaves_the_engine_to_its_owner)
{
    struct piu_pool *pool = pool_with_window(MOST);
    struct trouble t = trouble_of(12);
    struct piu_result *r = piu_pool_map_async(pool, &t.task);

    answer(squares_of(0));
    CHECK_EQ(in_child({
                 CHECK(!piu_result_ready(r));
                 CHECK_EQ(piu_result_done(r), 0);
                 CHECK_EQ(script.first, 0);
             }),
             0);
    CHECK_EQ(piu_result_get(r, PIU_FOREVER), 0);
    check_squares(0, 0);
    piu_result_free(r);
    piu_pool_free(pool);
}

TEST(the_descriptor_tells_of_what_another_wait_has_ended)
{
    struct piu_pool *pool = pool_with_window(MOST);
    struct pollfd pfd = {.fd = piu_pool_fd(pool), .events = POLLIN};
    struct trouble t = trouble_of(12);
    struct piu_result *first = piu_pool_map_async(pool, &t.task);
    struct piu_result *second = piu_pool_map_async(pool, &t.task);

    CHECK_EQ(poll(&pfd, 1, 0), 0);
    answer(squares_of(1));
    answer(squares_of(0));
    CHECK_EQ(poll(&pfd, 1, 0), 1);
    CHECK_EQ(piu_result_get(first, PIU_FOREVER), 0);
    CHECK_EQ(poll(&pfd, 1, 0), 1);
    CHECK(piu_result_ready(second));
    piu_result_free(first);
    piu_result_free(second);
    piu_pool_free(pool);
}

/* ---- At the place ----------------------------------------------------------------------------- */

static int double_it(void *number)
{
    *(int *)number *= 2;
    return 0;
}

/* As if it had come from another host: what the task has for its function is nothing here. */
static void bring(struct range *range, const struct range *from, void *task)
{
    static const uint64_t nothing;

    *range = *from;
    memcpy(task, from->task, from->task_size);
    memcpy((char *)task + from->call_at, &nothing, sizeof(nothing));
    range->task = task;
}

TEST(at_a_place_a_range_finds_its_functions_by_their_addresses)
{
    struct piu_pool *pool = pool_with_window(MOST), *place;
    int number = 4;
    struct piu_result *r = piu_pool_apply_async(pool, double_it, &number, sizeof(number));
    void *task = malloc(script.given[0].range.task_size);
    struct range_work *work;
    struct range range;
    struct outcome o;

    bring(&range, &script.given[0].range, task);
    pool_use_engine(NULL);
    place = pool_of(1);
    CHECK_EQ(range_begin(place, &range, &work), 0);
    free(task);
    CHECK_EQ(piu_result_wait(&work->result, PIU_FOREVER), 0);
    CHECK_EQ(range_outcome(work, &o), 0);
    CHECK(o.ticket == range.ticket && o.how == RANGE_FINISHED);
    answer(o);
    CHECK_EQ(piu_result_get(r, PIU_FOREVER), 0);
    CHECK_EQ(number, 8);
    CHECK(range_free(work) == NULL);
    piu_result_free(r);
    piu_pool_free(place);
    piu_pool_free(pool);
}

static void check_senseless(struct piu_pool *place, struct range range)
{
    struct range_work *work;

    CHECK_EQ(range_begin(place, &range, &work), -EINVAL);
}

TEST(a_range_that_contradicts_itself_is_not_begun)
{
    struct piu_pool *pool = pool_with_window(MOST), *place;
    int number = 4;
    struct piu_result *r = piu_pool_apply_async(pool, double_it, &number, sizeof(number));
    void *task = malloc(script.given[0].range.task_size);
    struct range good, range;

    bring(&good, &script.given[0].range, task);
    pool_use_engine(NULL);
    place = pool_of(1);
    range = good, range.task_size = sizeof(struct piu_task) - 1;
    check_senseless(place, range);
    range = good, range.task_size--;
    check_senseless(place, range);
    range = good, range.last = range.first;
    check_senseless(place, range);
    range = good, range.first++, range.last++;
    check_senseless(place, range);
    range = good, range.in_bytes++;
    check_senseless(place, range);
    range = good, range.out_bytes--;
    check_senseless(place, range);
    range = good, range.in = NULL, range.in_bytes = 0;
    check_senseless(place, range);
    range = good, range.out_bytes = 0;
    check_senseless(place, range);
    range = good, range.call_at++;
    check_senseless(place, range);
    range = good, range.call_at = (uint32_t)range.task_size;
    check_senseless(place, range);
    range = good, range.call_at = 8;
    check_senseless(place, range);
    free(task);
    piu_pool_free(place);
    piu_result_free(r);
    piu_pool_free(pool);
}

/* ---- Threads ---------------------------------------------------------------------------------- */

struct two {
    struct piu_result *results[2];
    _Atomic int waiting, ended;
};

static void wait_for_one(int i, void *argument)
{
    struct two *two = argument;

    if (i < 2) {
        two->waiting++;
        CHECK_EQ(piu_result_wait(two->results[i], PIU_FOREVER), 0);
        two->ended++;
        return;
    }
    test_wait_until(two->waiting == 2);
    for (int k = 0; k < 2; k++) {
        answer(squares_of((unsigned)(1 - k)));
        test_wait_until(two->ended == k + 1);
    }
}

TEST(who_waits_for_the_engine_ends_the_waits_of_others)
{
    struct piu_pool *pool = pool_with_window(MOST);
    struct trouble t = trouble_of(12);
    struct two two = {.results = {piu_pool_map_async(pool, &t.task),
                                  piu_pool_map_async(pool, &t.task)}};

    CHECK_EQ(script.count, 2);
    test_threads(3, wait_for_one, &two);
    piu_result_free(two.results[0]);
    piu_result_free(two.results[1]);
    piu_pool_free(pool);
}

/* ---- The engine's end ------------------------------------------------------------------------ */

TEST(after_stop_an_engine_is_given_nothing)
{
    struct piu_pool *pool = pool_with_window(1);
    struct trouble t = trouble_of(6);
    struct piu_result *r = piu_pool_map_async(pool, &t.task);

    CHECK_EQ(script.count, 1);
    script.works_on = true;
    CHECK_EQ(piu_pool_terminate(pool), 0);
    CHECK_EQ(script.stops, 1);
    script.window = MOST;
    piu_result_done(r);
    CHECK_EQ(script.count, 1);
    piu_result_free(r);
    piu_pool_free(pool);
    CHECK_EQ(script.stops, 3); /* it is told once more, then waited for */
}

struct ending_pool {
    struct piu_pool *pool;
    _Atomic int joined;
};

static void join_or_terminate(int i, void *argument)
{
    struct ending_pool *e = argument;

    if (i == 0) {
        CHECK_EQ(piu_pool_join(e->pool, PIU_FOREVER), 0);
        atomic_store(&e->joined, 1);
        return;
    }
    test_wait_until(script.stops > 0);
    CHECK_EQ(piu_pool_terminate(e->pool), 0);
    test_wait_until(atomic_load(&e->joined));
    CHECK(atomic_load(&script.killed));
}

/* Nothing but that ends the join. */
TEST(terminate_ends_the_join_of_another)
{
    struct ending_pool e = {.pool = pool_with_window(MOST)};

    script.works_on = true;
    CHECK_EQ(piu_pool_close(e.pool), 0);
    test_threads(2, join_or_terminate, &e);
    piu_pool_free(e.pool);
}

/* ---- Errors ------------------------------------------------------------------------------- */

TEST(refused_without_an_error_is_an_error_all_the_same)
{
    struct piu_pool *pool = pool_with_window(MOST);
    struct trouble t = trouble_of(6);
    struct piu_result *r = piu_pool_map_async(pool, &t.task);

    answer(ending(0, RANGE_REFUSED));
    CHECK_EQ(piu_result_get(r, PIU_FOREVER), -EBADMSG);
    piu_result_free(r);
    piu_pool_free(pool);
}

TEST(what_an_engine_cannot_be_given_ends_with_its_error)
{
    struct piu_pool *pool = pool_with_window(MOST);
    struct trouble t = trouble_of(6);
    struct piu_result *r;

    script.give_error = -ENOMEM;
    r = piu_pool_map_async(pool, &t.task);
    CHECK_EQ(piu_result_wait(r, PIU_NOW), 0);
    CHECK_EQ(piu_result_get(r, PIU_NOW), -ENOMEM);
    piu_result_free(r);
    piu_pool_free(pool);
}

TEST(tries_that_nobody_died_of_are_counted_each)
{
    struct piu_pool *pool = pool_with_window(MOST);
    struct trouble t = trouble_of(12);
    const struct piu_loss *tries;
    struct piu_report *report;
    struct piu_result *r;

    t.task.retries = 3;
    r = piu_pool_map_async(pool, &t.task);
    for (unsigned i = 0; i < 3; i++) {
        answer(ending(i, RANGE_CANCELLED));
        CHECK(!piu_result_ready(r));
    }
    CHECK_EQ(script.count, 4);
    answer(squares_of(3));
    CHECK_EQ(piu_result_get(r, PIU_FOREVER), 0);
    CHECK_EQ(piu_result_report(r, &report), 0);
    CHECK_EQ(piu_report_retries(report, &tries), 3);
    piu_report_free(report);
    piu_result_free(r);
    piu_pool_free(pool);
}

/* The number is the next one's, as whoever counts along can know. */
TEST(an_outcome_of_what_is_held_changes_nothing)
{
    struct piu_pool *pool = pool_with_window(1);
    struct trouble t = trouble_of(1);
    struct piu_result *r = piu_pool_map_async(pool, &t.task);
    uint64_t held = script.given[0].range.ticket + TICKETS - 1;

    CHECK_EQ(script.count, 1);
    answer((struct outcome){.ticket = held, .how = RANGE_CANCELLED});
    CHECK(!piu_result_ready(r));
    script.window = MOST;
    CHECK(!piu_result_ready(r));
    CHECK_EQ(script.count, COUNT);
    for (unsigned i = 0; i < script.count; i++) {
        for (unsigned k = 0; k < i; k++)
            CHECK(script.given[i].range.ticket % TICKETS !=
                  script.given[k].range.ticket % TICKETS);
    }
    answer_all(r);
    CHECK_EQ(piu_result_get(r, PIU_FOREVER), 0);
    check_squares(0, 0);
    piu_result_free(r);
    piu_pool_free(pool);
}

/* ---- Places that break --------------------------------------------------------------------- */

enum { OUT_BYTES = 8192, BLOCKS = 200 };

static _Atomic int *place_step;

static int write_when_told(struct piu_task *self, size_t first, size_t last)
{
    (void)last;
    atomic_store(place_step, 1);
    while (atomic_load(place_step) != 2)
        sched_yield();
    memset((char *)self->out + first * self->out_size, 7, self->out_size);
    atomic_store(place_step, 3);
    return 0;
}

TEST(what_a_worker_of_a_broken_place_writes_to_is_nobody_elses)
{
    struct piu_task task = {.run = write_when_told, .count = 1, .out_size = OUT_BYTES};
    struct range range = {.ticket = 1,
                          .task = &task,
                          .task_size = sizeof(task),
                          .last = 1,
                          .out_bytes = OUT_BYTES};
    struct range_work *work;
    struct piu_pool *place;
    struct outcome o;
    const void *was;
    uint64_t who = 0;

    place_step = piu_shared_new(1, sizeof(*place_step));
    task.out = &range; /* as an address of another host's */
    place = pool_of(1);
    CHECK_EQ(code_address_of((void (*)(void))write_when_told, &range.run), 0);
    CHECK_EQ(range_begin(place, &range, &work), 0);
    test_wait_until(atomic_load(place_step) == 1);
    CHECK_EQ(member_who(&who), 0);
    pool_break(place->shared, who); /* as a nursery that can fork no more */
    CHECK(piu_result_ready(&work->result));
    CHECK_EQ(range_outcome(work, &o), 0);
    CHECK(o.how == RANGE_REFUSED && o.error == -ECHILD);
    was = work->out;
    range_free(work);
    for (int i = 0; i < BLOCKS; i++)
        CHECK(piu_shared_new(1, OUT_BYTES) != was);
    atomic_store(place_step, 2);
    test_wait_until(atomic_load(place_step) == 3);
    piu_pool_free(place);
}

/* ---- Who is inside (R7) ---------------------------------------------------------------------- */

static struct {
    struct piu_pool *pool;
    _Atomic uint32_t words[2];
    _Atomic int tid;
    pthread_t second;
    _Atomic int in_handler, release, freed;
} inside;

static void stay(int signal)
{
    (void)signal;
    atomic_store(&inside.in_handler, 1);
    while (!atomic_load(&inside.release))
        sched_yield();
}

/* In a system call that has to do with futexes: waiting for its turn. */
static bool waits_for_turn(int tid)
{
    char path[64];
    long number = -1;
    FILE *f;

    snprintf(path, sizeof(path), "/proc/self/task/%d/syscall", tid);
    f = fopen(path, "r");
    if (f && fscanf(f, "%ld", &number) != 1)
        number = -1;
    if (f)
        fclose(f);
    return number == SYS_futex || number == SYS_futex_waitv;
}

static void wait_or_free(int i, void *argument)
{
    (void)argument;
    if (i == 0)
        remote_wait(inside.pool, &inside.words[0], 0, 60 * SEC);
    if (i == 1) {
        test_wait_until(script.looks >
                        0); /* the first is at the engine until it is poked */
        inside.second = pthread_self();
        atomic_store(&inside.tid, (int)syscall(SYS_gettid));
        remote_wait(inside.pool, &inside.words[1], 0, 60 * SEC);
    }
    if (i == 2) {
        test_wait_until(atomic_load(&inside.in_handler));
        piu_pool_free(inside.pool);
        atomic_store(&inside.freed, 1);
    }
    if (i == 3) {
        test_wait_until(atomic_load(&inside.tid) && waits_for_turn(inside.tid));
        CHECK_EQ(pthread_kill(inside.second, SIGUSR1), 0);
        test_wait_until(script.stops > 0);
        poll(NULL, 0, 20); /* what must not happen has time to */
        CHECK(!atomic_load(&inside.freed));
        atomic_store(&inside.release, 1);
    }
}

TEST(a_pool_is_not_freed_under_who_waits_for_his_turn)
{
    struct sigaction action = {.sa_handler = stay};

    CHECK_EQ(sigaction(SIGUSR1, &action, NULL), 0);
    inside.pool = pool_with_window(MOST);
    script.looks = 0;
    test_threads(4, wait_or_free, NULL);
    CHECK(atomic_load(&inside.freed));
}
