/* The allocator: what it gives is ours alone, and what the dead had comes back. */
#include "waits.h"

#include "shm/arena.h"
#include "shm/block.h"
#include "shm/heap.h"
#include "shm/owner.h"

#include <pthread.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>

#define MB        (UINT64_C(1) << 20)
#define LARGE     (64 * MB) /* long enough to be punched */
#define UNTOUCHED UINT64_C(0x5a5a5a5a5a5a5a5a)

static void *new_block(size_t size)
{
    void *block = NULL;

    CHECK_EQ(block_new(size, BLOCK_SCRATCH, NULL, &block), 0);
    CHECK(block);
    return block;
}

static void *new_family(size_t size)
{
    void *block = NULL;

    CHECK_EQ(block_new_family(size, &block), 0);
    return block;
}

static bool all_bytes(const unsigned char *bytes, size_t size, unsigned char value)
{
    for (size_t i = 0; i < size; i++) {
        if (bytes[i] != value)
            return false;
    }
    return true;
}

static uint64_t memory_of_arena(void)
{
    struct stat st;

    CHECK_EQ(fstat(arena.fd, &st), 0);
    return (uint64_t)st.st_blocks * 512;
}

TEST(blocks_of_all_sizes_have_room_are_aligned_and_do_not_overlap)
{
    static const size_t sizes[] = {0,    1,     63,    64,     65,    127,  128,
                                   192,  1000,  1024,  4096,   6144,  8191, 8192,
                                   8193, 16384, 16385, 100000, 3 * MB};
    unsigned char *blocks[array_size(sizes)];

    for (unsigned i = 0; i < array_size(sizes); i++) {
        blocks[i] = new_block(sizes[i]);
        CHECK(block_is(blocks[i]));
        CHECK(block_size(blocks[i]) >= sizes[i]);
        CHECK_EQ((uintptr_t)blocks[i] % (sizes[i] % 128 || !sizes[i] ? 64 : 128), 0);
        memset(blocks[i], (int)i, sizes[i]);
    }
    CHECK(block_check());
    for (unsigned i = 0; i < array_size(sizes); i++) {
        CHECK(all_bytes(blocks[i], sizes[i], (unsigned char)i));
        CHECK_EQ(block_free(blocks[i]), 0);
        CHECK(!block_is(blocks[i]));
    }
    CHECK_EQ(block_count(), 0);
}

TEST(memory_of_the_family_is_zero_also_when_it_was_used_before)
{
    for (size_t size = 64; size < 200000; size = size * 3 / 2) {
        unsigned char *block = new_family(size);

        CHECK(all_bytes(block, size, 0));
        memset(block, 0xff, size);
        CHECK_EQ(block_free(block), 0);
        block = new_family(size);
        CHECK(all_bytes(block, size, 0));
        CHECK_EQ(block_free(block), 0);
    }
}

TEST(what_is_not_a_used_block_cannot_be_freed)
{
    unsigned char *small = new_family(100), *large = new_family(100000);
    int here = 0;

    CHECK_EQ(block_free(&here), -EINVAL);
    CHECK_EQ(block_free(NULL), -EINVAL);
    CHECK_EQ(block_free((void *)(uintptr_t)-64), -EINVAL);
    CHECK_EQ(block_free(arena.base), -EINVAL);
    CHECK_EQ(block_free(arena.base + arena.range - 64), -EINVAL);
    for (unsigned i = 1; i < 100; i++)
        CHECK_EQ(block_free(small + i), -EINVAL);
    for (unsigned i = 8; i < 100000; i += 8)
        CHECK_EQ(block_free(large + i), -EINVAL);
    CHECK_EQ(block_free(small), 0);
    CHECK_EQ(block_free(small), -EINVAL);
    CHECK_EQ(block_free(large), 0);
    CHECK_EQ(block_free(large), -EINVAL);
    CHECK_EQ(block_take(large, BLOCK_SCRATCH, NULL), -ESTALE);
    CHECK(!block_settle(large));
    CHECK(block_check());
}

TEST(a_block_of_another_member_cannot_be_freed_until_that_dies)
{
    void **told = test_shared(sizeof(*told));
    pid_t child;

    new_family(1);
    child = child_start({
        *told = new_block(500);
        pause();
    });
    test_wait_until(*told);
    CHECK_EQ(block_free(*told), -EINVAL);
    CHECK_EQ(block_take(*told, BLOCK_SCRATCH, NULL), -ESTALE);
    CHECK(block_is(*told));
    kill_and_reap(child);
    CHECK_EQ(block_take(*told, BLOCK_SCRATCH, NULL), 0);
    CHECK_EQ(block_free(*told), 0);
}

