#include "test.h"

#include "os/fd.h"
#include "os/memfd.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>

#define KIB (UINT64_C(1) << 10)
#define MIB (UINT64_C(1) << 20)
#define TIB (UINT64_C(1) << 40)

#define ADDRESS ((void *)0x300000000000)

static int file_new(void)
{
    int fd;

    CHECK_EQ(memfd_new("test", &fd), 0);
    return fd;
}

static struct stat file_stat(int fd)
{
    struct stat file;

    CHECK_EQ(fstat(fd, &file), 0);
    return file;
}

static unsigned char *file_map(int fd, uint64_t size)
{
    void *memory;

    CHECK_EQ(memfd_map(fd, size, NULL, &memory), 0);
    return memory;
}

TEST(a_file_grows_and_never_shrinks)
{
    int fd = file_new();

    CHECK_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
    CHECK_EQ(ftruncate(fd, 8192), 0);
    CHECK_EQ(ftruncate(fd, 4096), -1);
    CHECK_EQ(errno, EPERM);
    CHECK_EQ(fcntl(fd, F_ADD_SEALS, F_SEAL_GROW),
             -1); /* nobody can stop it from growing */
    CHECK_EQ(memfd_allocate(fd, 8192, 4096), 0);
    CHECK_EQ(file_stat(fd).st_size, 12288);
}

TEST(allocated_memory_is_there_and_zero)
{
    int fd = file_new();
    unsigned char *memory = file_map(fd, TIB);

    CHECK_EQ(memfd_allocate(fd, MIB, 2 * MIB), 0);
    CHECK_EQ(file_stat(fd).st_size, 3 * MIB);
    CHECK_EQ((uint64_t)file_stat(fd).st_blocks * 512, 2 * MIB);
    for (uint64_t i = MIB; i < 3 * MIB; i++)
        CHECK(memory[i] == 0);
}

TEST(allocating_again_keeps_the_bytes)
{
    int fd = file_new();
    unsigned char *memory = file_map(fd, MIB);

    CHECK_EQ(memfd_allocate(fd, 0, 8 * KIB), 0);
    memory[5000] = 9;
    CHECK_EQ(memfd_allocate(fd, 0, 64 * KIB), 0);
    CHECK_EQ(memory[5000], 9);
    CHECK_EQ(memfd_allocate(fd, 0, 0), 0);
}

TEST(a_child_that_mapped_before_sees_what_grew_after)
{
    int fd = file_new();
    unsigned char *memory = file_map(fd, TIB);
    _Atomic int *go = test_shared(sizeof(*go));
    pid_t pid = child_start({
        test_wait_until(*go);
        CHECK_EQ(memory[MIB], 7);
    });

    CHECK_EQ(memfd_allocate(fd, MIB, 4096), 0);
    memory[MIB] = 7;
    *go = 1;
    CHECK_EQ(child_wait(pid), 0);
}

TEST(punched_memory_is_given_back_and_reads_zero)
{
    int fd = file_new();
    unsigned char *memory = file_map(fd, MIB);

    CHECK_EQ(memfd_allocate(fd, 0, MIB), 0);
    memset(memory, 1, MIB);
    CHECK_EQ(memfd_punch(fd, 64 * KIB, 128 * KIB), 0);
    CHECK_EQ(memfd_punch(fd, 0, 0), 0);
    CHECK_EQ((uint64_t)file_stat(fd).st_blocks * 512, MIB - 128 * KIB);
    CHECK_EQ(file_stat(fd).st_size, MIB);
    CHECK_EQ(memory[64 * KIB - 1], 1);
    CHECK_EQ(memory[64 * KIB], 0);
    CHECK_EQ(memory[192 * KIB], 1);
    CHECK_EQ(memfd_allocate(fd, 64 * KIB, 128 * KIB), 0);
}

static void limit(int what, rlim_t value)
{
    struct rlimit rlimit = {value, value};

    CHECK_EQ(setrlimit(what, &rlimit), 0);
}

