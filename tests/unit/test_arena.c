/* The arena: one file without a name, at one address, found again after exec. */
#include "waits.h"

#include "os/fd.h"
#include "shm/arena.h"
#include "shm/block.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>

static void join(void)
{
    uint64_t who;

    CHECK_EQ(member_who(&who), 0);
}

TEST(an_address_means_the_same_byte_in_the_whole_family)
{
    int *shared = piu_shared_new(1, sizeof(*shared));

    CHECK_EQ(in_child({ CHECK_EQ(in_child({ *shared = 42; }), 0); }), 0);
    CHECK_EQ(*shared, 42);
}

TEST(memory_that_is_added_later_is_seen_by_members_that_were_there_before)
{
    char **told = test_shared(sizeof(*told));
    pid_t child;

    join();
    child = child_start({
        join();
        test_wait_until(*(char *volatile *)told);
        CHECK_EQ((*told)[50 << 20], 7);
    });
    char *added = piu_shared_new(60, 1 << 20);
    CHECK(added);
    added[50 << 20] = 7;
    *(char *volatile *)told = added;
    CHECK_EQ(child_wait(child), 0);
}

TEST(only_memory_that_is_there_is_shared)
{
    int here = 0;
    char *shared;

    CHECK(!piu_is_shared(&here));
    CHECK(!piu_is_shared(NULL));
    shared = piu_shared_new(1, 1);
    CHECK(piu_is_shared(shared));
    CHECK(!piu_is_shared(&here));
    CHECK(!piu_is_shared(NULL));
    CHECK(!piu_is_shared(arena.base));
    CHECK(!piu_is_shared(arena.base + arena.range - 1));
    CHECK(!piu_is_shared(arena.base + arena.range));
    CHECK(!arena_has(shared, SIZE_MAX));
    CHECK(!arena_at(UINT64_MAX, 8));
    CHECK(!arena_at(arena.range - 1, 8));
    CHECK(!arena_at(0, 1));
}

TEST(a_stale_variable_about_another_file_is_no_harm)
{
    int file = open("/tmp", O_TMPFILE | O_RDWR, 0600);
    char text[128];

    if (file < 0)
        SKIP("no O_TMPFILE in /tmp");
    snprintf(text, sizeof(text), "200000000000:10000000000:%x:706975000003:20000",
             (unsigned)file);
    CHECK_EQ(setenv("PIU_FAMILY", text, 1), 0);
    join();
    CHECK(piu_shared_new(1, 1));
    CHECK_EQ(lseek(file, 0, SEEK_END), 0);
    CHECK(arena.fd != file);
}

TEST(nonsense_in_the_variable_is_no_harm)
{
    static const char *const texts[] = {"",
                                        ":",
                                        "1:2:3",
                                        "0:0:0:0:0",
                                        "0:0:ffffffff:0:0",
                                        "zzzz:1:1:1:1",
                                        "200000000000:0:0:706975000003:1"};

    for (unsigned i = 0; i < array_size(texts); i++)
        CHECK_EQ(in_child({
                     setenv("PIU_FAMILY", texts[i], 1);
                     join();
                     CHECK(piu_shared_new(1, 1));
                 }),
                 0);
}

/* The other one's layout is not ours. */
TEST(a_family_of_another_version_is_refused)
{
    char text[128];

    join();
    CHECK_EQ(arena_export(text, sizeof(text), 0), 0);
    arena_header()->stamp++;
    CHECK_EQ(in_child({
                 putenv(text);
                 munmap(arena.base, arena.range);
                 arena.base = NULL; /* as after exec */
                 CHECK_EQ(arena_open(), -EPROTO);
                 _exit(0);
             }),
             0);
}

TEST(where_the_place_is_taken_joining_says_so)
{
    char text[128];

    join();
    CHECK_EQ(arena_export(text, sizeof(text), 0), 0);
    CHECK_EQ(in_child({
                 putenv(text);
                 arena.base = NULL; /* as after exec, but with something there */
                 CHECK_EQ(arena_open(), -EADDRINUSE);
                 _exit(0);
             }),
             0);
    CHECK_EQ(in_child({
                 void *base = arena.base;

                 putenv(text);
                 munmap(base, arena.range);
                 arena.base = NULL;
                 CHECK_EQ(arena_open(), 0);
                 CHECK(arena.base == base);
                 _exit(0);
             }),
             0);
}

TEST(the_first_place_taken_another_serves)
{
    void *place = mmap((void *)(uintptr_t)UINT64_C(0x200000000000), 4096, PROT_READ,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    int *shared;

    CHECK(place != MAP_FAILED);
    shared = piu_shared_new(1, sizeof(*shared));
    CHECK(shared);
    CHECK_EQ(in_child({ *shared = 1; }), 0);
    CHECK_EQ(*shared, 1);
}

/* Without the pages of code, which are the file's, and others'. */
static uint64_t resident(void)
{
    char text[4096];
    const char *line;

    CHECK_EQ(fd_read_text("/proc/self/status", text, sizeof(text)), 0);
    line = strstr(text, "RssAnon:");
    CHECK(line);
    return strtoull(line + 8, NULL, 10) * 1024;
}

/* What a member costs by itself, and the file that all share. */
TEST(an_idle_family_costs_less_than_a_megabyte)
{
    struct notes *notes = test_shared(sizeof(*notes));
    uint64_t before = resident(), own;
    pid_t children[8];
    struct stat st;

#if defined(__SANITIZE_ADDRESS__)
    SKIP("AddressSanitizer's own memory is in it");
#endif
    join();
    CHECK(piu_shared_new(1, 64));
    own = resident() - before;
    for (int i = 0; i < 8; i++)
        children[i] = child_start({
            join();
            notes->count++;
            test_wait_until(notes->done[0]);
        });
    test_wait_until(notes->count == 8);
    CHECK_EQ(fstat(arena.fd, &st), 0);
    printf("resident %llu KB more, file %llu KB\n", (unsigned long long)own / 1024,
           (unsigned long long)st.st_blocks / 2);
    CHECK(own + (uint64_t)st.st_blocks * 512 < 1 << 20);
    notes->done[0] = 1;
    for (int i = 0; i < 8; i++)
        CHECK_EQ(child_wait(children[i]), 0);
}

static void open_beside_others(int i, void *argument)
{
    void *_Atomic *blocks = argument;

    blocks[i] = piu_shared_new(1, 64);
}

TEST(eight_threads_whose_first_call_it_is_are_one_family)
{
    void *_Atomic blocks[8] = {NULL};

    test_threads(8, open_beside_others, (void *)blocks);
    for (int i = 0; i < 8; i++) {
        CHECK(piu_is_shared(blocks[i]));
        piu_shared_free(blocks[i]);
    }
    CHECK(block_check());
}
