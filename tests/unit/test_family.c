/* The family in trouble: forks, execs and limits that are the user's own. */
#include "meanwhile.h"

#include "os/fd.h"
#include "os/pidfd.h"
#include "shm/block.h"
#include "shm/member.h"
#include "task/child.h"
#include "waits.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/syscall.h>

extern pid_t _Fork(void) __attribute__((weak)); /* glibc 2.34 */

static struct piu_lock *lock_new(void)
{
    struct piu_lock *lock = piu_shared_new(1, sizeof(*lock));

    CHECK(lock);
    return lock;
}

static void take_and_release(struct piu_lock *lock)
{
    CHECK_EQ(piu_lock_acquire(lock, PIU_SEC(5)), 0);
    CHECK_EQ(piu_lock_owner(lock), getpid());
    CHECK_EQ(piu_lock_release(lock), 0);
}

/* ---- Forks ----------------------------------------------------------------------------------- */

TEST(a_child_of_a_plain_fork_is_a_member_of_its_own)
{
    struct piu_lock *lock = lock_new();
    uint64_t mine = 0, theirs = 0;

    CHECK_EQ(member_who(&mine), 0);
    take_and_release(lock);
    CHECK_EQ(in_child({
                 take_and_release(lock);
                 CHECK_EQ(member_who(&theirs), 0);
                 CHECK((mine & ID_MASK) != (theirs & ID_MASK));
             }),
             0);
    take_and_release(lock);
}

TEST(a_fork_while_holding_gives_the_child_nothing)
{
    struct piu_lock *lock = lock_new();

    CHECK_EQ(piu_lock_acquire(lock, PIU_FOREVER), 0);
    CHECK_EQ(in_child({
                 CHECK_EQ(piu_lock_acquire(lock, PIU_NOW), -ETIMEDOUT);
                 CHECK(piu_lock_owner(lock) == getppid());
             }),
             0);
    CHECK_EQ(piu_lock_owner(lock), getpid());
    CHECK_EQ(piu_lock_release(lock), 0);
}

TEST(a_child_of_underscore_fork_is_a_member_too)
{
    struct piu_lock *lock = lock_new();
    struct notes *notes = test_shared(sizeof(*notes));
    pid_t pid;

    if (!_Fork)
        SKIP("glibc has no _Fork");
    CHECK_EQ(piu_lock_acquire(lock, PIU_FOREVER), 0);
    pid = _Fork();
    if (pid == 0) {
        CHECK_EQ(piu_lock_acquire(lock, PIU_NOW), -ETIMEDOUT);
        notes->about_to_wait = 1;
        CHECK_EQ(piu_lock_acquire(lock, PIU_SEC(10)), 0);
        test_die();
    }
    test_wait_until(notes->about_to_wait);
    CHECK_EQ(piu_lock_release(lock), 0);
    CHECK(WIFSIGNALED(child_wait(pid)));
    CHECK_EQ(piu_lock_acquire(lock, PIU_SEC(5)), PIU_OWNER_DIED);
}

TEST(a_child_of_a_child_of_a_dead_member_goes_on)
{
    struct piu_lock *lock = lock_new();
    struct notes *notes = test_shared(sizeof(*notes));

    in_child_killed({
        take_and_release(lock);
        if (test_fork() == 0) {
            test_wait_until(notes->about_to_wait);
            take_and_release(lock);
            notes->done[0] = 1;
            exit(0);
        }
        CHECK_EQ(piu_lock_acquire(lock, PIU_FOREVER), 0);
    });
    CHECK_EQ(piu_lock_acquire(lock, PIU_SEC(5)), PIU_OWNER_DIED);
    CHECK_EQ(piu_lock_release(lock), 0);
    notes->about_to_wait = 1;
    test_wait_until(notes->done[0]);
}

static struct piu_lock *thread_lock;
static _Atomic bool thread_stop;

static void lock_and_unlock(int i, void *unused)
{
    (void)unused;
    if (i == 0) {
        for (int n = 0; n < 50; n++)
            CHECK_EQ(in_child({
                         void *p = piu_shared_new(1, 100);

                         CHECK(p);
                         piu_shared_free(p);
                         CHECK_EQ(piu_lock_acquire(thread_lock, PIU_SEC(5)), 0);
                         CHECK_EQ(piu_lock_release(thread_lock), 0);
                         _exit(0); /* sanitizers look for threads that are not there */
                     }),
                     0);
        thread_stop = true;
        return;
    }
    while (!thread_stop) {
        CHECK_EQ(piu_lock_acquire(thread_lock, PIU_FOREVER), 0);
        piu_shared_free(piu_shared_new(1, 200));
        CHECK_EQ(piu_lock_release(thread_lock), 0);
    }
}