TEST(anybody_frees_what_is_the_familys)
{
    void **told = test_shared(sizeof(*told));

    new_family(1);
    CHECK_EQ(in_child({ *told = new_family(500); }), 0);
    CHECK_EQ(block_owner(*told), 0);
    CHECK_EQ(block_free(*told), 0);
}

/* ---- Deaths -------------------------------------------------------------------------------- */

TEST(what_a_member_owned_is_freed_when_it_ends_in_any_way)
{
    uint64_t before;

    new_family(1);
    before = block_count();
    CHECK_EQ(in_child({
                 for (int i = 0; i < 10; i++)
                     new_block((size_t)1 << (2 * i));
             }),
             0);
    CHECK_EQ(block_count(), before); /* it did so itself */
    in_child_killed({
        for (int i = 0; i < 10; i++)
            new_block((size_t)1 << (2 * i));
    });
    CHECK_EQ(block_count(), before + 10);
    member_sweep_dead(false);
    CHECK_EQ(block_count(), before);
    CHECK(block_check());
}

TEST(also_if_it_had_more_blocks_than_entries)
{
    uint64_t before;

    new_family(1);
    before = block_count();
    in_child_killed({
        for (int i = 0; i < 1000; i++)
            new_block(i % 10 ? 100 : 50000);
    });
    member_sweep_dead(false);
    CHECK_EQ(block_count(), before);
    CHECK(block_check());
}

/* B4, and the entry that it depends on is there even when all are in use. */
TEST(a_block_that_arrived_is_the_familys_although_its_giver_died_holding_many)
{
    _Atomic uint64_t *into = new_family(64 * sizeof(*into));
    uint64_t before = block_count();

    in_child_killed({
        void *block;

        for (int i = 0; i < 100; i++)
            new_block(64);
        CHECK_EQ(block_new(3000, BLOCK_SCRATCH, &into[0], &block), 0);
        into[0] = arena_offset(block);
        CHECK_EQ(block_new(3000, BLOCK_SCRATCH, &into[1], &block), 0);
        block = new_block(100000);
        block_aim(block, &into[2]);
        into[2] = arena_offset(block);
    });
    member_sweep_dead(false);
    CHECK_EQ(block_count(), before + 2);
    CHECK_EQ(block_owner(arena_at(into[0], 1)), 0);
    CHECK_EQ(block_free_from(&into[0]), 0);
    CHECK_EQ(block_free_from(&into[2]), 0);
    CHECK_EQ(into[0], 0);
    CHECK_EQ(block_free_from(&into[0]), -EINVAL);
    CHECK_EQ(block_count(), before);
}

/* Entries of blocks that were taken from somewhere do not bar those that are to be given. */
TEST(one_may_hold_any_number_of_taken_blocks_and_give_some_more)
{
    _Atomic uint64_t *from = new_family(sizeof(*from));
    uint64_t before = block_count();

    in_child_killed({
        for (int i = 0; i < 100; i++) {
            void *block = new_family(64);

            *from = arena_offset(block);
            CHECK_EQ(block_take(block, BLOCK_SCRATCH, from), 0);
            *from = 0;
        }
        CHECK_EQ(block_new_into(64, from, &(void *){NULL}), 0);
    });
    member_sweep_dead(false);
    CHECK_EQ(block_count(), before + 1);
    CHECK_EQ(block_free_from(from), 0);
}

TEST(entries_that_were_written_over_bar_no_block_that_is_to_be_given)
{
    _Atomic uint64_t *from = new_family(sizeof(*from));
    uint64_t seed = 88172645463325252;

    in_child_killed({
        uint64_t who = 0;
        struct member *m;

        CHECK_EQ(member_who(&who), 0);
        m = member_of(who & ID_MASK);
        for (unsigned i = 0; i < HELD_ENTRIES; i++) {
            m->held[i].block = i % 2 ? random_next(&seed) : 64;
            m->held[i].into = (i % 2 ? arena_offset(from) : random_next(&seed)) | 1;
        }
        CHECK_EQ(block_new_into(64, from, &(void *){NULL}), 0);
    });
    member_sweep_dead(false);
    CHECK_EQ(block_free_from(from), 0);
}