TEST(over_the_file_size_limit_is_an_error_and_no_signal)
{
    int fd = file_new();

    CHECK_EQ(memfd_allocate(fd, 0, 128 * KIB), 0);
    CHECK_EQ(in_child({
                 limit(RLIMIT_FSIZE, 64 * KIB);
                 CHECK_EQ(memfd_allocate(fd, 128 * KIB, 4 * KIB), -ENOMEM);
                 CHECK_EQ(memfd_allocate(fd, 64 * KIB, 64 * KIB), 0); /* no growth */
                 CHECK_EQ(memfd_punch(fd, 64 * KIB, 64 * KIB), 0);
                 CHECK_EQ(memfd_allocate(fd, 64 * KIB, 64 * KIB), 0);
             }),
             0);
    CHECK_EQ(file_stat(fd).st_size, 128 * KIB);
}

TEST(more_than_the_machine_has_is_refused_before_anything_is_taken)
{
    int fd = file_new();

    CHECK_EQ(memfd_allocate(fd, 0, 64 * TIB), -ENOMEM);
    CHECK_EQ(memfd_allocate(fd, UINT64_MAX - 4095, 4096), -ENOMEM);
    CHECK_EQ(memfd_allocate(fd, UINT64_MAX - 4095, 8192), -ENOMEM);
    CHECK_EQ(memfd_allocate(fd, INT64_MAX, 4096), -ENOMEM);
    CHECK_EQ(file_stat(fd).st_size, 0);
    CHECK_EQ(file_stat(fd).st_blocks, 0);
}

static void handle(int number)
{
    (void)number;
}

TEST(a_fast_timer_does_not_keep_memory_from_being_allocated)
{
    struct sigaction action = {.sa_handler = handle};
    struct itimerval fast = {{0, 300}, {0, 300}};
    int fd = file_new();

    CHECK_EQ(sigaction(SIGALRM, &action, NULL), 0);
    CHECK_EQ(setitimer(ITIMER_REAL, &fast, NULL), 0);
    CHECK_EQ(memfd_allocate(fd, 0, 64 * MIB), 0);
    CHECK_EQ((uint64_t)file_stat(fd).st_blocks * 512, 64 * MIB);
}

TEST(a_map_comes_where_it_is_wanted_or_not_at_all)
{
    int fd = file_new();
    void *memory, *second = &fd;

    CHECK_EQ(memfd_map(fd, TIB, ADDRESS, &memory), 0);
    CHECK(memory == ADDRESS);
    CHECK_EQ(memfd_map(fd, 4096, (char *)ADDRESS + TIB - 4096, &second), -EEXIST);
    CHECK_EQ(memfd_map(fd, TIB, (char *)ADDRESS - TIB + 4096, &second), -EEXIST);
    CHECK(second == &fd);
    CHECK_EQ(memfd_map(fd, 4096, (char *)ADDRESS + TIB, &second), 0);
}

#if defined(__SANITIZE_ADDRESS__)
#define HAVE_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HAVE_ASAN 1
#endif
#endif

TEST(over_the_address_space_limit_is_an_error)
{
#ifdef HAVE_ASAN
    SKIP("ASan needs more address space than any limit");
#else
    int fd = file_new();
    void *memory;

    limit(RLIMIT_AS, UINT64_C(4) << 30);
    CHECK_EQ(memfd_map(fd, TIB, NULL, &memory), -ENOMEM);
    CHECK_EQ(memfd_map(fd, TIB, ADDRESS, &memory), -ENOMEM);
    CHECK_EQ(memfd_map(fd, 1 << 30, NULL, &memory), 0);
#endif
}

TEST(a_map_is_left_out_of_core_files)
{
    char line[512];
    bool inside = false, found = false;
    unsigned char *memory = file_map(file_new(), MIB);
    FILE *maps = fopen("/proc/self/smaps", "re");
    char start[32];

    snprintf(start, sizeof(start), "%lx-", (unsigned long)memory);
    CHECK(maps);
    while (fgets(line, sizeof(line), maps)) {
        if (strncmp(line, start, strlen(start)) == 0)
            inside = true;
        if (inside && strncmp(line, "VmFlags:", 8) == 0) {
            found = strstr(line, " dd") && strstr(line, " nr") && strstr(line, " sh");
            break;
        }
    }
    fclose(maps);
    CHECK(found);
}
