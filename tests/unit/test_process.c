#include "test.h"

#include "os/clock.h"
#include "shm/member.h"
#include "task/process.h"
#include "waits.h"

#include <dirent.h>
#include <fcntl.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/syscall.h>

static int give_code(void *argument)
{
    return (int)(intptr_t)argument;
}

static int sleep_on(void *unused)
{
    (void)unused;
    while (pause() < 0)
        ;
    return 0;
}

static int run_alone(struct piu_process *p)
{
    int exitcode;

    CHECK_EQ(piu_process_start(p), 0);
    CHECK_EQ(piu_process_join(p, PIU_FOREVER), 0);
    CHECK_EQ(piu_process_exitcode(p, &exitcode), 0);
    return exitcode;
}

static void kill_and_close(struct piu_process *p)
{
    CHECK_EQ(piu_process_kill(p), 0);
    CHECK_EQ(piu_process_join(p, PIU_FOREVER), 0);
    CHECK_EQ(piu_process_close(p), 0);
}

/* ---- What it is for ------------------------------------------------------------------- */

TEST(the_exit_code_is_what_target_returned_modulo_256)
{
    struct piu_process p = {.target = give_code};

    for (int code = 0; code < 600; code += 85) {
        p.argument = (void *)(intptr_t)code;
        CHECK_EQ(run_alone(&p), code % 256);
        CHECK_EQ(piu_process_close(&p), 0);
    }
}

struct counter {
    struct piu_process process;
    int *shared;
};

static int counter_run(struct piu_process *self)
{
    struct counter *counter = piu_container_of(self, struct counter, process);

    CHECK(!self->child);
    CHECK_STR(self->name, "Count Dracula");
    *counter->shared = 5;
    return 7;
}

TEST(a_struct_with_a_run_of_its_own_finds_itself_in_the_child)
{
    struct counter counter = {
        .process = {.run = counter_run, .name = "Count Dracula"},
        .shared = piu_shared_new(1, sizeof(int)),
    };

    CHECK_EQ(run_alone(&counter.process), 7);
    CHECK_EQ(*counter.shared, 5);
    CHECK(counter.process.child);
}

static int print_a_line(void *unused)
{
    (void)unused;
    printf("from the child\n");
    return 0;
}

TEST(standard_output_is_flushed_before_the_fork_and_at_the_end)
{
    struct piu_process p = {.target = print_a_line};
    char text[64] = "";
    int ends[2], saved = dup(1);

    CHECK_EQ(pipe(ends), 0);
    fflush(stdout);
    setvbuf(stdout, NULL, _IOFBF, 4096);
    dup2(ends[1], 1);
    printf("before, ");
    run_alone(&p);
    fflush(stdout);
    dup2(saved, 1);
    CHECK(read(ends[0], text, sizeof(text) - 1) > 0);
    CHECK_STR(text, "before, from the child\n");
}

TEST(a_child_is_a_member_by_its_name_from_the_start)
{
    struct piu_process p = {.target = sleep_on, .name = "sleeper"};
    struct piu_process q = {.target = sleep_on};
    uint32_t cursor = 0;
    unsigned found = 0;
    uint64_t id;

    CHECK_EQ(piu_process_start(&p), 0);
    CHECK_EQ(piu_process_start(&q), 0);
    test_wait_until(
        (cursor = 0, member_next(&cursor), member_next(&cursor), member_next(&cursor)));
    cursor = 0;
    while ((id = member_next(&cursor))) {
        char name[NAME_SIZE];

        member_name(id, name);
        if (member_pid(id) == piu_process_pid(&p) && strcmp(name, "sleeper") == 0)
            found++;
        if (member_pid(id) == piu_process_pid(&q) && strcmp(name, "Process-1") == 0)
            found++;
    }
    CHECK_EQ(found, 2);
    kill_and_close(&p);
    kill_and_close(&q);
}

TEST(a_report_tells_how_it_ended)
{
    struct piu_process p = {.target = give_code, .argument = (void *)3, .name = "three"};
    struct piu_death death;

    CHECK_EQ(run_alone(&p), 3);
    CHECK_EQ(piu_process_report(&p, &death), 0);
    CHECK_STR(death.name, "three");
    CHECK_EQ(death.pid, piu_process_pid(&p));
    CHECK_EQ(death.exitcode, 3);
    CHECK(death.left);
    CHECK(!death.oom);
    CHECK(death.peak_memory > 4096);
    CHECK(death.cpu_time >= 0);
}

