#include "test.h"

#include "os/clock.h"
#include "os/fd.h"
#include "os/memfd.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/syscall.h>

static bool is_open(int fd)
{
    return fcntl(fd, F_GETFD) >= 0;
}

/* What a starter and its child do, in one process. */
static int life_attach(int read_end, int *ret_fd)
{
    int own = -1;
    int r = fd_life_open(read_end, &own);

    if (r == 0)
        r = fd_life_arm(own);
    if (r == 0)
        *ret_fd = own;
    else
        fd_close(own);
    return r;
}

static int witness_hold(int fd, uint64_t index, int *ret_fd)
{
    int own = -1;
    int r = fd_witness_open(fd, &own);

    if (r == 0)
        r = fd_witness_lock(own, index);
    if (r == 0)
        *ret_fd = own;
    else
        fd_close(own);
    return r;
}

TEST(cleanup_closes_once_and_keeps_errno)
{
    int ends[2], copy;

    CHECK_EQ(fd_pipe(ends), 0);
    copy = ends[0];
    errno = E2BIG;
    fd_done(&copy);
    CHECK_EQ(copy, -1);
    fd_done(&copy);
    CHECK_EQ(errno, E2BIG);
    CHECK(!is_open(ends[0]));
    CHECK_EQ(fd_close(ends[1]), -1);
    CHECK(!is_open(ends[1]));
    CHECK_EQ(fd_close(-1), -1);
}

TEST(a_taken_descriptor_is_not_cleaned_up)
{
    int ends[2], taken;

    CHECK_EQ(fd_pipe(ends), 0);
    {
        cleanup(fd_done) int fd = ends[0];

        taken = take_fd(&fd);
    }
    CHECK(is_open(taken));
}

TEST(descriptors_are_closed_by_exec_unless_inheritable)
{
    int ends[2], event;

    CHECK_EQ(fd_pipe(ends), 0);
    CHECK_EQ(fd_event(&event), 0);
    CHECK_EQ(fcntl(ends[0], F_GETFD), FD_CLOEXEC);
    CHECK_EQ(fcntl(ends[1], F_GETFD), FD_CLOEXEC);
    CHECK_EQ(fcntl(event, F_GETFD), FD_CLOEXEC);
    CHECK_EQ(fd_set_inheritable(event, true), 0);
    CHECK_EQ(fcntl(event, F_GETFD), 0);
    CHECK_EQ(fd_set_inheritable(event, false), 0);
    CHECK_EQ(fcntl(event, F_GETFD), FD_CLOEXEC);
    CHECK_EQ(fd_set_inheritable(-1, true), -EBADF);
}

TEST(an_event_is_readable_from_post_to_drain)
{
    int fd;

    CHECK_EQ(fd_event(&fd), 0);
    CHECK_EQ(fd_wait_readable(fd, 0), -ETIMEDOUT);
    fd_event_post(fd);
    fd_event_post(fd);
    CHECK_EQ(fd_wait_readable(fd, CLOCK_FOREVER), 0);
    fd_event_drain(fd);
    CHECK_EQ(fd_wait_readable(fd, 0), -ETIMEDOUT);
    fd_event_drain(fd);
}

TEST(a_full_event_is_posted_without_waiting)
{
    uint64_t most = UINT64_MAX - 1;
    int fd;

    CHECK_EQ(fd_event(&fd), 0);
    CHECK_EQ(write(fd, &most, sizeof(most)), sizeof(most));
    fd_event_post(fd);
    CHECK_EQ(fd_wait_readable(fd, 0), 0);
}

TEST(a_hung_up_pipe_is_readable_and_a_closed_descriptor_an_error)
{
    int ends[2];

    CHECK_EQ(fd_pipe(ends), 0);
    CHECK_EQ(fd_wait_readable(ends[0], MSEC), -ETIMEDOUT);
    close(ends[1]);
    CHECK_EQ(fd_wait_readable(ends[0], CLOCK_FOREVER), 0);
    close(ends[0]);
    CHECK_EQ(fd_wait_readable(ends[0], CLOCK_FOREVER), -EBADF);
    CHECK_EQ(fd_wait_readable(-1, 0), -EBADF);
}

static void handle(int number)
{
    (void)number;
}

TEST(a_handler_ends_the_wait_for_a_descriptor)
{
    _Atomic int *ready = test_shared(sizeof(*ready));
    int ends[2], status;
    pid_t pid;

    CHECK_EQ(fd_pipe(ends), 0);
    pid = child_start({
        struct sigaction action = {.sa_handler = handle, .sa_flags = SA_RESTART};

        CHECK_EQ(sigaction(SIGUSR1, &action, NULL), 0);
        *ready = 1;
        CHECK_EQ(fd_wait_readable(ends[0], CLOCK_FOREVER), -EINTR);
    });
    test_wait_until(*ready);
    while (waitpid(pid, &status, WNOHANG) == 0)
        kill(pid, SIGUSR1);
    CHECK_EQ(status, 0);
}

