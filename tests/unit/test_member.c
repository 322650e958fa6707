/* The table of members: who is in it, who is alive, and that its slots never run out. */
#include "waits.h"

#include "os/fd.h"
#include "shm/arena.h"
#include "shm/member.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>

static uint64_t who_am_i(void)
{
    uint64_t who = 0;

    CHECK_EQ(member_who(&who), 0);
    return who;
}

static uint64_t my_id(void)
{
    return who_am_i() & ID_MASK;
}

struct ids {
    _Atomic uint64_t id[8];
    _Atomic int go;
};

/* A child that has joined, and ends as the block says; its id. */
#define id_of_child(...)                               \
    __extension__({                                    \
        struct ids *told = test_shared(sizeof(*told)); \
                                                       \
        my_id();                                       \
        in_child({                                     \
            told->id[0] = my_id();                     \
            __VA_ARGS__                                \
        });                                            \
        (uint64_t) told->id[0];                        \
    })

TEST(a_process_that_calls_is_a_member_and_stays_the_same)
{
    uint64_t me = who_am_i();

    CHECK(me != 0);
    CHECK_EQ(who_am_i(), me);
    CHECK_EQ(member_fate(me & ID_MASK), FATE_ALIVE);
    CHECK(member_seems_alive(me & ID_MASK));
    CHECK_EQ(member_pid(me & ID_MASK), getpid());
}

TEST(a_forked_child_is_another_member_and_never_shares_its_parents_id)
{
    uint64_t me = my_id();
    uint64_t child = id_of_child({});

    CHECK(child != me);
    CHECK_EQ(member_fate(me), FATE_ALIVE);
}

TEST(exit_is_leaving_and_everything_else_is_dying)
{
    CHECK_EQ(member_fate(id_of_child({ exit(3); })), FATE_LEFT);
    CHECK_EQ(member_fate(id_of_child({ _exit(0); })), FATE_DIED);
    CHECK_EQ(member_fate(id_of_child({ test_die(); })), FATE_DIED);
    CHECK_EQ(member_fate(id_of_child({ execlp("true", "true", (char *)NULL); })),
             FATE_DIED);
}

TEST(ids_that_nobody_ever_had_have_died)
{
    uint64_t seed = 42, me = my_id();

    CHECK_EQ(member_fate(0), FATE_DIED);
    CHECK_EQ(member_fate(id_make(MEMBER_SLOTS - 1, 7)), FATE_DIED);
    CHECK_EQ(member_fate(id_make(id_slot(me), id_generation(me) + 1)), FATE_DIED);
    CHECK_EQ(member_fate(id_make(id_slot(me), UINT64_C(0x1ffffffff))), FATE_DIED);
    for (int i = 0; i < 100000; i++) {
        uint64_t id = random_next(&seed) & ID_MASK;

        if (id != me)
            CHECK_EQ(member_fate(id), FATE_DIED);
    }
    CHECK_EQ(member_fate(me), FATE_ALIVE);
}

/* ---- Life, without the descriptors and threads that it began with --------------------- */

TEST(a_member_that_closes_all_its_descriptors_is_alive)
{
    struct ids *ids = test_shared(sizeof(*ids));
    pid_t child;

    my_id();
    child = child_start({
        ids->id[0] = my_id();
        for (int fd = 3; fd < 256; fd++)
            close(fd);
        ids->go = 1;
        test_wait_until(ids->go == 2);
    });
    test_wait_until(ids->go == 1);
    CHECK_EQ(member_fate(ids->id[0]), FATE_ALIVE);
    member_sweep_dead(true);
    CHECK_EQ(member_fate(ids->id[0]), FATE_ALIVE);
    ids->go = 2;
    CHECK_EQ(child_wait(child), 0);
    CHECK_EQ(member_fate(ids->id[0]), FATE_LEFT);
}

/* The arena's number belongs to a file of the program's own: that one stays as it is. */
TEST(growth_never_touches_a_file_that_took_the_arenas_number)
{
    int file;

    my_id();
    file = open("/tmp", O_TMPFILE | O_RDWR, 0600);
    if (file < 0)
        SKIP("no O_TMPFILE in /tmp");
    CHECK_EQ(dup2(file, arena.fd), arena.fd);
    errno = 0;
    CHECK(!piu_shared_new(64, 1 << 20));
    CHECK_EQ(errno, EBADF);
    CHECK_EQ(lseek(file, 0, SEEK_END), 0);
    CHECK_EQ(member_fate(my_id()), FATE_ALIVE);
}

static void *note_who(void *argument)
{
    *(uint64_t *)argument = who_am_i();
    return NULL;
}

static uint64_t who_of_a_thread(void)
{
    pthread_t thread;
    uint64_t who = 0;

    CHECK_EQ(pthread_create(&thread, NULL, note_who, &who), 0);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    return who;
}

/* The kernel marks the word when the thread ends; the next thread that calls makes it good. */
TEST(a_process_lives_on_when_the_thread_that_joined_ends)
{
    uint64_t id;

    id = who_of_a_thread() & ID_MASK;
    CHECK_EQ(member_fate(id), FATE_ALIVE);
    CHECK_EQ(my_id(), id);
    CHECK(member_seems_alive(id));
    CHECK_EQ(member_fate(id), FATE_ALIVE);
}