TEST(a_killed_child_died_and_one_that_called_exit_left)
{
    struct piu_process p = {.target = sleep_on};
    struct piu_death death;

    CHECK_EQ(piu_process_start(&p), 0);
    CHECK_EQ(piu_process_kill(&p), 0);
    CHECK_EQ(piu_process_join(&p, PIU_FOREVER), 0);
    CHECK_EQ(piu_process_report(&p, &death), 0);
    CHECK_EQ(death.exitcode, -SIGKILL);
    CHECK(!death.left);
    CHECK(!death.oom);
}

static int call_exit(void *how)
{
    if (how)
        _exit(9);
    exit(8);
}

TEST(exit_in_run_is_leaving_and_underscore_exit_is_dying)
{
    struct piu_process p = {.target = call_exit},
                       q = {.target = call_exit, .argument = &p};
    struct piu_death death;

    CHECK_EQ(run_alone(&p), 8);
    CHECK_EQ(piu_process_report(&p, &death), 0);
    CHECK(death.left);
    CHECK_EQ(run_alone(&q), 9);
    CHECK_EQ(piu_process_report(&q, &death), 0);
    CHECK(!death.left);
}

static int call_abort(void *unused)
{
    (void)unused;
    signal(SIGABRT, SIG_DFL);
    abort();
}

TEST(a_signal_is_a_negative_exit_code)
{
    struct piu_process p = {.target = call_abort};
    struct piu_process q = {.target = sleep_on};
    int exitcode;

    CHECK_EQ(run_alone(&p), -SIGABRT);
    CHECK_EQ(piu_process_start(&q), 0);
    CHECK_EQ(piu_process_terminate(&q), 0);
    CHECK_EQ(piu_process_join(&q, PIU_FOREVER), 0);
    CHECK_EQ(piu_process_exitcode(&q, &exitcode), 0);
    CHECK_EQ(exitcode, -SIGTERM);
}

TEST(the_sentinel_is_readable_at_the_end_and_not_before)
{
    struct piu_process p = {.target = sleep_on};
    struct pollfd entry = {.events = POLLIN};

    CHECK_EQ(piu_process_start(&p), 0);
    entry.fd = piu_process_sentinel(&p);
    CHECK(entry.fd >= 0);
    CHECK_EQ(poll(&entry, 1, 0), 0);
    CHECK_EQ(piu_process_kill(&p), 0);
    CHECK_EQ(poll(&entry, 1, -1), 1);
    CHECK(!piu_process_is_alive(&p));
    CHECK_EQ(poll(&entry, 1, 0), 1);
}

/* ---- States ---------------------------------------------------------------------------- */

TEST(join_takes_its_timeout_and_no_more)
{
    struct piu_process p = {.target = sleep_on};

    CHECK_EQ(piu_process_start(&p), 0);
    CHECK_EQ(piu_process_join(&p, PIU_NOW), -ETIMEDOUT);
    CHECK_EQ(piu_process_join(&p, INT64_MIN), -ETIMEDOUT);
    check_times_out(piu_process_join(&p, PIU_MSEC(5)), PIU_MSEC(5));
    CHECK(piu_process_is_alive(&p));
    kill_and_close(&p);
}

TEST(what_is_not_started_is_told)
{
    struct piu_process p = {.target = give_code};
    struct piu_death death;
    int exitcode = 77;

    CHECK_EQ(piu_process_join(&p, PIU_FOREVER), -ESRCH);
    CHECK_EQ(piu_process_exitcode(&p, &exitcode), -ESRCH);
    CHECK_EQ(piu_process_sentinel(&p), -ESRCH);
    CHECK_EQ(piu_process_terminate(&p), -ESRCH);
    CHECK_EQ(piu_process_kill(&p), -ESRCH);
    CHECK_EQ(piu_process_close(&p), -ESRCH);
    CHECK_EQ(piu_process_report(&p, &death), -ESRCH);
    CHECK(!piu_process_is_alive(&p));
    CHECK_EQ(piu_process_pid(&p), 0);
    CHECK_EQ(exitcode, 77);
}