TEST(entries_that_were_written_over_and_look_used_bar_it_not_for_ever)
{
    _Atomic uint64_t *from = new_family(2 * sizeof(*from));
    void *block;

    CHECK_EQ(block_new_into(64, from, &block), 0);
    in_child_killed({
        uint64_t who;
        struct member *m;

        CHECK_EQ(member_who(&who), 0);
        m = member_of(who & ID_MASK);
        for (unsigned i = 0; i < HELD_ENTRIES; i++) {
            m->held[i].block = arena_offset(block);
            m->held[i].into = arena_offset(from);
        }
        CHECK_EQ(block_new_into(64, from + 1, &(void *){NULL}), 0);
    });
    member_sweep_dead(false);
    CHECK_EQ(block_free_from(from), 0);
    CHECK_EQ(block_free_from(from + 1), 0);
}

struct crowd {
    _Atomic uint64_t id, offset, into;
    _Atomic bool goes_on;
};

/* As a thread does that has given its block away. */
static void *leave_the_sixth(void *argument)
{
    struct crowd *crowd = argument;

    test_wait_until(crowd->goes_on);
    member_of(crowd->id)->held[5].block = 0;
    return NULL;
}

static void come_as_one_too_many(struct crowd *crowd)
{
    struct member *m;
    pthread_t other;
    uint64_t who;

    CHECK_EQ(member_who(&who), 0);
    m = member_of(who & ID_MASK);
    CHECK_EQ(pthread_create(&other, NULL, leave_the_sixth, crowd), 0);
    for (unsigned i = 0; i < HELD_ENTRIES; i++) {
        m->held[i].block = crowd->offset;
        m->held[i].into = crowd->into;
    }
    crowd->id = who & ID_MASK;
    CHECK_EQ(block_new_into(64,
                            (_Atomic uint64_t *)(void *)(arena.base + crowd->into) + 1,
                            &(void *){NULL}),
             0);
    CHECK_EQ(m->held[0].block, crowd->offset);
    CHECK_EQ(pthread_join(other, NULL), 0);
    _exit(0);
}

TEST(a_thread_takes_no_entry_of_a_living_one_because_the_process_was_stopped)
{
    _Atomic uint64_t *from = new_family(2 * sizeof(*from));
    struct crowd *crowd = test_shared(sizeof(*crowd));
    struct timespec long_enough = {.tv_sec = 1, .tv_nsec = 200000000};
    void *block;
    pid_t child;

    CHECK_EQ(block_new_into(64, from, &block), 0);
    crowd->offset = arena_offset(block);
    crowd->into = arena_offset(from);
    child = child_start({ come_as_one_too_many(crowd); });
    test_wait_until(crowd->id && member_of(crowd->id)->held_overflow);
    stop(child);
    nanosleep(&long_enough, NULL); /* shorter: it proves less, and holds */
    crowd->goes_on = true;
    CHECK_EQ(kill(child, SIGCONT), 0);
    CHECK_EQ(child_wait(child), 0);
    member_sweep_dead(false);
    CHECK_EQ(block_free_from(from), 0);
    CHECK_EQ(block_free_from(from + 1), 0);
}

struct orphans {
    _Atomic int count;
    _Atomic uint64_t block;
};

static struct orphans *orphans;

static bool count_orphan(void *block, uint64_t dead_id, bool died)
{
    CHECK(died);
    if (block_inherit(block, dead_id, BLOCK_SCRATCH) == 0) {
        orphans->count++;
        orphans->block = arena_offset(block);
        block_give(block);
    }
    return true;
}

TEST(a_purpose_has_its_own_way_to_pass_blocks_on_once)
{
    orphans = new_family(sizeof(*orphans));
    block_on_orphan(BLOCK_TAKEN, count_orphan);
    in_child_killed({
        void *block;

        CHECK_EQ(block_new(64, BLOCK_TAKEN, NULL, &block), 0);
    });
    for (int i = 0; i < 4; i++)
        child_start({ member_sweep_dead(false); });
    for (int i = 0; i < 4; i++)
        CHECK(wait(NULL) > 0);
    member_sweep_dead(false);
    CHECK_EQ(orphans->count, 1);
    CHECK_EQ(block_free(arena_at(orphans->block, 1)), 0);
}

/*
 * The slower one of two sweepers must not punch what somebody else has by then: the survivors
 * sweep and at once use the memory, again and again.
 */
