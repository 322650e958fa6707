/*
 * The limits of the control groups this process is in, v2 and v1, all ancestors that can be
 * seen from here.  Nothing is cached: limits change while a container runs.
 */
#ifndef PIU_OS_CGROUP_H
#define PIU_OS_CGROUP_H

#include "os/base.h"

/* Where to look; NULL stands for the files of this process.  Tests have their own. */
struct cgroup_files {
    const char *membership; /* /proc/self/cgroup */
    const char *mounts;     /* /proc/self/mountinfo */
};

/* CPUs by quota, rounded up; UINT64_MAX: no quota. */
uint64_t cgroup_cpus(const struct cgroup_files *files);
/* Bytes until a limit, counting page cache (and swap, v2) as free; UINT64_MAX: no limit. */
uint64_t cgroup_memory_headroom(const struct cgroup_files *files);
/* Processes of our group, and of those below, that the OOM killer has ended; or 0. */
uint64_t cgroup_oom_kills(const struct cgroup_files *files);

#endif
