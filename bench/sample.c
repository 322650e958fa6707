#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "measure.h"

/* What a sampling child leaves behind. */
struct answer {
    double value;
    int result; /* of sample() */
    bool given;
};

static _Noreturn void child_sample(const struct row *row, struct answer *answer)
{
    setpgid(0, 0);
    answer->result = row->sample(row, &answer->value);
    answer->given = true;
    _exit(0);
}

/* The limit may pass with the group's leader alive: then the whole group is killed. */
static bool child_ends_in_time(pid_t pid, int64_t limit)
{
    int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    struct pollfd p = {.fd = fd, .events = POLLIN};
    int r;

    if (fd < 0)
        return true; /* waitpid() will tell, without a limit */
    do
        r = poll(&p, 1, (int)(limit / 1000000));
    while (r < 0 && errno == EINTR);
    close(fd);
    return r > 0;
}

static int answer_judge(const struct answer *a, bool in_time, int status, char *failure,
                        size_t size)
{
    if (!in_time) {
        snprintf(failure, size, "took too long");
        return -ETIMEDOUT;
    }
    if (!a->given && WIFSIGNALED(status)) {
        snprintf(failure, size, "ended by signal %d", WTERMSIG(status));
        return -ECHILD;
    }
    if (!a->given) {
        snprintf(failure, size, "exited with %d", WEXITSTATUS(status));
        return -ECHILD;
    }
    if (a->result < 0)
        snprintf(failure, size, "%s", strerror(-a->result));
    return a->result;
}

int sample_in_child(const struct row *row, int64_t limit, double *ret, char *failure,
                    size_t failure_size)
{
    struct answer *answer = shared_new(sizeof(*answer));
    bool in_time;
    pid_t pid;
    int status, r;

    memset(answer, 0, sizeof(*answer));
    pid = fork();
    if (pid == 0)
        child_sample(row, answer);
    if (pid < 0)
        return -errno;
    setpgid(pid, pid); /* by both: whoever is first */
    in_time = child_ends_in_time(pid, limit);
    kill(-pid, SIGKILL); /* while the leader, alive or not, keeps the number from reuse */
    waitpid(pid, &status, 0);
    r = answer_judge(answer, in_time, status, failure, failure_size);
    if (r == 0)
        *ret = answer->value;
    munmap(answer, sizeof(*answer));
    return r;
}
