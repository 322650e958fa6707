/* Children: started as test.h has it, and all that came to us when who had started them died. */
#include "job.h"

#include <sched.h>
#include <sys/mman.h>
#include <sys/stat.h>

static _Thread_local pid_t forked;

/* ---- test.h --------------------------------------------------------------------------- */

pid_t test_fork(void)
{
    forked = fork();
    CHECK(forked >= 0);
    if (forked == 0)
        become_member();
    return forked;
}

pid_t test_forked(void)
{
    return forked;
}

int child_wait(pid_t pid)
{
    int status;

    while (waitpid(pid, &status, 0) < 0)
        CHECK_EQ(errno, EINTR);
    return status;
}

void test_die(void)
{
    kill(getpid(), SIGKILL);
    for (;;)
        pause();
}

void *test_shared(size_t size)
{
    void *memory =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    CHECK(memory != MAP_FAILED);
    return memory;
}

void test_pause(const char *file, int line, const char *expr)
{
    (void)file, (void)line, (void)expr;
    nanosleep(&(struct timespec){.tv_nsec = 50000}, NULL);
}

/* ---- All that there are --------------------------------------------------------------------- */

/* Calls `function` for each child of `parent`; of ourselves: orphans that came to us too. */
static void children_each(pid_t parent, void (*function)(pid_t pid))
{
    char path[64], line[8192], *p, *end;
    FILE *file;
    long pid;

    snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)parent, (int)parent);
    file = fopen(path, "re");
    line[0] = '\0';
    if (file && !fgets(line, sizeof(line), file))
        line[0] = '\0';
    if (file)
        fclose(file);
    for (p = line; (pid = strtol(p, &end, 10)) > 0; p = end)
        function((pid_t)pid);
}

static void child_kill(pid_t pid)
{
    kill(pid, SIGKILL);
}

void children_kill(void)
{
    pid_t pid;

    for (;;) {
        children_each(getpid(), child_kill);
        do
            pid = waitpid(-1, NULL, WNOHANG | __WALL);
        while (pid > 0);
        if (pid < 0 && errno == ECHILD)
            return;
        sched_yield();
    }
}

/* ---- What the victim had started ---------------------------------------------------------- */

static bool orphans_seen;

static void orphan_count(pid_t pid)
{
    orphans_seen |= !cast_has(pid);
}

bool kill_has_orphans(void)
{
    orphans_seen = false;
    children_each(getpid(), orphan_count);
    return orphans_seen;
}

/* It lives on as another program: what it had started does not come to us. */
static bool became_idle(pid_t pid)
{
    char path[64];
    struct stat program, idle;

    snprintf(path, sizeof(path), "/proc/%d/exe", (int)pid);
    return stat(path, &program) == 0 && stat(kill_idle_program(), &idle) == 0 &&
           program.st_ino == idle.st_ino && program.st_dev == idle.st_dev;
}

static void stepchild_wait(pid_t pid)
{
    while (process_state(pid) != 'Z')
        sched_yield();
}

static void orphan_wait(pid_t pid)
{
    if (became_idle(pid)) {
        children_each(pid, stepchild_wait);
    } else if (!cast_has(pid)) {
        child_wait(pid);
        orphans_seen = true; /* what it had started comes to us now */
    }
}

void kill_orphans_end(void)
{
    here.phase = "what the victim started does not end";
    do {
        orphans_seen = false;
        children_each(getpid(), orphan_wait);
    } while (orphans_seen);
    here.phase = "the survivor";
}