TEST(a_process_whose_word_another_thread_took_over_is_seen_to_die)
{
    struct ids *ids = test_shared(sizeof(*ids));
    pid_t child;

    my_id();
    child = child_start({
        ids->id[0] = who_of_a_thread() & ID_MASK;
        my_id();
        ids->go = 1;
        pause();
    });
    test_wait_until(ids->go);
    CHECK(member_seems_alive(ids->id[0]));
    kill_and_reap(child);
    CHECK(!member_seems_alive(ids->id[0]));
    CHECK_EQ(member_fate(ids->id[0]), FATE_DIED);
}

/* Two threads with one number would share a recursive lock. */
TEST(the_number_of_a_thread_is_not_given_again_while_it_lives, .limit = 180)
{
    uint64_t me = who_am_i();

    for (int i = 0; i < 70000; i++)
        CHECK(who_of_a_thread() != me);
    CHECK_EQ(who_am_i(), me);
}

struct join_and_fork {
    struct ids *ids;
    pthread_barrier_t begin;
};

static void *join_beside(void *argument)
{
    struct join_and_fork *j = argument;

    pthread_barrier_wait(&j->begin);
    j->ids->id[0] = my_id();
    return NULL;
}

/* Joins in one thread, forks in another, then execs: the fork must not keep it alive. */
static void fork_while_joining(struct ids *ids)
{
    struct join_and_fork j = {.ids = ids};
    pthread_t thread;

    pthread_barrier_init(&j.begin, NULL, 2);
    CHECK_EQ(pthread_create(&thread, NULL, join_beside, &j), 0);
    pthread_barrier_wait(&j.begin);
    for (volatile int i = 0; i < rand() % 20000; i++)
        ;
    if (fork() == 0) {
        pause();
        _exit(0);
    }
    CHECK_EQ(pthread_join(thread, NULL), 0);
    execlp("sleep", "sleep", "60", (char *)NULL);
}

TEST(a_fork_while_another_thread_joins_keeps_nothing_of_it, .limit = 180)
{
    struct ids *ids = test_shared(sizeof(*ids));

    my_id();
    for (int i = 0; i < 50; i++) {
        pid_t child;

        ids->id[0] = 0;
        child = child_start({
            srand((unsigned)i);
            fork_while_joining(ids);
        });
        test_wait_until(ids->id[0] && member_fate(ids->id[0]) == FATE_DIED);
        kill_and_reap(child);
    }
}

/* ---- Claims ----------------------------------------------------------------------------- */

TEST(a_child_joins_as_what_was_claimed_for_it)
{
    uint64_t id;
    char name[NAME_SIZE];

    my_id();
    CHECK_EQ(member_claim("the one", &id), 0);
    CHECK_EQ(member_fate(id), FATE_ALIVE);
    CHECK_EQ(in_child({
                 CHECK_EQ(member_join_as(id, -1), 0);
                 CHECK_EQ(my_id(), id);
             }),
             0);
    CHECK_EQ(member_fate(id), FATE_LEFT);
    member_name(id, name);
    CHECK_STR(name, "the one");
    member_unclaim(id); /* too late: no effect */
    CHECK_EQ(member_fate(id), FATE_LEFT);
}

TEST(a_child_whose_claim_is_gone_takes_another_slot)
{
    uint64_t id;

    my_id();
    CHECK_EQ(member_claim("gone", &id), 0);
    member_unclaim(id);
    CHECK_EQ(member_fate(id), FATE_DIED);
    CHECK_EQ(in_child({
                 CHECK_EQ(member_join_as(id, -1), 0);
                 CHECK(my_id() != id);
                 CHECK_EQ(member_fate(my_id()), FATE_ALIVE);
             }),
             0);
}

TEST(the_claim_of_a_starter_that_died_is_worth_nothing)
{
    struct ids *ids = test_shared(sizeof(*ids));
    uint64_t id;

    my_id();
    in_child_killed({
        CHECK_EQ(member_claim("orphan", &id), 0);
        ids->id[0] = id;
    });
    CHECK_EQ(member_fate(ids->id[0]), FATE_DIED);
}

/* ---- Slots -------------------------------------------------------------------------------- */

TEST(all_slots_can_be_used_and_then_there_are_none)
{
    uint64_t id, last = 0;
    int count = 1;

    my_id();
    while (member_claim("claim", &id) == 0) {
        last = id;
        count++;
    }
    CHECK_EQ(count, MEMBER_SLOTS - 1);
    CHECK_EQ(member_claim("claim", &id), -ENOSPC);
    CHECK(WIFEXITED(in_child({
        uint64_t who;

        CHECK_EQ(member_who(&who), -ENOSPC);
    })));
    member_unclaim(last);
    CHECK_EQ(member_claim("claim", &id), 0);
    CHECK_EQ(id_slot(id), id_slot(last));
    CHECK_EQ(id_generation(id), id_generation(last) + 1);
}

