#include "fault.h"

#include <dlfcn.h>
#include <execinfo.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define VARIABLE "FAULT_PLAN" /* the descriptor of its memory */

#ifndef SYS_futex_waitv
#define SYS_futex_waitv 449
#endif

static struct fault_plan nothing_planned;
struct fault_plan *fault_plan = &nothing_planned;
static _Atomic long heap;

/* ---- The plan ------------------------------------------------------------------------- */

static void plan_map(int fd)
{
    void *memory =
        mmap(NULL, sizeof(*fault_plan), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

    if (memory == MAP_FAILED) {
        perror("fault: mmap");
        exit(2);
    }
    fault_plan = memory;
}

void fault_begin(void)
{
    int fd = memfd_create("fault", 0);
    void *frame;
    char text[16];

    if (fd < 0 || ftruncate(fd, sizeof(*fault_plan)) < 0) {
        perror("fault: memfd");
        exit(2);
    }
    snprintf(text, sizeof(text), "%d", fd);
    setenv(VARIABLE, text, 1);
    plan_map(fd);
    backtrace(&frame, 1); /* the first one loads a library */
}

__attribute__((constructor)) static void plan_inherit(void)
{
    const char *text = getenv(VARIABLE);

    if (text)
        plan_map(atoi(text));
}

long fault_heap(void)
{
    return heap;
}

const char *fault_name(int call)
{
#define NAME(name, ...) #name,
    static const char *const names[] = {FAULT_CALLS(NAME) "nothing"};

    return names[call];
}

const int *fault_errors(int call)
{
#define ERRORS(name, ...) {__VA_ARGS__, 0},
    static const int errors[][8] = {FAULT_CALLS(ERRORS){0}};

    return errors[call];
}

static int fires(int call)
{
    struct fault_plan *p = fault_plan;
    long n;

    if (!atomic_load_explicit(&p->armed, memory_order_relaxed))
        return 0;
    n = ++p->count[call];
    if (call != p->call || (p->lasts ? n < p->nth : n != p->nth))
        return 0;
    if (p->fired++ == 0) {
        p->fired_in = getpid();
        p->frame_count = backtrace(p->frames, FAULT_FRAMES);
    }
    errno = p->error;
    return p->error;
}

/* ---- The calls -------------------------------------------------------------------------- */
/*
 * The library's objects know these names; nobody else does, so each is declared here.
 */
#define WRAP(type, name, parameters, failed, real)     \
    type fault_##name parameters;                      \
    type fault_##name parameters                       \
    {                                                  \
        return fires(CALL_##name) ? (failed) : (real); \
    }
#define WRAP_CODE(name, parameters, real) /* those that return the error */ \
    int fault_##name parameters;                                            \
    int fault_##name parameters                                             \
    {                                                                       \
        int error = fires(CALL_##name);                                     \
                                                                            \
        return error ? error : (real);                                      \
    }

static void *counted(void *memory)
{
    heap += memory != NULL;
    return memory;
}

void fault_free(void *memory);
void fault_free(void *memory)
{
    heap -= memory != NULL;
    free(memory);
}

WRAP(void *, malloc, (size_t size), NULL, counted(malloc(size)))
WRAP(void *, calloc, (size_t count, size_t size), NULL, counted(calloc(count, size)))
WRAP(void *, aligned_alloc, (size_t unit, size_t size), NULL,
     counted(aligned_alloc(unit, size)))
WRAP(void *, realloc, (void *memory, size_t size), NULL,
     memory ? realloc(memory, size) : counted(malloc(size)))
WRAP(void *, mmap64,
     (void *at, size_t size, int protection, int flags, int fd, off64_t from), MAP_FAILED,
     mmap64(at, size, protection, flags, fd, from))
WRAP(int, munmap, (void *memory, size_t size), -1, munmap(memory, size))
WRAP(int, madvise, (void *memory, size_t size, int advice), -1,
     madvise(memory, size, advice))
WRAP(int, memfd_create, (const char *name, unsigned flags), -1, memfd_create(name, flags))
WRAP(int, fallocate64, (int fd, int mode, off64_t from, off64_t size), -1,
     fallocate64(fd, mode, from, size))

WRAP(int, open64, (const char *path, int flags, mode_t mode), -1,
     open64(path, flags, mode))
WRAP(FILE *, fopen64, (const char *path, const char *mode), NULL, fopen64(path, mode))
WRAP(int, fflush, (FILE * file), EOF, fflush(file))
WRAP(ssize_t, read, (int fd, void *to, size_t size), -1, read(fd, to, size))
WRAP(ssize_t, pread64, (int fd, void *to, size_t size, off64_t from), -1,
     pread64(fd, to, size, from))
WRAP(ssize_t, write, (int fd, const void *from, size_t size), -1, write(fd, from, size))
WRAP(int, fcntl64, (int fd, int command, void *argument), -1,
     fcntl64(fd, command, argument))
WRAP(int, fstat64, (int fd, struct stat64 *ret), -1, fstat64(fd, ret))
WRAP(int, fstatfs64, (int fd, struct statfs64 *ret), -1, fstatfs64(fd, ret))
WRAP(int, stat64, (const char *path, struct stat64 *ret), -1, stat64(path, ret))
WRAP(int, access, (const char *path, int mode), -1, access(path, mode))
WRAP(char *, realpath, (const char *path, char *ret), NULL, realpath(path, ret))
WRAP(int, ioctl, (int fd, unsigned long request, void *argument), -1,
     ioctl(fd, request, argument))
WRAP(int, pipe2, (int ret[2], int flags), -1, pipe2(ret, flags))
WRAP(int, eventfd, (unsigned count, int flags), -1, eventfd(count, flags))
WRAP(int, signalfd, (int fd, const sigset_t *set, int flags), -1,
     signalfd(fd, set, flags))
WRAP(int, socketpair, (int domain, int type, int protocol, int ret[2]), -1,
     socketpair(domain, type, protocol, ret))
WRAP(ssize_t, sendmsg, (int fd, const struct msghdr *message, int flags), -1,
     sendmsg(fd, message, flags))
WRAP(ssize_t, recvmsg, (int fd, struct msghdr *message, int flags), -1,
     recvmsg(fd, message, flags))
WRAP(int, poll, (struct pollfd * list, nfds_t count, int timeout), -1,
     poll(list, count, timeout))
WRAP(int, ppoll,
     (struct pollfd * list, nfds_t count, const struct timespec *timeout,
      const sigset_t *mask),
     -1, ppoll(list, count, timeout, mask))
WRAP(int, epoll_create1, (int flags), -1, epoll_create1(flags))
WRAP(int, epoll_ctl, (int fd, int operation, int of, struct epoll_event *event), -1,
     epoll_ctl(fd, operation, of, event))

WRAP(pid_t, fork, (void), -1, fork())
WRAP(int, execvpe, (const char *file, char *const *argv, char *const *environment), -1,
     execvpe(file, argv, environment))
WRAP(pid_t, waitpid, (pid_t pid, int *status, int flags), -1, waitpid(pid, status, flags))
WRAP(int, waitid, (idtype_t type, id_t id, siginfo_t *ret, int flags), -1,
     waitid(type, id, ret, flags))
WRAP(int, prctl,
     (int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d), -1,
     prctl(option, a, b, c, d))
WRAP(void *, dlopen, (const char *path, int flags), NULL, dlopen(path, flags))
WRAP(int, on_exit, (void (*function)(int, void *), void *argument), -1,
     on_exit(function, argument))
WRAP(int, nanosleep, (const struct timespec *span, struct timespec *rest), -1,
     nanosleep(span, rest))

int __register_atfork(void (*)(void), void (*)(void), void (*)(void), void *);
WRAP_CODE(__register_atfork,
          (void (*before)(void), void (*in_parent)(void), void (*in_child)(void),
           void *object),
          __register_atfork(before, in_parent, in_child, object))
WRAP_CODE(pthread_key_create, (pthread_key_t * ret, void (*done)(void *)),
          pthread_key_create(ret, done))
WRAP_CODE(pthread_setspecific, (pthread_key_t key, const void *value),
          pthread_setspecific(key, value))
WRAP_CODE(pthread_mutexattr_setpshared, (pthread_mutexattr_t * attributes, int value),
          pthread_mutexattr_setpshared(attributes, value))
WRAP_CODE(pthread_mutexattr_setrobust, (pthread_mutexattr_t * attributes, int value),
          pthread_mutexattr_setrobust(attributes, value))
WRAP_CODE(pthread_mutex_init,
          (pthread_mutex_t * mutex, const pthread_mutexattr_t *attributes),
          pthread_mutex_init(mutex, attributes))

WRAP(int, getrlimit64, (int resource, struct rlimit64 *ret), -1,
     getrlimit64((__rlimit_resource_t)resource, ret))
WRAP(int, sched_getaffinity, (pid_t pid, size_t size, cpu_set_t *ret), -1,
     sched_getaffinity(pid, size, ret))
WRAP(int, sched_getcpu, (void), -1, sched_getcpu())
WRAP(ssize_t, getrandom, (void *to, size_t size, unsigned flags), -1,
     getrandom(to, size, flags))
WRAP(long, sysconf, (int name), -1, sysconf(name))
WRAP(int, sysinfo, (struct sysinfo * ret), -1, sysinfo(ret))

/* Those that have done it all the same when they say that they have failed. */
int fault_close(int fd);
int fault_close(int fd)
{
    int r = close(fd);

    return fires(CALL_close) ? -1 : r;
}

int fault_fclose(FILE *file);
int fault_fclose(FILE *file)
{
    int r = fclose(file);

    return fires(CALL_fclose) ? EOF : r;
}

/* The line's memory comes from inside of libc, and is the library's to free. */
ssize_t fault___getdelim(char **line, size_t *room, int end, FILE *file);
ssize_t fault___getdelim(char **line, size_t *room, int end, FILE *file)
{
    bool had = *line;
    ssize_t n = fires(CALL___getdelim) ? -1 : getdelim(line, room, end, file);

    heap += !had && *line;
    return n;
}

/* Without optimization glibc's header does not make it the one above. */
ssize_t fault_getline(char **line, size_t *room, FILE *file);
ssize_t fault_getline(char **line, size_t *room, FILE *file)
{
    bool had = *line;
    ssize_t n = fires(CALL_getline) ? -1 : getline(line, room, file);

    heap += !had && *line;
    return n;
}

/* It returns twice, so nothing may be left on the stack: jump there. */
int fault_fires_vfork(void);
int fault_fires_vfork(void)
{
    return fires(CALL_vfork);
}

__asm__(".text\n"
        ".globl fault_vfork\n"
        ".type fault_vfork, %function\n"
        "fault_vfork:\n"
#if defined(__x86_64__)
        "    subq $8, %rsp\n"
        "    call fault_fires_vfork\n"
        "    addq $8, %rsp\n"
        "    testl %eax, %eax\n"
        "    je vfork@PLT\n"
        "    movl $-1, %eax\n"
        "    ret\n"
#elif defined(__aarch64__)
        "    stp x29, x30, [sp, #-16]!\n"
        "    bl fault_fires_vfork\n"
        "    ldp x29, x30, [sp], #16\n"
        "    cbz w0, 1f\n"
        "    mov w0, #-1\n"
        "    ret\n"
        "1:  b vfork\n"
#endif
        ".size fault_vfork, . - fault_vfork\n");

static int call_of(long number)
{
    switch (number) {
    case SYS_futex:
        return CALL_syscall_futex;
    case SYS_futex_waitv:
        return CALL_syscall_futex_waitv;
    case SYS_membarrier:
        return CALL_syscall_membarrier;
    case SYS_pidfd_open:
        return CALL_syscall_pidfd_open;
    case SYS_pidfd_send_signal:
        return CALL_syscall_pidfd_send_signal;
    case SYS_waitid:
        return CALL_syscall_waitid;
    }
    fprintf(stderr, "fault: system call %ld is not in calls.h\n", number);
    abort();
}

/* FUTEX_WAIT only: a wake cannot fail. */
static bool can_fail(long number, long operation)
{
    return number != SYS_futex || (operation & 0x7f) == 0 || (operation & 0x7f) == 9;
}

long fault_syscall(long number, long a, long b, long c, long d, long e, long f);
long fault_syscall(long number, long a, long b, long c, long d, long e, long f)
{
    if (can_fail(number, b) && fires(call_of(number)))
        return -1;
    return syscall(number, a, b, c, d, e, f);
}
