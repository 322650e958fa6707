/* The owner word: one holder, nobody waits for a dead one, and every wake-up may be lost. */
#include "waits.h"

#include "os/clock.h"
#include "os/log.h"
#include "shm/owner.h"

#include <sys/mman.h>

static uint64_t me(void)
{
    uint64_t who = 0;

    CHECK_EQ(member_who(&who), 0);
    return who;
}

struct guarded {
    alignas(64) owner_word word;
    alignas(64) uint64_t before, after; /* differ only while somebody is in between */
    _Atomic int64_t longest;            /* ns that somebody waited */
    _Atomic uint64_t deaths;
    _Atomic int stop;
    _Atomic int ready;
};

static struct guarded *guarded_new(void)
{
    struct guarded *g = piu_shared_new(1, sizeof(*g));

    CHECK(g);
    return g;
}

TEST(a_word_is_taken_released_and_free_again)
{
    struct guarded *g = guarded_new();

    CHECK_EQ(owner_of(&g->word), 0);
    CHECK_EQ(owner_try(&g->word, me()), 0);
    CHECK_EQ(owner_of(&g->word), me() & ID_MASK);
    CHECK_EQ(owner_try(&g->word, me()), -EBUSY);
    CHECK_EQ(owner_acquire(&g->word, me(), 0), -ETIMEDOUT);
    check_times_out(owner_acquire(&g->word, me(), 30 * MSEC), 30 * MSEC);
    owner_release_any(&g->word, me());
    CHECK_EQ(g->word, 0);
    CHECK_EQ(owner_release_any(&g->word, me()), -EPERM);
}

TEST(who_only_tries_does_not_make_the_owner_wake_anybody)
{
    struct guarded *g = guarded_new();

    CHECK_EQ(owner_acquire(&g->word, me(), 0), 0);
    CHECK_EQ(in_child({ CHECK_EQ(owner_acquire(&g->word, me(), 0), -ETIMEDOUT); }), 0);
    CHECK_EQ(g->word, me());
}

TEST(a_section_that_this_thread_is_in_is_its_own_whatever_bit_was_written_over_it)
{
    struct guarded *g = guarded_new();

    CHECK_EQ(owner_enter(&g->word, me()), 0);
    CHECK_EQ(owner_enter(&g->word, me()),
             OWNER_DIED); /* as from a handler that calls exit() */
    atomic_fetch_or(&g->word, ID_WAITERS);
    CHECK_EQ(owner_enter(&g->word, me()), OWNER_DIED);
    owner_leave(&g->word);
    CHECK_EQ(g->word, 0);
}

TEST(a_dead_owners_word_goes_to_the_next_with_news)
{
    struct guarded *g = guarded_new();

    in_child_killed({ owner_acquire(&g->word, me(), 0); });
    CHECK_EQ(owner_acquire(&g->word, me(), 0), OWNER_DIED);
    owner_release(&g->word, me());
    CHECK_EQ(owner_acquire(&g->word, me(), 0), 0);
}

TEST(released_by_another_after_the_death_the_news_stays)
{
    struct guarded *g = guarded_new();

    in_child_killed({ owner_acquire(&g->word, me(), 0); });
    CHECK_EQ(owner_release_any(&g->word, me()), 0);
    CHECK_EQ(g->word, OWNER_NEWS);
    CHECK_EQ(owner_release_any(&g->word, me()), -EPERM);
    CHECK_EQ(owner_of(&g->word), 0);
    CHECK_EQ(owner_acquire(&g->word, me(), 0), OWNER_DIED);
}

static void note_line(void *argument, const char *line)
{
    ++*(_Atomic int *)argument;
    CHECK(strstr(line, "left by"));
}

TEST(who_left_keeps_the_word_and_that_is_told_once)
{
    struct guarded *g = guarded_new();
    _Atomic int *lines = test_shared(sizeof(*lines));

    CHECK_EQ(in_child({ owner_acquire(&g->word, me(), 0); }), 0);
    log_to(note_line, (void *)lines);
    CHECK_EQ(owner_acquire(&g->word, me(), 300 * MSEC), -ETIMEDOUT);
    CHECK_EQ(*lines, 1);
    CHECK_EQ(owner_release_any(&g->word, me()), 0);
    CHECK_EQ(owner_acquire(&g->word, me(), 0), 0);
}

TEST(nonsense_in_a_word_counts_as_a_dead_owner)
{
    struct guarded *g = guarded_new();
    uint64_t seed = 5;

    for (int i = 0; i < 200; i++) {
        g->word = random_next(&seed) | 2;
        CHECK_EQ(owner_acquire(&g->word, me(), SEC), OWNER_DIED);
        owner_release_any(&g->word, me());
        g->word = random_next(&seed) | 2;
        CHECK_EQ(owner_enter(&g->word, me()), OWNER_DIED);
        owner_leave(&g->word);
    }
}

