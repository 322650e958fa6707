#include "test.h"

#include "shm/member.h"
#include "task/process.h"
#include "waits.h"

#include <poll.h>
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

static struct piu_process *process_new(int (*target)(void *), void *argument)
{
    struct piu_process *p = piu_shared_new(1, sizeof(*p));

    CHECK(p);
    p->target = target;
    p->argument = argument;
    return p;
}

static int run_alone(struct piu_process *p)
{
    int exitcode;

    CHECK_EQ(piu_process_start(p, .how = PIU_ZYGOTE), 0);
    CHECK_EQ(piu_process_join(p, PIU_FOREVER), 0);
    CHECK_EQ(piu_process_exitcode(p, &exitcode), 0);
    return exitcode;
}

static pid_t member_by_name(const char *wanted)
{
    uint32_t cursor = 0;
    uint64_t id;

    while ((id = member_next(&cursor))) {
        char name[NAME_SIZE];

        member_name(id, name);
        if (strcmp(name, wanted) == 0)
            return member_pid(id);
    }
    return 0;
}

static pid_t zygote_pid(void)
{
    test_wait_until(member_by_name("zygote"));
    return member_by_name("zygote");
}

static int parent_of(void *pid)
{
    *(_Atomic pid_t *)pid = getppid();
    return 9;
}

TEST(a_zygotes_child_runs_and_gives_its_exit_code)
{
    _Atomic pid_t *parent = piu_shared_new(1, sizeof(*parent));
    struct piu_process *p = process_new(parent_of, (void *)parent);
    struct piu_death death;

    CHECK_EQ(piu_init(.zygote = true), 0);
    CHECK_EQ(run_alone(p), 9);
    CHECK(*parent != getpid());
    CHECK_EQ(*parent, zygote_pid());
    CHECK_EQ(piu_process_report(p, &death), 0);
    CHECK(death.left);
    CHECK_STR(death.name, "Process-1");
    CHECK(death.peak_memory > 4096);
    CHECK(death.cpu_time >= 0);
    CHECK_EQ(piu_process_close(p), 0);
}

struct counter {
    struct piu_process process;
    int last;
};

static int counter_run(struct piu_process *self)
{
    struct counter *counter = piu_container_of(self, struct counter, process);

    CHECK_STR(self->name, "Count Dracula");
    CHECK_EQ(piu_process_join(self, PIU_FOREVER), -EDEADLK);
    CHECK_EQ(piu_process_pid(self), getpid());
    CHECK(piu_process_is_alive(self));
    counter->last = 5;
    return 7;
}

TEST(it_sees_the_struct_and_a_copy_of_a_private_name)
{
    struct counter *counter = piu_shared_new(1, sizeof(*counter));
    char name[] = "Count Dracula";

    CHECK_EQ(piu_init(.zygote = true), 0);
    counter->process.run = counter_run;
    counter->process.name = name;
    CHECK_EQ(run_alone(&counter->process), 7);
    CHECK_EQ(counter->last, 5);
    CHECK_EQ(piu_process_close(&counter->process), 0);
    CHECK(counter->process.name == name);
}

TEST(starts_that_cannot_be_are_told)
{
    struct piu_process private = {.target = give_code};
    struct piu_process *p = process_new(give_code, NULL);

    CHECK_EQ(piu_process_start(p, .how = PIU_ZYGOTE), -ENOTSUP);
    CHECK_EQ(piu_process_start(&private, .how = PIU_ZYGOTE), -EFAULT);
    CHECK_EQ(piu_init(.zygote = true), 0);
    CHECK_EQ(piu_init(.zygote = true), -EBUSY);
    CHECK_EQ(piu_process_start(&private, .how = PIU_ZYGOTE), -EFAULT);
    p->target = (int (*)(void *))(uintptr_t)p;
    CHECK_EQ(piu_process_start(p, .how = PIU_ZYGOTE), -EFAULT);
    CHECK(!p->child);
    p->target = give_code;
    CHECK_EQ(run_alone(p), 0);
}