TEST(a_child_that_was_forked_while_other_threads_were_inside_piu_may_call)
{
    thread_lock = lock_new();
    test_threads(4, lock_and_unlock, NULL);
}

TEST(two_threads_of_a_new_process_join_once)
{
    for (int round = 0; round < 20; round++)
        CHECK_EQ(in_child({
                     thread_lock = lock_new();
                     thread_stop = false;
                     test_threads(2, lock_and_unlock, NULL);
                 }),
                 0);
}

/* ---- Exec --------------------------------------------------------------------------------------- */

/* The program that is executed says "here" into its standard output and waits for its input. */
static const char *const script[] = {"sh", "-c", "echo here; read line", NULL};

struct talk {
    int to[2], from[2];
};

static void talk_begin(struct talk *talk)
{
    CHECK_EQ(pipe(talk->to), 0);
    CHECK_EQ(pipe(talk->from), 0);
}

static _Noreturn void talk_exec(struct talk *talk)
{
    dup2(talk->to[0], 0);
    dup2(talk->from[1], 1);
    execvp(script[0], (char *const *)(uintptr_t)script);
    _exit(99);
}

static void talk_wait(struct talk *talk)
{
    char text[8];

    CHECK(read(talk->from[0], text, 1) == 1);
}

static void talk_end(struct talk *talk, pid_t pid)
{
    CHECK_EQ(write(talk->to[1], "\n", 1), 1);
    CHECK_EQ(child_wait(pid), 0);
}

TEST(a_member_that_execs_while_holding_died)
{
    struct piu_lock *lock = lock_new();
    struct talk talk;
    pid_t pid;

    talk_begin(&talk);
    pid = child_start({
        CHECK_EQ(piu_lock_acquire(lock, PIU_FOREVER), 0);
        talk_exec(&talk);
    });
    talk_wait(&talk);
    CHECK_EQ(kill(pid, 0), 0);
    CHECK_EQ(piu_lock_acquire(lock, PIU_SEC(5)), PIU_OWNER_DIED);
    talk_end(&talk, pid);
}

TEST(also_if_it_has_children_that_live_on)
{
    struct piu_lock *lock = lock_new();
    struct notes *notes = test_shared(sizeof(*notes));
    struct talk talk;
    pid_t pid;

    talk_begin(&talk);
    pid = child_start({
        CHECK_EQ(piu_lock_acquire(lock, PIU_FOREVER), 0);
        child_start({ /* calls nothing of piu's */
                      notes->done[0] = 1;
                      test_wait_until(notes->done[1]);
                      _exit(0);
        });
        test_wait_until(notes->done[0]);
        talk_exec(&talk);
    });
    talk_wait(&talk);
    CHECK_EQ(piu_lock_acquire(lock, PIU_SEC(5)), PIU_OWNER_DIED);
    notes->done[1] = 1;
    talk_end(&talk, pid);
}

TEST(a_waiter_is_told_within_a_second_that_the_holder_has_execed)
{
    struct piu_lock *lock = lock_new();
    struct notes *notes = test_shared(sizeof(*notes));
    struct talk talk;
    pid_t pid, waiter;

    talk_begin(&talk);
    pid = child_start({
        CHECK_EQ(piu_lock_acquire(lock, PIU_FOREVER), 0);
        test_wait_until(notes->about_to_wait);
        talk_exec(&talk);
    });
    test_wait_until(piu_lock_owner(lock) == pid);
    waiter = child_start({
        notes->about_to_wait = 1;
        CHECK_EQ(piu_lock_acquire(lock, PIU_SEC(1)), PIU_OWNER_DIED);
    });
    CHECK_EQ(child_wait(waiter), 0);
    talk_wait(&talk);
    talk_end(&talk, pid);
}

static struct child child_by_hand(uint64_t id, pid_t pid)
{
    struct child c = {.id = id, .pid = pid, .pidfd = -1};

    CHECK(id);
    CHECK_EQ(pidfd_of(pid, &c.pidfd), 0);
    return c;
}

