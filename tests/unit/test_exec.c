/* Children that are other programs: this one, again, in a role. */
#include "test.h"

#include "shm/member.h"
#include "waits.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/syscall.h>

static const char *own_path(void)
{
    static char path[512];
    ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 1);

    CHECK(n > 0);
    return path;
}

/* ---- The roles ------------------------------------------------------------------------------ */

struct meeting {
    struct piu_lock lock;
    _Atomic int arrived;
    _Atomic int go;
    int count;
};

static void *address_in(const char *text)
{
    return (void *)(uintptr_t)strtoull(text, NULL, 16);
}

static int role_lock(struct meeting *m)
{
    for (int i = 0; i < 1000; i++) {
        if (piu_lock_acquire(&m->lock, PIU_FOREVER) != 0)
            return 1;
        m->count++;
        if (piu_lock_release(&m->lock) != 0)
            return 2;
    }
    return 12;
}

static int role_hold(struct meeting *m)
{
    if (piu_lock_acquire(&m->lock, PIU_FOREVER) < 0)
        return 1;
    m->arrived = 1;
    while (pause() < 0)
        ;
    return 0;
}

static int role_join(void)
{
    uint64_t who;

    return member_who(&who) == -EADDRINUSE ? 13 : 1;
}

static int role_signals(void)
{
    struct sigaction action;
    sigset_t mask;

    sigprocmask(SIG_SETMASK, NULL, &mask);
    sigaction(SIGUSR1, NULL, &action);
    return sigismember(&mask, SIGUSR2) && !sigismember(&mask, SIGINT) &&
                   action.sa_handler == SIG_DFL
               ? 14
               : 1;
}

/* Objects of all kinds, each to be met by a program whose first call of piu's this is. */
struct scene {
    struct piu_event event;
    struct piu_semaphore semaphore;
    struct piu_barrier barrier;
    struct piu_lock lock;
    struct piu_rlock rlock;
    struct piu_rwlock rwlock;
    struct piu_condition condition;
};

static bool first_event_set(struct scene *s)
{
    return piu_event_set(&s->event) == 0;
}

static bool first_event_clear(struct scene *s)
{
    return piu_event_clear(&s->event) == 0;
}

static bool first_event_is_set(struct scene *s)
{
    return piu_event_is_set(&s->event);
}

static bool first_event_wait(struct scene *s)
{
    return piu_event_wait(&s->event, 0) == 0;
}

static bool first_semaphore_init(struct scene *s)
{
    return piu_semaphore_init(&s->semaphore, 3, 0) == 0;
}

static bool first_semaphore_acquire(struct scene *s)
{
    return piu_semaphore_acquire(&s->semaphore, 0) == 0;
}

static bool first_semaphore_release(struct scene *s)
{
    return piu_semaphore_release(&s->semaphore) == 0;
}

static bool first_semaphore_enter(struct scene *s)
{
    return piu_semaphore_enter(&s->semaphore, 0) == 0;
}

static bool first_semaphore_value(struct scene *s)
{
    return piu_semaphore_value(&s->semaphore) == 3;
}

static bool first_barrier_parties(struct scene *s)
{
    return piu_barrier_parties(&s->barrier) == 2;
}

static bool first_barrier_is_broken(struct scene *s)
{
    return piu_barrier_is_broken(&s->barrier);
}

static bool first_barrier_waiting(struct scene *s)
{
    return piu_barrier_waiting(&s->barrier) == 0;
}

static bool first_lock_is_locked(struct scene *s)
{
    return piu_lock_is_locked(&s->lock);
}

static bool first_lock_owner(struct scene *s)
{
    return piu_lock_owner(&s->lock) == getppid();
}

static bool first_rlock_is_locked(struct scene *s)
{
    return piu_rlock_is_locked(&s->rlock);
}

static bool first_rlock_owner(struct scene *s)
{
    return piu_rlock_owner(&s->rlock) == getppid();
}

