/*
 * A descriptor for poll: the read end of a pipe of the *waiting* member.  Who makes the queue
 * ready opens its write end through /proc/PID/fd and writes a byte; who finds the queue empty
 * takes it out again.
 *
 *    calm --put.lock, before what makes the queue ready--> told
 *      ^                                                    |
 *      `------------ put.lock, the queue is empty ----------'
 *
 * P1  while the queue is ready and nobody is in put.lock, everyone's pipe has a byte
 * P2  `told` is set after the byte was written, and cleared before it is read: it may say too
 *     little, never too much
 * So a putter that dies owes no news: the byte was there before its commit.  A dead poller's
 * pipe has gone with it.
 */
#include "flow/queue.h"

#include "os/fd.h"
#include "flow/wait.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define POLLERS 63u /* members; a block of 4 KB */

/* One that polls: a member, and the number of the write end in its table of descriptors. */
struct pollers {
    _Atomic uint32_t count; /* places used so far */
    uint32_t reserved[7];
    struct poller {
        _Atomic uint64_t id;
        _Atomic uint64_t
            inode; /* of the pipe: the number may have come to mean something else */
        _Atomic int32_t write_end;
        _Atomic int32_t read_end;
        _Atomic uint32_t told;
        uint32_t reserved;
    } list[POLLERS];
};

static struct pollers *pollers_of(struct piu_queue *q)
{
    return arena_at(atomic_load(&q->pollers), sizeof(struct pollers));
}

static struct poller *poller_find(struct pollers *p, uint64_t id)
{
    uint32_t count = p ? atomic_load(&p->count) : 0;

    for (uint32_t i = 0; i < count && i < POLLERS; i++) {
        if (atomic_load(&p->list[i].id) == id)
            return &p->list[i];
    }
    return NULL;
}

static struct poller *poller_place(struct pollers *p)
{
    uint32_t count = atomic_load(&p->count);

    for (uint32_t i = 0; i < count && i < POLLERS; i++) {
        if (member_fate_unswept(atomic_load(&p->list[i].id)) != FATE_ALIVE)
            return &p->list[i];
    }
    if (count >= POLLERS)
        return NULL;
    atomic_store(&p->count, count + 1);
    return &p->list[count];
}

static uint64_t pipe_inode(int fd)
{
    struct stat st;

    return fstat(fd, &st) == 0 && S_ISFIFO(st.st_mode) ? (uint64_t)st.st_ino : 0;
}

/* One end of its pipe, opened anew; -1: it is gone, or the number means something else. */
static int poller_reopen(const struct poller *poller, int number, int flags)
{
    pid_t pid = member_pid(atomic_load(&poller->id));
    char path[64];
    int fd;

    if (!pid)
        return -1;
    snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)pid, number);
    fd = open(path, flags | O_NONBLOCK | O_CLOEXEC);
    return fd >= 0 && pipe_inode(fd) != atomic_load(&poller->inode) ? fd_close(fd) : fd;
}

static void poller_tell(struct poller *poller)
{
    cleanup(fd_done) int fd = -1;

    if (!atomic_load(&poller->id) || atomic_load(&poller->told))
        return;
    fd = poller_reopen(poller, atomic_load(&poller->write_end), O_WRONLY);
    if (fd >= 0 && write(fd, "", 1) < 0 && errno != EAGAIN)
        return; /* full: then it is readable already */
    atomic_store(&poller->told, 1);
}

static void poller_calm(struct poller *poller)
{
    cleanup(fd_done) int fd = -1;
    char bytes[64];

    if (!atomic_exchange(&poller->told, 0))
        return;
    fd = poller_reopen(poller, atomic_load(&poller->read_end), O_RDONLY);
    while (fd >= 0 && read(fd, bytes, sizeof(bytes)) == (ssize_t)sizeof(bytes))
        ;
}

