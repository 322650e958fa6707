#include "task/life_pipe.h"

#include "os/fd.h"
#include "task/ahead.h"

#include <pthread.h>
#include <unistd.h>

/*
 *    63..42 pid of the owner   41..21 read end + 1   20..0 write end + 1
 *
 * One word, so that threads that make it at once, and children that inherit it, need no lock.
 */
static _Atomic uint64_t ends;

#define FD_BITS 21
#define FD_MASK ((1u << FD_BITS) - 1)

static uint64_t ends_make(pid_t owner, int read_end, int write_end)
{
    return (uint64_t)owner << 2 * FD_BITS | (uint64_t)(read_end + 1) << FD_BITS |
           (uint64_t)(write_end + 1);
}

static pid_t ends_owner(uint64_t word)
{
    return (pid_t)(word >> 2 * FD_BITS);
}

static int read_end_of(uint64_t word)
{
    return (int)(word >> FD_BITS & FD_MASK) - 1;
}

static int write_end_of(uint64_t word)
{
    return (int)(word & FD_MASK) - 1;
}

static void pipe_done(uint64_t word)
{
    fd_close(read_end_of(word));
    fd_close(write_end_of(word));
}

static void after_fork_in_child(void)
{
    pipe_done(atomic_exchange(&ends, 0));
}

/* Early: while forks are barred it could wait for one that waits (glibc before 2.36). */
__attribute__((constructor)) static void handler_register(void)
{
    pthread_atfork(NULL, NULL, after_fork_in_child);
}

static int pipe_new(uint64_t *ret)
{
    int made[2];
    int r = fd_pipe(made);

    if (r < 0)
        return r;
    if (made[0] >= (int)FD_MASK || made[1] >= (int)FD_MASK) {
        fd_close(made[0]);
        fd_close(made[1]);
        return -EMFILE; /* two million descriptors */
    }
    *ret = ends_make(getpid(), made[0], made[1]);
    return 0;
}

static int pipe_begin(uint64_t word)
{
    uint64_t fresh;
    int r = pipe_new(&fresh);

    /* what another thread has made meanwhile is as good; what was inherited goes */
    if (r == 0)
        pipe_done(atomic_compare_exchange_strong(&ends, &word, fresh) ? word : fresh);
    return r;
}

int life_pipe_open(int *ret_read_end)
{
    uint64_t word = atomic_load(&ends);

    if (ends_owner(word) != getpid()) {
        /* a child that had the write end, and did not know, would keep the daemons alive */
        struct forks_bar bar = member_bar_forks();
        int r = pipe_begin(word);

        member_unbar_forks(bar);
        if (r < 0)
            return r;
        word = atomic_load(&ends);
    }
    *ret_read_end = read_end_of(word);
    return 0;
}

int life_pipe_for_child(int *ret_fd)
{
    int read_end;
    int r = life_pipe_open(&read_end);
    struct forks_bar bar;

    if (r < 0)
        return r;
    bar = member_bar_forks();
    r = fd_life_open(read_end, ret_fd);
    if (r == 0)
        ahead_note(*ret_fd);
    member_unbar_forks(bar);
    return r;
}
