/* Who plays beside the survivor: its peers, each in a process of its own, and the victim. */
#include "job.h"

struct cast {
    _Atomic pid_t victim;
    _Atomic int ready[KILL_PEERS];
};

static struct cast *cast; /* shared by all of them */
static pid_t peers[KILL_PEERS];
static unsigned peer_number; /* in a peer: its own */

void cast_begin(void)
{
    cast = test_shared(sizeof(*cast));
}

bool cast_has(pid_t pid)
{
    for (unsigned i = 0; i < KILL_PEERS; i++)
        if (peers[i] == pid)
            return true;
    return cast->victim == pid || victim_is_hangman(pid);
}

void kill_victim_is(pid_t pid)
{
    cast->victim = pid;
}

char process_state(pid_t pid)
{
    char path[40], line[256], *p = NULL;
    FILE *file;

    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    file = fopen(path, "re");
    if (!file)
        return 'Z';
    if (fgets(line, sizeof(line), file))
        p = strrchr(line, ')');
    fclose(file);
    return p ? p[2] : 'Z';
}

static bool is_at_rest(pid_t pid)
{
    return strchr("SZ", process_state(pid)) != NULL;
}

void victim_reap(struct victim *v)
{
    int status;

    if (v->pid == 0)
        return;
    CHECK_EQ(kill(v->pid, SIGKILL), 0);
    do
        CHECK_EQ(waitpid(v->pid, &status, 0), v->pid);
    while (WIFSTOPPED(status));
    v->pid = 0;
}

/* ---- In a peer -------------------------------------------------------------------------- */

void peer_is_ready(void)
{
    cast->ready[peer_number] = 1;
}

void peer_awaits_victim(void)
{
    pid_t victim;

    while ((victim = cast->victim) == 0 || !is_at_rest(victim))
        test_pause(NULL, 0, NULL);
}

/* ---- In the survivor ---------------------------------------------------------------------- */

pid_t peer_pid(unsigned i)
{
    return peers[i];
}

bool peer_rests(unsigned i)
{
    return is_at_rest(peers[i]);
}

bool peer_has_ended(unsigned i)
{
    return process_state(peers[i]) == 'Z';
}

void peer_kill(unsigned i)
{
    CHECK_EQ(kill(peers[i], SIGKILL), 0);
    test_wait_until(process_state(peers[i]) == 'Z');
}

void peer_stop(unsigned i)
{
    CHECK_EQ(kill(peers[i], SIGSTOP), 0);
    test_wait_until(process_state(peers[i]) == 'T');
}

void peer_continue(unsigned i)
{
    CHECK_EQ(kill(peers[i], SIGCONT), 0);
}

void peer_join(unsigned i)
{
    pid_t pid = peers[i];
    int status;

    here.phase = "a peer does not go on";
    status = child_wait(pid);
    here.phase = "the survivor";
    peers[i] = 0;
    CHECK_EQ(status, 0);
}

static void peer_start(unsigned i)
{
    cast->ready[i] = 0;
    peers[i] = test_fork();
    if (peers[i] == 0) {
        peer_number = i;
        job.c->peers[i](job.state);
        exit(0);
    }
    test_wait_until(cast->ready[i] && process_state(peers[i]) == 'S');
}

void cast_enter(void)
{
    cast->victim = 0;
    for (unsigned i = 0; i < KILL_PEERS && job.c->peers[i]; i++)
        peer_start(i);
}

void cast_leave(void)
{
    for (unsigned i = 0; i < KILL_PEERS; i++)
        if (peers[i]) {
            kill(peers[i], SIGKILL);
            child_wait(peers[i]);
            peers[i] = 0;
        }
}