/* Leave one slot free, so that all the others have to share it. */
static void take_all_slots_but_one(void)
{
    uint64_t id, last = 0;

    while (member_claim("claim", &id) == 0)
        last = id;
    member_unclaim(last);
}

TEST(a_slot_remembers_which_of_its_last_generations_left, .limit = 180)
{
    struct ids *ids = test_shared(sizeof(*ids));
    uint64_t past[HISTORY];
    int total = HISTORY + 60;

    my_id();
    take_all_slots_but_one();
    for (int i = 0; i < total; i++) {
        in_child({
            ids->id[0] = my_id();
            if (i % 3 == 0)
                _exit(0);
        });
        member_sweep_dead(false); /* who joins cannot sweep, and here is no other slot */
        past[i % HISTORY] = ids->id[0];
    }
    for (int i = total - HISTORY + 1; i < total; i++)
        CHECK_EQ(member_fate(past[i % HISTORY]), i % 3 == 0 ? FATE_DIED : FATE_LEFT);
}

/* Nobody asks for them, nobody waits: those who come later find the slots all the same. */
TEST(thousands_of_members_that_die_unnoticed_do_not_use_up_the_slots, .limit = 180)
{
    struct ids *ids = test_shared(sizeof(*ids));

    my_id();
    for (int i = 0; i < 3000; i++) {
        in_child_killed({ ids->id[i % 8] = my_id(); });
        CHECK(ids->id[i % 8] != ids->id[(i + 7) % 8]);
    }
    CHECK(arena_header()->members_committed <= 512);
    for (int i = 0; i < 8; i++)
        CHECK_EQ(member_fate(ids->id[i]), FATE_DIED);
}

TEST(a_child_is_noted_in_no_record_that_is_none)
{
    my_id();
    member_claim_child(0, getpid());
    member_claim_child(ID_MASK, getpid());
    member_claim_child(UINT64_MAX, getpid());
    CHECK_EQ(member_fate(my_id()), FATE_ALIVE);
}

TEST(a_count_of_records_that_was_written_over_grows_again)
{
    struct arena_header *h;
    uint32_t seen;
    uint64_t id;

    my_id();
    h = arena_header();
    seen = h->members_committed;
    h->members_committed = 1;
    for (uint32_t i = 0; i <= seen; i++)
        CHECK_EQ(member_claim("more", &id), 0);
    CHECK(h->members_committed > seen);
}

TEST(members_that_start_all_at_once_have_different_slots)
{
    struct ids *ids = test_shared(sizeof(*ids));
    _Atomic uint8_t *used = test_shared(MEMBER_SLOTS);
    pid_t children[8];

    my_id();
    for (int i = 0; i < 8; i++)
        children[i] = child_start({
            test_wait_until(ids->go);
            for (int j = 0; j < 200; j++) {
                pid_t grandchild = test_fork();

                if (grandchild == 0) {
                    uint32_t slot = id_slot(my_id());

                    CHECK_EQ(atomic_fetch_add(&used[slot], 1), 0);
                    sched_yield();
                    CHECK_EQ(atomic_fetch_sub(&used[slot], 1), 1);
                    _exit(0);
                }
                CHECK_EQ(child_wait(grandchild), 0);
            }
        });
    ids->go = 1;
    for (int i = 0; i < 8; i++)
        CHECK_EQ(child_wait(children[i]), 0);
}

/* ---- Places from which one cannot join ------------------------------------------------------ */

TEST(a_member_of_another_pid_namespace_is_refused)
{
    int status;

    my_id();
    status = in_child({
        if (unshare(CLONE_NEWUSER | CLONE_NEWPID) < 0)
            _exit(77);
        status = in_child({
            uint64_t who;

            CHECK_EQ(member_who(&who), -EXDEV);
        });
        _exit(WEXITSTATUS(status));
    });
    if (WEXITSTATUS(status) == 77)
        SKIP("no namespaces of our own here");
    CHECK_EQ(status, 0);
}

TEST(without_descriptors_one_cannot_join_and_later_can)
{
    my_id();
    CHECK_EQ(in_child({
                 int fds[1024], count = 0;
                 uint64_t who;

                 while (count < 1024 && (fds[count] = dup(0)) >= 0)
                     count++;
                 if (count == 1024)
                     _exit(0); /* too many to use up */
                 CHECK_EQ(member_who(&who), -EMFILE);
                 while (count > 0)
                     close(fds[--count]);
                 CHECK_EQ(member_who(&who), 0);
             }),
             0);
}

TEST(who_left_and_calls_again_is_a_new_member)
{
    uint64_t first = my_id();

    member_leave();
    CHECK(my_id() != first);
    CHECK_EQ(member_fate(first), FATE_LEFT);
    CHECK_EQ(member_fate(my_id()), FATE_ALIVE);
}

TEST(walking_finds_all_who_live_and_only_them)
{
    uint64_t me = my_id(), id;
    uint32_t cursor = 0;
    int count = 0;

    id_of_child({ test_die(); });
    member_sweep_dead(false);
    while ((id = member_next(&cursor))) {
        CHECK_EQ(id, me);
        count++;
    }
    CHECK_EQ(count, 1);
}
