#include "test.h"

#include "os/cgroup.h"
#include "os/machine.h"

#include <sched.h>
#include <sys/sysinfo.h>

static void run_on_one_cpu(void)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET(sched_getcpu(), &set);
    CHECK_EQ(sched_setaffinity(0, sizeof(set), &set), 0);
}

TEST(there_is_a_cpu_and_no_more_than_the_machine_has)
{
    CHECK(machine_cpus() >= 1);
    CHECK(machine_cpus() <= machine_cpus_online());
    CHECK(machine_cpus_online() <= (unsigned)get_nprocs_conf());
}

TEST(affinity_counts_for_what_may_be_used_and_not_for_what_is_there)
{
    unsigned before = machine_cpus_online();

    run_on_one_cpu();
    CHECK_EQ(machine_cpus(), 1);
    CHECK_EQ(machine_cpus_online(), before);
}

TEST(the_machine_has_some_memory_but_not_more_than_all)
{
    struct sysinfo info;
    uint64_t all;

    CHECK_EQ(sysinfo(&info), 0);
    all = ((uint64_t)info.totalram + info.totalswap) * info.mem_unit;
    CHECK(machine_memory_available() > 0);
    CHECK(machine_memory_available() <= all);
}

TEST(what_the_control_groups_say_is_passed_on)
{
    CHECK(machine_memory_headroom() > 0);
    CHECK_EQ(machine_oom_kills(), cgroup_oom_kills(NULL));
}