TEST(many_sweepers_of_one_large_block_hurt_nobody, .limit = 180)
{
    struct notes *notes = test_shared(sizeof(*notes));
    uint64_t before;

    new_family(1);
    before = block_count();
    for (int round = 0; round < 10; round++) {
        pid_t children[4];

        notes->count = 0;
        in_child_killed({ new_block(LARGE); });
        for (int i = 0; i < 4; i++)
            children[i] = child_start({
                uint64_t *block;

                notes->count++;
                test_wait_until(notes->count == 4);
                member_sweep_dead(false);
                block = new_block(LARGE);
                for (size_t at = 0; at < LARGE / 8; at += 512)
                    block[at] = UNTOUCHED;
                for (size_t at = 0; at < LARGE / 8; at += 512)
                    CHECK_EQ(block[at], UNTOUCHED);
            });
        for (int i = 0; i < 4; i++)
            CHECK_EQ(child_wait(children[i]), 0);
        CHECK_EQ(block_count(), before);
    }
    CHECK(block_check());
}

/* ---- Memory ----------------------------------------------------------------------------------- */

TEST(large_blocks_give_their_memory_back_and_can_be_had_again)
{
    uint64_t before;

    CHECK_EQ(block_free(new_family(1)), 0);
    before = memory_of_arena();
    for (int i = 0; i < 3; i++) {
        unsigned char *block = new_family(LARGE);

        CHECK(all_bytes(block, LARGE, 0));
        memset(block, 1, LARGE);
        CHECK(memory_of_arena() >= LARGE);
        CHECK_EQ(block_free(block), 0);
        CHECK(memory_of_arena() < before + 20 * MB);
        block = new_family(LARGE / 2); /* a part of it, and another */
        CHECK(all_bytes(block, LARGE / 2, 0));
        memset(block, 1, LARGE / 2);
        CHECK_EQ(block_free(block), 0);
        CHECK(block_check());
    }
    CHECK_EQ(block_count(), 0);
}

#define EIGHTS 30 /* blocks of 8 MB: more than are kept */

static void eights_new(unsigned char **blocks)
{
    for (int i = 0; i < EIGHTS; i++) {
        blocks[i] = new_block(8 * MB);
        memset(blocks[i], 1, 8 * MB);
    }
}

static int from_below(int i)
{
    return i;
}

static int from_above(int i)
{
    return EIGHTS - 1 - i;
}

static int from_both(int i)
{
    return i % 2 ? from_above(i / 2) : i / 2;
}

TEST(what_is_freed_beyond_64_MB_gives_its_memory_back)
{
    int (*const order[])(int) = {from_below, from_above, from_both};
    unsigned char *blocks[EIGHTS];
    uint64_t before;

    CHECK_EQ(block_free(new_block(1)), 0);
    before = memory_of_arena();
    for (unsigned round = 0; round < array_size(order); round++) {
        eights_new(blocks);
        CHECK(memory_of_arena() >= EIGHTS * 8 * MB);
        for (int i = 0; i < EIGHTS; i++)
            CHECK_EQ(block_free(blocks[order[round](i)]), 0);
        CHECK(memory_of_arena() <= before + 64 * MB + MB);
        CHECK(memory_of_arena() >= before + 40 * MB);
        CHECK(block_check());
    }
    CHECK_EQ(block_count(), 0);
}

/* It may have no memory any more, and a thread may be at it still. */
TEST(what_is_being_punched_is_punched_whatever_is_kept_by_then)
{
    _Atomic uint64_t *at = test_shared(sizeof(*at));
    uint64_t who = 0;
    _Atomic uint64_t *word;
    void *block;

    CHECK_EQ(block_free(new_block(1)), 0);
    CHECK_EQ(member_who(&who), 0);
    in_child_killed({
        block = new_block(50000);
        word = block_word(block);
        CHECK_EQ(member_who(&who), 0);
        atomic_store(word, word_owned_by(*word, PURPOSE_PUNCHING, who & ID_OWNER));
        *at = arena_offset(block);
    });
    arena_header()->kept = 0;
    member_sweep_dead(true);
    CHECK_EQ(word_kind(*block_word(arena_at(*at, 1))), KIND_PUNCHED);
    CHECK(block_check());

    block = new_block(50000);
    word = block_word(block);
    atomic_store(word, word_owned_by(*word, PURPOSE_PUNCHING, who & ID_OWNER));
    arena_header()->kept = 0;
    CHECK_EQ(block_free(block), -EINVAL);
    CHECK_EQ(word_purpose(*word), PURPOSE_PUNCHING);
}

