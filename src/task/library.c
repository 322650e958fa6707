/* The library as a whole: how it begins, and what its results mean. */
#include "os/keywords.h"
#include "os/log.h"
#include "os/machine.h"
#include "shm/member.h"
#include "task/zygote.h"

#include <piu.h>

#include <stdio.h>
#include <string.h>

const char *piu_version(void)
{
    return PIU_VERSION;
}

unsigned piu_cpu_count(void)
{
    return machine_cpus();
}

void piu_leave(void)
{
    member_leave();
}

uint64_t piu_family(void)
{
    uint64_t who;

    return member_who(&who) == 0 ? arena_header()->family : 0;
}

int piu_family_text(char *ret, size_t room, int *ret_fd)
{
    char text[160]; /* "PIU_FAMILY=...", as for the environment */
    const char *value = text + strlen("PIU_FAMILY=");
    uint64_t who;
    int r = ret && ret_fd ? member_who(&who) : -EINVAL;

    if (r == 0)
        r = arena_export(text, sizeof(text), 0);
    if (r < 0)
        return r;
    if (strlen(value) >= room)
        return -ENAMETOOLONG;
    strcpy(ret, value);
    *ret_fd = arena.fd;
    return 0;
}

int piu_family_join(const char *text, int fd)
{
    return text ? arena_expect(text, fd) : -EINVAL;
}

int piu_begin(const struct piu_init_keywords *keywords)
{
    struct piu_init_keywords k;
    uint64_t who;
    int r = keywords_read(&k, sizeof(k), keywords);

    if (r == 0)
        r = member_who(&who);
    if (r < 0)
        return r;
    /* before the zygote, which keeps it */
    if (k.log)
        log_to(k.log, k.log_argument);
    return k.zygote ? zygote_begin() : 0;
}

/* In the words of this library; what else comes from the system is in the system's. */
static const struct {
    int r;
    const char *text;
} meanings[] = {
    {0, "done"},
    {PIU_OWNER_DIED, "held; its last holder died: what it guards may be half done"},
    {PIU_REDELIVERED, "got; a member that died had taken this message before"},
    {PIU_LOSSES, "done, but some work was lost with its workers: read the report"},
    {PIU_FAILED, "done, but some run() gave a code of its own: read the report"},
    {PIU_LAST, "all have come, and wait for what the caller does now"},
    {-EADDRINUSE, "the family's address range is taken in this program"},
    {-EAGAIN, "no more processes are allowed"},
    {-EBADMSG, "shared memory was overwritten: the object is not sound"},
    {-EBUSY, "it is in use: started already, still alive, or not ended yet"},
    {-ECANCELED, "it was cancelled"},
    {-ECHILD,
     "it belongs to another process, or who should do it has ended: the process, or the "
     "pool's workers, again and again (does the initializer fail?)"},
    {-EDEADLK,
     "nobody but the caller is left to end this wait: start what should, or give a "
     "timeout"},
    {-EFAULT, "the address must be in shared memory, and is not"},
    {-EINTR, "a signal handler ran while waiting"},
    {-EINVAL, "the argument makes no sense"},
    {-EMFILE, "this process has no descriptors left"},
    {-EMSGSIZE, "the message is too long"},
    {-ENAMETOOLONG, "the name is too long"},
    {-ENFILE, "the system has no descriptors left"},
    {-ENODATA, "that was all"},
    {-ENOENT, "there is no such file or program"},
    {-ENOEXEC, "the function's code is not to be found there, or it is no program"},
    {-ENOMEM, "out of memory, or of address space (ulimit -v)"},
    {-ENOSPC, "the family has as many members as it can"},
    {-ENOSYS,
     "the system call pidfd_open is forbidden here (by a container's seccomp filter?): "
     "allow it and pidfd_send_signal, as Linux 5.10 has them"},
    {-ENOTRECOVERABLE, "the barrier is broken"},
    {-ENOTSUP, "not possible here, or without a zygote"},
    {-EOVERFLOW, "released more often than acquired"},
    {-EPERM, "the caller does not hold it, or nobody does"},
    {-EPIPE, "the queue is shut down or has no putters left"},
    {-EPROTO, "the family uses another version of piu"},
    {-ESHUTDOWN, "the pool is closed"},
    {-ESRCH, "there is no such process: not started, closed or ended"},
    {-ESTALE, "the object has been freed"},
    {-ETIMEDOUT, "out of time"},
    {-EXDEV, "the family lives in another PID namespace, or is gone"},
    {-EACCES, "permission denied"},
    {-E2BIG, "the arguments and the environment are too long"},
    {-EISDIR, "it is a directory"},
    {-ELOOP, "too many symbolic links"},
    {-ENOTDIR, "a part of the path is no directory"},
    {-ETXTBSY, "the program is being written"},
    {-EIO, "input or output error"},
};

const char *piu_strerror(int r)
{
    for (size_t i = 0; i < array_size(meanings); i++) {
        if (meanings[i].r == r)
            return meanings[i].text;
    }
    return r > 0 ? "unknown news" : "unknown error";
}
