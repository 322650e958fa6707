/* Who sleeps and knows whose end would help it is woken by the kernel when that one ends. */
#include "waits.h"

#include "os/futex.h"

#define NR_FUTEX_WAITV 449 /* on all machines */

/* The number of the system call that it sleeps in; -1: none. */
static long sleeps_in(pid_t pid)
{
    char path[64];
    long number = -1;
    FILE *file;

    snprintf(path, sizeof(path), "/proc/%d/syscall", (int)pid);
    file = fopen(path, "re");
    if (!file || fscanf(file, "%ld", &number) != 1)
        number = -1;
    if (file)
        fclose(file);
    return number;
}

struct things {
    struct piu_rwlock rwlock;
    struct piu_semaphore semaphore;
    struct piu_barrier barrier;
};

static struct things *things_new(void)
{
    struct things *t = piu_shared_new(1, sizeof(*t));

    CHECK(t);
    CHECK_EQ(piu_semaphore_init(&t->semaphore, 1, PIU_RECOVER), 0);
    CHECK_EQ(piu_barrier_init(&t->barrier, 3), 0);
    return t;
}

/*
 * A holder and a waiter.  When the waiter watches (where the kernel can), the holder is killed;
 * what the waiter is told.
 */
#define told_after_a_kill(hold, wait)                                                  \
    __extension__({                                                                    \
        struct notes *notes = test_shared(sizeof(*notes));                             \
        pid_t holder = child_start({                                                   \
            int r;                                                                     \
                                                                                       \
            notes->about_to_wait++;                                                    \
            r = (hold);                                                                \
            (void)r;                                                                   \
            notes->done[0] = 1;                                                        \
            while (pause() < 0)                                                        \
                ;                                                                      \
        });                                                                            \
        pid_t waiter;                                                                  \
                                                                                       \
        test_wait_until(notes->done[0] ||                                              \
                        (notes->about_to_wait == 1 && is_asleep(holder)));             \
        waiter = child_start({ notes->result[0] = (wait); });                          \
        test_wait_until(!futex_has_wait_any() || sleeps_in(waiter) == NR_FUTEX_WAITV); \
        test_wait_until(is_asleep(waiter));                                            \
        kill_and_reap(holder);                                                         \
        CHECK_EQ(child_wait(waiter), 0);                                               \
        atomic_load(&notes->result[0]);                                                \
    })

static int acquire(struct piu_semaphore *s)
{
    return piu_semaphore_acquire(s, PIU_FOREVER);
}

static void check_all(void)
{
    struct things *t = things_new();

    CHECK_EQ(told_after_a_kill(piu_rwlock_acquire_write(&t->rwlock, PIU_FOREVER),
                               piu_rwlock_acquire_write(&t->rwlock, PIU_FOREVER)),
             PIU_OWNER_DIED);
    t = things_new();
    CHECK_EQ(told_after_a_kill(piu_rwlock_acquire_write(&t->rwlock, PIU_FOREVER),
                               piu_rwlock_acquire_read(&t->rwlock, PIU_FOREVER)),
             PIU_OWNER_DIED);
    t = things_new();
    CHECK_EQ(told_after_a_kill(piu_rwlock_acquire_read(&t->rwlock, PIU_FOREVER),
                               piu_rwlock_acquire_write(&t->rwlock, PIU_FOREVER)),
             0);
    t = things_new();
    CHECK_EQ(told_after_a_kill(acquire(&t->semaphore), acquire(&t->semaphore)), 0);
    t = things_new();
    CHECK_EQ(told_after_a_kill(piu_barrier_wait(&t->barrier, NULL, PIU_FOREVER),
                               piu_barrier_wait(&t->barrier, NULL, PIU_FOREVER)),
             -ENOTRECOVERABLE);
}

TEST(whose_end_would_help_is_watched)
{
    struct piu_event *never = piu_shared_new(1, sizeof(*never));
    pid_t probe;

    if (!futex_has_wait_any())
        SKIP("the kernel has no futex_waitv");
    probe = child_start({ piu_event_wait(never, PIU_FOREVER); });
    test_wait_until(is_asleep(probe));
    if (sleeps_in(probe) < 0)
        SKIP("/proc/PID/syscall tells nothing");
    kill_and_reap(probe);
    check_all();
}

TEST(without_futex_waitv_it_is_seen_after_a_slice)
{
    setenv("PIU_NO_WAITV", "1", 1);
    CHECK(!futex_has_wait_any());
    check_all();
}

/* The kernel wakes one of them, which tells the next. */
TEST(all_who_watch_the_same_one_hear_of_its_end)
{
    struct things *t = things_new();
    struct notes *notes = test_shared(sizeof(*notes));
    pid_t waiters[5], holder = child_start({
                          CHECK_EQ(piu_rwlock_acquire_write(&t->rwlock, PIU_FOREVER), 0);
                          notes->done[0] = 1;
                          while (pause() < 0)
                              ;
                      });

    test_wait_until(notes->done[0]);
    for (int i = 0; i < 5; i++)
        waiters[i] = child_start({
            CHECK_EQ(piu_rwlock_acquire_read(&t->rwlock, PIU_FOREVER), PIU_OWNER_DIED);
        });
    for (int i = 0; i < 5; i++)
        test_wait_until(is_asleep(waiters[i]));
    kill_and_reap(holder);
    for (int i = 0; i < 5; i++)
        CHECK_EQ(child_wait(waiters[i]), 0);
}

/* The last arrival is watched as well, by those who came before: from their next slice on. */
TEST(more_than_a_sleep_can_watch_are_seen_after_a_slice, .limit = 60)
{
    struct piu_barrier *b = piu_shared_new(1, sizeof(*b));
    pid_t waiters[70];

    CHECK(b);
    CHECK_EQ(piu_barrier_init(b, 71), 0);
    for (int i = 0; i < 70; i++)
        waiters[i] = child_start(
            { CHECK_EQ(piu_barrier_wait(b, NULL, PIU_FOREVER), -ENOTRECOVERABLE); });
    test_wait_until(piu_barrier_waiting(b) == 70);
    kill_and_reap(waiters[69]);
    for (int i = 0; i < 69; i++)
        CHECK_EQ(child_wait(waiters[i]), 0);
}