static bool first_rwlock_read(struct scene *s)
{
    return piu_rwlock_acquire_read(&s->rwlock, 0) == 0;
}

static bool first_notify(struct scene *s)
{
    return piu_condition_notify_all(&s->condition) == 0;
}

static bool first_condition_waiting(struct scene *s)
{
    return piu_condition_waiting(&s->condition) == 0;
}

static bool first_is_shared(struct scene *s)
{
    return piu_is_shared(s);
}

static bool first_name(struct scene *s)
{
    return piu_name(s, "the scene") == 0;
}

static bool first_free(struct scene *s)
{
    errno = 0;
    piu_shared_free(s);
    return errno == 0;
}

static const struct first {
    const char *name;
    bool (*call)(struct scene *s);
} firsts[] = {
    {"event_set", first_event_set},
    {"event_clear", first_event_clear},
    {"event_is_set", first_event_is_set},
    {"event_wait", first_event_wait},
    {"semaphore_init", first_semaphore_init},
    {"semaphore_acquire", first_semaphore_acquire},
    {"semaphore_release", first_semaphore_release},
    {"semaphore_enter", first_semaphore_enter},
    {"semaphore_value", first_semaphore_value},
    {"barrier_parties", first_barrier_parties},
    {"barrier_is_broken", first_barrier_is_broken},
    {"barrier_waiting", first_barrier_waiting},
    {"lock_is_locked", first_lock_is_locked},
    {"lock_owner", first_lock_owner},
    {"rlock_is_locked", first_rlock_is_locked},
    {"rlock_owner", first_rlock_owner},
    {"rwlock_acquire_read", first_rwlock_read},
    {"condition_notify_all", first_notify},
    {"condition_waiting", first_condition_waiting},
    {"is_shared", first_is_shared},
    {"name", first_name},
    {"shared_free", first_free},
};