TEST(a_zygote_is_its_starters_alone)
{
    struct piu_process *p = process_new(give_code, (void *)3);
    int status;

    CHECK_EQ(piu_init(.zygote = true), 0);
    status = in_child({
        CHECK_EQ(piu_process_start(p, .how = PIU_ZYGOTE), -ENOTSUP);
        CHECK_EQ(piu_init(.zygote = true), 0);
        CHECK_EQ(run_alone(p), 3);
        CHECK_EQ(piu_process_close(p), 0);
    });
    CHECK_EQ(status, 0);
    CHECK_EQ(run_alone(p), 3);
}

TEST(the_child_is_as_small_as_the_zygote_whatever_the_starter_has)
{
    struct piu_process *p = process_new(give_code, NULL);
    size_t size = 256 << 20;
    struct piu_death death;
    char *large;

    CHECK_EQ(piu_init(.zygote = true), 0);
    large = malloc(size);
    memset(large, 1, size);
    CHECK_EQ(run_alone(p), 0);
    CHECK_EQ(piu_process_report(p, &death), 0);
    CHECK(death.peak_memory < size);
    free(large);
}

TEST(a_killed_child_of_a_zygote_is_reported_as_killed)
{
    struct piu_process *p = process_new(sleep_on, NULL);
    struct pollfd entry = {.events = POLLIN};
    struct piu_death death;

    CHECK_EQ(piu_init(.zygote = true), 0);
    CHECK_EQ(piu_process_start(p, .how = PIU_ZYGOTE), 0);
    CHECK(piu_process_is_alive(p));
    CHECK_EQ(piu_process_join(p, PIU_MSEC(1)), -ETIMEDOUT);
    CHECK_EQ(piu_process_close(p), -EBUSY);
    entry.fd = piu_process_sentinel(p);
    CHECK_EQ(poll(&entry, 1, 0), 0);
    CHECK_EQ(piu_process_terminate(p), 0);
    CHECK_EQ(poll(&entry, 1, -1), 1);
    CHECK_EQ(piu_process_join(p, PIU_FOREVER), 0);
    CHECK_EQ(piu_process_report(p, &death), 0);
    CHECK_EQ(death.exitcode, -SIGTERM);
    CHECK(!death.left);
    CHECK_EQ(piu_process_close(p), 0);
}

static int tell_signals(void *ret)
{
    sigset_t mask;
    struct sigaction action;

    sigprocmask(SIG_SETMASK, NULL, &mask);
    sigaction(SIGCHLD, NULL, &action);
    *(_Atomic int *)ret = sigismember(&mask, SIGUSR2) && !sigismember(&mask, SIGINT) &&
                                  !sigismember(&mask, SIGTERM) &&
                                  action.sa_handler == SIG_IGN
                              ? 1
                              : 2;
    return 0;
}

TEST(the_child_has_the_starters_signal_mask_and_actions)
{
    _Atomic int *right = piu_shared_new(1, sizeof(*right));
    struct piu_process *p = process_new(tell_signals, (void *)right);
    sigset_t mask;

    sigemptyset(&mask);
    sigaddset(&mask, SIGUSR2);
    sigprocmask(SIG_BLOCK, &mask, NULL);
    signal(SIGCHLD, SIG_IGN);
    CHECK_EQ(piu_init(.zygote = true), 0);
    CHECK_EQ(run_alone(p), 0);
    CHECK_EQ(*right, 1);
}

static void start_thread(int i, void *unused)
{
    struct piu_process *p = process_new(give_code, (void *)(intptr_t)i);

    (void)unused;
    for (int n = 0; n < 20; n++) {
        CHECK_EQ(run_alone(p), i);
        CHECK_EQ(piu_process_close(p), 0);
    }
}