TEST(what_makes_no_sense_is_told)
{
    struct piu_process empty = {0}, p = {.target = give_code};
    struct piu_start_keywords keywords = {.struct_size = sizeof(keywords)};
    int exitcode;

    CHECK_EQ(piu_process_start(&empty), -EINVAL);
    CHECK_EQ(piu_process_begin(NULL, &keywords), -EINVAL);
    CHECK_EQ(piu_process_begin(&p, NULL), -EINVAL);
    CHECK_EQ(piu_process_start(&p, .how = 17), -EINVAL);
    CHECK_EQ(piu_process_start(&p, .how = PIU_EXEC), -EINVAL);
    CHECK_EQ(piu_process_join(NULL, 0), -EINVAL);
    CHECK_EQ(piu_process_exitcode(NULL, &exitcode), -EINVAL);
    CHECK(!piu_process_is_alive(NULL));
    CHECK_EQ(piu_process_pid(NULL), 0);
    CHECK(!p.child);
    CHECK_EQ(piu_process_start(&p), 0);
    CHECK_EQ(piu_process_join(&p, PIU_FOREVER), 0);
    CHECK_EQ(piu_process_exitcode(&p, NULL), -EINVAL);
    CHECK_EQ(piu_process_report(&p, NULL), -EINVAL);
}

TEST(options_of_a_newer_header_are_refused_and_of_an_older_one_are_zero)
{
    struct {
        struct piu_start_keywords known;
        long unknown;
    } newer = {.known.struct_size = sizeof(newer)};
    struct piu_process p = {.target = give_code};
    size_t older = sizeof(older);

    newer.unknown = 1;
    CHECK_EQ(piu_process_begin(&p, &newer.known), -EINVAL);
    newer.unknown = 0;
    CHECK_EQ(piu_process_begin(&p, &newer.known), 0);
    CHECK_EQ(piu_process_join(&p, PIU_FOREVER), 0);
    CHECK_EQ(piu_process_close(&p), 0);
    CHECK_EQ(piu_process_begin(&p, (void *)&older), 0);
    CHECK_EQ(piu_process_join(&p, PIU_FOREVER), 0);
}

TEST(a_double_start_and_a_close_while_alive_are_refused)
{
    struct piu_process p = {.target = sleep_on};
    int exitcode = 77;

    CHECK_EQ(piu_process_start(&p), 0);
    CHECK_EQ(piu_process_start(&p), -EBUSY);
    CHECK_EQ(piu_process_close(&p), -EBUSY);
    CHECK_EQ(piu_process_exitcode(&p, &exitcode), -EBUSY);
    CHECK_EQ(exitcode, 77);
    CHECK_EQ(piu_process_kill(&p), 0);
    CHECK_EQ(piu_process_join(&p, PIU_FOREVER), 0);
    CHECK_EQ(piu_process_start(&p), -EBUSY);
    CHECK_EQ(piu_process_kill(&p), -ESRCH);
    CHECK_EQ(piu_process_terminate(&p), -ESRCH);
    CHECK_EQ(piu_process_close(&p), 0);
    CHECK_EQ(piu_process_close(&p), -ESRCH);
}

TEST(start_works_again_after_close)
{
    struct piu_process p = {.target = give_code, .argument = (void *)4};

    for (int i = 0; i < 3; i++) {
        CHECK_EQ(run_alone(&p), 4);
        CHECK_EQ(piu_process_close(&p), 0);
    }
}

static int join_oneself(struct piu_process *self)
{
    int exitcode;

    CHECK_EQ(piu_process_join(self, PIU_FOREVER), -EDEADLK);
    CHECK_EQ(piu_process_start(self), -EBUSY);
    CHECK_EQ(piu_process_kill(self), -ECHILD);
    CHECK_EQ(piu_process_close(self), -ECHILD);
    CHECK_EQ(piu_process_exitcode(self, &exitcode), -ECHILD);
    CHECK(piu_process_is_alive(self));
    CHECK_EQ(piu_process_pid(self), getpid());
    CHECK_EQ(in_child({ CHECK_EQ(piu_process_join(self, PIU_FOREVER), -ECHILD); }), 0);
    return 6;
}

