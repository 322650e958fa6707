#include "os/machine.h"

#include "os/cgroup.h"
#include "os/fd.h"

#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* 65,536 CPUs: the kernel refuses a set that is too small for it, and stops at 8,192. */
#define CPU_SETS 64

static unsigned cpus_affine(void)
{
    cpu_set_t sets[CPU_SETS];
    long online;
    int count;

    memset(sets, 0, sizeof(sets));
    if (sched_getaffinity(0, sizeof(sets), sets) == 0) {
        count = CPU_COUNT_S(sizeof(sets), sets);
        return count > 0 ? (unsigned)count : 1;
    }
    online = sysconf(_SC_NPROCESSORS_ONLN);
    return online > 0 ? (unsigned)online : 1;
}

unsigned machine_cpus(void)
{
    return (unsigned)min_u64(cpus_affine(), cgroup_cpus(NULL));
}

unsigned machine_cpus_online(void)
{
    static _Atomic unsigned cached;
    /* relaxed: the value carries nothing but itself */
    unsigned count = atomic_load_explicit(&cached, memory_order_relaxed);

    if (unlikely(count == 0)) {
        count = (unsigned)max_u64((uint64_t)sysconf(_SC_NPROCESSORS_ONLN), 1);
        atomic_store_explicit(&cached, count, memory_order_relaxed);
    }
    return count;
}

uint64_t machine_memory_headroom(void)
{
    return cgroup_memory_headroom(NULL);
}

/* A line of /proc/meminfo, in bytes.  The first one has no newline before it. */
static bool meminfo_field(const char *text, const char *name, uint64_t *ret)
{
    const char *line = strstr(text, name);
    unsigned long long kilobytes;

    if (!line || sscanf(line + strlen(name), " %llu kB", &kilobytes) != 1)
        return false;
    *ret = kilobytes << 10;
    return true;
}

uint64_t machine_memory_available(void)
{
    uint64_t available, swap = 0;
    char text[8192];

    if (fd_read_text("/proc/meminfo", text, sizeof(text)) < 0 ||
        !meminfo_field(text, "\nMemAvailable:", &available))
        return UINT64_MAX;
    (void)meminfo_field(text, "\nSwapFree:", &swap);
    return available + swap;
}

uint64_t machine_oom_kills(void)
{
    return cgroup_oom_kills(NULL);
}
