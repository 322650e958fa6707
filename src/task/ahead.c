#include "task/ahead.h"

#include "os/fd.h"

#include <pthread.h>

/* With more at once, as many threads start children, those beyond are not noted. */
#define PLACES 256

static struct place {
    _Atomic(const void *) thread; /* NULL: free */
    _Atomic int fd;               /* -1: not known yet, or closed */
} places[PLACES];

/* The calling thread, and its copy in a child. */
static const void *me(void)
{
    static _Thread_local char here;

    return &here;
}

void ahead_note(int fd)
{
    for (unsigned i = 0; i < PLACES; i++) {
        const void *nobody = NULL;

        if (atomic_load(&places[i].thread) ||
            !atomic_compare_exchange_strong(&places[i].thread, &nobody, me()))
            continue;
        atomic_store(&places[i].fd, fd);
        return;
    }
}

static void place_free(struct place *p)
{
    atomic_store(&p->fd, -1);
    atomic_store(&p->thread, NULL);
}

void ahead_close(int fd)
{
    struct forks_bar bar;

    if (fd < 0)
        return;
    bar = member_bar_forks();
    for (unsigned i = 0; i < PLACES; i++) {
        if (atomic_load(&places[i].thread) == me() && atomic_load(&places[i].fd) == fd)
            place_free(&places[i]);
    }
    fd_close(fd);
    member_unbar_forks(bar);
}

void ahead_done(const int *fd)
{
    ahead_close(*fd);
}

static void after_fork_in_child(void)
{
    for (unsigned i = 0; i < PLACES; i++) {
        const void *thread = atomic_load(&places[i].thread);

        if (thread && thread != me())
            fd_close(atomic_load(&places[i].fd));
        if (thread)
            place_free(&places[i]);
    }
}

__attribute__((constructor)) static void places_open(void)
{
    for (unsigned i = 0; i < PLACES; i++)
        atomic_store(&places[i].fd, -1);
    pthread_atfork(NULL, NULL, after_fork_in_child);
}