TEST(threads_start_by_one_zygote_at_once)
{
    CHECK_EQ(piu_init(.zygote = true), 0);
    test_threads(8, start_thread, NULL);
}

TEST(a_signal_handler_ends_a_join_of_a_zygotes_child)
{
    check_interrupted(({
        static struct piu_process *p;

        if (!p) {
            p = process_new(sleep_on, NULL);
            p->daemon = true;
            CHECK_EQ(piu_init(.zygote = true), 0);
            CHECK_EQ(piu_process_start(p, .how = PIU_ZYGOTE), 0);
        }
        piu_process_join(p, PIU_FOREVER);
    }));
}

/* ---- Ends ---------------------------------------------------------------------------------- */

TEST(the_zygote_is_gone_when_its_starter_has_left)
{
    _Atomic pid_t *pid = test_shared(sizeof(*pid));
    int status = in_child({
        CHECK_EQ(piu_init(.zygote = true), 0);
        *pid = zygote_pid();
    });

    CHECK_EQ(status, 0);
    CHECK(kill(*pid, 0) < 0);
}

static _Atomic int *cell;

static int write_late(void *unused)
{
    (void)unused;
    test_wait_until(*cell == 1);
    *cell = 2;
    return 0;
}

TEST(a_zygotes_child_is_joined_when_its_starter_exits)
{
    int status;

    cell = piu_shared_new(1, sizeof(*cell));
    status = in_child({
        struct piu_process *p = process_new(write_late, NULL);

        CHECK_EQ(piu_init(.zygote = true), 0);
        CHECK_EQ(piu_process_start(p, .how = PIU_ZYGOTE), 0);
        *cell = 1;
    });
    CHECK_EQ(status, 0);
    CHECK_EQ(*cell, 2);
}

struct pids {
    _Atomic int ready;
    pid_t zygote, daemon, other;
};

static void start_and_wait(struct pids *pids)
{
    struct piu_process *p = process_new(sleep_on, NULL), *q = process_new(sleep_on, NULL);

    p->daemon = true;
    CHECK_EQ(piu_init(.zygote = true), 0);
    pids->zygote = zygote_pid();
    CHECK_EQ(piu_process_start(p, .how = PIU_ZYGOTE), 0);
    CHECK_EQ(piu_process_start(q, .how = PIU_ZYGOTE), 0);
    pids->daemon = piu_process_pid(p);
    pids->other = piu_process_pid(q);
    pids->ready = 1;
    pause();
}

static int pidfd(pid_t pid)
{
    return (int)syscall(SYS_pidfd_open, pid, 0);
}

TEST(zygote_and_daemon_end_with_the_killed_starter_and_others_run_on)
{
    for (int round = 0; round < 10; round++) {
        struct pids *pids = test_shared(sizeof(*pids));
        pid_t starter = child_start({ start_and_wait(pids); });
        struct pollfd zygote = {.events = POLLIN}, daemon = {.events = POLLIN};

        test_wait_until(pids->ready);
        zygote.fd = pidfd(pids->zygote);
        daemon.fd = pidfd(pids->daemon);
        kill_and_reap(starter);
        CHECK_EQ(poll(&zygote, 1, 2000), 1);
        CHECK_EQ(poll(&daemon, 1, 2000), 1);
        CHECK_EQ(kill(pids->other, SIGKILL), 0);
    }
}