TEST(a_child_has_execed_if_it_died_as_a_member_and_its_process_runs)
{
    struct told {
        _Atomic uint64_t id;
        _Atomic int leave;
    } *told = test_shared(sizeof(*told));
    struct talk talk;
    struct child c = {.pidfd = -1};
    pid_t pid;

    me();
    CHECK(!child_has_execed(&c)); /* it ended before anybody looked */

    pid = child_start({
        told->id = me() & ID_MASK;
        test_wait_until(told->leave);
        member_leave();
        told->leave = 2;
        pause();
    });
    test_wait_until(told->id);
    c = child_by_hand(told->id, pid);
    CHECK(!child_has_execed(&c)); /* it is a member */
    told->leave = 1;
    test_wait_until(told->leave == 2);
    CHECK(!child_has_execed(&c)); /* it left */
    kill_and_reap(pid);
    fd_close(c.pidfd);

    told->id = 0;
    pid = child_start({
        told->id = me() & ID_MASK;
        pause();
    });
    test_wait_until(told->id);
    c = child_by_hand(told->id, pid);
    kill_and_reap(pid);
    CHECK(!child_has_execed(&c)); /* its process has ended */
    fd_close(c.pidfd);

    told->id = 0;
    talk_begin(&talk);
    pid = child_start({
        told->id = me() & ID_MASK;
        talk_exec(&talk);
    });
    talk_wait(&talk);
    c = child_by_hand(told->id, pid);
    CHECK(child_has_execed(&c));
    talk_end(&talk, pid);
    fd_close(c.pidfd);
}

TEST(vfork_and_exec_while_holding_change_nothing)
{
    struct piu_lock *lock = lock_new();
    struct talk talk;
    pid_t pid;

    talk_begin(&talk);
    CHECK_EQ(piu_lock_acquire(lock, PIU_FOREVER), 0);
    pid = vfork();
    if (pid == 0)
        talk_exec(&talk);
    talk_wait(&talk);
    CHECK_EQ(piu_lock_owner(lock), getpid());
    CHECK_EQ(in_child({ CHECK_EQ(piu_lock_acquire(lock, PIU_MSEC(250)), -ETIMEDOUT); }),
             0);
    CHECK_EQ(piu_lock_release(lock), 0);
    take_and_release(lock);
    talk_end(&talk, pid);
}

TEST(a_fork_that_execs_takes_nothing_along)
{
    struct piu_lock *lock = lock_new();
    struct talk talk;
    pid_t pid;

    talk_begin(&talk);
    CHECK_EQ(piu_lock_acquire(lock, PIU_FOREVER), 0);
    pid = child_start({ talk_exec(&talk); });
    talk_wait(&talk);
    CHECK_EQ(piu_lock_owner(lock), getpid());
    CHECK_EQ(piu_lock_release(lock), 0);
    talk_end(&talk, pid);
}

/* ---- Ends and slots --------------------------------------------------------------------------------- */

TEST(exit_with_a_lock_is_leaving_and_underscore_exit_dying)
{
    struct piu_lock *left = lock_new(), *died = lock_new();

    CHECK_EQ(in_child({ CHECK_EQ(piu_lock_acquire(left, PIU_FOREVER), 0); }), 0);
    CHECK_EQ(in_child({
                 CHECK_EQ(piu_lock_acquire(died, PIU_FOREVER), 0);
                 _exit(0);
             }),
             0);
    CHECK_EQ(piu_lock_acquire(left, PIU_MSEC(50)), -ETIMEDOUT);
    CHECK_EQ(piu_lock_acquire(died, PIU_SEC(5)), PIU_OWNER_DIED);
    CHECK_EQ(piu_lock_release(left), 0);
    take_and_release(left);
}

TEST(slots_of_thousands_of_members_that_come_and_go_are_used_again, .limit = 60)
{
    struct piu_lock *lock = lock_new();
    uint64_t used = 0;

    for (int i = 0; i < 3000; i++) {
        if (i % 3 == 0)
            in_child_killed({ CHECK(piu_lock_acquire(lock, PIU_FOREVER) >= 0); });
        else
            CHECK_EQ(in_child({
                         CHECK(piu_lock_acquire(lock, PIU_FOREVER) >= 0);
                         CHECK_EQ(piu_lock_release(lock), 0);
                         CHECK(piu_shared_new(1, 64));
                     }),
                     0);
        if (i == 500)
            used = block_in_use();
    }
    CHECK(arena_header()->members_committed <= 300);
    CHECK(used > 0);
    CHECK(block_check());
}