void queue_tell_pollers(struct piu_queue *q)
{
    struct pollers *p = pollers_of(q);
    uint32_t count = p ? atomic_load(&p->count) : 0;

    for (uint32_t i = 0; i < count && i < POLLERS; i++)
        poller_tell(&p->list[i]);
}

static bool is_told(const struct pollers *p)
{
    uint32_t count = p ? atomic_load(&p->count) : 0;
    uint32_t told = 0;

    for (uint32_t i = 0; i < count && i < POLLERS; i++)
        told |= atomic_load(&p->list[i].told);
    return told != 0;
}

void queue_calm_pollers(struct piu_queue *q, uint64_t who)
{
    if (!is_told(pollers_of(q)) || put_enter(q, who) < 0)
        return;
    if (!queue_is_ready(q)) {
        struct pollers *p = pollers_of(q);
        uint32_t count = p ? atomic_load(&p->count) : 0;

        for (uint32_t i = 0; i < count && i < POLLERS; i++)
            poller_calm(&p->list[i]);
    }
    put_leave(q);
}

/* One of the caller's own ends, if the number still means that. */
static void end_close(const struct poller *own, int fd)
{
    if (pipe_inode(fd) == atomic_load(&own->inode))
        fd_close(fd);
}

static void ends_close(const struct poller *own)
{
    end_close(own, atomic_load(&own->read_end));
    end_close(own, atomic_load(&own->write_end));
}

void queue_free_pollers(struct piu_queue *q, uint64_t who)
{
    struct poller *own = poller_find(pollers_of(q), who & ID_MASK);

    queue_tell_pollers(q); /* they will find it gone */
    if (own) {
        atomic_store(&own->id, 0);
        ends_close(own);
    }
    block_free_from(&q->pollers);
}

static int poller_open(struct poller *poller, uint64_t id)
{
    uint64_t inode;
    int ends[2];
    char path[64];
    int r = fd_pipe(ends);

    if (r < 0)
        return r;
    inode = pipe_inode(ends[0]);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", ends[1]);
    if (!inode || access(path, W_OK) < 0) {
        fd_close(ends[0]);
        fd_close(ends[1]);
        return inode ? -ENOTSUP : -EBADF;
    }
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    fcntl(ends[1], F_SETFL, O_NONBLOCK);
    atomic_store(&poller->id, 0);
    atomic_store(&poller->told, 0);
    atomic_store(&poller->inode, inode);
    atomic_store(&poller->read_end, ends[0]);
    atomic_store(&poller->write_end, ends[1]);
    atomic_store(&poller->id, id);
    return 0;
}

/* put.lock is held: it guards the table of pollers too. */
static int poller_add(struct piu_queue *q, uint64_t id, int *ret_fd)
{
    struct poller *poller = poller_find(pollers_of(q), id);
    void *block;
    int r = 0;

    if (!poller && !pollers_of(q))
        r = block_new_into(sizeof(struct pollers), &q->pollers, &block);
    if (!poller && r == 0) {
        poller = poller_place(pollers_of(q));
        r = poller ? poller_open(poller, id) : -ENOSPC;
    }
    /* the program may have closed it, or somebody written over it */
    if (r == 0 &&
        pipe_inode(atomic_load(&poller->read_end)) != atomic_load(&poller->inode)) {
        ends_close(poller); /* what is left of it */
        r = poller_open(poller, id);
    }
    if (r == 0)
        *ret_fd = atomic_load(&poller->read_end);
    return r;
}

int piu_queue_fd(struct piu_queue *q)
{
    uint64_t who;
    int fd = -1;
    int r = queue_use(q, &who);

    if (r == 0)
        r = put_enter(q, who);
    if (r < 0)
        return r;
    r = poller_add(q, who & ID_MASK, &fd);
    if (r == 0 && queue_is_ready(q))
        queue_tell_pollers(q);
    put_leave(q);
    return r < 0 ? r : fd;
}
