#include "growth.h"

#include "shm/block.h"
#include "shm/member.h"

#include <dirent.h>
#include <malloc.h>

#define MB (UINT64_C(1) << 20)

static const struct {
    const char *what;
    uint64_t unit; /* 0: a number */
    uint64_t more; /* by chance: how many blocks there happened to be at once, say */
} usages[USAGES] = {
    [RESIDENT] = {"resident memory of the checker, KB", 1024, MB},
    [HEAP] = {"malloc() in the checker, bytes", 1, 0},
    [DESCRIPTORS] = {"descriptors of the checker", 1, 0},
    [ARENA] = {"arena, blocks and spans, KB", 1024, MB},
    [BLOCKS] = {"blocks", 1, 0},
    [MEMBERS] = {"members", 1, 0},
};

#define ROUNDS_MAX 8192
static struct usage notes[ROUNDS_MAX];
static unsigned noted;

static uint64_t resident(void)
{
    FILE *file = fopen("/proc/self/statm", "re");
    unsigned long size, all = 0, shared = 0;

    if (file && fscanf(file, "%lu %lu %lu", &size, &all, &shared) != 3)
        all = shared = 0;
    if (file)
        fclose(file);
    return (uint64_t)(all - shared) * (uint64_t)sysconf(_SC_PAGESIZE);
}

static uint64_t descriptors(void)
{
    DIR *dir = opendir("/proc/self/fd");
    uint64_t count = 0;

    while (dir && readdir(dir))
        count++;
    if (dir)
        closedir(dir);
    return count;
}

static uint64_t members(void)
{
    uint32_t cursor = 0;
    uint64_t count = 0;

    while (member_next(&cursor))
        count++;
    return count;
}

struct usage usage_now(void)
{
    member_sweep_dead(true);
    if (!block_check())
        violation("the heap is not sound");
    return (struct usage){{
        [RESIDENT] = resident(),
        [HEAP] = mallinfo2().uordblks,
        [DESCRIPTORS] = descriptors(),
        [ARENA] = block_in_use(),
        [BLOCKS] = block_count(),
        [MEMBERS] = members(),
    }};
}

void usage_check(const struct usage *before, const struct usage *after)
{
    for (enum usage_kind k = BLOCKS; k <= MEMBERS; k++)
        if (after->of[k] != before->of[k])
            violation("%s: %llu before the round, and %llu after it", usages[k].what,
                      (unsigned long long)before->of[k],
                      (unsigned long long)after->of[k]);
}

void growth_note(const struct usage *u)
{
    if (noted < ROUNDS_MAX)
        notes[noted++] = *u;
}

static uint64_t most(enum usage_kind k, unsigned from, unsigned to)
{
    uint64_t most = 0;

    for (unsigned i = from; i < to; i++)
        most = notes[i].of[k] > most ? notes[i].of[k] : most;
    return most;
}

void growth_check(void)
{
    unsigned quarter = (noted + 3) / 4;

    printf("%-40s %12s %12s\n", "most at the end of a round", "first 1/4", "last 1/4");
    for (enum usage_kind k = 0; k < USAGES; k++) {
        uint64_t first = most(k, 0, quarter), last = most(k, noted - quarter, noted);

        printf("  %-38s %12llu %12llu\n", usages[k].what,
               (unsigned long long)(first / usages[k].unit),
               (unsigned long long)(last / usages[k].unit));
        fflush(stdout);
        if (last > first + usages[k].more)
            violation("%s: it grows", usages[k].what);
    }
}
