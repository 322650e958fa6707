#include "pools.h"

#include <poll.h>
#include <sys/syscall.h>
#include <sys/wait.h>

enum { WORKERS = 3 };

struct scene {
    _Atomic pid_t workers[WORKERS];
    _Atomic int busy;
};

static int be_busy(struct piu_task *self, size_t first, size_t last)
{
    struct scene *scene = (struct scene *)(uintptr_t)self->in;

    (void)last;
    scene->workers[first] = getpid();
    for (scene->busy++;;)
        ;
    return 0;
}

static int pidfd(pid_t pid)
{
    int fd = (int)syscall(SYS_pidfd_open, pid, 0);

    CHECK(fd >= 0);
    return fd;
}

static void wait_gone(int fd, int ms)
{
    struct pollfd pfd = {.fd = fd, .events = POLLIN};

    CHECK_EQ(poll(&pfd, 1, ms), 1);
    close(fd);
}

/* A parent in the middle of a map over busy workers is ended so; nobody is left after `ms`. */
static int end_in_map(int signal, int ms)
{
    struct scene *scene = piu_shared_new(1, sizeof(*scene));
    pid_t parent = child_start({
        struct piu_task task = {
            .run = be_busy, .count = WORKERS, .chunk = 1, .in = scene};

        piu_pool_map(pool_of(WORKERS), &task, NULL);
    });
    int fds[WORKERS + 1];

    test_wait_until(scene->busy == WORKERS);
    fds[WORKERS] = pidfd(parent_of_pid(scene->workers[0]));
    for (int i = 0; i < WORKERS; i++)
        fds[i] = pidfd(scene->workers[i]);
    CHECK_EQ(kill(parent, signal), 0);
    for (int i = 0; i <= WORKERS; i++)
        wait_gone(fds[i], ms);
    return child_wait(parent);
}

TEST(nobody_is_left_when_the_parent_is_killed, .limit = 60)
{
    for (int i = 0; i < 20; i++)
        CHECK_EQ(WTERMSIG(end_in_map(SIGKILL, 2000)), SIGKILL);
}

TEST(ctrl_c_in_the_middle_of_a_map_ends_everything)
{
    int status = end_in_map(SIGINT, 1000);

    CHECK(WIFSIGNALED(status));
    CHECK_EQ(WTERMSIG(status), SIGINT);
}

static int wait_until_set(void *open)
{
    while (!*(_Atomic int *)open)
        usleep(100);
    return 0;
}

/* Ctrl-C goes to all of the group: workers and nursery stay. */
TEST(with_a_handler_of_the_users_the_wait_ends_and_the_pool_lives_on)
{
    _Atomic int *open = piu_shared_new(4, sizeof(*open));
    pid_t child = child_start({
        struct sigaction action = {.sa_handler = handler_of_signals};
        struct piu_pool *pool;
        int in[] = {3}, out[1];

        CHECK_EQ(setpgid(0, 0), 0);
        CHECK_EQ(sigaction(SIGINT, &action, NULL), 0);
        pool = pool_of(2);
        open[2] = (int)a_worker(pool);
        open[1] = 1;
        CHECK_EQ(piu_pool_apply(pool, wait_until_set, (void *)open, sizeof(*open)),
                 -EINTR);
        open[3] = 1;
        CHECK_EQ(piu_map(pool, square, in, out), 0);
        CHECK_EQ(out[0], 9);
        CHECK_EQ(count_workers(pool) ? 0 : 1, 0);
        piu_pool_free(pool);
    });

    test_wait_until(open[1]);
    test_wait_until(open[3] || (kill(-child, SIGINT), false));
    CHECK_EQ(child_wait(child), 0);
}

static int wait_interrupted(struct piu_pool *pool)
{
    struct piu_result *result = piu_pool_apply_async(pool, wait_for_ever, NULL, 0);
    int r = piu_result_wait(result, PIU_FOREVER);

    piu_result_free(result);
    return r;
}

static int join_interrupted(struct piu_pool *pool)
{
    struct piu_result *result = piu_pool_apply_async(pool, wait_for_ever, NULL, 0);
    int r = piu_pool_close(pool);

    if (r == 0)
        r = piu_pool_join(pool, PIU_FOREVER);
    piu_result_free(result);
    return r;
}

TEST(a_handler_ends_every_wait)
{
    check_interrupted(piu_pool_apply(pool_of(1), wait_for_ever, NULL, 0));
    check_interrupted(wait_interrupted(pool_of(1)));
    check_interrupted(join_interrupted(pool_of(1)));
}

TEST(who_ignores_sigchld_has_pools_too)
{
    struct piu_pool *pool;
    int in[] = {3}, out[1];

    signal(SIGCHLD, SIG_IGN);
    pool = pool_of(2);
    CHECK_EQ(piu_map(pool, square, in, out), 0);
    CHECK_EQ(kill(a_worker(pool), SIGKILL), 0);
    CHECK_EQ(piu_map(pool, square, in, out), 0);
    CHECK_EQ(kill(nursery_of(pool), SIGKILL), 0);
    CHECK_EQ(piu_map(pool, square, in, out), 0);
    piu_pool_free(pool);
}

static int signals_are_clear(void *unused)
{
    struct sigaction action;
    sigset_t set;

    (void)unused;
    CHECK_EQ(sigprocmask(SIG_BLOCK, NULL, &set), 0);
    for (int i = 1; i < 32; i++)
        CHECK(!sigismember(&set, i));
    CHECK_EQ(sigaction(SIGCHLD, NULL, &action), 0);
    CHECK(action.sa_handler == SIG_DFL);
    CHECK_EQ(sigaction(SIGINT, NULL, &action), 0);
    CHECK(action.sa_handler != SIG_DFL && action.sa_handler != SIG_IGN);
    return WEXITSTATUS(system("kill -INT $$; exit 7")) ==
           7; /* what it executes dies by Ctrl-C */
}

TEST(a_worker_blocks_nothing_and_what_it_executes_is_as_always)
{
    struct piu_pool *pool = pool_of(1);

    CHECK_EQ(piu_pool_apply(pool, signals_are_clear, NULL, 0), 0);
    piu_pool_free(pool);
}
