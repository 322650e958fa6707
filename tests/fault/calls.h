/*
 * Every function that the library imports and that can fail, with the errors that it may
 * plausibly meet, the likeliest first.  tests/fault/imports checks that none was forgotten.
 * What `syscall` is used for stands here by its own name.
 */
#ifndef FAULT_CALLS_H
#define FAULT_CALLS_H

#include <errno.h>

/* clang-format off */
#define FAULT_CALLS(X)                                  \
    /* memory */                                        \
    X(malloc, ENOMEM)                                   \
    X(calloc, ENOMEM)                                   \
    X(realloc, ENOMEM)                                  \
    X(aligned_alloc, ENOMEM)                            \
    X(mmap64, ENOMEM, EPERM)                            \
    X(munmap, ENOMEM)                                   \
    X(madvise, ENOMEM, EINVAL)                          \
    X(memfd_create, EMFILE, ENOMEM, ENOSYS)             \
    X(fallocate64, ENOSPC, EINTR, ENOMEM, EOPNOTSUPP)   \
    /* descriptors and files */                         \
    X(open64, EMFILE, ENFILE, ENOMEM, EACCES, ENOENT)   \
    X(fopen64, EMFILE, EACCES, ENOMEM)                  \
    X(close, EINTR, EIO)                                \
    X(fclose, EIO)                                      \
    X(fflush, ENOSPC)                                   \
    X(read, EINTR, EAGAIN, EIO)                         \
    X(pread64, EINTR, EIO)                              \
    X(write, EAGAIN, EINTR, EPIPE)                      \
    X(__getdelim, ENOMEM, EIO)                          \
    X(getline, ENOMEM, EIO)                             \
    X(fcntl64, EINTR, ENOLCK, EINVAL)                   \
    X(fstat64, EBADF)                                   \
    X(fstatfs64, ENOSYS, EPERM)                         \
    X(stat64, EACCES, ENOENT, ENOMEM)                   \
    X(access, EACCES, EPERM)                            \
    X(realpath, ENOMEM, EACCES)                         \
    X(ioctl, ENOTTY, EPERM, EINVAL)                     \
    X(pipe2, EMFILE, ENFILE)                            \
    X(eventfd, EMFILE, ENOMEM)                          \
    X(signalfd, EMFILE, ENOMEM)                         \
    X(socketpair, EMFILE, ENOMEM)                       \
    X(sendmsg, EINTR, ENOBUFS, ENOMEM)                  \
    X(recvmsg, EINTR, ENOMEM)                           \
    X(poll, EINTR, ENOMEM)                              \
    X(ppoll, EINTR, ENOMEM)                             \
    X(epoll_create1, EMFILE, ENOMEM)                    \
    X(epoll_ctl, ENOMEM, ENOSPC)                        \
    /* processes */                                     \
    X(fork, EAGAIN, ENOMEM)                             \
    X(vfork, EAGAIN, ENOMEM)                            \
    X(execvpe, E2BIG, EACCES, ENOENT, ENOMEM)           \
    X(waitpid, EINTR)                                   \
    X(waitid, EINTR)                                    \
    X(prctl, EPERM, EINVAL)                             \
    X(dlopen, ENOMEM)                                   \
    X(on_exit, ENOMEM)                                  \
    X(nanosleep, EINTR)                                 \
    /* what glibc returns */                            \
    X(__register_atfork, ENOMEM)                        \
    X(pthread_key_create, EAGAIN)                       \
    X(pthread_setspecific, ENOMEM)                      \
    X(pthread_mutexattr_setpshared, ENOTSUP)            \
    X(pthread_mutexattr_setrobust, ENOTSUP)             \
    X(pthread_mutex_init, ENOTSUP)                      \
    /* what the machine is like */                      \
    X(getrlimit64, EPERM)                               \
    X(sched_getaffinity, EINVAL, ENOSYS)                \
    X(sched_getcpu, ENOSYS)                             \
    X(getrandom, EINTR, ENOSYS)                         \
    X(sysconf, EINVAL)                                  \
    X(sysinfo, EFAULT)                                  \
    /* syscall(SYS_...) */                              \
    X(syscall_futex, EINTR, EAGAIN)                     \
    X(syscall_futex_waitv, ENOSYS, EPERM, EINTR)        \
    X(syscall_membarrier, ENOSYS, EPERM, ENOMEM)        \
    X(syscall_pidfd_open, EMFILE, ENOMEM, EPERM)        \
    X(syscall_pidfd_send_signal, EPERM)                 \
    X(syscall_waitid, ECHILD)
/* clang-format on */

#define FAULT_CALL_ID(name, ...) CALL_##name,
enum fault_call { FAULT_CALLS(FAULT_CALL_ID) CALLS };

#endif
