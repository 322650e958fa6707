/* Where a victim stands that takes long to end: that tells who is late, the kernel or piu. */
#include "slow.h"

#include <dirent.h>
#include <poll.h>
#include <sys/syscall.h>

#define SLOW      1000 /* ms */
#define SLOW_TOLD 10   /* of more, nothing is said */

static void tell_file(pid_t pid, pid_t thread, const char *name)
{
    char path[96], text[1024];
    FILE *file;
    size_t size;

    snprintf(path, sizeof(path), "/proc/%d/task/%d/%s", (int)pid, (int)thread, name);
    file = fopen(path, "re");
    size = file ? fread(text, 1, sizeof(text) - 1, file) : 0;
    if (file)
        fclose(file);
    text[size] = '\0';
    if (size)
        printf("    %d %s: %s%s", (int)thread, name, text,
               text[size - 1] == '\n' ? "" : "\n");
}

static void tell_threads(pid_t pid)
{
    char path[64];
    DIR *dir;

    snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
    dir = opendir(path);
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        pid_t thread = atoi(entry->d_name);

        if (!thread)
            continue;
        tell_file(pid, thread, "stat");
        tell_file(pid, thread, "wchan");
        tell_file(pid, thread, "stack");
    }
    if (dir)
        closedir(dir);
}

/* The keeper forks all the time, and what it forks ends at once. */
static bool forks_stand_still(void)
{
    int64_t forking = atomic_load(&ledger->forking);

    return forking && clock_ns() - forking > SLOW / 2 * INT64_C(1000000);
}

static void tell(const struct actor *a)
{
    const char *doing = atomic_load(&a->doing);
    pid_t pid = atomic_load(&a->pid);

    printf("SLOW: %s-%u (pid %d), killed in %s, has not ended for %d ms; a process that "
           "does not use piu %s\n",
           a->role->name, a->number, (int)pid, doing ? doing : "no call", SLOW,
           forks_stand_still() ? "does not end either" : "starts and ends");
    tell_threads(pid);
    fflush(stdout);
}

void slow_await_end(const struct actor *a)
{
    static unsigned told;
    struct pollfd entry = {.events = POLLIN};

    entry.fd = (int)syscall(SYS_pidfd_open, atomic_load(&a->pid), 0);
    if (entry.fd < 0)
        return;
    if (poll(&entry, 1, SLOW) == 0 && told++ < SLOW_TOLD)
        tell(a);
    close(entry.fd);
}