/* The kernel's news of the death wakes one; that one wakes the others. */
TEST(all_who_wait_for_a_holder_go_on_soon_after_its_death)
{
    struct guarded *g = guarded_new();
    pid_t holder, waiters[6];

    me();
    holder = child_start({
        owner_acquire(&g->word, me(), 0);
        g->ready = 1;
        pause();
    });
    test_wait_until(g->ready);
    for (int i = 0; i < 6; i++)
        waiters[i] = child_start({
            uint64_t who = me();
            int r;

            g->ready++;
            r = owner_acquire(&g->word, who, CLOCK_FOREVER);
            CHECK(r >= 0);
            g->deaths += r == OWNER_DIED;
            owner_release(&g->word, who);
        });
    test_wait_until(g->ready == 7);
    for (int i = 0; i < 6; i++)
        test_wait_until(is_asleep(waiters[i]));
    kill_and_reap(holder);
    for (int i = 0; i < 6; i++)
        CHECK_EQ(child_wait(waiters[i]), 0);
    CHECK_EQ(g->deaths, 1);
}

TEST(a_waiter_hears_its_signals)
{
    struct guarded *g = guarded_new();

    CHECK_EQ(owner_acquire(&g->word, me(), 0), 0);
    check_interrupted(owner_acquire(&g->word, me(), CLOCK_FOREVER));
}

/* ---- piu's own critical sections ------------------------------------------------------- */

static void exit_in_a_handler(int signal)
{
    (void)signal;
    exit(0);
}

static struct guarded *at_exit;

__attribute__((destructor(200))) static void enter_at_exit(void)
{
    if (at_exit)
        at_exit->deaths += owner_enter(&at_exit->word, me()) == OWNER_DIED;
}

TEST(a_section_that_exit_cut_off_in_a_signal_handler_bars_nobody)
{
    struct guarded *g = guarded_new();

    CHECK_EQ(in_child({
                 at_exit = g;
                 signal(SIGUSR1, exit_in_a_handler);
                 owner_enter(&g->word, me());
                 raise(SIGUSR1);
             }),
             0);
    CHECK_EQ(g->deaths, 1); /* it could itself go in again, with news */
    CHECK_EQ(owner_enter(&g->word, me()), OWNER_DIED);
}

/* While a thread of one that leaves is in a section, nobody takes that over. */
TEST(a_section_of_one_that_has_left_is_its_own_until_the_process_has_ended)
{
    struct guarded *g = guarded_new();
    pid_t child;

    me();
    child = child_start({
        owner_enter(&g->word, me());
        member_leave();
        g->ready = 1;
        test_wait_until(g->stop);
        g->after = 1;
        _exit(0);
    });
    test_wait_until(g->ready);
    CHECK_EQ(member_fate(owner_of(&g->word)), FATE_LEFT);
    CHECK_EQ(member_fate_unswept(owner_of(&g->word)), FATE_ALIVE);
    g->stop = 1;
    CHECK_EQ(owner_enter(&g->word, me()), OWNER_DIED);
    CHECK_EQ(g->after, 1);
    CHECK_EQ(child_wait(child), 0);
}

/* ---- Stress ------------------------------------------------------------------------------- */

static void count_guarded(struct guarded *g, int r, int64_t waited)
{
    int64_t longest = g->longest;

    CHECK(r >= 0);
    while (waited > longest &&
           !atomic_compare_exchange_weak(&g->longest, &longest, waited))
        ;
    if (r == OWNER_DIED) {
        g->deaths++;
        g->before = g->after; /* what the dead one had begun was never done */
    }
    CHECK_EQ(g->before, g->after);
    g->before++;
    g->after++;
}

static void lock_for_ever(struct guarded *g, bool ours)
{
    uint64_t who = me();

    while (!g->stop) {
        int64_t begin = clock_now();
        int r = ours ? owner_enter(&g->word, who)
                     : owner_acquire(&g->word, who, CLOCK_FOREVER);

        count_guarded(g, r, clock_now() - begin);
        if (ours)
            owner_leave(&g->word);
        else
            owner_release(&g->word, who);
    }
}

static void stress_with_kills(bool ours)
{
    struct guarded *g = guarded_new();
    uint64_t seed = 3, counted = 0;
    pid_t children[4];

    me();
    for (int i = 0; i < 4; i++)
        children[i] = child_start({ lock_for_ever(g, ours); });
    for (int round = 0; round < 300; round++) {
        int i = (int)(random_next(&seed) % 4);

        usleep((useconds_t)(random_next(&seed) % 4000));
        kill_and_reap(children[i]);
        children[i] = child_start({ lock_for_ever(g, ours); });
    }
    test_wait_until(atomic_load((_Atomic uint64_t *)&g->after) > counted);
    g->stop = 1;
    for (int i = 0; i < 4; i++)
        CHECK_EQ(child_wait(children[i]), 0);
    printf("%llu pairs, %llu deaths inside, longest wait %lld us\n",
           (unsigned long long)g->after, (unsigned long long)g->deaths,
           (long long)(g->longest / 1000));
    CHECK(g->longest < 20 * SEC); /* a hang, whatever else the machine has to do */
    CHECK(g->deaths > 0);
}

TEST(holders_that_are_killed_at_random_spoil_nothing_and_stop_nobody, .limit = 60)
{
    stress_with_kills(false);
}

TEST(and_so_it_is_with_sections_of_our_own, .limit = 60)
{
    stress_with_kills(true);
}