TEST(a_child_cannot_join_itself)
{
    struct piu_process p = {.run = join_oneself};
    struct piu_process *shared = piu_shared_new(1, sizeof(*shared));

    CHECK_EQ(run_alone(&p), 6);
    shared->run = join_oneself;
    CHECK_EQ(run_alone(shared), 6);
    CHECK_EQ(piu_process_close(shared), 0);
}

TEST(children_are_their_starters_alone)
{
    struct piu_process p = {.target = sleep_on};
    struct piu_process *shared = piu_shared_new(1, sizeof(*shared));
    int status;

    shared->target = sleep_on;
    CHECK_EQ(piu_process_start(&p), 0);
    CHECK_EQ(piu_process_start(shared), 0);
    status = in_child({
        CHECK_EQ(piu_process_join(&p, PIU_FOREVER), -ECHILD);
        CHECK_EQ(piu_process_kill(shared), -ECHILD);
        CHECK_EQ(piu_process_close(shared), -ECHILD);
        CHECK_EQ(piu_process_start(shared), -EBUSY);
        CHECK(!piu_process_is_alive(shared));
        CHECK_EQ(piu_process_pid(shared), piu_process_pid(shared));
    });
    CHECK_EQ(status, 0);
    CHECK(piu_process_is_alive(&p));
    kill_and_close(&p);
    kill_and_close(shared);
}

TEST(a_process_in_shared_memory_can_be_started_again_when_its_starter_is_dead)
{
    struct piu_process *shared = piu_shared_new(1, sizeof(*shared));

    shared->target = give_code;
    shared->argument = (void *)5;
    in_child_killed({ CHECK_EQ(piu_process_start(shared), 0); });
    CHECK(shared->child);
    CHECK_EQ(piu_process_join(shared, PIU_FOREVER), -ECHILD);
    CHECK_EQ(run_alone(shared), 5);
    CHECK_EQ(piu_process_close(shared), 0);
}

static int start_another(void *code)
{
    struct piu_process p = {.target = give_code, .argument = code};

    return run_alone(&p);
}

TEST(children_have_children)
{
    struct piu_process p = {.target = start_another, .argument = (void *)11};

    CHECK_EQ(run_alone(&p), 11);
}

static void join_thread(int i, void *process)
{
    (void)i;
    CHECK_EQ(piu_process_join(process, PIU_FOREVER), 0);
}

TEST(many_threads_join_one_child)
{
    struct piu_process p = {.target = sleep_on};
    struct piu_death death;

    for (int i = 0; i < 20; i++) {
        pid_t killer;

        CHECK_EQ(piu_process_start(&p), 0);
        killer = child_start({ kill(piu_process_pid(&p), SIGTERM); });
        test_threads(4, join_thread, &p);
        CHECK_EQ(piu_process_report(&p, &death), 0);
        CHECK_EQ(death.exitcode, -SIGTERM);
        CHECK_EQ(child_wait(killer), 0);
        CHECK_EQ(piu_process_close(&p), 0);
    }
}

static void start_thread(int i, void *unused)
{
    struct piu_process p = {.target = give_code, .argument = (void *)(intptr_t)i};

    (void)unused;
    for (int n = 0; n < 20; n++) {
        CHECK_EQ(run_alone(&p), i);
        CHECK_EQ(piu_process_close(&p), 0);
    }
}

TEST(threads_start_children_at_once)
{
    test_threads(8, start_thread, NULL);
}

/* ---- Signals and other people's waits ------------------------------------------------------ */

TEST(a_signal_handler_ends_a_join)
{
    struct piu_process p = {.target = sleep_on, .daemon = true};

    check_interrupted(({
        CHECK(p.child || piu_process_start(&p) == 0);
        piu_process_join(&p, PIU_FOREVER);
    }));
}

TEST(a_child_that_somebody_else_reaped_still_tells_its_exit_code)
{
    struct piu_process p = {.target = give_code, .argument = (void *)21};
    struct piu_death death;

    CHECK_EQ(piu_process_start(&p), 0);
    CHECK_EQ(child_wait(piu_process_pid(&p)), 21 << 8);
    CHECK_EQ(piu_process_join(&p, PIU_FOREVER), 0);
    CHECK_EQ(piu_process_report(&p, &death), 0);
    CHECK_EQ(death.exitcode, 21);
    CHECK(death.left);
    CHECK_EQ(death.peak_memory, 0);
    CHECK_EQ(death.cpu_time, -1);
}

