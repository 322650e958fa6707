#include "forbid.h"
#include "test.h"

#include "os/clock.h"
#include "os/fd.h"
#include "os/log.h"
#include "os/pidfd.h"

#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static int open_pid(pid_t pid)
{
    int fd;

    CHECK_EQ(pidfd_of(pid, &fd), 0);
    return fd;
}

static uint64_t identity_of(pid_t pid)
{
    cleanup(fd_done) int fd = open_pid(pid);
    uint64_t identity = 0;

    CHECK_EQ(pidfd_identity(fd, pid, &identity), 0);
    CHECK(identity != 0);
    return identity;
}

static pid_t sleeper(void)
{
    return child_start({
        for (;;)
            pause();
    });
}

TEST(a_descriptor_is_closed_by_exec)
{
    CHECK_EQ(fcntl(open_pid(getpid()), F_GETFD), FD_CLOEXEC);
}

TEST(a_number_that_no_process_has_is_esrch)
{
    pid_t pid = child_start({});
    int fd = 77;

    child_wait(pid);
    CHECK_EQ(pidfd_of(pid, &fd), -ESRCH);
    CHECK_EQ(pidfd_of(0, &fd), -EINVAL);
    CHECK_EQ(pidfd_of(-1, &fd), -EINVAL);
    CHECK_EQ(fd, 77);
}

TEST(a_process_is_seen_to_run_to_end_and_to_be_gone)
{
    pid_t pid = sleeper();
    uint64_t identity = identity_of(pid);
    int fd = open_pid(pid);

    CHECK(!pidfd_has_ended(fd));
    CHECK_EQ(pidfd_wait(fd, 0), -ETIMEDOUT);
    CHECK_EQ(pidfd_is_running(pid, identity), 1);
    CHECK_EQ(pidfd_is_running(pid, identity + 1), 0);
    CHECK_EQ(pidfd_signal(fd, 0), 0);
    CHECK_EQ(pidfd_signal(fd, SIGKILL), 0);
    CHECK_EQ(pidfd_wait(fd, CLOCK_FOREVER), 0);
    CHECK(pidfd_has_ended(fd));
    CHECK_EQ(pidfd_is_running(pid, identity), 0); /* not reaped yet */
    child_wait(pid);
    CHECK(pidfd_has_ended(fd));
    CHECK_EQ(pidfd_is_running(pid, identity), 0);
    CHECK_EQ(pidfd_signal(fd, SIGKILL), -ESRCH);
}

static void check_identity(void)
{
    pid_t pid = sleeper();
    uint64_t mine = identity_of(getpid()), other = identity_of(pid);

    CHECK_EQ(identity_of(getpid()), mine);
    CHECK_EQ(identity_of(pid), other);
    CHECK_EQ(in_child({ CHECK_EQ(identity_of(getppid()), mine); }), 0);
    CHECK_EQ(pidfd_is_running(getpid(), mine), 1);
    CHECK_EQ(pidfd_is_running(pid, other), 1);
    kill(pid, SIGKILL);
    child_wait(pid);
    CHECK_EQ(pidfd_is_running(pid, other), 0);
}

TEST(an_identity_is_the_same_for_all_who_ask)
{
    check_identity();
}

TEST(by_start_time_an_identity_is_the_same_for_all_who_ask)
{
    setenv("PIU_NO_PIDFS", "1", 1);
    check_identity();
}

TEST(an_identity_is_compared_in_the_way_that_it_was_found)
{
    pid_t pid = child_start({ pause(); });
    int fd = open_pid(pid);
    uint64_t usual, by_start;

    CHECK_EQ(pidfd_identity(fd, pid, &usual), 0);
    CHECK_EQ(pidfd_identity_by_start(fd, pid, &by_start), 0);
    CHECK_EQ(pidfd_is_running(pid, usual), 1);
    CHECK_EQ(pidfd_is_running(pid, by_start), 1);
    kill(pid, SIGKILL);
    child_wait(pid);
}

TEST(exec_keeps_the_identity)
{
    int input[2];
    uint64_t before;
    char name[16];
    FILE *comm;
    pid_t pid;

    CHECK_EQ(fd_pipe(input), 0);
    pid = child_start({
        dup2(input[0], 0);
        execl("/bin/cat", "cat", NULL);
        _exit(1);
    });
    before = identity_of(pid);
    do {
        char path[32];

        snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
        comm = fopen(path, "re");
        CHECK(comm && fgets(name, sizeof(name), comm));
        fclose(comm);
    } while (strcmp(name, "cat\n") != 0);
    CHECK_EQ(identity_of(pid), before);
    CHECK_EQ(pidfd_is_running(pid, before), 1);
    close(input[1]);
    CHECK_EQ(child_wait(pid), 0);
}

