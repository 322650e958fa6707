/*
 * usage: leakcheck [--families N] [--seed N]
 *
 * Families whose parent is killed at a random moment of its life: afterwards there is no process,
 * no file, no descriptor and no memory of theirs.
 */
#include "family.h"
#include "orphans.h"

#include <dirent.h>
#include <errno.h>
#include <getopt.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define GONE_LIMIT  2000000000 /* ns in which all have to be gone */
#define GONE_LOOKS  500 /* and as many looks: on a machine that is slow to run us, too */
#define LATER_MOST  2000000 /* ns at most from the beginning of a stage to the kill */
#define STAGE_LIMIT 20      /* s: it hangs */
#define SHARES_MOST 64

static const char *const stage_names[STAGES] = {
    [STAGE_BEGIN] = "before piu_init()",
    [STAGE_ZYGOTE] = "behind piu_init()",
    [STAGE_CHILDREN] = "starting children",
    [STAGE_POOL] = "making the pool",
    [STAGE_WORK] = "at work",
    [STAGE_END] = "ending",
};

static struct {
    unsigned families, shares;
    uint64_t seed;
} options = {.families = 50, .seed = 1};

/* Plain shared memory; a share does its part of the families in a process of its own. */
static struct report {
    _Atomic unsigned violations;
    struct share {
        struct family_notes notes; /* of the family that lives */
        unsigned killed[STAGES];   /* by the stage that it was in */
        unsigned ended;            /* by itself, before it was killed */
        int64_t longest;           /* ns from the kill to the end of the last process */
        uint64_t sum;              /* of those, for the mean */
    } shares[SHARES_MOST];
} * report;

/* ---- Means --------------------------------------------------------------------------------- */

static int64_t clock_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void nap(long ns)
{
    struct timespec t = {.tv_nsec = ns};

    nanosleep(&t, NULL);
}

/* splitmix64 */
static uint64_t random_below(uint64_t *state, uint64_t limit)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return (z ^ z >> 31) % limit;
}

static unsigned entries_of(const char *path)
{
    DIR *dir = opendir(path);
    unsigned count = 0;

    while (dir && readdir(dir))
        count++;
    if (dir)
        closedir(dir);
    return count;
}

static void violation(unsigned family, const char *what, const char *detail)
{
    atomic_fetch_add(&report->violations, 1);
    dprintf(STDOUT_FILENO, "VIOLATION in family %u: %s%s\n", family, what, detail);
}

/* ---- One family ------------------------------------------------------------------------------ */

static void name_of_one_left(char ret[64])
{
    char path[64], line[64] = "";
    pid_t pid = orphan_first();
    FILE *file;

    snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
    file = pid ? fopen(path, "re") : NULL;
    if (file && fgets(line, sizeof(line), file))
        line[strcspn(line, "\n")] = '\0';
    if (file)
        fclose(file);
    snprintf(ret, 64, ": %.30s (%d)", line, (int)pid);
}

/* All descendants are our children, once their own parents have ended. */
static bool all_are_gone(int64_t since, struct share *share)
{
    int64_t took;

    for (unsigned looks = 0;; looks++) {
        pid_t pid = waitpid(-1, NULL, WNOHANG);

        took = clock_ns() - since;
        if (pid < 0)
            break;
        if (took > GONE_LIMIT && looks > GONE_LOOKS)
            return false;
        if (pid == 0)
            nap(100000);
    }
    share->sum += (uint64_t)took;
    share->longest = took > share->longest ? took : share->longest;
    return true;
}