TEST(with_sigchld_ignored_the_exit_code_is_known)
{
    struct piu_process p = {.target = give_code, .argument = (void *)22};
    struct piu_process q = {.target = call_exit};

    signal(SIGCHLD, SIG_IGN);
    for (int i = 0; i < 50; i++) {
        CHECK_EQ(run_alone(&p), 22);
        CHECK(piu_process_sentinel(&p) >= 0);
        CHECK_EQ(piu_process_close(&p), 0);
    }
    CHECK_EQ(run_alone(&q), 8);
}

/* On older kernels nobody tells but the child itself. */
TEST(the_childs_own_record_has_the_exit_code_too)
{
    struct piu_process p = {.target = give_code, .argument = (void *)23};
    struct piu_process q = {.target = call_exit}, r = {.target = sleep_on};

    setenv("PIU_NO_PIDFS", "1", 1);
    signal(SIGCHLD, SIG_IGN);
    CHECK_EQ(run_alone(&p), 23);
    CHECK_EQ(run_alone(&q), 8);
    CHECK_EQ(piu_process_start(&r), 0);
    CHECK_EQ(piu_process_kill(&r), 0);
    CHECK_EQ(piu_process_join(&r, PIU_FOREVER), 0);
}

TEST(a_child_that_was_reaped_before_we_looked_has_ended)
{
    struct child c;
    int witness;
    pid_t pid;

    CHECK_EQ(child_prepare(&c, "brief", &witness), 0);
    pid = test_fork();
    if (pid == 0)
        _exit(3);
    child_wait(pid);
    CHECK_EQ(child_watch(&c, pid), 0);
    CHECK_EQ(c.pidfd, -1);
    CHECK_EQ(child_join(&c, PIU_NOW), 0);
    CHECK_EQ(c.death.exitcode, 255);
    CHECK(!c.death.left); /* nobody knows that it did */
    child_done(&c);
}

/* The kernel before 6.15 forgets it with the reaping, and the child has not come to write. */
TEST(one_killed_before_it_joined_and_reaped_by_others_has_not_left)
{
    struct child c;
    int witness;
    pid_t pid;

    setenv("PIU_NO_PIDFS", "1", 1);
    CHECK_EQ(child_prepare(&c, "brief", &witness), 0);
    pid = child_start({ pause(); });
    CHECK_EQ(child_watch(&c, pid), 0);
    CHECK(c.pidfd >= 0);
    kill_and_reap(pid);
    CHECK_EQ(child_join(&c, PIU_FOREVER), 0);
    CHECK_EQ(c.death.exitcode, 255);
    CHECK(!c.death.left);
    child_done(&c);
}

TEST(its_sentinel_is_readable)
{
    struct piu_process p = {.target = give_code};
    struct pollfd entry = {.events = POLLIN};

    run_alone(&p);
    close(p.child->child.pidfd);
    p.child->child.pidfd = -1;
    entry.fd = piu_process_sentinel(&p);
    CHECK(entry.fd >= 0);
    CHECK_EQ(piu_process_sentinel(&p), entry.fd);
    CHECK_EQ(poll(&entry, 1, 0), 1);
    CHECK_EQ(piu_process_close(&p), 0);
    CHECK_EQ(fcntl(entry.fd, F_GETFD), -1);
}

TEST(a_child_that_a_tracer_holds_back_is_joined_when_it_lets_go)
{
    struct piu_process p = {.target = sleep_on};
    struct notes *notes = test_shared(sizeof(*notes));
    pid_t tracer;

    CHECK_EQ(piu_process_start(&p), 0);
    tracer = child_start({
        if (ptrace(PTRACE_SEIZE, piu_process_pid(&p), NULL, NULL) < 0)
            notes->result[0] = errno;
        notes->about_to_wait = 1;
        test_wait_until(notes->done[0]);
        _exit(0);
    });
    test_wait_until(notes->about_to_wait);
    CHECK_EQ(piu_process_kill(&p), 0);
    if (notes->result[0] == 0)
        CHECK_EQ(piu_process_join(&p, PIU_MSEC(20)), -ETIMEDOUT);
    notes->done[0] = 1;
    CHECK_EQ(piu_process_join(&p, PIU_FOREVER), 0);
    CHECK_EQ(child_wait(tracer), 0);
}

