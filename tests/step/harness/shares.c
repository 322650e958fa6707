#include "shares.h"

#include "options.h"

#define GIVE_UP 5 /* violations of one case */

static pid_t share_start(const struct kill_case *c, unsigned share,
                         struct kill_count *count)
{
    pid_t pid = fork();

    if (pid < 0) {
        perror("fork");
        exit(2);
    }
    if (pid == 0) {
        setpgid(0, 0); /* a Ctrl-C is ours: we stop it */
        signal(SIGINT, SIG_DFL);
        signal(SIGTERM, SIG_DFL);
        plan.share = share;
        kill_job(c, &plan, count);
    }
    return pid;
}

static bool share_goes_on(const struct kill_case *c, const struct kill_count *count)
{
    return !c->twin && !one_is_wanted() && count->violations + count->troubles < GIVE_UP;
}

/* One that met a violation goes on behind it in a new process. */
bool shares_run(const struct kill_case *c, struct kill_count *count)
{
    pid_t pids[SHARES_MOST];
    unsigned running = plan.shares;
    bool sound = true;
    int status;

    for (unsigned i = 0; i < plan.shares; i++)
        pids[i] = share_start(c, i, count);
    while (running > 0) {
        pid_t pid = wait(&status);
        unsigned i = 0;

        if (pid < 0 && errno == EINTR)
            continue;
        if (pid < 0) {
            perror("wait");
            exit(2);
        }
        while (pids[i] != pid)
            i++;
        if (WIFEXITED(status) && WEXITSTATUS(status) == 1 && share_goes_on(c, count)) {
            pids[i] = share_start(c, i, count);
            continue;
        }
        sound &= WIFEXITED(status) && WEXITSTATUS(status) <= 1;
        running--;
    }
    return sound;
}
