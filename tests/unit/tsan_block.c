/* The allocator between threads that play members. */
#include "test.h"

#include "shm/arena.h"
#include "shm/block.h"

#define THREADS 4
#define TIMES   1000

/* Without ThreadSanitizer threads are just threads of one member. */
static void play(void)
{
    if (PIU_TSAN)
        CHECK_EQ(member_play("thread"), 0);
}

static void play_end(bool died)
{
    if (PIU_TSAN)
        member_play_end(died);
}

static void allocate(int i, void *argument)
{
    long *blocks[16] = {NULL};

    (void)argument;
    play();
    for (int n = 0; n < TIMES; n++) {
        long **at = &blocks[n * 7 % 16];
        void *block;

        if (*at) {
            CHECK_EQ(**at, i);
            CHECK_EQ(block_free(*at), 0);
        }
        CHECK_EQ(block_new(n % 20 ? 100 : 40000, BLOCK_SCRATCH, NULL, &block), 0);
        *at = block;
        **at = i; /* plain: two with the same block would be a race */
    }
    for (int n = 0; n < 16 && !PIU_TSAN; n++)
        CHECK_EQ(block_free(blocks[n]), 0);
    play_end(i % 2);
}

TEST(threads_allocate_and_free_beside_each_other, .limit = 120)
{
    uint64_t before;
    void *first;

    CHECK_EQ(block_new_family(64, &first), 0);
    before = block_count();
    test_threads(THREADS, allocate, NULL);
    CHECK_EQ(block_count(), before);
    CHECK(block_check());
}

/* Blocks go from hand to hand through a word. */
static void pass_blocks(int i, void *argument)
{
    _Atomic uint64_t *into = argument;

    play();
    for (int n = 0; n < TIMES; n++) {
        uint64_t offset = atomic_exchange(into, 0);
        void *block;

        if (offset) {
            long *found = arena_at(offset, sizeof(long));

            CHECK_EQ(*found % 1000, *found / 1000);
            CHECK_EQ(block_free(found), 0);
        }
        CHECK_EQ(block_new_family(200, &block), 0);
        *(long *)block = i * 1001;
        offset = atomic_exchange(into, arena_offset(block));
        if (offset)
            CHECK_EQ(block_free(arena_at(offset, 1)), 0);
    }
    play_end(false);
}

TEST(threads_pass_blocks_on, .limit = 120)
{
    _Atomic uint64_t *into;
    void *block;

    CHECK_EQ(block_new_family(sizeof(*into), &block), 0);
    into = block;
    test_threads(THREADS, pass_blocks, block);
    if (*into)
        CHECK_EQ(block_free(arena_at(*into, 1)), 0);
    CHECK(block_check());
}