TEST(no_name_of_a_process_confuses_its_start_time)
{
    int fd = open_pid(getpid());
    uint64_t plain = 0, odd = 0;

    CHECK_EQ(pidfd_identity_by_start(fd, getpid(), &plain), 0);
    CHECK(plain != 0);
    prctl(PR_SET_NAME, "a) R (1 2) 3\n4");
    CHECK_EQ(pidfd_identity_by_start(fd, getpid(), &odd), 0);
    CHECK_EQ(odd, plain);
}

TEST(the_start_time_of_a_reaped_process_is_not_that_of_the_next)
{
    pid_t pid = child_start({});
    int fd = open_pid(pid);
    uint64_t identity = 77;

    CHECK_EQ(pidfd_wait(fd, CLOCK_FOREVER), 0);
    CHECK_EQ(pidfd_identity_by_start(fd, pid, &identity),
             0); /* nobody has its number yet */
    child_wait(pid);
    identity = 77;
    CHECK_EQ(pidfd_identity_by_start(fd, pid, &identity), -ESRCH);
    CHECK_EQ(pidfd_identity_by_start(fd, getpid(), &identity), -ESRCH);
    CHECK_EQ(identity, 77);
}

static bool next_pid_is(pid_t pid)
{
    FILE *file = fopen("/proc/sys/kernel/ns_last_pid", "we");
    bool done = file && fprintf(file, "%d", (int)pid - 1) > 0;

    return file && fclose(file) == 0 && done;
}

TEST(a_number_given_again_is_another_process)
{
    pid_t pid = sleeper(), again;
    uint64_t identity = identity_of(pid);
    int fd = open_pid(pid);

    do {
        kill(pid, SIGKILL);
        child_wait(pid);
        if (!next_pid_is(pid))
            SKIP("may not choose the next process number");
        again = sleeper();
        if (again != pid) { /* somebody else was faster: a new round with this one */
            pid = again;
            identity = identity_of(pid);
            fd = open_pid(pid);
            again = 0;
        }
    } while (again == 0);
    CHECK_EQ(kill(pid, 0), 0);
    CHECK(pidfd_has_ended(fd));
    CHECK_EQ(pidfd_signal(fd, SIGKILL), -ESRCH);
    if (sizeof(ino_t) == 8 && identity_of(pid) != identity)
        CHECK_EQ(pidfd_is_running(pid, identity), 0);
    else
        SKIP("no pidfs: start times are only good to 10 ms");
}

TEST(without_descriptors_nobody_is_taken_for_dead)
{
    uint64_t identity = identity_of(getppid());
    int fd;

    while (fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0) >= 0)
        ;
    fd = pidfd_is_running(getppid(), identity);
    closefrom(3);
    CHECK_EQ(fd, -EMFILE);
}

/* ---- Threads ----------------------------------------------------------------------- */

static _Atomic int *thread_tid;

static void *thread_sleeps(void *unused)
{
    (void)unused;
    *thread_tid = (int)syscall(SYS_gettid);
    for (;;)
        pause();
    return NULL;
}

static void start_thread(void)
{
    pthread_t thread;

    CHECK_EQ(pthread_create(&thread, NULL, thread_sleeps, NULL), 0);
}

TEST(the_number_of_a_mere_thread_is_no_process)
{
    int fd;

    thread_tid = test_shared(sizeof(*thread_tid));
    start_thread();
    test_wait_until(*thread_tid);
    CHECK_EQ(pidfd_of(*thread_tid, &fd), -ESRCH);
    CHECK_EQ(pidfd_is_running(*thread_tid, 1), 0);
}

static bool is_zombie(pid_t pid)
{
    char path[32], text[512];
    const char *state;

    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    CHECK_EQ(fd_read_text(path, text, sizeof(text)), 0);
    state = strrchr(text, ')');
    return state && state[2] == 'Z';
}

static void check_runs_without_main_thread(void)
{
    pid_t pid;
    uint64_t identity;

    thread_tid = test_shared(sizeof(*thread_tid));
    pid = child_start({
        start_thread();
        syscall(SYS_exit, 0);
    });
    identity = identity_of(pid);
    test_wait_until(*thread_tid && is_zombie(pid));
    CHECK_EQ(identity_of(pid), identity);
    CHECK_EQ(pidfd_is_running(pid, identity), 1);
    kill(pid, SIGKILL);
    CHECK_EQ(pidfd_wait(open_pid(pid), CLOCK_FOREVER), 0);
    CHECK_EQ(pidfd_is_running(pid, identity), 0);
}

