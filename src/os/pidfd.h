/*
 * Processes by descriptor and by identity.  A pid number is reused by the kernel; an
 * identity is not: the inode of the pidfd (Linux 6.9, pidfs), before that the start time.
 */
#ifndef PIU_OS_PIDFD_H
#define PIU_OS_PIDFD_H

#include "os/base.h"

#include <sys/resource.h>
#include <sys/types.h>

/* O_CLOEXEC.  -ESRCH: no such process; -ENOSYS: the call is forbidden here, and the log says so */
int pidfd_of(pid_t pid, int *ret_fd);
/* The identity of the process behind `fd` whose pid is `pid`; never 0. */
int pidfd_identity(int fd, pid_t pid, uint64_t *ret);
/* The way of kernels before 6.9; PIU_NO_PIDFS in the environment makes it the only one. */
int pidfd_identity_by_start(int fd, pid_t pid, uint64_t *ret);
bool pidfd_has_ended(int fd);            /* readable: all threads have ended */
int pidfd_wait(int fd, int64_t timeout); /* 0 ended, -ETIMEDOUT, -EINTR */
int pidfd_signal(int fd, int signal);    /* -ESRCH: it has ended */

/*
 * The process `pid` with this identity:  1 runs (perhaps as another program),
 * 0 has ended, < 0 cannot be told now (EMFILE, EPERM ...: never to be read as ended).
 */
int pidfd_is_running(pid_t pid, uint64_t identity);

/*
 * Reap the ended child behind `fd`.  *ret_exitcode: 0..255 or -<signal>.  ret_usage: or NULL.
 *     -ECHILD  not our child, or somebody else reaped it      -EAGAIN  it still runs
 */
int pidfd_reap(int fd, int *ret_exitcode, struct rusage *ret_usage);
/*
 * The same of a process that somebody else has reaped (Linux 6.15).  -EAGAIN: nobody has yet;
 * -EOPNOTSUPP: the kernel does not tell.
 */
int pidfd_exitcode(int fd, int *ret);

#endif
