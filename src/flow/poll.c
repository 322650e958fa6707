/*
 * A descriptor for poll: the read end of a pipe of the *waiting* member.  Who puts opens its
 * write end through /proc/PID/fd and writes a byte; the reader drains it when the queue is
 * empty.  Nothing that a dead member leaves can block: its pipe has gone with it.
 */
#include "flow/queue.h"

#include "os/fd.h"
#include "flow/wait.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define POLLERS 15u

/* One that polls: a member, and the number of the write end in its table of descriptors. */
struct pollers {
    _Atomic uint32_t count; /* places used so far */
    uint32_t reserved;
    struct poller {
        _Atomic uint64_t id;
        _Atomic uint64_t inode; /* of the pipe: the number may have come to mean something else */
        _Atomic int32_t write_end;
        _Atomic int32_t read_end;
    } list[POLLERS];
};

static struct pollers *pollers_of(struct piu_queue *q)
{
    return arena_at(atomic_load(&q->pollers), sizeof(struct pollers));
}

static struct poller *poller_find(struct pollers *p, uint64_t id)
{
    for (unsigned i = 0; p && i < POLLERS; i++) {
        if (atomic_load(&p->list[i].id) == id)
            return &p->list[i];
    }
    return NULL;
}

static struct poller *poller_place(struct pollers *p)
{
    struct poller *place = poller_find(p, 0);

    for (unsigned i = 0; !place && i < POLLERS; i++) {
        if (member_fate_unswept(atomic_load(&p->list[i].id)) != FATE_ALIVE)
            place = &p->list[i];
    }
    return place;
}

static uint64_t pipe_inode(int fd)
{
    struct stat st;

    return fstat(fd, &st) == 0 && S_ISFIFO(st.st_mode) ? (uint64_t)st.st_ino : 0;
}

static void poller_wake(const struct poller *poller)
{
    cleanup(fd_done) int fd = -1;
    pid_t pid = member_pid(atomic_load(&poller->id));
    char path[64];

    if (!pid)
        return;
    snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)pid, (int)atomic_load(&poller->write_end));
    fd = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 || pipe_inode(fd) != atomic_load(&poller->inode) || write(fd, "", 1) < 0)
        return; /* gone, another's, or full: then it is readable already */
}

void queue_tell_pollers(struct piu_queue *q)
{
    struct pollers *p = pollers_of(q);

    for (unsigned i = 0; p && i < POLLERS; i++) {
        if (atomic_load(&p->list[i].id))
            poller_wake(&p->list[i]);
    }
}

void queue_drain_poller(struct piu_queue *q, uint64_t who)
{
    struct poller *poller = poller_find(pollers_of(q), who & ID_MASK);
    char bytes[64];

    if (!poller || atomic_load(&q->shut))
        return;
    while (read(atomic_load(&poller->read_end), bytes, sizeof(bytes)) == (ssize_t)sizeof(bytes))
        ;
    if (queue_has_message(q))
        poller_wake(poller); /* it came between */
}

static int poller_open(struct poller *poller, uint64_t id)
{
    int ends[2];
    char path[64];
    int r = fd_pipe(ends);

    if (r < 0)
        return r;
    snprintf(path, sizeof(path), "/proc/self/fd/%d", ends[1]);
    if (access(path, W_OK) < 0) {
        fd_close(ends[0]);
        fd_close(ends[1]);
        return -ENOTSUP;
    }
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    fcntl(ends[1], F_SETFL, O_NONBLOCK);
    atomic_store(&poller->inode, pipe_inode(ends[0]));
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
    put_leave(q);
    if (r == 0 && queue_is_ready(q))
        poller_wake(poller_find(pollers_of(q), who & ID_MASK));
    return r < 0 ? r : fd;
}