TEST(a_killed_zygote_leaves_its_children_running_and_can_be_replaced)
{
    struct piu_process *p = process_new(sleep_on, NULL),
                       *q = process_new(give_code, (void *)4);
    struct pollfd zygote = {.events = POLLIN};
    struct piu_death death;

    p->daemon = true;
    CHECK_EQ(piu_init(.zygote = true), 0);
    CHECK_EQ(piu_process_start(p, .how = PIU_ZYGOTE), 0);
    zygote.fd = pidfd(zygote_pid());
    CHECK_EQ(kill(zygote_pid(), SIGKILL), 0);
    CHECK_EQ(poll(&zygote, 1, -1), 1);
    CHECK_EQ(piu_process_start(q, .how = PIU_ZYGOTE), -ECHILD);
    CHECK_EQ(piu_process_start(q, .how = PIU_ZYGOTE), -ECHILD);
    CHECK(!q->child);
    CHECK(piu_process_is_alive(p));
    CHECK_EQ(piu_process_kill(p), 0);
    CHECK_EQ(piu_process_join(p, PIU_FOREVER), 0);
    CHECK_EQ(piu_process_report(p, &death), 0);
    CHECK(!death.left);
    CHECK_EQ(death.peak_memory, 0);
    CHECK_EQ(death.cpu_time, -1);
    CHECK_EQ(piu_init(.zygote = true), 0);
    CHECK_EQ(run_alone(q), 4);
}

/* Killed anywhere in a start: a child that was started or an error, and no third. */
TEST(a_zygote_that_is_killed_in_the_middle_of_a_start_does_no_harm, .limit = 60)
{
    struct piu_process *p = process_new(give_code, (void *)4);

    for (int round = 0; round < 60; round++) {
        pid_t zygote, killer;
        int r = 0, exitcode;

        CHECK_EQ(piu_init(.zygote = true), 0);
        zygote = zygote_pid();
        killer = child_start({
            usleep((useconds_t)round * 20);
            kill(zygote, SIGKILL);
        });
        for (int i = 0; i < 100000 && r == 0; i++) {
            r = piu_process_start(p, .how = PIU_ZYGOTE);
            if (r < 0)
                break;
            CHECK_EQ(piu_process_join(p, PIU_FOREVER), 0);
            CHECK_EQ(piu_process_exitcode(p, &exitcode), 0);
            CHECK(exitcode == 4 || exitcode == 255);
            CHECK_EQ(piu_process_close(p), 0);
        }
        CHECK_EQ(r, -ECHILD);
        CHECK(!p->child);
        CHECK_EQ(child_wait(killer), 0);
    }
}

TEST(a_stopped_zygote_does_not_keep_a_timed_join)
{
    struct piu_process *p = process_new(sleep_on, NULL);

    CHECK_EQ(piu_init(.zygote = true), 0);
    CHECK_EQ(piu_process_start(p, .how = PIU_ZYGOTE), 0);
    CHECK_EQ(kill(zygote_pid(), SIGSTOP), 0);
    CHECK_EQ(piu_process_kill(p), 0);
    check_times_out(piu_process_join(p, PIU_MSEC(50)), PIU_MSEC(50));
    CHECK_EQ(kill(zygote_pid(), SIGCONT), 0);
    CHECK_EQ(piu_process_join(p, PIU_FOREVER), 0);
}

TEST(out_of_processes_or_descriptors_is_an_error_of_the_start)
{
    int status = in_child({
        struct piu_process *p = process_new(give_code, (void *)4);
        struct rlimit limit;

        CHECK_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
        limit.rlim_cur = 14;
        CHECK_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
        if (geteuid() == 0)
            CHECK_EQ(setuid(65534), 0);
        CHECK_EQ(piu_init(.zygote = true), 0);
        CHECK_EQ(run_alone(p), 4);
        CHECK_EQ(piu_process_close(p), 0);
        limit.rlim_cur = limit.rlim_max = 0;
        CHECK_EQ(prlimit(zygote_pid(), RLIMIT_NPROC, &limit, NULL), 0);
        CHECK_EQ(piu_process_start(p, .how = PIU_ZYGOTE), -EAGAIN);
        CHECK(!p->child);
        while (dup(1) >= 0)
            ;
        CHECK_EQ(piu_process_start(p, .how = PIU_ZYGOTE), -EMFILE);
        CHECK(!p->child);
        _exit(0); /* sanitizers want descriptors for exit() */
    });

    CHECK_EQ(status, 0);
}
