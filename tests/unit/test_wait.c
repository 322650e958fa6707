/* piu_wait_any: processes, queues and events together. */
#include "test.h"

#include "os/futex.h"
#include "shm/member.h"
#include "waits.h"

static int sleep_on(void *unused)
{
    (void)unused;
    while (pause() < 0)
        ;
    return 0;
}

static int give_code(void *argument)
{
    return (int)(intptr_t)argument;
}

/* One of each, none of them ready. */
struct things {
    struct piu_process process;
    struct piu_event *event;
    struct piu_queue *queue;
    struct piu_waitable list[3];
};

static void things_new(struct things *t)
{
    *t = (struct things){0};
    t->process = (struct piu_process){.target = sleep_on, .daemon = true};
    t->event = piu_shared_new(1, sizeof(*t->event));
    t->queue = piu_queue_new();
    CHECK(t->event && t->queue);
    CHECK_EQ(piu_process_start(&t->process), 0);
    t->list[0].process = &t->process;
    t->list[1].queue = t->queue;
    t->list[2].event = t->event;
}

static void check_ready(const struct things *t, bool process, bool queue, bool event)
{
    CHECK_EQ(t->list[0].ready, process);
    CHECK_EQ(t->list[1].ready, queue);
    CHECK_EQ(t->list[2].ready, event);
}

TEST(nothing_is_ready_and_time_runs_out)
{
    struct things t;

    things_new(&t);
    CHECK_EQ(piu_wait_any(t.list, 3, PIU_NOW), -ETIMEDOUT);
    CHECK_EQ(piu_wait_any(t.list, 3, -1), -ETIMEDOUT);
    for (size_t i = 0; i < 3; i++)
        check_times_out(piu_wait_any(&t.list[i], 1, PIU_MSEC(30)), PIU_MSEC(30));
    check_times_out(piu_wait_any(t.list, 3, PIU_MSEC(130)), PIU_MSEC(130));
    check_times_out(piu_wait_any(&t.list[1], 2, PIU_MSEC(300)), PIU_MSEC(300));
    check_ready(&t, false, false, false);
}

TEST(what_is_ready_is_told_at_once_and_all_of_it)
{
    struct things t;

    things_new(&t);
    CHECK_EQ(piu_event_set(t.event), 0);
    CHECK_EQ(piu_wait_any(t.list, 3, PIU_NOW), 0);
    check_ready(&t, false, false, true);
    CHECK_EQ(piu_queue_put(t.queue, "x", 1, PIU_NOW), 0);
    CHECK_EQ(piu_process_kill(&t.process), 0);
    CHECK_EQ(piu_process_join(&t.process, PIU_FOREVER), 0);
    CHECK_EQ(piu_wait_any(t.list, 3, PIU_FOREVER), 0);
    check_ready(&t, true, true, true);
    CHECK_EQ(piu_event_clear(t.event), 0);
    CHECK_EQ(piu_wait_any(t.list, 3, PIU_FOREVER), 0);
    check_ready(&t, true, true, false);
}

/* `act` while the other sleeps for each of the ways in turn; 1 s is far more than it takes. */
#define check_woken(act, process, queue, event)                \
    do {                                                       \
        struct notes *notes = test_shared(sizeof(*notes));     \
        int status = in_child({                                \
            struct things t;                                   \
            pid_t waker;                                       \
            pid_t me = getpid();                               \
                                                               \
            things_new(&t);                                    \
            waker = child_start({                              \
                wait_asleep(me, notes, 1);                     \
                act;                                           \
                _exit(0);                                      \
            });                                                \
            notes->about_to_wait = 1;                          \
            CHECK_EQ(piu_wait_any(t.list, 3, PIU_SEC(10)), 0); \
            check_ready(&t, process, queue, event);            \
            CHECK_EQ(child_wait(waker), 0);                    \
        });                                                    \
                                                               \
        CHECK_EQ(status, 0);                                   \
    } while (0)

static void check_all_wakes(void)
{
    for (int i = 0; i < 20; i++) {
        check_woken(piu_event_set(t.event), false, false, true);
        check_woken(piu_queue_put(t.queue, "x", 1, PIU_NOW), false, true, false);
        check_woken(piu_queue_shutdown(t.queue), false, true, false);
        check_woken(kill(piu_process_pid(&t.process), SIGKILL), true, false, false);
    }
}