static int play(const char *role, struct meeting *m)
{
    for (size_t i = 0; i < array_size(firsts); i++) {
        if (strcmp(role, firsts[i].name) == 0)
            return firsts[i].call((struct scene *)(void *)m) ? 15 : 1;
    }
    if (strcmp(role, "lock") == 0)
        return role_lock(m);
    if (strcmp(role, "hold") == 0)
        return role_hold(m);
    if (strcmp(role, "signals") == 0)
        return role_signals();
    if (strcmp(role, "join") == 0) {
        if (mmap(address_in("200000000000"), 4096, PROT_NONE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == MAP_FAILED)
            return 2;
        return role_join();
    }
    if (strcmp(role, "sleep") == 0)
        while (pause() < 0)
            ;
    return 99;
}

/* Before main(): the test framework knows nothing of roles. */
__attribute__((constructor)) static void play_role(int argc, char **argv,
                                                   char **environment)
{
    (void)environment;
    if (argc == 4 && strcmp(argv[1], "role") == 0)
        exit(play(argv[2], address_in(argv[3])));
}

/* ---- The tests -------------------------------------------------------------------------------- */

struct part {
    struct piu_process process;
    char address[32];
    const char *argv[5];
};

static int part_start(struct part *part, const char *role, const void *address)
{
    snprintf(part->address, sizeof(part->address), "%llx",
             (unsigned long long)(uintptr_t)address);
    part->argv[0] = own_path();
    part->argv[1] = "role";
    part->argv[2] = role;
    part->argv[3] = part->address;
    return piu_process_start(&part->process, .how = PIU_EXEC, .argv = part->argv);
}

static int part_end(struct part *part)
{
    int exitcode;

    CHECK_EQ(piu_process_join(&part->process, PIU_FOREVER), 0);
    CHECK_EQ(piu_process_exitcode(&part->process, &exitcode), 0);
    return exitcode;
}

TEST(an_executed_program_shares_a_lock_by_its_address)
{
    struct meeting *m = piu_shared_new(1, sizeof(*m));
    struct part parts[4] = {0};
    struct piu_death death;

    for (size_t i = 0; i < 4; i++)
        CHECK_EQ(part_start(&parts[i], "lock", m), 0);
    for (size_t i = 0; i < 4; i++)
        CHECK_EQ(part_end(&parts[i]), 12);
    CHECK_EQ(m->count, 4000);
    CHECK_EQ(piu_process_report(&parts[0].process, &death), 0);
    CHECK(death.left);
}

TEST(any_call_may_be_the_first_of_an_executed_program)
{
    for (size_t i = 0; i < array_size(firsts); i++) {
        struct scene *s = piu_shared_new(1, sizeof(*s));
        struct part part = {0};

        CHECK_EQ(piu_semaphore_init(&s->semaphore, 3, 0), 0);
        CHECK_EQ(piu_barrier_init(&s->barrier, 2), 0);
        CHECK_EQ(piu_barrier_abort(&s->barrier), 0);
        CHECK_EQ(piu_event_set(&s->event), 0);
        CHECK_EQ(piu_lock_acquire(&s->lock, 0), 0);
        CHECK_EQ(piu_rlock_acquire(&s->rlock, 0), 0);
        CHECK_EQ(part_start(&part, firsts[i].name, s), 0);
        if (part_end(&part) != 15)
            test_fail(__FILE__, __LINE__, "%s", firsts[i].name);
    }
}

TEST(it_is_a_member_by_its_name_and_its_death_is_news)
{
    struct meeting *m = piu_shared_new(1, sizeof(*m));
    struct part part = {.process.name = "the holder"};
    struct piu_death death;
    char name[NAME_SIZE];
    uint32_t cursor = 0;
    uint64_t id;

    CHECK_EQ(part_start(&part, "hold", m), 0);
    test_wait_until(m->arrived);
    CHECK_EQ(piu_lock_owner(&m->lock), piu_process_pid(&part.process));
    while ((id = member_next(&cursor)) &&
           member_pid(id) != piu_process_pid(&part.process))
        ;
    CHECK(id);
    member_name(id, name);
    CHECK_STR(name, "the holder");
    CHECK_EQ(piu_process_kill(&part.process), 0);
    CHECK_EQ(piu_lock_acquire(&m->lock, PIU_FOREVER), PIU_OWNER_DIED);
    CHECK_EQ(part_end(&part), -SIGKILL);
    CHECK_EQ(piu_process_report(&part.process, &death), 0);
    CHECK(!death.left);
    CHECK_STR(death.name, "the holder");
}

TEST(what_exec_says_is_what_start_says)
{
    struct piu_process p = {0};
    const char *missing[] = {"/nonexistent/program", NULL};
    const char *unfound[] = {"no-such-program-in-path", NULL};
    const char *plain[] = {"/etc/passwd", NULL};
    const char *folder[] = {"/tmp", NULL};
    const char *none[] = {NULL};
    const char *right[] = {"true", NULL};
    int exitcode;

    CHECK_EQ(piu_process_start(&p, .how = PIU_EXEC, .argv = missing), -ENOENT);
    CHECK_EQ(piu_process_start(&p, .how = PIU_EXEC, .argv = unfound), -ENOENT);
    CHECK_EQ(piu_process_start(&p, .how = PIU_EXEC, .argv = plain), -EACCES);
    CHECK_EQ(piu_process_start(&p, .how = PIU_EXEC, .argv = folder), -EACCES);
    CHECK_EQ(piu_process_start(&p, .how = PIU_EXEC, .argv = none), -EINVAL);
    CHECK(!p.child);
    CHECK_EQ(waitpid(-1, NULL, 0), -1); /* no zombies */
    CHECK_EQ(piu_process_start(&p, .how = PIU_EXEC, .argv = right), 0);
    CHECK_EQ(piu_process_join(&p, PIU_FOREVER), 0);
    CHECK_EQ(piu_process_exitcode(&p, &exitcode), 0);
    CHECK_EQ(exitcode, 0);
}

TEST(failed_starts_use_up_no_slots)
{
    struct piu_process p = {0};
    const char *missing[] = {"/nonexistent/program", NULL};

    for (int i = 0; i < 1000; i++)
        CHECK_EQ(piu_process_start(&p, .how = PIU_EXEC, .argv = missing), -ENOENT);
    CHECK(arena_header()->members_committed <= 300);
}

TEST(a_program_that_never_joins_is_reported_all_the_same)
{
    struct piu_process p = {.name = "stranger"};
    const char *argv[] = {"sh", "-c", "exit 5", NULL};
    struct piu_death death;

    CHECK_EQ(piu_process_start(&p, .how = PIU_EXEC, .argv = argv), 0);
    CHECK_EQ(piu_process_join(&p, PIU_FOREVER), 0);
    CHECK_EQ(piu_process_report(&p, &death), 0);
    CHECK_EQ(death.exitcode, 5);
    CHECK(death.left);
    CHECK_STR(death.name, "stranger");
}

TEST(where_its_address_range_is_taken_it_cannot_join)
{
    struct part part = {0};
    void *first = piu_shared_new(1, 1);

    if ((uintptr_t)first >> 40 != 0x20)
        SKIP("the arena is not at its usual address");
    CHECK_EQ(part_start(&part, "join", NULL), 0);
    CHECK_EQ(part_end(&part), 13);
}

TEST(it_gets_the_callers_signal_mask_and_no_handlers)
{
    struct part part = {0};
    sigset_t mask;

    handle_signals();
    sigemptyset(&mask);
    sigaddset(&mask, SIGUSR2);
    sigprocmask(SIG_BLOCK, &mask, NULL);
    CHECK_EQ(part_start(&part, "signals", NULL), 0);
    CHECK_EQ(part_end(&part), 14);
    sigprocmask(SIG_SETMASK, NULL, &mask);
    CHECK(!sigismember(&mask, SIGINT));
    CHECK(sigismember(&mask, SIGUSR2));
}

TEST(the_arenas_descriptor_stays_the_familys)
{
    struct piu_process p = {0};
    const char *argv[] = {"true", NULL};

    CHECK_EQ(piu_process_start(&p, .how = PIU_EXEC, .argv = argv), 0);
    CHECK(fcntl(arena.fd, F_GETFD) & FD_CLOEXEC);
    CHECK_EQ(piu_process_join(&p, PIU_FOREVER), 0);
}

TEST(a_daemon_program_ends_with_its_starter_in_any_way)
{
    for (int round = 0; round < 20; round++) {
        _Atomic pid_t *pids = test_shared(2 * sizeof(*pids));
        struct pollfd entry = {.events = POLLIN};
        pid_t starter = child_start({
            struct part member = {.process.daemon = true};
            struct piu_process stranger = {.daemon = true};
            struct meeting *m = piu_shared_new(1, sizeof(*m));
            const char *argv[] = {"sh", "-c", "while :; do :; done", NULL};

            CHECK_EQ(part_start(&member, "hold", m), 0);
            CHECK_EQ(piu_process_start(&stranger, .how = PIU_EXEC, .argv = argv), 0);
            test_wait_until(m->arrived);
            pids[0] = piu_process_pid(&member.process);
            pids[1] = piu_process_pid(&stranger);
            if (round % 2)
                pause();
        });

        if (round % 2 == 0) {
            CHECK_EQ(child_wait(starter), 0);
            CHECK(kill(pids[0], 0) < 0);
            CHECK(kill(pids[1], 0) < 0);
            continue;
        }
        test_wait_until(pids[1]);
        for (int i = 0; i < 2; i++) {
            entry.fd = (int)syscall(SYS_pidfd_open, pids[i], 0);
            if (i == 0)
                kill_and_reap(starter);
            CHECK(entry.fd < 0 || poll(&entry, 1, 2000) == 1);
        }
    }
}