/* ---- The starter's end ------------------------------------------------------------------------ */

static _Atomic int *cell;

static int write_late(void *unused)
{
    (void)unused;
    test_wait_until(*cell == 1);
    *cell = 2;
    return 0;
}

TEST(a_child_is_joined_when_its_starter_exits)
{
    int status;

    cell = piu_shared_new(1, sizeof(*cell));
    status = in_child({
        static struct piu_process p = {.target = write_late};

        CHECK_EQ(piu_process_start(&p), 0);
        *cell = 1;
    });
    CHECK_EQ(status, 0);
    CHECK_EQ(*cell, 2);
}

TEST(a_daemon_child_is_ended_when_its_starter_exits)
{
    _Atomic pid_t *pid = piu_shared_new(1, sizeof(*pid));
    int status = in_child({
        static struct piu_process p = {.target = sleep_on, .daemon = true};

        CHECK_EQ(piu_process_start(&p), 0);
        *pid = piu_process_pid(&p);
    });

    CHECK_EQ(status, 0);
    CHECK(kill(*pid, 0) < 0); /* joined, so there is not even a zombie */
}

static int ignore_sigterm(void *unused)
{
    signal(SIGTERM, SIG_IGN);
    *cell = 1;
    return sleep_on(unused);
}

TEST(a_daemon_child_that_ignores_sigterm_is_ended_too)
{
    int status;

    cell = piu_shared_new(1, sizeof(*cell));
    status = in_child({
        static struct piu_process p = {.target = ignore_sigterm, .daemon = true};

        CHECK_EQ(piu_process_start(&p), 0);
        test_wait_until(*cell == 1);
    });
    CHECK_EQ(status, 0);
}

TEST(an_exit_of_a_child_does_not_wait_for_its_siblings)
{
    struct piu_process p = {.target = sleep_on}, q = {.target = call_exit};

    CHECK_EQ(piu_process_start(&p), 0);
    CHECK_EQ(run_alone(&q), 8);
    kill_and_close(&p);
}

static int be_busy(void *unused)
{
    (void)unused;
    signal(SIGTERM, SIG_IGN);
    while (++*cell)
        ;
    return 0;
}

#define FAMILY 4

/* Their pids, and pidfds that are opened while they certainly live. */
struct orphans {
    _Atomic int ready;
    pid_t pid[FAMILY];
};

static void start_daemons_and_wait(struct orphans *orphans)
{
    static struct piu_process p[FAMILY];

    for (int i = 0; i < FAMILY; i++) {
        p[i] = (struct piu_process){.target = i % 2 ? be_busy : sleep_on, .daemon = true};
        CHECK_EQ(piu_process_start(&p[i]), 0);
        orphans->pid[i] = piu_process_pid(&p[i]);
    }
    orphans->ready = 1;
    pause();
}

TEST(no_daemon_child_outlives_its_killed_starter_100_of_100, .limit = 120)
{
    cell = piu_shared_new(1, sizeof(*cell));
    for (int round = 0; round < 100; round++) {
        struct orphans *orphans = test_shared(sizeof(*orphans));
        struct pollfd entries[FAMILY];
        pid_t starter = child_start({ start_daemons_and_wait(orphans); });
        int64_t killed;

        test_wait_until(orphans->ready);
        for (int i = 0; i < FAMILY; i++)
            entries[i] = (struct pollfd){
                .fd = (int)syscall(SYS_pidfd_open, orphans->pid[i], 0), .events = POLLIN};
        killed = nanoseconds();
        kill_and_reap(starter);
        for (int i = 0; i < FAMILY; i++) {
            int left = (int)(2000 - (nanoseconds() - killed) / 1000000);

            CHECK_EQ(poll(&entries[i], 1, left > 0 ? left : 0), 1);
            close(entries[i].fd);
        }
    }
}

static int wait_for_own_daemon(void *pid)
{
    struct piu_process p = {.target = sleep_on, .daemon = true};

    CHECK_EQ(piu_process_start(&p), 0);
    *(_Atomic pid_t *)pid = piu_process_pid(&p);
    return sleep_on(NULL);
}

