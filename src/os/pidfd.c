#include "os/pidfd.h"

#include "os/fd.h"
#include "os/log.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

/* glibc has no wrappers before 2.36; the numbers are the same on all machines. */
#define NR_PIDFD_SEND_SIGNAL 424
#define NR_PIDFD_OPEN        434
#define WAIT_BY_PIDFD        3 /* P_PIDFD */

#define PIDFS_MAGIC 0x50494446

/* Which of the two ways an identity comes from: compared is only what was found the same way. */
#define BY_START (UINT64_C(1) << 63)

/* A filter of a container, as a rule: the kernel itself never says EPERM.  Told once. */
static int is_forbidden(int error)
{
    static _Atomic bool told;

    if (!atomic_exchange(&told, true))
        log_line(
            "the system call pidfd_open is forbidden here (%s; seccomp?): allow it and "
            "pidfd_send_signal, piu cannot do without",
            error == EPERM ? "EPERM" : "ENOSYS");
    return -ENOSYS;
}

int pidfd_of(pid_t pid, int *ret_fd)
{
    int fd;

    if (pid <= 0)
        return -EINVAL;
    fd = (int)syscall(NR_PIDFD_OPEN, pid, 0); /* close-on-exec by itself */
    if (fd >= 0) {
        *ret_fd = fd;
        return 0;
    }
    switch (errno) {
    case EINVAL:
    case ENOENT:       /* so newer kernels */
        return -ESRCH; /* now the number of a mere thread */
    case EPERM:
    case ENOSYS:
        return is_forbidden(errno);
    default:
        return -errno;
    }
}

/* Before 6.9 all pidfds share one inode; on 32-bit systems pidfs inodes may come again. */
static bool identity_by_inode(int fd, uint64_t *ret)
{
    struct statfs system;
    struct stat file;

    if (sizeof(file.st_ino) < sizeof(*ret) || fstatfs(fd, &system) < 0 ||
        system.f_type != PIDFS_MAGIC || fstat(fd, &file) < 0 || file.st_ino == 0)
        return false;
    *ret = file.st_ino & ~BY_START;
    return true;
}

/* Field 22 of /proc/PID/stat.  Field 2 is the name, with spaces and brackets as it likes. */
static int stat_start_time(const char *text, uint64_t *ret)
{
    const char *at = strrchr(text, ')');
    unsigned long long ticks;

    for (int field = 2; at && field < 22; field++)
        at = strchr(at + 1, ' ');
    if (!at || sscanf(at, "%llu", &ticks) != 1)
        return -EPROTO;
    *ret = ticks | BY_START; /* never 0 */
    return 0;
}

int pidfd_identity_by_start(int fd, pid_t pid, uint64_t *ret)
{
    char path[32], text[1024];
    uint64_t found = 0;
    int r;

    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    r = fd_read_text(path, text, sizeof(text));
    if (r == 0)
        r = stat_start_time(text, &found);
    /* The number is not given again before the process is reaped, so what we read is its. */
    if (pidfd_signal(fd, 0) == -ESRCH)
        return -ESRCH;
    if (r == 0)
        *ret = found;
    return r;
}

static bool pidfs_is_refused(void)
{
    static _Atomic int refused =
        -1; /* read once: getenv races with other people's setenv */
    int state = atomic_load_explicit(&refused, memory_order_relaxed);

    if (state < 0) {
        state = getenv("PIU_NO_PIDFS") != NULL;
        atomic_store_explicit(&refused, state, memory_order_relaxed);
    }
    return state;
}

int pidfd_identity(int fd, pid_t pid, uint64_t *ret)
{
    if (!pidfs_is_refused() && identity_by_inode(fd, ret))
        return 0;
    return pidfd_identity_by_start(fd, pid, ret);
}

bool pidfd_has_ended(int fd)
{
    struct pollfd entry = {.fd = fd, .events = POLLIN};

    return poll(&entry, 1, 0) == 1 && (entry.revents & POLLIN);
}

int pidfd_wait(int fd, int64_t timeout)
{
    return fd_wait_readable(fd, timeout);
}

int pidfd_signal(int fd, int signal)
{
    return syscall(NR_PIDFD_SEND_SIGNAL, fd, signal, NULL, 0) < 0 ? -errno : 0;
}

/*
 * The way that `identity` was found, whatever this process would do by itself: its environment
 * and its seccomp filter are not those of the others.
 */
static int identity_again(int fd, pid_t pid, uint64_t identity, uint64_t *ret)
{
    if (identity & BY_START)
        return pidfd_identity_by_start(fd, pid, ret);
    return identity_by_inode(fd, ret) ? 0 : -EOPNOTSUPP;
}

int pidfd_is_running(pid_t pid, uint64_t identity)
{
    cleanup(fd_done) int fd = -1;
    uint64_t found = 0;
    int r = pidfd_of(pid, &fd);

    /* whoever has the number now: one before it has ended as well; also where no identity is told */
    if (r == 0 && pidfd_has_ended(fd))
        return 0;
    if (r == 0)
        r = identity_again(fd, pid, identity, &found);
    if (r < 0)
        return r == -ESRCH ? 0 : r;
    return found == identity && !pidfd_has_ended(fd);
}

int pidfd_reap(int fd, int *ret_exitcode, struct rusage *ret_usage)
{
    siginfo_t info = {.si_pid = 0};

    /* The wrapper of glibc has no rusage.  __WALL: children of a bare clone as well. */
    if (syscall(SYS_waitid, WAIT_BY_PIDFD, fd, &info, WEXITED | WNOHANG | __WALL,
                ret_usage) < 0)
        return -errno;
    if (info.si_pid == 0)
        return -EAGAIN;
    *ret_exitcode = info.si_code == CLD_EXITED ? info.si_status : -info.si_status;
    return 0;
}

/* The kernel's struct pidfd_info, as of 6.15; older headers have less of it, or nothing. */
struct info {
    uint64_t mask;
    uint64_t cgroup;
    uint32_t ids[11];
    int32_t status; /* as from wait() */
};
static_assert(sizeof(struct info) == 64, "PIDFD_INFO_SIZE_VER0 of the kernel");

#define GET_INFO  _IOWR(0xff, 11, struct info)
#define INFO_EXIT (UINT64_C(1) << 3)

int pidfd_exitcode(int fd, int *ret)
{
    struct info info = {.mask = INFO_EXIT};

    if (pidfs_is_refused())
        return -EOPNOTSUPP;
    if (ioctl(fd, GET_INFO, &info) < 0)
        return errno == EBADF ? -EBADF : -EOPNOTSUPP;
    if (!(info.mask & INFO_EXIT))
        return -EAGAIN;
    *ret = WIFSIGNALED(info.status) ? -WTERMSIG(info.status) : WEXITSTATUS(info.status);
    return 0;
}