TEST(memory_of_killed_allocators_comes_back)
{
    uint64_t before = 0, who;

    CHECK_EQ(member_who(&who), 0);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 200; i++) {
            void *block;

            in_child_killed(
                { CHECK_EQ(block_new(1000, BLOCK_SCRATCH, NULL, &block), 0); });
        }
        member_sweep_dead(true);
        CHECK(round == 0 || block_in_use() == before);
        before = block_in_use();
    }
}

/* ---- Limits ------------------------------------------------------------------------------------------ */

TEST(a_small_address_space_gets_a_smaller_range)
{
#if defined(__SANITIZE_ADDRESS__)
    SKIP("AddressSanitizer needs the whole address space");
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
    SKIP("AddressSanitizer needs the whole address space");
#endif
#endif
    static const uint64_t limits[] = {UINT64_C(1) << 31, UINT64_C(1) << 33,
                                      UINT64_C(1) << 38};

    for (size_t i = 0; i < 3; i++)
        CHECK_EQ(in_child({
                     struct rlimit limit = {limits[i], limits[i]};

                     CHECK(!arena.base);
                     CHECK_EQ(setrlimit(RLIMIT_AS, &limit), 0);
                     take_and_release(lock_new());
                     CHECK(arena.range < limits[i] && arena.range >= limits[i] / 4);
                     CHECK(!piu_shared_new(1, limits[i]) && errno == ENOMEM);
                 }),
                 0);
}

TEST(no_room_for_the_least_range_is_an_error)
{
#if defined(__SANITIZE_ADDRESS__)
    SKIP("AddressSanitizer needs the whole address space");
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
    SKIP("AddressSanitizer needs the whole address space");
#endif
#endif
    struct rlimit limit = {UINT64_C(1) << 29, UINT64_C(1) << 29};
    uint64_t who;

    CHECK_EQ(setrlimit(RLIMIT_AS, &limit), 0);
    CHECK_EQ(member_who(&who), -ENOMEM);
    CHECK(!piu_shared_new(1, 1) && errno == ENOMEM);
    CHECK_EQ(member_who(&who), -ENOMEM);
}

TEST(no_descriptors_for_the_arena_is_an_error_and_can_be_tried_again)
{
    struct rlimit limit, none;
    uint64_t who;
    int last = dup(1);

    close(last);
    CHECK_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
    for (int room = 0; room < 2; room++) {
        none = (struct rlimit){(rlim_t)(last + room), limit.rlim_max};
        CHECK_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
        CHECK_EQ(member_who(&who), -EMFILE);
    }
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
    CHECK_EQ(member_who(&who), 0);
}

TEST(a_member_that_cannot_open_descriptors_calls_nobody_dead)
{
    struct piu_lock *lock = lock_new();
    struct notes *notes = test_shared(sizeof(*notes));
    pid_t holder = child_start({
        CHECK_EQ(piu_lock_acquire(lock, PIU_FOREVER), 0);
        notes->done[0] = 1;
        pause();
    });

    test_wait_until(notes->done[0]);
    CHECK_EQ(in_child({
                 uint64_t who;

                 CHECK_EQ(member_who(&who), 0);
                 while (dup(1) >= 0)
                     ;
                 CHECK_EQ(piu_lock_acquire(lock, PIU_MSEC(200)), -ETIMEDOUT);
                 _exit(0);
             }),
             0);
    kill_and_reap(holder);
    CHECK_EQ(piu_lock_acquire(lock, PIU_SEC(5)), PIU_OWNER_DIED);
}

/* A container's 64 MB, all taken: nothing of piu lies there. */
static void fill_dev_shm(void)
{
    char page[4096] = {1};
    int fd;

    if (unshare(CLONE_NEWNS) < 0 ||
        mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("tmpfs", "/dev/shm", "tmpfs", 0, "size=64k") < 0)
        SKIP("may not mount");
    fd = open("/dev/shm/full", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    CHECK(fd >= 0);
    while (write(fd, page, sizeof(page)) > 0)
        ;
    CHECK_EQ(errno, ENOSPC);
}

TEST(a_full_dev_shm_does_not_matter)
{
    const size_t size = 32 << 20;
    struct piu_queue *q;
    char *data;

    fill_dev_shm();
    data = piu_shared_new(1, size);
    CHECK(data != NULL);
    memset(data, 1, size);
    q = piu_queue_new();
    CHECK(q != NULL);
    CHECK_EQ(piu_queue_put(q, data, size, PIU_NOW), 0);
    CHECK_EQ(piu_queue_get(q, data, &(size_t){size}, PIU_NOW), 0);
}