TEST(daemons_of_daemons_end_with_the_first_starter)
{
    _Atomic pid_t *pid = piu_shared_new(1, sizeof(*pid));
    pid_t starter = child_start({
        struct piu_process p = {
            .target = wait_for_own_daemon, .argument = (void *)pid, .daemon = true};

        CHECK_EQ(piu_process_start(&p), 0);
        pause();
    });
    struct pollfd entry = {.events = POLLIN};

    test_wait_until(*pid);
    entry.fd = (int)syscall(SYS_pidfd_open, *pid, 0);
    kill_and_reap(starter);
    CHECK_EQ(poll(&entry, 1, 2000), 1);
}

TEST(a_child_of_a_plain_fork_does_not_keep_its_grandparents_daemons_alive)
{
    struct orphans *orphans = test_shared(sizeof(*orphans));
    _Atomic pid_t *stray = test_shared(sizeof(*stray));
    struct pollfd entry = {.events = POLLIN};
    pid_t starter = child_start({
        struct piu_process p = {.target = sleep_on, .daemon = true};

        CHECK_EQ(piu_process_start(&p), 0);
        *stray = child_start({ pause(); });
        orphans->pid[0] = piu_process_pid(&p);
        orphans->ready = 1;
        pause();
    });

    test_wait_until(orphans->ready);
    entry.fd = (int)syscall(SYS_pidfd_open, orphans->pid[0], 0);
    kill_and_reap(starter);
    CHECK_EQ(poll(&entry, 1, 2000), 1);
    CHECK_EQ(kill(*stray, SIGKILL), 0);
}

/* ---- Out of something ------------------------------------------------------------------------- */

static void limit(int what, rlim_t value)
{
    struct rlimit r;

    CHECK_EQ(getrlimit(what, &r), 0);
    r.rlim_cur = value;
    CHECK_EQ(setrlimit(what, &r), 0);
}

TEST(out_of_processes_is_an_error_and_nothing_is_left)
{
    int status = in_child({
        struct piu_process p = {.target = give_code};
        uint64_t who;

        CHECK_EQ(member_who(&who), 0);
        if (geteuid() == 0)
            CHECK_EQ(setuid(65534), 0);
        limit(RLIMIT_NPROC, 0);
        for (int i = 0; i < 500; i++)
            CHECK_EQ(piu_process_start(&p), -EAGAIN);
        CHECK(!p.child);
        limit(RLIMIT_NPROC, 1000);
        CHECK_EQ(run_alone(&p), 0);
    });

    CHECK_EQ(status, 0);
}

/* So many numbers are free, wherever those that are not may lie. */
static void leave_descriptors(unsigned many)
{
    int end = 0;

    limit(RLIMIT_NOFILE, 256);
    while (fcntl(end, F_GETFD) >= 0 || many-- > 0)
        end++;
    limit(RLIMIT_NOFILE, (rlim_t)end);
}

TEST(out_of_descriptors_is_an_error_before_the_child_runs)
{
    struct piu_process p = {.target = give_code},
                       daemon = {.target = give_code, .daemon = true};
    uint64_t who;

    CHECK_EQ(member_who(&who), 0);
    leave_descriptors(0);
    CHECK_EQ(piu_process_start(&p), -EMFILE);
    CHECK_EQ(piu_process_start(&daemon), -EMFILE);
    CHECK(!p.child && !daemon.child);
    leave_descriptors(1);
    CHECK_EQ(run_alone(&p), 0);
    CHECK_EQ(piu_process_start(&daemon), -EMFILE);
    CHECK_EQ(piu_process_close(&p), 0);
    leave_descriptors(4);
    CHECK_EQ(run_alone(&daemon), 0);
    limit(RLIMIT_NOFILE, 256); /* sanitizers want some at the end */
}

struct late {
    struct piu_lock lock;
    _Atomic bool begun, armed;
};

static struct late *late;

/* Between the fork and the look for a pidfd: as if other threads took all descriptors just then. */
static void lose_descriptors(void)
{
    if (!late || !atomic_exchange(&late->armed, false))
        return;
    test_wait_until(late->begun);
    limit(RLIMIT_NOFILE, 0);
}

static int hold_and_stay(void *unused)
{
    (void)unused;
    CHECK_EQ(piu_lock_acquire(&late->lock, PIU_FOREVER), 0);
    late->begun = true;
    return sleep_on(NULL);
}