TEST(who_finds_the_heap_lock_of_a_dead_one_counts_what_is_kept)
{
    int64_t kept;
    uint64_t who = 0;
    int cancel;

    CHECK_EQ(block_free(new_block(MB)), 0);
    kept = arena_header()->kept;
    CHECK(kept >= (int64_t)(MB / UNIT_SIZE));
    in_child_killed({
        CHECK_EQ(member_who(&who), 0);
        heap_enter(who, &cancel);
        arena_header()->kept -= 1000;
        arena_header()->first_kept = UINT64_MAX;
    });
    CHECK_EQ(member_who(&who), 0);
    heap_enter(who, &cancel);
    heap_leave(cancel);
    CHECK_EQ(arena_header()->kept, kept);
    CHECK_EQ(arena_header()->first_kept, 0);
}

/* Else memory would lie idle above, and each new block below would have to have some made for it. */
TEST(what_was_kept_is_taken_first)
{
    unsigned char *blocks[EIGHTS];
    uint64_t before;

    eights_new(blocks);
    for (int i = EIGHTS; i-- > 0;)
        CHECK_EQ(block_free(blocks[i]), 0);
    before = memory_of_arena();
    for (int i = 0; i < 5; i++) {
        blocks[i] = new_block(8 * MB);
        CHECK(memory_of_arena() <= before + MB);
    }
    for (int i = 0; i < 5; i++)
        CHECK_EQ(block_free(blocks[i]), 0);
    CHECK(memory_of_arena() <= before + MB);
}

TEST(what_can_never_be_had_is_refused_at_once_and_takes_nothing)
{
    static const uint64_t sizes[] = {UINT64_C(1) << 40, UINT64_C(1) << 38, SIZE_MAX,
                                     SIZE_MAX - 100, UINT64_C(1) << 63};
    uint64_t before;
    void *block;

    new_family(1);
    before = memory_of_arena();
    for (unsigned i = 0; i < array_size(sizes); i++)
        CHECK_EQ(block_new(sizes[i], BLOCK_SCRATCH, NULL, &block), -ENOMEM);
    CHECK(memory_of_arena() <= before + MB);
}

