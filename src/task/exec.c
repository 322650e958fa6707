#include "task/exec.h"

#include "os/fd.h"
#include "task/ahead.h"
#include "task/life_pipe.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define FAMILY_ROOM 160

struct launch {
    const char *const *argv;
    char **environment;
    char family[FAMILY_ROOM];
    int life;           /* as from life_pipe_for_child(); -1: not bound */
    sigset_t mask;      /* the starter's */
    volatile int error; /* written by the child: it shares our memory until exec */
};

/* Ours, with the family in it. */
static int environment_new(struct launch *l)
{
    size_t count = 0, used = 0;

    while (environ && environ[count])
        count++;
    l->environment = calloc(count + 2, sizeof(char *));
    if (!l->environment)
        return -ENOMEM;
    for (size_t i = 0; i < count; i++) {
        if (strncmp(environ[i], "PIU_FAMILY=", 11) != 0)
            l->environment[used++] = environ[i];
    }
    l->environment[used] = l->family;
    return 0;
}

/* A handler of the starter's must not run in the child, on the starter's memory. */
static void handlers_reset(void)
{
    for (int signal = 1; signal < NSIG; signal++) {
        struct sigaction action;

        if (sigaction(signal, NULL, &action) < 0 || action.sa_handler == SIG_DFL ||
            action.sa_handler == SIG_IGN)
            continue;
        memset(&action, 0, sizeof(action));
        action.sa_handler = SIG_DFL;
        sigaction(signal, &action, NULL);
    }
}

/* In the vfork child: only system calls, and words of our own.  Returns if exec did. */
static int become(struct launch *l)
{
    int r = fd_set_inheritable(arena.fd, true); /* of the child's own descriptors */

    handlers_reset();
    if (r == 0 && l->life >= 0)
        r = fd_life_arm(l->life);
    if (r == 0 && l->life >= 0)
        r = fd_set_inheritable(l->life, true);
    if (r < 0)
        return r;
    sigprocmask(SIG_SETMASK, &l->mask, NULL);
    execvpe(l->argv[0], (char *const *)(uintptr_t)l->argv, l->environment);
    return -errno;
}

static noinline pid_t launch(struct launch *l)
{
    pid_t pid = vfork();

    if (pid == 0) {
        l->error = become(l);
        _exit(CHILD_UNBORN);
    }
    return pid < 0 ? -errno : pid;
}

/* No signal handler runs in the child while it shares our memory. */
static pid_t launch_blocked(struct launch *l)
{
    sigset_t all;
    pid_t pid;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &l->mask);
    pid = launch(l);
    pthread_sigmask(SIG_SETMASK, &l->mask, NULL);
    return pid;
}

static int child_launch(struct child *c, struct launch *l)
{
    pid_t pid = launch_blocked(l);

    if (pid > 0 && l->error) {
        waitpid(pid, NULL, 0);
        pid = l->error;
    }
    if (pid < 0) {
        member_unclaim(c->id);
        return pid;
    }
    return child_watch(c, pid);
}

static int launch_prepared(struct child *c, struct launch *l)
{
    int r = arena_export(l->family, sizeof(l->family), c->id);

    if (r == 0)
        r = environment_new(l);
    if (r < 0)
        member_unclaim(c->id);
    else
        r = child_launch(c, l);
    free(l->environment);
    return r;
}

int exec_start(struct child *ret, const char *name, const char *const *argv, bool bound)
{
    struct launch l = {.argv = argv, .life = -1};
    int r = bound ? life_pipe_for_child(&l.life) : 0;
    int witness;

    if (r == 0)
        r = child_prepare(ret, name, &witness);
    if (r == 0) {
        member_witness_close(witness); /* exec would */
        r = launch_prepared(ret, &l);
    }
    ahead_close(l.life);
    return r;
}
