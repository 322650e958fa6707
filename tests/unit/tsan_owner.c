/* Owner words between threads that play members: what one wrote the next one sees. */
#include "test.h"

#include "os/clock.h"
#include "shm/owner.h"

#include <piu.h>

#define THREADS 4
#define TIMES   3000

struct guarded {
    alignas(64) owner_word word;
    alignas(64) owner_word section;
    long plain, inside; /* without the order of the words these would be races */
    _Atomic int dead;
};

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

static void count(int i, void *argument)
{
    struct guarded *g = argument;
    uint64_t who;

    (void)i;
    play();
    CHECK_EQ(member_who(&who), 0);
    for (int n = 0; n < TIMES; n++) {
        CHECK(owner_acquire(&g->word, who, CLOCK_FOREVER) >= 0);
        g->plain++;
        owner_release(&g->word, who);
        CHECK(owner_enter(&g->section, who) >= 0);
        g->inside++;
        owner_leave(&g->section);
    }
    play_end(false);
}

TEST(threads_count_together, .limit = 120)
{
    struct guarded *g = piu_shared_new(1, sizeof(*g));

    test_threads(THREADS, count, g);
    CHECK_EQ(g->plain, THREADS * TIMES);
    CHECK_EQ(g->inside, THREADS * TIMES);
}

/* Every tenth time its holder dies in it. */
static void count_and_die(int i, void *argument)
{
    struct guarded *g = argument;
    uint64_t who;

    for (int n = 0; n < 200; n++) {
        play();
        CHECK_EQ(member_who(&who), 0);
        if (owner_acquire(&g->word, who, CLOCK_FOREVER) == OWNER_DIED)
            g->dead--;
        g->plain++;
        if ((n + i) % 10 == 0 && PIU_TSAN)
            g->dead++;
        else
            owner_release(&g->word, who);
        play_end((n + i) % 10 == 0);
    }
}

TEST(threads_that_die_holding_pass_it_on, .limit = 120)
{
    struct guarded *g = piu_shared_new(1, sizeof(*g));

    test_threads(THREADS, count_and_die, g);
    CHECK_EQ(g->plain, THREADS * 200);
    CHECK(g->dead == 0 || g->dead == 1);
}