TEST(a_sleeper_is_woken_by_any_of_them)
{
    check_all_wakes();
}

TEST(also_where_the_kernel_watches_one_word_only)
{
    setenv("PIU_NO_WAITV", "1", 1);
    check_all_wakes();
    CHECK(!futex_has_wait_any());
}

TEST(many_processes_are_waited_for_one_after_the_other)
{
    enum { COUNT = 80 }; /* more than one futex call watches */
    static struct piu_process p[COUNT];
    static struct piu_waitable list[COUNT + 1];
    struct piu_event *event = piu_shared_new(1, sizeof(*event));
    size_t left = COUNT;

    for (size_t i = 0; i < COUNT; i++) {
        p[i] = (struct piu_process){.target = give_code, .argument = (void *)(i % 7)};
        CHECK_EQ(piu_process_start(&p[i]), 0);
        list[i].process = &p[i];
    }
    list[COUNT].event = event;
    for (int mixed = 1; left > 0; mixed = !mixed) {
        if (mixed)
            list[left].process = NULL, list[left].event = event;
        CHECK_EQ(piu_wait_any(list, left + (size_t)mixed, PIU_SEC(10)), 0);
        for (size_t i = 0; i < left; i++) {
            if (!list[i].ready)
                continue;
            CHECK_EQ(piu_process_close(list[i].process), 0);
            list[i--] = list[--left];
        }
    }
}

TEST(the_end_of_a_program_that_is_no_member_is_seen)
{
    struct piu_process p = {.daemon = true};
    const char *argv[] = {"sleep", "0.05", NULL};
    struct piu_event *event = piu_shared_new(1, sizeof(*event));
    struct piu_waitable list[2] = {{.process = &p}, {.event = event}};

    CHECK_EQ(piu_process_start(&p, .how = PIU_EXEC, .argv = argv), 0);
    CHECK_EQ(piu_wait_any(list, 2, PIU_SEC(10)), 0);
    CHECK(list[0].ready && !list[1].ready);
}

TEST(the_end_of_a_zygotes_child_is_seen)
{
    struct piu_process *p = piu_shared_new(1, sizeof(*p));
    struct piu_event *event = piu_shared_new(1, sizeof(*event));
    struct piu_waitable list[2] = {{.process = p}, {.event = event}};

    CHECK_EQ(piu_init(.zygote = true), 0);
    p->target = give_code;
    for (size_t count = 1; count <= 2; count++) {
        CHECK_EQ(piu_process_start(p, .how = PIU_ZYGOTE), 0);
        CHECK_EQ(piu_wait_any(list, count, PIU_SEC(10)), 0);
        CHECK(list[0].ready && !list[1].ready);
        CHECK_EQ(piu_process_close(p), 0);
    }
}

/* How often it has gone to sleep so far. */
static long sleeps_of(pid_t pid)
{
    char path[64], line[128];
    long count = -1;
    FILE *file;

    snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
    file = fopen(path, "re");
    while (file && count < 0 && fgets(line, sizeof(line), file))
        sscanf(line, "voluntary_ctxt_switches: %ld", &count);
    if (file)
        fclose(file);
    return count;
}

/* The waiter has the time to ask many times whether it is alone: each sleep is one of 2 ms. */
static _Noreturn void let_go_on_when_it_has_slept(pid_t waiter, struct notes *notes)
{
    enum { SLEEPS = 200 };
    long before;

    test_wait_until(notes->about_to_wait);
    before = sleeps_of(waiter);
    test_wait_until(sleeps_of(waiter) >= before + SLEEPS);
    kill(notes->result[0], SIGCONT);
    _exit(0);
}

