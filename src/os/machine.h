/* What this machine, and this container, allow. */
#ifndef PIU_OS_MACHINE_H
#define PIU_OS_MACHINE_H

#include "os/base.h"

/* CPUs this process may use: affinity and cgroup quota (v1 and v2, all ancestors); >= 1. */
unsigned machine_cpus(void);
/* CPUs that are online, whatever this process may use; >= 1.  Cached: is spinning any use? */
unsigned machine_cpus_online(void);
/* Bytes that the memory cgroups (v1, v2, all ancestors) still allow; UINT64_MAX: no limit. */
uint64_t machine_memory_headroom(void);
/* Bytes that the machine itself still has, with page cache and swap; UINT64_MAX: unknown. */
uint64_t machine_memory_available(void);
/* OOM kills in this process's memory cgroup so far; 0 where it cannot be told. */
uint64_t machine_oom_kills(void);

#endif