/* So much more than where the heap begins: the file is sparse. */
static void limit_heap(uint64_t size)
{
    struct rlimit limit = {.rlim_cur = arena.heap + size, .rlim_max = RLIM_INFINITY};

    CHECK_EQ(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

TEST(a_limit_on_file_size_is_an_error_and_what_was_tried_is_given_back)
{
    uint64_t before;
    void *block;
    int count = 0;

    new_family(1);
    before = memory_of_arena();
    limit_heap(100 * MB);
    CHECK_EQ(block_new(200 * MB, BLOCK_SCRATCH, NULL, &block), -ENOMEM);
    CHECK(memory_of_arena() <= before + MB);
    while (block_new(MB, BLOCK_SCRATCH, NULL, &block) == 0) {
        memset(block, 1, MB);
        count++;
    }
    CHECK(count > 70 && count < 100);
    while (block_new(10000, BLOCK_SCRATCH, NULL, &block) == 0)
        memset(block, 1, 10000);
    while (block_new(64, BLOCK_SCRATCH, NULL, &block) == 0)
        memset(block, 1, 64);
    CHECK(block_check());
    errno = 0;
    CHECK(!piu_shared_new(1, 64));
    CHECK_EQ(errno, ENOMEM);
}

TEST(a_full_arena_gets_the_memory_of_the_dead_that_nobody_has_noticed)
{
    new_family(1);
    limit_heap(100 * MB);
    in_child_killed({ new_block(60 * MB); });
    CHECK(piu_shared_new(60, MB));
}

TEST(a_small_address_space_is_filled_to_its_end_without_a_signal)
{
#if defined(__SANITIZE_ADDRESS__)
    SKIP("AddressSanitizer needs the whole address space");
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
    SKIP("AddressSanitizer needs the whole address space");
#endif
#endif
    CHECK_EQ(in_child({
                 struct rlimit limit = {.rlim_cur = 3072 * MB, .rlim_max = RLIM_INFINITY};
                 void *block;
                 int count = 0;

                 CHECK_EQ(setrlimit(RLIMIT_AS, &limit), 0);
                 while (count < 2048 &&
                        block_new(16 * MB, BLOCK_SCRATCH, NULL, &block) == 0)
                     count++;
                 CHECK(count < 2048);
                 CHECK(block_check());
             }),
             0);
}

/* Freed below the hint while somebody searches, or by one who died before it said so. */
TEST(no_hint_makes_free_memory_invisible)
{
    void *first = new_family(50000), *last = new_family(50000);
    uint64_t committed;

    CHECK_EQ(block_free(first), 0);
    arena_header()->first_free = 1000000;
    committed = arena_header()->committed;
    while (arena_header()->committed == committed && new_block(50000) != first)
        ;
    CHECK_EQ(arena_header()->committed, committed);
    CHECK_EQ(block_free(last), 0);
}

TEST(a_full_span_that_gets_room_is_used_again)
{
    void *blocks[5000];
    uint64_t in_use;

    for (int i = 0; i < 5000; i++)
        blocks[i] = new_family(64);
    in_use = block_in_use();
    for (int round = 0; round < 10; round++) {
        for (int i = round; i < 5000; i += 7)
            CHECK_EQ(block_free(blocks[i]), 0);
        for (int i = round; i < 5000; i += 7)
            blocks[i] = new_family(64);
    }
    CHECK_EQ(block_in_use(), in_use);
}

/* ---- What a corrupted member leaves -------------------------------------------------------- */

TEST(words_full_of_nonsense_crash_nobody_and_every_call_ends, .limit = 180)
{
    uint64_t seed = 7;

    /* this process stays out of it: each child has a family of its own */
    for (int round = 0; round < 100; round++)
        CHECK_EQ(in_child({
                     void *blocks[50];
                     struct arena_header *h;
                     _Atomic uint64_t *units;

                     for (int i = 0; i < 50; i++)
                         blocks[i] = new_family(i % 2 ? 100 : 40000);
                     h = arena_header();
                     units = (void *)(arena.base + arena.unit_table);
                     seed += (uint64_t)round << 20;
                     for (int i = 0; i < 200; i++)
                         units[random_next(&seed) % h->committed] = random_next(&seed);
                     for (int i = 0; i < 20; i++) {
                         uint64_t *span =
                             blocks[1]; /* block 0 is the second of them, or so */

                         span[-(int64_t)(random_next(&seed) % 16)] = random_next(&seed);
                     }
                     for (int i = 0; i < 50; i++) {
                         block_free(blocks[i]);
                         block_settle(blocks[i]);
                         block_size(blocks[i]);
                     }
                     block_check();
                     block_count();
                     _exit(0); /* the heap is gone, but it was this child's turn */
                 }),
                 0);
}

/* ---- Stress ------------------------------------------------------------------------------------ */

static void allocate_at_random(uint64_t seed)
{
    void *blocks[64] = {NULL};

    for (;;) {
        unsigned i = random_next(&seed) % 64;
        size_t size = random_next(&seed) % 10 ? random_next(&seed) % 1000
                                              : random_next(&seed) % 200000;

        if (!blocks[i]) {
            blocks[i] = new_block(size);
            memset(blocks[i], (int)i + 1, size < 100 ? size : 100);
            if (random_next(&seed) % 2)
                *(unsigned char *)blocks[i] = (unsigned char)(i + 1);
        } else {
            CHECK_EQ(block_free(blocks[i]), 0);
            blocks[i] = NULL;
        }
    }
}

TEST(allocators_that_are_killed_at_random_lose_no_memory, .limit = 120)
{
    uint64_t seed = 99;
    uint64_t before, in_use = 0;
    pid_t children[4];

    new_family(1);
    before = block_count();
    for (int i = 0; i < 4; i++)
        children[i] = child_start({ allocate_at_random((uint64_t)i + 1); });
    for (int round = 0; round < 400; round++) {
        int i = (int)(random_next(&seed) % 4);

        usleep((useconds_t)(random_next(&seed) % 5000));
        kill_and_reap(children[i]);
        children[i] = child_start({ allocate_at_random((uint64_t)round + 100); });
        if (round % 50 == 0)
            CHECK(block_check());
        if (round == 100)
            in_use = block_in_use();
    }
    for (int i = 0; i < 4; i++)
        kill_and_reap(children[i]);
    member_sweep_dead(false);
    CHECK_EQ(block_count(), before);
    CHECK(block_check());
    CHECK(block_in_use() <= in_use * 3);
}