TEST(a_text_is_read_whole_or_not_at_all)
{
    char text[4096], small[8];

    CHECK_EQ(fd_read_text("/proc/self/comm", text, sizeof(text)), 0);
    CHECK(strlen(text) > 1 && text[strlen(text) - 1] == '\n');
    CHECK_EQ(fd_read_text("/proc/self/status", small, sizeof(small)), -EFBIG);
    CHECK_EQ(fd_read_text("/proc/self/none", text, sizeof(text)), -ENOENT);
    CHECK_EQ(fd_read_text("/proc/self", text, sizeof(text)), -EISDIR);
}

/* ---- The life pipe ----------------------------------------------------------------- */

static void attach_and_spin(int ends[2], _Atomic int *attached)
{
    volatile unsigned spins = 0;
    int own;

    close(ends[1]);
    CHECK_EQ(life_attach(ends[0], &own), 0);
    close(ends[0]);
    ++*attached;
    for (;;)
        spins++;
}

/* Starts `count` busy children on a life pipe; returns when all of them are attached. */
static void start_busy_children(int count)
{
    _Atomic int *attached = test_shared(sizeof(*attached));
    int ends[2];

    CHECK_EQ(fd_pipe(ends), 0);
    for (int i = 0; i < count; i++)
        child_start({ attach_and_spin(ends, attached); });
    test_wait_until(*attached == count);
}

TEST(twenty_busy_children_end_with_their_killed_parent)
{
    int alive[2];

    CHECK_EQ(fd_pipe(alive), 0); /* readable when all who had its other end have ended */
    in_child_killed({ start_busy_children(20); });
    close(alive[1]);
    CHECK_EQ(fd_wait_readable(alive[0], CLOCK_FOREVER), 0);
}

TEST(busy_children_end_with_a_parent_that_execs)
{
    int alive[2];

    CHECK_EQ(fd_pipe(alive), 0);
    CHECK_EQ(in_child({
                 start_busy_children(2);
                 execl("/bin/true", "true", NULL);
                 _exit(1);
             }),
             0);
    close(alive[1]);
    CHECK_EQ(fd_wait_readable(alive[0], CLOCK_FOREVER), 0);
}

TEST(who_comes_after_the_writer_has_gone_is_told)
{
    int ends[2], own = 77;

    CHECK_EQ(fd_pipe(ends), 0);
    close(ends[1]);
    CHECK_EQ(life_attach(ends[0], &own), -EPIPE);
    CHECK_EQ(own, 77);
    CHECK_EQ(life_attach(ends[1], &own), -ENOENT);
}

/* The writer ends somewhere around the arming: the child is killed or told, never left. */
TEST(no_writer_ends_unnoticed)
{
    for (int i = 0; i < 300; i++) {
        _Atomic int *go = test_shared(sizeof(*go));
        int ends[2], status;
        pid_t pid;

        CHECK_EQ(fd_pipe(ends), 0);
        pid = child_start({
            int own;

            close(ends[1]);
            *go = 1;
            if (life_attach(ends[0], &own) == 0)
                for (;;)
                    pause();
        });
        while (*go == 0)
            ;
        for (volatile int spin = 0; spin < i * 100; spin++)
            ;
        close(ends[1]);
        status = child_wait(pid);
        CHECK(status == 0 || (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL));
        close(ends[0]);
    }
}

TEST(a_child_of_an_attached_child_is_not_hit_in_its_place)
{
    _Atomic int *step = test_shared(sizeof(*step));
    int ends[2], status;
    pid_t pid;

    CHECK_EQ(fd_pipe(ends), 0);
    pid = child_start({
        int own;

        close(ends[1]);
        CHECK_EQ(life_attach(ends[0], &own), 0);
        child_start({
            *step = 1;
            test_wait_until(*step == 2);
            *step = 3;
        });
        pause();
    });
    test_wait_until(*step == 1);
    close(ends[1]);
    status = child_wait(pid);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    *step = 2;
    test_wait_until(*step == 3);
}

static _Atomic int *life_result;

static void *attach_in_thread(void *fd)
{
    int own;

    test_wait_until(syscall(SYS_tgkill, getpid(), getpid(), 0) == 0);
    *life_result = life_attach(*(int *)fd, &own) == 0 ? 1 : -1;
    pause();
    return NULL;
}

