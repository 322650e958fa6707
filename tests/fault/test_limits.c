/* Limits of the system: an error, never a signal. */
#include "test.h"

#include "shm/block.h"

#include <fcntl.h>
#include <piu.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>

static void limit(int resource, rlim_t value)
{
    struct rlimit l;

    CHECK_EQ(getrlimit((__rlimit_resource_t)resource, &l), 0);
    l.rlim_cur = value;
    CHECK_EQ(setrlimit((__rlimit_resource_t)resource, &l), 0);
}

static void unlimit(int resource)
{
    struct rlimit l;

    CHECK_EQ(getrlimit((__rlimit_resource_t)resource, &l), 0);
    l.rlim_cur = l.rlim_max;
    CHECK_EQ(setrlimit((__rlimit_resource_t)resource, &l), 0);
}

static int give_code(void *unused)
{
    (void)unused;
    return 5;
}

/* Allocates and writes until there is no more; gives all back.  How many MB there were. */
static int fill(int most)
{
    void **block = calloc((size_t)most, sizeof(*block));
    int count = 0;

    CHECK(block);
    while (count < most && (block[count] = piu_shared_new(1, 1 << 20)))
        memset(block[count++], 1, 1 << 20);
    CHECK(count == most || errno == ENOMEM);
    for (int i = 0; i < count; i++)
        piu_shared_free(block[i]);
    free(block);
    return count;
}

static void check_works(void)
{
    struct piu_process p = {.target = give_code};
    int exitcode;

    CHECK_EQ(fill(4), 4);
    CHECK_EQ(piu_process_start(&p), 0);
    CHECK_EQ(piu_process_join(&p, PIU_FOREVER), 0);
    CHECK_EQ(piu_process_exitcode(&p, &exitcode), 0);
    CHECK_EQ(exitcode, 5);
    CHECK_EQ(piu_process_close(&p), 0);
    CHECK(block_check());
}

TEST(beyond_the_largest_file_is_an_error_and_no_signal)
{
    int status = in_child({
        limit(RLIMIT_FSIZE, 24 << 20);
        CHECK(fill(100) < 100 || !piu_shared_new(1, 1 << 20));
        unlimit(RLIMIT_FSIZE);
        check_works();
    });

    CHECK_EQ(status, 0);
}

TEST(with_a_small_address_space_the_family_is_smaller)
{
    int status = in_child({
        limit(RLIMIT_AS, (rlim_t)4 << 30);
        check_works();
    });

    CHECK_EQ(status, 0);
}

TEST(without_descriptors_a_start_is_refused_and_the_next_works)
{
    struct piu_process p = {.target = give_code};

    check_works();
    for (rlim_t most = 3; most < 24; most++) {
        int r;

        limit(RLIMIT_NOFILE, most);
        r = piu_process_start(&p);
        unlimit(RLIMIT_NOFILE);
        CHECK(r == 0 || r == -EMFILE);
        if (r == 0) {
            CHECK_EQ(piu_process_join(&p, PIU_FOREVER), 0);
            CHECK_EQ(piu_process_close(&p), 0);
        }
    }
    check_works();
}

TEST(without_processes_a_start_and_a_pool_are_refused)
{
    int status = in_child({
        struct piu_process p = {.target = give_code};

        check_works();
        if (geteuid() == 0) /* root is not counted */
            CHECK_EQ(setuid(54321), 0);
        limit(RLIMIT_NPROC, 0);
        CHECK_EQ(piu_process_start(&p), -EAGAIN);
        errno = 0;
        CHECK(!piu_pool_new(.processes = 2));
        CHECK_EQ(errno, EAGAIN);
        unlimit(RLIMIT_NPROC);
        CHECK_EQ(fill(4), 4);
    });

    CHECK_EQ(status, 0);
}

/* ---- A memory cgroup ------------------------------------------------------------------- */

static bool write_to(const char *directory, const char *name, const char *text)
{
    char path[256];
    int fd;
    bool good;

    snprintf(path, sizeof(path), "%s/%s", directory, name);
    fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    good = write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    close(fd);
    return good;
}

static void fill_in_group(const char *group, const char *limit_file)
{
    char pid[16];
    int status;

    if (mkdir(group, 0755) < 0)
        SKIP("no memory cgroup can be made here");
    if (!write_to(group, limit_file, "67108864")) {
        rmdir(group);
        SKIP("this memory cgroup takes no limit");
    }
    status = in_child({
        int count;

        snprintf(pid, sizeof(pid), "%d", (int)getpid());
        CHECK(write_to(group, "cgroup.procs", pid));
        count = fill(200);
        CHECK(count > 8 && count < 64);
        check_works();
    });
    for (int i = 0; rmdir(group) < 0 && i < 1000; i++)
        usleep(1000); /* its members are being reaped */
    CHECK_EQ(status, 0);
}

TEST(a_full_memory_cgroup_is_an_error_and_kills_nobody)
{
    char group[64];

    snprintf(group, sizeof(group), "/sys/fs/cgroup/memory/piu-test-%d", (int)getpid());
    if (access("/sys/fs/cgroup/memory", F_OK) == 0)
        fill_in_group(group, "memory.limit_in_bytes");
    snprintf(group, sizeof(group), "/sys/fs/cgroup/piu-test-%d", (int)getpid());
    if (access("/sys/fs/cgroup/memory", F_OK) != 0)
        fill_in_group(group, "memory.max");
}
