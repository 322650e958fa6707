#include "cast.h"
#include "slow.h"

#include <dirent.h>
#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

void cast_add(const struct subject *s)
{
    for (unsigned r = 0; r < SUBJECT_ROLES; r++)
        for (unsigned n = 0; n < s->roles[r].count; n++) {
            struct actor *a = &ledger->actors[ledger->actor_count++];

            a->role = &s->roles[r];
            a->number = n;
        }
}

/* ---- In an actor ------------------------------------------------------------------------- */

static long count_descriptors(void)
{
    DIR *dir = opendir("/proc/self/fd");
    long count = 0;

    while (dir && readdir(dir))
        count++;
    if (dir)
        closedir(dir);
    return count;
}

static void measure(struct actor *a, unsigned when)
{
    a->descriptors[when] = count_descriptors();
    a->heap[when] = (long)mallinfo2().uordblks;
}

static _Noreturn void actor_main(struct actor *a, pid_t checker)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != checker)
        _exit(1);
    self = a;
    measure(a, 0);
    a->role->play(a);
    measure(a, 1);
    exit(0);
}

/* ---- In the checker ---------------------------------------------------------------------- */

void actor_start(struct actor *a)
{
    pid_t checker = getpid(), pid;
    int64_t begin;

    a->life++;
    a->random = ledger->seed + (uint64_t)(a - ledger->actors) * 1000003 +
                ledger->rounds * UINT64_C(1000000007) + a->life;
    atomic_store(&a->doing, NULL);
    atomic_store(&a->stop, false);
    for (unsigned i = 0; i < POOL_WORKERS; i++)
        atomic_store(&a->workers[i], 0);
    atomic_store(&a->doomed, false);
    atomic_store(&a->late, 0);
    begin = clock_ns();
    pid = fork();
    if (pid == 0)
        actor_main(a, checker);
    /* the kernel stops all forks and ends while somebody moves a process to another cgroup */
    machine_was_late(clock_ns() - begin);
    if (pid < 0) {
        perror("soak: fork");
        exit(2);
    }
    atomic_store(&a->pid, pid);
}

void actor_kill(struct actor *a)
{
    atomic_store(&a->doomed, true);
    kill(atomic_load(&a->pid), SIGKILL);
}

void actor_bury(struct actor *a)
{
    int64_t begin = clock_ns(), took;
    int status;

    slow_await_end(a);
    waitpid(atomic_load(&a->pid), &status, 0);
    took = clock_ns() - begin;
    if (took > atomic_load(&ledger->teardown))
        atomic_store(&ledger->teardown, took);
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
        violation_of(a, "had ended before it was killed: wait status 0x%x", status);
    if (a->role->died)
        a->role->died(a);
    atomic_store(&a->pid, 0);
}

/* What a process had at its end and not at its beginning, beyond its being a member. */
#define DESCRIPTORS_OF_A_MEMBER 3
#define HEAP_OF_A_MEMBER        8192

bool actor_has_ended(struct actor *a)
{
    int status;

    if (waitpid(atomic_load(&a->pid), &status, WNOHANG) == 0)
        return false;
    if (status != 0)
        violation_of(a, "ended with wait status 0x%x", status);
    else if (a->descriptors[1] > a->descriptors[0] + DESCRIPTORS_OF_A_MEMBER)
        violation_of(a, "had %ld descriptors at first and %ld at its end",
                     a->descriptors[0], a->descriptors[1]);
    else if (a->heap[1] > a->heap[0] + HEAP_OF_A_MEMBER)
        violation_of(a, "had %ld bytes from malloc() at first and %ld at its end",
                     a->heap[0], a->heap[1]);
    atomic_store(&a->pid, 0);
    return true;
}

bool anybody_is_left(void)
{
    pid_t pid;

    while ((pid = waitpid(-1, NULL, WNOHANG)) > 0)
        continue;
    return pid == 0;
}

/* ---- Those whom a pool has started ------------------------------------------------------- */

/* 0: there is no such process, or it is none of ours: all of ours are of one session. */
static pid_t parent_of_ours(pid_t pid)
{
    char path[64], line[512], *end;
    FILE *file;
    int parent = 0, session = 0;

    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    file = fopen(path, "re");
    if (!file)
        return 0;
    end = fgets(line, sizeof(line), file) ? strrchr(line, ')') : NULL;
    if (!end || sscanf(end + 1, " %*c %d %*d %d", &parent, &session) != 2 ||
        session != getsid(0))
        parent = 0;
    fclose(file);
    return parent;
}

/* The number may be another's by now: so the descriptor first, then a look at whose it is. */
static bool kill_ours(pid_t pid, pid_t parent)
{
    int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    bool ours = fd >= 0 && parent_of_ours(pid) == parent;

    ours = ours && syscall(SYS_pidfd_send_signal, fd, SIGKILL, NULL, 0) == 0;
    if (fd >= 0)
        close(fd);
    return ours;
}

bool worker_kill(const struct actor *owner, unsigned which, bool nursery)
{
    pid_t worker = atomic_load(&owner->workers[which]);
    pid_t parent = worker ? parent_of_ours(worker) : 0;

    if (!parent || parent_of_ours(parent) != atomic_load(&owner->pid))
        return false;
    return nursery ? kill_ours(parent, atomic_load(&owner->pid))
                   : kill_ours(worker, parent);
}