TEST(a_process_whose_main_thread_has_ended_attaches_too)
{
    int ends[2], status;
    pid_t pid;

    life_result = test_shared(sizeof(*life_result));
    CHECK_EQ(fd_pipe(ends), 0);
    pid = child_start({
        pthread_t thread;

        close(ends[1]);
        CHECK_EQ(pthread_create(&thread, NULL, attach_in_thread, &ends[0]), 0);
        pthread_exit(NULL);
    });
    test_wait_until(*life_result != 0);
    CHECK_EQ(*life_result, 1);
    close(ends[1]);
    status = child_wait(pid);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

/* ---- The witness ------------------------------------------------------------------- */

static int witness_file(void)
{
    int fd;

    CHECK_EQ(memfd_new("witness", &fd), 0);
    return fd;
}

TEST(a_witness_is_held_until_its_process_is_killed)
{
    _Atomic int *held = test_shared(sizeof(*held));
    int fd = witness_file();
    pid_t pid = child_start({
        int own;

        CHECK_EQ(witness_hold(fd, 5, &own), 0);
        *held = 1;
        pause();
    });

    test_wait_until(*held);
    CHECK(fd_witness_is_held(fd, 5));
    CHECK(!fd_witness_is_held(fd, 4));
    CHECK(!fd_witness_is_held(fd, 6));
    kill(pid, SIGKILL);
    child_wait(pid);
    CHECK(!fd_witness_is_held(fd, 5));
}

TEST(a_witness_is_let_go_by_exec_while_the_process_lives)
{
    int fd = witness_file(), input[2];
    _Atomic int *held = test_shared(sizeof(*held));
    pid_t pid;

    CHECK_EQ(fd_pipe(input), 0);
    pid = child_start({
        int own;

        CHECK_EQ(witness_hold(fd, 1, &own), 0);
        *held = 1;
        dup2(input[0], 0);
        execl("/bin/cat", "cat", NULL);
        _exit(1);
    });
    test_wait_until(*held);
    test_wait_until(!fd_witness_is_held(fd, 1));
    CHECK_EQ(waitpid(pid, NULL, WNOHANG), 0);
    close(input[1]);
    CHECK_EQ(child_wait(pid), 0);
}

TEST(closing_another_descriptor_of_the_file_keeps_the_witness)
{
    int fd = witness_file(), copy, own = -1;

    CHECK_EQ(witness_hold(fd, 0, &own), 0);
    copy = dup(fd);
    close(copy);
    CHECK(fd_witness_is_held(fd, 0));
    CHECK(!fd_witness_is_held(own, 0)); /* its own does not count */
    close(own);
    CHECK(!fd_witness_is_held(fd, 0));
}

TEST(two_cannot_hold_one_byte_and_not_knowing_is_held)
{
    int fd = witness_file(), own, other = 77;

    CHECK_EQ(witness_hold(fd, 3, &own), 0);
    CHECK_EQ(witness_hold(fd, 3, &other), -EAGAIN);
    CHECK_EQ(other, 77);
    CHECK_EQ(witness_hold(fd, 4, &other), 0);
    close(fd);
    CHECK(fd_witness_is_held(fd, 9));
    CHECK_EQ(witness_hold(fd, 9, &other), -ENOENT);
}

/* ---- Messages with descriptors, signals as descriptors ------------------------------ */

TEST(a_message_carries_a_descriptor)
{
    int ends[2], passed = -1, number = 5, got = 0;

    CHECK_EQ(fd_socket_pair(ends), 0);
    CHECK_EQ(fd_send(ends[0], &number, sizeof(number), 1), 0);
    CHECK_EQ(fd_receive(ends[1], &got, sizeof(got), &passed), 0);
    CHECK_EQ(got, 5);
    CHECK(passed > ends[1]);
    CHECK(fcntl(passed, F_GETFD) & FD_CLOEXEC);
    CHECK_EQ(fd_send(ends[1], &number, sizeof(number), -1), 0);
    CHECK_EQ(fd_receive(ends[0], &got, sizeof(got), &passed), 0);
    CHECK_EQ(passed, -1);
}

TEST(messages_that_are_not_as_expected_are_told)
{
    int ends[2], passed, number = 5;
    char little;

    CHECK_EQ(fd_socket_pair(ends), 0);
    CHECK_EQ(fd_send(ends[0], &number, sizeof(number), 1), 0);
    CHECK_EQ(fd_receive(ends[1], &little, 1, &passed), -EBADMSG);
    CHECK_EQ(passed, -1);
    fd_close(ends[0]);
    CHECK_EQ(fd_receive(ends[1], &number, sizeof(number), &passed), -EPIPE);
    CHECK_EQ(fd_send(ends[1], &number, sizeof(number), -1), -EPIPE);
}

TEST(a_blocked_signal_makes_its_descriptor_readable)
{
    sigset_t set;
    int fd;

    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigprocmask(SIG_BLOCK, &set, NULL);
    CHECK_EQ(fd_signal(SIGUSR1, &fd), 0);
    CHECK_EQ(fd_wait_readable(fd, 0), -ETIMEDOUT);
    raise(SIGUSR1);
    CHECK_EQ(fd_wait_readable(fd, 0), 0);
    fd_signal_drain(fd);
    CHECK_EQ(fd_wait_readable(fd, 0), -ETIMEDOUT);
}

TEST(an_inherited_witness_can_be_locked_by_the_child)
{
    struct {
        _Atomic int held, done;
    } *notes = test_shared(sizeof(*notes));
    int fd, witness = -1;
    pid_t pid;

    CHECK_EQ(memfd_new("test", &fd), 0);
    CHECK_EQ(fd_witness_open(fd, &witness), 0);
    pid = child_start({
        CHECK_EQ(fd_witness_lock(witness, 7), 0);
        notes->held = 1;
        test_wait_until(notes->done);
    });
    witness = fd_close(witness);
    test_wait_until(notes->held);
    CHECK(fd_witness_is_held(fd, 7));
    notes->done = 1;
    CHECK_EQ(child_wait(pid), 0);
    CHECK(!fd_witness_is_held(fd, 7));
}