TEST(a_child_that_could_not_be_watched_is_killed_and_what_it_held_passes_on)
{
    struct piu_process p = {.target = hold_and_stay};

    late = piu_shared_new(1, sizeof(*late));
    CHECK(late);
    CHECK_EQ(pthread_atfork(NULL, lose_descriptors, NULL), 0);
    late->armed = true;
    CHECK_EQ(piu_process_start(&p), -EMFILE);
    limit(RLIMIT_NOFILE, 256);
    CHECK(!p.child);
    CHECK(waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD);
    CHECK_EQ(piu_lock_acquire(&late->lock, PIU_NOW), PIU_OWNER_DIED);
    CHECK_EQ(piu_lock_release(&late->lock), 0);
    p.target = give_code;
    CHECK_EQ(run_alone(&p), 0);
}

/* Two threads start a child each, and the second's is there before the first's is forked. */
struct overtaken {
    struct piu_lock lock;
    _Atomic bool first_forks, second_runs, held;
};

static struct overtaken *overtaken;
static _Thread_local bool is_overtaken;

static void be_overtaken(void)
{
    if (!is_overtaken)
        return;
    overtaken->first_forks = true;
    test_wait_until(overtaken->second_runs);
}

static int hold_and_exec(void *unused)
{
    (void)unused;
    CHECK_EQ(piu_lock_acquire(&overtaken->lock, PIU_FOREVER), 0);
    overtaken->held = true;
    execlp("sleep", "sleep", "1000", (char *)NULL);
    return 1;
}

static void start_overtaken(int i, void *both)
{
    struct piu_process *p = (struct piu_process *)both + i;

    is_overtaken = i == 0;
    test_wait_until(i == 0 || overtaken->first_forks);
    CHECK_EQ(piu_process_start(p, .how = PIU_FORK), 0);
    if (i == 1)
        overtaken->second_runs = true;
}

TEST(a_child_that_execs_is_noticed_though_another_thread_forked_while_it_was_started)
{
    struct piu_process both[] = {{.target = hold_and_exec}, {.target = sleep_on}};

    if (!forks_overtake())
        SKIP("forks of this C library wait for each other");
    overtaken = piu_shared_new(1, sizeof(*overtaken));
    CHECK(overtaken);
    CHECK_EQ(pthread_atfork(be_overtaken, NULL, NULL), 0);
    test_threads(2, start_overtaken, both);
    test_wait_until(overtaken->held);
    CHECK_EQ(piu_lock_acquire(&overtaken->lock, PIU_SEC(5)), PIU_OWNER_DIED);
    CHECK_EQ(piu_lock_release(&overtaken->lock), 0);
    kill_and_close(&both[0]);
    kill_and_close(&both[1]);
}

static int count_pipes(void *unused)
{
    DIR *dir = opendir("/proc/self/fd");
    int count = 0;

    (void)unused;
    for (const struct dirent *entry; (entry = readdir(dir));) {
        char target[64] = "";

        if (readlinkat(dirfd(dir), entry->d_name, target, sizeof(target) - 1) > 0)
            count += strncmp(target, "pipe:", 5) == 0;
    }
    closedir(dir);
    return count;
}

TEST(a_child_has_nothing_of_the_life_pipe_though_another_thread_was_starting_a_daemon)
{
    struct piu_process first = {.target = count_pipes};
    struct piu_process both[] = {{.target = sleep_on, .daemon = true},
                                 {.target = count_pipes}};
    int pipes = run_alone(&first), found;

    if (!forks_overtake())
        SKIP("forks of this C library wait for each other");
    overtaken = piu_shared_new(1, sizeof(*overtaken));
    CHECK(overtaken);
    CHECK_EQ(pthread_atfork(be_overtaken, NULL, NULL), 0);
    test_threads(2, start_overtaken, both);
    CHECK_EQ(piu_process_join(&both[1], PIU_FOREVER), 0);
    CHECK_EQ(piu_process_exitcode(&both[1], &found), 0);
    CHECK_EQ(found, pipes);
    kill_and_close(&both[0]);
}

TEST(thousands_of_starts_use_the_slots_again)
{
    struct piu_process p = {.target = give_code};

    for (int i = 0; i < 2000; i++) {
        CHECK_EQ(run_alone(&p), 0);
        CHECK_EQ(piu_process_close(&p), 0);
    }
    CHECK(arena_header()->members_committed <= 300);
}