TEST(a_child_whose_zygote_is_stopped_is_waited_for_though_nobody_else_is_left)
{
    struct notes *notes = test_shared(sizeof(*notes));
    pid_t waiter = getpid();
    pid_t helper = test_fork(); /* before there is a family: no stray */
    struct piu_waitable list[2] = {0};
    struct piu_process *p;
    uint32_t cursor = 0;
    uint64_t zygote;

    if (helper == 0)
        let_go_on_when_it_has_slept(waiter, notes);
    list[0].process = p = piu_shared_new(1, sizeof(*p));
    list[1].event = piu_shared_new(1, sizeof(*list[1].event));
    CHECK(p && list[1].event);
    CHECK_EQ(piu_init(.zygote = true), 0);
    p->target = sleep_on;
    CHECK_EQ(piu_process_start(p, .how = PIU_ZYGOTE), 0);
    while ((zygote = member_next(&cursor)) == member_self_id() ||
           member_pid(zygote) == piu_process_pid(p))
        ;
    CHECK(zygote);
    notes->result[0] = member_pid(zygote);
    stop(member_pid(zygote));
    CHECK_EQ(piu_process_kill(p), 0);
    notes->about_to_wait = 1;
    CHECK_EQ(piu_wait_any(list, 2, PIU_FOREVER), 0);
    CHECK(list[0].ready && !list[1].ready);
    CHECK_EQ(child_wait(helper), 0);
}

TEST(waiting_for_any_takes_no_wakeup_from_those_who_get)
{
    enum { MESSAGES = 2000 };
    struct piu_queue *queue = piu_queue_new();
    struct notes *notes = test_shared(sizeof(*notes));
    pid_t getters[2], watcher;

    watcher = child_start({
        struct piu_waitable list = {.queue = queue};

        while (!notes->done[0])
            piu_wait_any(&list, 1, PIU_MSEC(10));
    });
    for (int i = 0; i < 2; i++)
        getters[i] = child_start({
            size_t size = sizeof(int);
            int message;

            while (piu_queue_get(queue, &message, &size, PIU_SEC(10)) >= 0)
                notes->count++;
        });
    for (int i = 0; i < MESSAGES; i++) {
        CHECK_EQ(piu_queue_put(queue, &i, sizeof(i), PIU_FOREVER), 0);
        if (i % 10 == 0)
            test_wait_until(notes->count == i + 1);
    }
    CHECK_EQ(piu_queue_shutdown(queue), 0);
    for (int i = 0; i < 2; i++)
        CHECK_EQ(child_wait(getters[i]), 0);
    CHECK_EQ(notes->count, MESSAGES);
    notes->done[0] = 1;
    CHECK_EQ(child_wait(watcher), 0);
}

TEST(a_signal_handler_ends_the_wait)
{
    struct piu_event *event = piu_shared_new(1, sizeof(*event));
    struct things t;

    things_new(&t);
    check_interrupted(({
        struct piu_waitable list = {.event = event};

        piu_wait_any(&list, 1, PIU_FOREVER);
    }));
    check_interrupted(({
        struct piu_process p = {.target = sleep_on, .daemon = true};
        struct piu_waitable list[2] = {{.process = &p}, {.event = event}};

        CHECK_EQ(piu_process_start(&p), 0);
        piu_wait_any(list, 2, PIU_FOREVER);
    }));
}

TEST(lists_that_make_no_sense_are_told)
{
    struct piu_process p = {.target = give_code};
    struct things t;
    struct piu_waitable none = {0};
    int private;

    things_new(&t);
    CHECK_EQ(piu_wait_any(NULL, 1, PIU_NOW), -EINVAL);
    CHECK_EQ(piu_wait_any(t.list, 0, PIU_NOW), -EINVAL);
    CHECK_EQ(piu_wait_any(&none, 1, PIU_NOW), -EINVAL);
    none.process = &t.process;
    none.event = t.event;
    CHECK_EQ(piu_wait_any(&none, 1, PIU_NOW), -EINVAL);
    none.event = NULL;
    none.process = &p;
    CHECK_EQ(piu_wait_any(&none, 1, PIU_NOW), -ESRCH);
    none.process = NULL;
    none.queue = (struct piu_queue *)(void *)&private;
    CHECK(piu_wait_any(&none, 1, PIU_NOW) < 0);
    CHECK_EQ(in_child({ CHECK_EQ(piu_wait_any(t.list, 3, PIU_NOW), -ECHILD); }), 0);
}