TEST(a_process_runs_on_without_its_main_thread)
{
    check_runs_without_main_thread();
}

TEST(by_start_time_a_process_runs_on_without_its_main_thread)
{
    setenv("PIU_NO_PIDFS", "1", 1);
    check_runs_without_main_thread();
}

/* ---- Reaping ----------------------------------------------------------------------- */

static int reap(pid_t pid)
{
    struct rusage usage = {.ru_maxrss = -1};
    int fd = open_pid(pid), exitcode = 1000;

    CHECK_EQ(pidfd_wait(fd, CLOCK_FOREVER), 0);
    CHECK_EQ(pidfd_reap(fd, &exitcode, &usage), 0);
    CHECK(usage.ru_maxrss >= 0); /* 0: ended before the kernel had counted a page */
    CHECK_EQ(pidfd_reap(fd, &exitcode, &usage), -ECHILD);
    return exitcode;
}

TEST(a_child_is_reaped_with_its_exit_code_or_signal)
{
    CHECK_EQ(reap(child_start({})), 0);
    CHECK_EQ(reap(child_start({ _exit(255); })), 255);
    CHECK_EQ(reap(child_start({ test_die(); })), -SIGKILL);
    CHECK_EQ(reap(child_start({
                 signal(SIGTERM, SIG_DFL);
                 raise(SIGTERM);
             })),
             -SIGTERM);
}

TEST(a_running_child_cannot_be_reaped)
{
    pid_t pid = sleeper();
    int fd = open_pid(pid), exitcode = 1000;

    CHECK_EQ(pidfd_reap(fd, &exitcode, NULL), -EAGAIN);
    CHECK_EQ(exitcode, 1000);
    kill(pid, SIGKILL);
    CHECK_EQ(pidfd_wait(fd, CLOCK_FOREVER), 0);
    CHECK_EQ(pidfd_reap(fd, &exitcode, NULL), 0);
    CHECK_EQ(exitcode, -SIGKILL);
}

TEST(a_child_that_the_kernel_reaped_or_that_is_not_ours_is_echild)
{
    int fd, exitcode;
    pid_t pid;

    CHECK_EQ(pidfd_reap(open_pid(getppid()), &exitcode, NULL), -ECHILD);
    signal(SIGCHLD, SIG_IGN);
    pid = sleeper();
    fd = open_pid(pid);
    kill(pid, SIGKILL);
    CHECK_EQ(pidfd_wait(fd, CLOCK_FOREVER), 0); /* it fires all the same */
    CHECK_EQ(pidfd_reap(fd, &exitcode, NULL), -ECHILD);
}

TEST(the_exit_code_is_known_after_somebody_else_reaped_it)
{
    static const int codes[] = {0, 17, -SIGTERM};

    for (size_t i = 0; i < 3; i++) {
        int exitcode = 99, fd, r;
        pid_t pid = child_start({
            signal(SIGTERM, SIG_DFL);
            if (codes[i] < 0)
                raise(-codes[i]);
            _exit(codes[i]);
        });

        CHECK_EQ(pidfd_of(pid, &fd), 0);
        CHECK_EQ(pidfd_wait(fd, CLOCK_FOREVER), 0);
        r = pidfd_exitcode(fd, &exitcode);
        CHECK(r == -EAGAIN || r == -EOPNOTSUPP);
        CHECK_EQ(exitcode, 99);
        child_wait(pid);
        r = pidfd_exitcode(fd, &exitcode);
        if (r == -EOPNOTSUPP)
            SKIP("the kernel is older than 6.15");
        CHECK_EQ(r, 0);
        CHECK_EQ(exitcode, codes[i]);
        fd_close(fd);
    }
    CHECK_EQ(pidfd_exitcode(-1, &(int){0}), -EBADF);
}

static void count_line(void *argument, const char *line)
{
    unsigned *lines = argument;

    CHECK(strstr(line, "pidfd_open is forbidden"));
    CHECK(strstr(line, "EPERM"));
    ++*lines;
}

TEST(a_filter_that_forbids_it_is_enosys_and_the_log_says_so_once)
{
    unsigned lines = 0;
    int fd = -1;

    log_to(count_line, &lines);
    forbid_call(SYS_pidfd_open, EPERM);
    CHECK_EQ(pidfd_of(getpid(), &fd), -ENOSYS);
    CHECK_EQ(pidfd_of(getpid(), &fd), -ENOSYS);
    CHECK_EQ(lines, 1);
    CHECK_EQ(fd, -1);
}
