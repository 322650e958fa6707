#include "test.h"

#include "os/cgroup.h"

#include <ftw.h>
#include <limits.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>

#define MIB (UINT64_C(1) << 20)

/* ---- A tree of control groups in a directory of our own ---------------------------- */

static char tree[] = "/tmp/piu_cgroup_XXXXXX";
static char membership[64], mounts[64];
static struct cgroup_files files = {.membership = membership, .mounts = mounts};

static int remove_entry(const char *path, const struct stat *s, int type,
                        struct FTW *walk)
{
    (void)s, (void)type, (void)walk;
    return remove(path);
}

static void tree_remove(void)
{
    nftw(tree, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

static void tree_file(const char *path, const char *format, ...)
{
    char whole[PATH_MAX];
    va_list arguments;
    FILE *file;

    snprintf(whole, sizeof(whole), "%s/%s", tree, path);
    for (char *slash = whole + strlen(tree) + 1; (slash = strchr(slash, '/')); slash++) {
        *slash = '\0';
        mkdir(whole, 0700);
        *slash = '/';
    }
    file = fopen(whole, "we");
    CHECK(file);
    va_start(arguments, format);
    vfprintf(file, format, arguments);
    va_end(arguments);
    CHECK_EQ(fclose(file), 0);
}

/* One hierarchy, v2, mounted at tree/v2; this process is in `group`. */
static void tree_v2(const char *root, const char *group)
{
    CHECK(mkdtemp(tree));
    atexit(tree_remove);
    snprintf(membership, sizeof(membership), "%s/membership", tree);
    snprintf(mounts, sizeof(mounts), "%s/mounts", tree);
    tree_file("membership", "0::%s\n", group);
    tree_file("mounts",
              "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
              "29 22 0:26 %s %s/v2 rw,nosuid shared:4 master:7 - cgroup2 cgroup2 rw\n",
              root, tree);
}

/* cpu and memory in v1, and a v2 hierarchy without controllers, as systemd mixes them. */
static void tree_v1(const char *root, const char *group)
{
    tree_v2("/", "/mixed");
    tree_file("membership",
              "5:cpuset:/other\n4:memory:%s\n3:cpu,cpuacct:%s\n"
              "1:name=systemd:/\n0::/mixed\n",
              group, group);
    tree_file("mounts",
              "29 22 0:26 / %s/v2 rw - cgroup2 cgroup2 rw\n"
              "30 22 0:27 / %s/cpuset rw - cgroup cgroup rw,cpuset\n"
              "31 22 0:28 %s %s/cpu\\040and rw shared:2 - cgroup cgroup rw,cpu,cpuacct\n"
              "32 22 0:29 %s %s/memory rw - cgroup cgroup rw,memory\n",
              tree, tree, root, tree, root, tree);
}

static bool has_swap(void)
{
    struct sysinfo info;

    return sysinfo(&info) == 0 && info.freeswap > 0;
}

/* ---- CPUs -------------------------------------------------------------------------- */

TEST(without_control_groups_there_is_no_limit)
{
    files.membership = files.mounts = "/nonexistent";
    CHECK(cgroup_cpus(&files) == UINT64_MAX);
    CHECK(cgroup_memory_headroom(&files) == UINT64_MAX);
    CHECK_EQ(cgroup_oom_kills(&files), 0);
}

TEST(v2_a_quota_is_rounded_up)
{
    tree_v2("/", "/a");
    tree_file("v2/a/cpu.max", "150000 100000\n");
    CHECK_EQ(cgroup_cpus(&files), 2);
    tree_file("v2/a/cpu.max", "300000 100000\n");
    CHECK_EQ(cgroup_cpus(&files), 3);
    tree_file("v2/a/cpu.max", "1000 100000\n");
    CHECK_EQ(cgroup_cpus(&files), 1);
    tree_file("v2/a/cpu.max", "max 100000\n");
    CHECK(cgroup_cpus(&files) == UINT64_MAX);
}

TEST(v2_the_least_quota_of_all_ancestors_counts)
{
    tree_v2("/", "/a/b/c");
    tree_file("v2/a/cpu.max", "200000 100000\n");
    tree_file("v2/a/b/cpu.max", "max 100000\n");
    tree_file("v2/a/b/c/cpu.max", "800000 100000\n");
    CHECK_EQ(cgroup_cpus(&files), 2);
    tree_file("cpu.max", "100000 100000\n"); /* above the mount point: nobody's */
    CHECK_EQ(cgroup_cpus(&files), 2);
}

TEST(v2_a_container_sees_its_own_group_at_the_mount_point)
{
    tree_v2("/", "/");
    tree_file("v2/cpu.max", "100000 100000\n");
    CHECK_EQ(cgroup_cpus(&files), 1);
}

TEST(v2_a_mount_of_a_part_is_followed_from_its_root)
{
    tree_v2("/docker/1234", "/docker/1234/inner");
    tree_file("v2/cpu.max", "500000 100000\n");
    tree_file("v2/inner/cpu.max", "400000 100000\n");
    CHECK_EQ(cgroup_cpus(&files), 4);
}

TEST(v2_a_group_outside_of_the_mount_falls_back_on_the_mount_point)
{
    tree_v2("/docker/1234", "/docker/12345");
    tree_file("v2/cpu.max", "500000 100000\n");
    CHECK_EQ(cgroup_cpus(&files), 5);
    tree_file("membership", "0::/../other\n");
    CHECK_EQ(cgroup_cpus(&files), 5);
}

TEST(v1_a_quota_counts_in_all_ancestors)
{
    tree_v1("/", "/a/b");
    tree_file("cpu and/cpu.cfs_quota_us", "-1\n");
    tree_file("cpu and/cpu.cfs_period_us", "100000\n");
    tree_file("cpu and/a/cpu.cfs_quota_us", "250000\n");
    tree_file("cpu and/a/cpu.cfs_period_us", "100000\n");
    tree_file("cpu and/a/b/cpu.cfs_quota_us", "-1\n");
    tree_file("cpu and/a/b/cpu.cfs_period_us", "100000\n");
    tree_file("v2/mixed/cpu.max", "100000 100000\n"); /* not where the controller is */
    CHECK_EQ(cgroup_cpus(&files), 3);
}

/* ---- Memory ------------------------------------------------------------------------ */

static void memory_v2(const char *group, const char *limit, uint64_t used, uint64_t cache)
{
    char path[PATH_MAX];

    snprintf(path, sizeof(path), "v2/%s/memory.max", group);
    tree_file(path, "%s\n", limit);
    snprintf(path, sizeof(path), "v2/%s/memory.current", group);
    tree_file(path, "%llu\n", (unsigned long long)used);
    snprintf(path, sizeof(path), "v2/%s/memory.swap.max", group);
    tree_file(path, "0\n");
    snprintf(path, sizeof(path), "v2/%s/memory.stat", group);
    tree_file(path,
              "anon 5000000\nfile 900000000\nshmem 800000000\nworkingset_refault_file 1\n"
              "inactive_anon 1\nactive_anon 1\ninactive_file %llu\nactive_file 4096\n",
              (unsigned long long)cache - 4096);
}

TEST(v2_page_cache_counts_as_free_and_shared_memory_does_not)
{
    tree_v2("/", "/a");
    memory_v2("a", "104857600", 90 * MIB, 20 * MIB);
    CHECK_EQ(cgroup_memory_headroom(&files), 30 * MIB);
}

TEST(v2_the_least_headroom_of_all_ancestors_counts)
{
    tree_v2("/", "/a/b");
    memory_v2("a", "104857600", 95 * MIB, MIB);
    memory_v2("a/b", "max", 95 * MIB, MIB);
    CHECK_EQ(cgroup_memory_headroom(&files), 6 * MIB);
    memory_v2("a/b", "96468992", 91 * MIB, MIB);
    CHECK_EQ(cgroup_memory_headroom(&files), 2 * MIB);
    memory_v2("a/b", "94371840", 99 * MIB, MIB);
    CHECK_EQ(cgroup_memory_headroom(&files), 0);
}

TEST(v2_no_limit_is_no_limit)
{
    tree_v2("/", "/a");
    memory_v2("a", "max", 90 * MIB, MIB);
    CHECK(cgroup_memory_headroom(&files) == UINT64_MAX);
}

TEST(v2_swap_counts_as_far_as_the_groups_allow_it)
{
    if (!has_swap())
        SKIP("no swap");
    tree_v2("/", "/a/b");
    memory_v2("a", "max", 0, MIB);
    memory_v2("a/b", "104857600", 101 * MIB, MIB);
    tree_file("v2/a/b/memory.swap.max", "8192\n");
    tree_file("v2/a/b/memory.swap.current", "0\n");
    tree_file("v2/a/memory.swap.max", "4096\n");
    tree_file("v2/a/memory.swap.current", "0\n");
    CHECK_EQ(cgroup_memory_headroom(&files), 4096);
}

static void memory_v1(const char *limit)
{
    tree_v1("/docker/12", "/docker/12");
    tree_file("memory/memory.limit_in_bytes", "%s\n", limit);
    tree_file("memory/memory.usage_in_bytes", "%llu\n", (unsigned long long)(50 * MIB));
    tree_file(
        "memory/memory.stat",
        "cache 1\nactive_file 1\ninactive_file 1\ntotal_cache 99999999\n"
        "total_shmem 9999999\ntotal_inactive_file 1048576\ntotal_active_file 2097152\n");
}

TEST(v1_page_cache_of_the_whole_subtree_counts_as_free)
{
    memory_v1("104857600");
    CHECK_EQ(cgroup_memory_headroom(&files), 53 * MIB);
}

TEST(v1_a_limit_of_nearly_2_to_the_63_is_none)
{
    memory_v1("9223372036854771712");
    CHECK(cgroup_memory_headroom(&files) == UINT64_MAX);
}

TEST(oom_kills_are_counted_in_both_versions)
{
    tree_v2("/", "/a");
    tree_file("v2/a/memory.events",
              "low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\noom_group_kill 1\n");
    CHECK_EQ(cgroup_oom_kills(&files), 2);
    tree_file("membership", "4:memory:/a\n0::/a\n");
    tree_file("mounts", "32 22 0:29 / %s/memory rw - cgroup cgroup rw,memory\n", tree);
    tree_file("memory/a/memory.oom_control",
              "oom_kill_disable 0\nunder_oom 0\noom_kill 5\n");
    CHECK_EQ(cgroup_oom_kills(&files), 5);
}

TEST(odd_files_are_no_limit_and_no_crash)
{
    tree_v2("/", "/a");
    tree_file("membership", "\n:\n::\n0\n0:\n9:x\n0::/a\n");
    tree_file("mounts",
              "\n - \n1 2 3 - cgroup2\n1 2 3:4 / - cgroup2 x y\n1 2 3:4 / %s/v2 rw - "
              "cgroup2 x rw\n",
              tree);
    tree_file("v2/a/cpu.max", "\n");
    tree_file("v2/a/memory.max", "");
    tree_file("v2/a/memory.current", "x\n");
    CHECK(cgroup_cpus(&files) == UINT64_MAX);
    CHECK(cgroup_memory_headroom(&files) == UINT64_MAX);
    tree_file("v2/a/cpu.max", "100000 0\n");
    CHECK(cgroup_cpus(&files) == UINT64_MAX);
    tree_file("v2/a/cpu.max", "100000 100000\n");
    CHECK_EQ(cgroup_cpus(&files), 1);
}