/* To the stage, and some time into it; false: it hangs. */
static bool await_moment(struct share *share, pid_t parent, int stage, uint64_t later)
{
    int64_t end = clock_ns() + STAGE_LIMIT * INT64_C(1000000000);
    siginfo_t info = {.si_pid = 0};

    while (atomic_load(&share->notes.stage) < stage) {
        if (waitid(P_PID, (id_t)parent, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
            info.si_pid == parent)
            return true; /* the report says why */
        if (clock_ns() > end)
            return false;
        nap(20000);
    }
    nap((long)later);
    return true;
}

static void family_kill(struct share *share, unsigned family, pid_t parent, int stage,
                        uint64_t later)
{
    bool in_time = await_moment(share, parent, stage, later);
    int64_t since;
    int status;

    kill(parent, SIGKILL);
    since = clock_ns();
    waitpid(parent, &status, 0);
    if (!in_time)
        violation(family, "it hangs, ", stage_names[atomic_load(&share->notes.stage)]);
    if (atomic_load(&share->notes.failed))
        violation(family, atomic_load(&share->notes.failed_in),
                  strerror(atomic_load(&share->notes.failed)));
    if (WIFSIGNALED(status))
        share->killed[atomic_load(&share->notes.stage)]++;
    else
        share->ended++;
    if (!all_are_gone(since, share)) {
        char left[64];

        name_of_one_left(left);
        violation(family, "processes are left", left);
        orphans_end();
    }
}

static void family_run(struct share *share, unsigned family)
{
    uint64_t random = options.seed * 1000003 + family;
    int stage = (int)random_below(&random, STAGES);
    uint64_t later = random_below(&random, LATER_MOST);
    pid_t parent;

    memset((void *)&share->notes, 0, sizeof(share->notes));
    parent = fork();
    if (parent == 0) {
        prctl(PR_SET_CHILD_SUBREAPER, 0);
        family_main(&share->notes);
    }
    if (parent < 0) {
        violation(family, "fork: ", strerror(errno));
        return;
    }
    family_kill(share, family, parent, stage, later);
}

static _Noreturn void share_main(unsigned number)
{
    struct share *share = &report->shares[number];
    unsigned descriptors = entries_of("/proc/self/fd");

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    for (unsigned f = number; f < options.families && report->violations < 10;
         f += options.shares)
        family_run(share, f);
    if (entries_of("/proc/self/fd") != descriptors)
        violation(options.families, "descriptors are left here", "");
    _exit(0);
}

/* ---- What the machine has ---------------------------------------------------------------------- */

static const char *const directories[] = {"/tmp", "/dev/shm"};
#define DIRECTORIES (sizeof(directories) / sizeof(directories[0]))

/* Empty ones of our own, so that what is found there is ours.  false: not allowed. */
static bool directories_are_private(void)
{
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        return false;
    for (size_t i = 0; i < DIRECTORIES; i++)
        if (mount("none", directories[i], "tmpfs", 0, NULL) < 0)
            return false;
    return true;
}

/* Where they are not ours alone: what has our name. */
static unsigned files_in(const char *path, bool private)
{
    DIR *dir = opendir(path);
    struct dirent *entry;
    unsigned count = 0;

    while (dir && (entry = readdir(dir)))
        count += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 &&
                 (private || strstr(entry->d_name, "piu"));
    if (dir)
        closedir(dir);
    return count;
}

/* The whole machine's: others use it too, so just much more is too much. */
struct machine {
    unsigned long files;     /* open, as the kernel counts them */
    unsigned long memory_kb; /* shared */
};

static struct machine machine_look(void)
{
    struct machine m = {0, 0};
    FILE *file = fopen("/proc/sys/fs/file-nr", "re");
    char line[128];

    if (file && fscanf(file, "%lu", &m.files) != 1)
        m.files = 0;
    if (file)
        fclose(file);
    file = fopen("/proc/meminfo", "re");
    while (file && fgets(line, sizeof(line), file))
        if (sscanf(line, "Shmem: %lu", &m.memory_kb) == 1)
            break;
    if (file)
        fclose(file);
    return m;
}

/* A family has some forty descriptors, and half a MB of shared memory: a tenth of that is much. */
static void machine_check(const struct machine *before)
{
    struct machine after = machine_look();

    printf(
        "open files of the machine: %lu before, %lu after; shared memory: %lu KB, %lu KB\n",
        before->files, after.files, before->memory_kb, after.memory_kb);
    fflush(stdout);
    if (after.files > before->files + 2000 + options.families * 4UL)
        violation(options.families, "descriptors are left in the kernel", "");
    if (after.memory_kb > before->memory_kb + 100000 + options.families * 50UL)
        violation(options.families, "shared memory is left", "");
}

/* ---- All ------------------------------------------------------------------------------------------ */

static void print_table(bool private, double seconds)
{
    struct share sum = {.ended = 0};
    unsigned killed = 0;

    for (unsigned s = 0; s < options.shares; s++) {
        const struct share *share = &report->shares[s];

        for (int i = 0; i < STAGES; i++)
            sum.killed[i] += share->killed[i];
        sum.ended += share->ended;
        sum.sum += share->sum;
        sum.longest = share->longest > sum.longest ? share->longest : sum.longest;
    }
    printf("families by what the parent was doing when it was killed\n");
    for (int i = 0; i < STAGES; i++) {
        printf("  %-20s %6u\n", stage_names[i], sum.killed[i]);
        killed += sum.killed[i];
    }
    printf("  %-20s %6u\n", "it had just ended", sum.ended);
    printf("until the last process was gone: %.1f ms in the mean, %.1f ms at most\n",
           (double)sum.sum / (killed + sum.ended + !(killed + sum.ended)) / 1e6,
           (double)sum.longest / 1e6);
    for (size_t i = 0; i < DIRECTORIES; i++) {
        unsigned files = files_in(directories[i], private);

        printf("files in %s%s: %u\n", directories[i],
               private ? "" : " with our name (a private one needs more rights)", files);
        fflush(stdout);
        if (files)
            violation(options.families, "files are left in ", directories[i]);
    }
    printf("%u families in %.0f s, %u violations; seed %llu\n", killed + sum.ended,
           seconds, report->violations, (unsigned long long)options.seed);
    if (killed + sum.ended < options.families)
        violation(options.families, "not all of them were run", "");
}

static bool options_read(int argc, char **argv)
{
    static const struct option names[] = {
        {"families", required_argument, NULL, 'f'},
        {"seed", required_argument, NULL, 's'},
        {NULL, 0, NULL, 0},
    };

    for (int c; (c = getopt_long(argc, argv, "", names, NULL)) >= 0;)
        switch (c) {
        case 'f':
            options.families = (unsigned)atoi(optarg);
            break;
        case 's':
            options.seed = strtoull(optarg, NULL, 0);
            break;
        default:
            return false;
        }
    return optind == argc && options.families > 0;
}

static unsigned cpus(void)
{
    cpu_set_t set;
    unsigned count =
        sched_getaffinity(0, sizeof(set), &set) == 0 ? (unsigned)CPU_COUNT(&set) : 1;

    return count < SHARES_MOST ? count : SHARES_MOST;
}

int main(int argc, char **argv)
{
    int64_t begin = clock_ns();
    struct machine before;
    bool private;

    if (!options_read(argc, argv)) {
        fprintf(stderr, "usage: leakcheck [--families N] [--seed N]\n");
        return 2;
    }
    report = mmap(NULL, sizeof(*report), PROT_READ | PROT_WRITE,
                  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (report == MAP_FAILED)
        return 2;
    options.shares = cpus();
    private = directories_are_private();
    before = machine_look();
    for (unsigned s = 0; s < options.shares; s++)
        if (fork() == 0)
            share_main(s);
    while (wait(NULL) > 0)
        continue;
    machine_check(&before);
    print_table(private, (double)(clock_ns() - begin) / 1e9);
    printf("%d passed, %d failed\n", report->violations == 0, report->violations != 0);
    return report->violations != 0;
}
