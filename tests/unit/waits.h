/* What the tests of everything that waits have in common. */
#ifndef TEST_WAITS_H
#define TEST_WAITS_H

#include "test.h"

#include "os/log.h"
#include "shm/member.h"

#include <piu.h>

#include <gnu/libc-version.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <time.h>

/* Shared with the children of a test: what they say, in order. */
struct notes {
    _Atomic int about_to_wait; /* how many are */
    _Atomic int result[8];
    _Atomic int done[8];
    _Atomic int count;
    int unguarded; /* plain: only a lock makes it right */
};

/* The thread sleeps in the kernel, and is not just about to. */
/* Older ones keep a lock while handlers run: no fork overtakes another. */
static inline bool forks_overtake(void)
{
    return strverscmp(gnu_get_libc_version(), "2.36") >= 0;
}

static inline bool is_asleep(pid_t pid)
{
    char path[64], line[256];
    const char *state;
    FILE *file;

    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    file = fopen(path, "re");
    if (!file)
        return false;
    if (!fgets(line, sizeof(line), file))
        line[0] = '\0';
    fclose(file);
    state = strrchr(line, ')');
    return state && state[1] == ' ' && state[2] == 'S';
}

/* A child has said that it will wait, and sleeps. */
#define wait_asleep(pid, notes, many) \
    test_wait_until((notes)->about_to_wait >= (many) && is_asleep(pid))

static inline void kill_and_reap(pid_t pid)
{
    CHECK_EQ(kill(pid, SIGKILL), 0);
    CHECK(WIFSIGNALED(child_wait(pid)));
}

static inline void stop(pid_t pid)
{
    int status;

    CHECK_EQ(kill(pid, SIGSTOP), 0);
    CHECK_EQ(waitpid(pid, &status, WUNTRACED), pid);
    CHECK(WIFSTOPPED(status));
}

static inline int64_t nanoseconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static inline void handler_of_signals(int signal)
{
    (void)signal;
}

static inline void handle_signals(void)
{
    struct sigaction action = {.sa_handler = handler_of_signals};

    CHECK_EQ(sigaction(SIGUSR1, &action, NULL), 0);
}

/*
 * In a child: a handler, then a call that will wait, then its result.  The signal comes again
 * and again, because one that comes just before the sleep is not seen.
 */
#define check_interrupted(call)                                                  \
    do {                                                                         \
        struct notes *interrupted = test_shared(sizeof(*interrupted));           \
        pid_t waiter = child_start({                                             \
            handle_signals();                                                    \
            interrupted->about_to_wait++;                                        \
            interrupted->result[0] = (call);                                     \
            interrupted->done[0] = 1;                                            \
        });                                                                      \
                                                                                 \
        test_wait_until(interrupted->about_to_wait);                             \
        test_wait_until(interrupted->done[0] || (kill(waiter, SIGUSR1), false)); \
        CHECK_EQ(interrupted->result[0], -EINTR);                                \
        CHECK_EQ(child_wait(waiter), 0);                                         \
    } while (0)

/* Not held, in `timeout`; and not before it is over. */
#define check_times_out(call, timeout)             \
    do {                                           \
        int64_t begin = nanoseconds();             \
                                                   \
        CHECK_EQ((call), -ETIMEDOUT);              \
        CHECK(nanoseconds() - begin >= (timeout)); \
    } while (0)

static inline uint64_t random_next(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

#endif
