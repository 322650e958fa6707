/*
 * What others do between a look and the step that follows from it.  The linker puts a wrapper in
 * front of some functions that are called there, and a test says what happens at the next call.
 */
#include "meanwhile.h"
#include "queues.h"

#include "flow/handle.h"
#include "flow/bequest.h"
#include "flow/tally.h"
#include "os/fd.h"
#include "shm/fate.h"
#include "shm/heap.h"
#include "shm/life.h"
#include "task/pool.h"
#include "task/process.h"

#include <sys/signalfd.h>

/* ---- The wrappers --------------------------------------------------------------------------- */

enum place {
    SEEMS_ALIVE,
    FATE,
    FATE_UNSWEPT,
    SOLO,
    GETPID,
    TRYLOCK,
    KILL,
    PIDFD,
    HANDLES,
    CHILD_FORK,
    SIGNALFD,
    CHILD_JOIN,
    CHILD_WAIT,
    RECEIVE,
    OOM,
    PLACES
};

static struct {
    void (*function)(void *argument);
    void *argument;
    int after; /* so many calls that are not meant */
} between[PLACES];

/* At a place, once. */
static void at(enum place place, void (*function)(void *), void *argument)
{
    between[place].argument = argument;
    between[place].function = function;
}

static bool happens(enum place place)
{
    void (*function)(void *) = between[place].function;

    if (!function || between[place].after-- > 0)
        return false;
    between[place].function = NULL;
    function(between[place].argument);
    return true;
}

static bool has_happened(enum place place)
{
    return !between[place].function;
}

/* The result of the next call is that it fails so. */
static int failing;

static void fails(void *error)
{
    failing = *(int *)error;
}

#define WRAP(type, place, name, parameters, ...) \
    type __real_##name parameters;               \
    type __wrap_##name parameters;               \
    type __wrap_##name parameters                \
    {                                            \
        happens(place);                          \
        return __real_##name(__VA_ARGS__);       \
    }

WRAP(bool, SEEMS_ALIVE, member_seems_alive, (uint64_t id), id)
WRAP(enum fate, FATE, member_fate, (uint64_t id), id)
WRAP(enum fate, FATE_UNSWEPT, member_fate_unswept, (uint64_t id), id)
WRAP(bool, SOLO, solo_is_sure, (void), )
WRAP(pid_t, GETPID, getpid, (void), )
WRAP(int, TRYLOCK, pthread_mutex_trylock, (pthread_mutex_t * m), m)

int __real_kill(pid_t pid, int signal);
int __wrap_kill(pid_t pid, int signal);
int __wrap_kill(pid_t pid, int signal)
{
    if (!happens(KILL))
        return __real_kill(pid, signal);
    errno = failing;
    return -1;
}

struct handle_table *__real_handles_enter(void);
struct handle_table *__wrap_handles_enter(void);
struct handle_table *__wrap_handles_enter(void)
{
    failing = 0;
    if (!happens(HANDLES) || !failing)
        return __real_handles_enter();
    errno = failing;
    return NULL;
}

int __real_child_fork(struct child *ret, const char *name, bool bound);
int __wrap_child_fork(struct child *ret, const char *name, bool bound);
int __wrap_child_fork(struct child *ret, const char *name, bool bound)
{
    return happens(CHILD_FORK) ? -failing : __real_child_fork(ret, name, bound);
}

uint64_t __real_machine_oom_kills(void);
uint64_t __wrap_machine_oom_kills(void);
uint64_t __wrap_machine_oom_kills(void)
{
    return __real_machine_oom_kills() + happens(OOM);
}

int __real_child_join(struct child *c, int64_t timeout);
int __wrap_child_join(struct child *c, int64_t timeout);
int __wrap_child_join(struct child *c, int64_t timeout)
{
    return happens(CHILD_JOIN) ? -failing : __real_child_join(c, timeout);
}

int __real_child_wait_end(const struct child *c, int64_t timeout);
int __wrap_child_wait_end(const struct child *c, int64_t timeout);
int __wrap_child_wait_end(const struct child *c, int64_t timeout)
{
    return happens(CHILD_WAIT) ? -failing : __real_child_wait_end(c, timeout);
}

/* It comes, but for the descriptor. */
int __real_fd_receive(int socket, void *data, size_t size, int *ret_passed);
int __wrap_fd_receive(int socket, void *data, size_t size, int *ret_passed);
int __wrap_fd_receive(int socket, void *data, size_t size, int *ret_passed)
{
    int r = __real_fd_receive(socket, data, size, ret_passed);

    if (r < 0 || !happens(RECEIVE))
        return r;
    *ret_passed = fd_close(*ret_passed);
    return -failing;
}

int __real_signalfd(int fd, const sigset_t *set, int flags);
int __wrap_signalfd(int fd, const sigset_t *set, int flags);
int __wrap_signalfd(int fd, const sigset_t *set, int flags)
{
    if (!happens(SIGNALFD))
        return __real_signalfd(fd, set, flags);
    errno = failing;
    return -1;
}

int __real_pidfd_of(pid_t pid, int *ret);
int __wrap_pidfd_of(pid_t pid, int *ret);
int __wrap_pidfd_of(pid_t pid, int *ret)
{
    return happens(PIDFD) ? -failing : __real_pidfd_of(pid, ret);
}

/* ---- Words and blocks ------------------------------------------------------------------------ */

struct told {
    _Atomic uint64_t id;
    owner_word word;
    _Atomic uint64_t into;
};

static struct told *told_new(void)
{
    struct told *told = piu_shared_new(1, sizeof(*told));

    CHECK(told);
    return told;
}

static void word_is_released(void *argument)
{
    atomic_store((owner_word *)argument, 0);
}

TEST(a_dead_ones_section_that_another_mended_meanwhile_comes_without_news)
{
    struct told *told = told_new();

    me();
    in_child_killed({ told->word = me(); });
    at(FATE_UNSWEPT, word_is_released, &told->word);
    CHECK_EQ(owner_enter(&told->word, me()), 0);
    CHECK(has_happened(FATE_UNSWEPT));
    CHECK_EQ(atomic_load(&told->word), me());
}

TEST(a_dead_ones_lock_that_another_released_meanwhile_comes_without_news)
{
    struct told *told = told_new();

    me();
    in_child_killed({ told->word = me(); });
    at(FATE, word_is_released, &told->word);
    CHECK_EQ(owner_acquire(&told->word, me(), PIU_FOREVER), 0);
    CHECK(has_happened(FATE));
    CHECK_EQ(atomic_load(&told->word) & ~ID_WAITERS, me());
}

TEST(a_dead_ones_lock_that_another_released_meanwhile_is_not_released_twice)
{
    struct told *told = told_new();

    me();
    in_child_killed({ told->word = me(); });
    at(FATE, word_is_released, &told->word);
    CHECK_EQ(owner_release_any(&told->word, me()), -EPERM);
    CHECK(has_happened(FATE));
    CHECK_EQ(atomic_load(&told->word), 0);
}

static void block_goes_to_the_family(void *argument)
{
    struct told *told = argument;

    CHECK(word_pass_on(block_word(arena_at(told->into, 1)), told->id & ID_OWNER,
                       BLOCK_SCRATCH, 0));
}

TEST(a_dead_ones_block_that_a_sweep_gives_away_meanwhile_is_taken_from_the_family)
{
    struct told *told = told_new();
    void *block;

    me();
    in_child_killed({
        CHECK_EQ(block_new(64, BLOCK_SCRATCH, NULL, &block), 0);
        told->id = me() & ID_MASK;
        told->into = arena_offset(block);
    });
    block = arena_at(told->into, 1);
    at(FATE_UNSWEPT, block_goes_to_the_family, told);
    CHECK_EQ(block_take(block, BLOCK_SCRATCH, NULL), 0);
    CHECK(has_happened(FATE_UNSWEPT));
    CHECK(block_is_mine(block, BLOCK_SCRATCH));
    CHECK_EQ(block_free(block), 0);
}

/* A larger tally, in which the caller stands as well. */
static void tally_is_replaced(void *argument)
{
    struct piu_queue *q = argument;
    struct tally *old = arena_at(q->put.putters, sizeof(*old)), *tally;
    size_t size = sizeof(*old) + old->capacity * sizeof(old->marks[0]);
    void *block;

    CHECK_EQ(block_new_family(size, &block), 0);
    tally = memcpy(block, old, size);
    tally->marks[1].id = me() & ID_MASK;
    q->put.putters = arena_offset(tally);
}

TEST(a_queue_whose_new_putter_stands_in_another_tally_has_not_ended)
{
    struct piu_queue *q = queue_new(.putters = true);

    in_child_killed({ CHECK_EQ(piu_queue_putter(q), 0); });
    at(SEEMS_ALIVE, tally_is_replaced, q);
    CHECK(!queue_has_ended(q));
    CHECK(has_happened(SEEMS_ALIVE));
}

/* ---- Members -------------------------------------------------------------------------------------- */

/* As long as it is its starter's. */
static void claim_goes(void *argument)
{
    uint64_t id = *(uint64_t *)argument;

    if (life_pid(atomic_load(&member_of(id)->life)) == (uint32_t)getppid())
        member_unclaim(id);
}

TEST(a_child_whose_claim_goes_at_any_moment_of_its_join_is_a_member_all_the_same)
{
    me();
    for (int n = 0; n < 12; n++) {
        uint64_t id;

        CHECK_EQ(member_claim("claimed", &id), 0);
        CHECK_EQ(in_child({
                     between[GETPID].after = n;
                     at(GETPID, claim_goes, &id);
                     CHECK_EQ(member_join_as(id, -1), 0);
                     at(GETPID, NULL, NULL);
                     CHECK_EQ(member_fate(me() & ID_MASK), FATE_ALIVE);
                 }),
                 0);
        member_unclaim(id);
    }
}

static void somebody_claims(void *id)
{
    CHECK_EQ(member_claim("claimed", id), 0);
}

TEST(who_is_alone_is_not_when_a_slot_is_claimed_meanwhile)
{
    uint64_t id = 0;

    me();
    arena_header()->strays = 0; /* of the framework's own forks */
    CHECK(member_is_alone());
    at(SOLO, somebody_claims, &id);
    CHECK(!member_is_alone());
    CHECK(id != 0);
    member_unclaim(id);
    CHECK(member_is_alone());
}

static _Atomic int renews, renewed;

static void *renew_and_stay(void *unused)
{
    member_renew(me());
    renewed = 1;
    for (;;)
        pause();
    return unused;
}

static void another_thread_renews(void *unused)
{
    pthread_t thread;

    (void)unused;
    renews++;
    CHECK_EQ(pthread_create(&thread, NULL, renew_and_stay, NULL), 0);
    test_wait_until(renewed);
}

static void *join_and_end(void *unused)
{
    me();
    return unused;
}

TEST(the_word_of_a_life_goes_to_one_of_the_threads_that_would_renew_it)
{
    pthread_t thread;
    struct member *m;

    CHECK_EQ(pthread_create(&thread, NULL, join_and_end, NULL), 0);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    m = member_of(member_self_id());
    test_wait_until(life_is_marked(m));
    at(TRYLOCK, another_thread_renews, NULL);
    member_renew(me());
    CHECK_EQ(renews, 1);
    CHECK(!life_is_marked(m));
    member_renew(me());                         /* it is another's, and not marked */
    member_renew(id_make(MEMBER_SLOTS - 1, 3)); /* nobody's */
    CHECK(!life_is_marked(m));
}

/* A claim for a child, whose claimer is gone. */
static uint64_t claim_of_the_dead(pid_t child)
{
    struct told *told = told_new();

    me();
    in_child_killed({
        uint64_t id;

        me();
        CHECK_EQ(member_claim("claimed", &id), 0);
        if (child)
            member_claim_child(id, child);
        told->id = id;
    });
    return told->id;
}

TEST(a_claimer_that_cannot_be_asked_for_is_not_gone)
{
    uint64_t id = claim_of_the_dead(0);
    int error = EPERM;

    at(KILL, fails, &error);
    CHECK_EQ(member_fate_unswept(id), FATE_ALIVE);
    CHECK(has_happened(KILL));
    CHECK_EQ(member_fate_unswept(id), FATE_DIED);
}

TEST(a_child_that_cannot_be_asked_for_may_come)
{
    pid_t ended = child_start({});

    CHECK_EQ(child_wait(ended), 0);
    for (int way = 0; way < 2; way++) {
        uint64_t id = claim_of_the_dead(ended);
        int error = EMFILE;

        arena_header()->strays = 0;
        if (way)
            at(PIDFD, fails, &error);
        CHECK_EQ(member_fate_unswept(id), FATE_DIED);
        CHECK(has_happened(PIDFD));
        CHECK_EQ(atomic_load(&arena_header()->strays), way);
    }
}

/* ---- Handles ---------------------------------------------------------------------------------- */

static struct handle_table *table(void)
{
    struct handle_table *t = handles_enter();

    CHECK(t);
    handles_leave(t);
    return t;
}

/* No memory for a table where somebody wrote over the word that names it, say. */
TEST(a_sweep_that_cannot_enter_the_table_gives_back_what_it_can)
{
    struct told *told = told_new();
    struct piu_hold hold;
    int error = ENOMEM;

    CHECK_EQ(piu_hold_new(&hold, PIU_KIND_MEMORY, 64), 0);
    for (int n = 0; n < 5; n++) {
        in_child_killed({
            struct piu_hold copy;

            CHECK_EQ(piu_hold_take(&copy, &hold.handle), 0);
            told->id = me() & ID_MASK;
        });
        between[HANDLES].after = n;
        at(HANDLES, fails, &error);
        sweep_one(&told->id);
        at(HANDLES, NULL, NULL);
        CHECK(block_check());
    }
    CHECK_EQ(piu_hold_drop(&hold), 0);
}

/* What a child that was just forked finds in the place of its bequest. */
static struct finds {
    pid_t starter;
    struct handle_table *t;
    uint64_t list; /* another one */
    uint64_t owner;
} finds;

static struct ledger_block *bequest(void)
{
    return arena_at(atomic_load(&finds.t->bequests), sizeof(struct ledger_block));
}

static void child_finds(void *unused)
{
    struct ledger_block *b = bequest();

    (void)unused;
    if (getpid() == finds.starter)
        return;
    if (finds.owner)
        *block_word(b) = word_owned_by(*block_word(b), BLOCK_LEDGER, finds.owner);
    else
        finds.t->bequests = finds.list;
}

static void child_comes_late(uint64_t list, uint64_t owner)
{
    pid_t child;
    int status;

    finds = (struct finds){getpid(), table(), list, owner};
    between[HANDLES].after = 1; /* the starter's own */
    at(HANDLES, child_finds, NULL);
    child = fork();
    if (child == 0)
        exit(1); /* it holds what is not its own */
    status = child_wait(child);
    CHECK(WIFEXITED(status));
    CHECK_EQ(WEXITSTATUS(status), EXIT_DISINHERITED);
    at(HANDLES, NULL, NULL);
}

static struct ledger_block *ledger_block_new(void)
{
    void *block;
    struct ledger_block *b;

    CHECK_EQ(block_new_family(4096, &block), 0);
    b = block;
    b->made = clock_now();
    return b;
}

TEST(a_child_that_comes_too_late_for_what_it_inherits_ends)
{
    struct piu_hold hold;
    struct ledger_block *ring, *b;
    struct handle_table *t = table();

    CHECK_EQ(piu_hold_new(&hold, PIU_KIND_MEMORY, 64), 0);
    child_comes_late(0, 0); /* given back */
    CHECK_EQ(atomic_load(&t->bequests), 0);
    child_comes_late(0, me() & ID_OWNER); /* another gives it back just now */
    b = bequest();
    CHECK_EQ(block_owner(b), me() & ID_OWNER);
    ring = ledger_block_new();
    ring->next = arena_offset(ring);
    child_comes_late(arena_offset(ring), 0); /* somebody wrote over the list */

    /* what is somebody's stays, and a look along a ring ends */
    CHECK_EQ(in_child({}), 0);
    ring->made = INT64_MAX;
    CHECK_EQ(in_child({}), 0);
    b->made = clock_now() - BEQUEST_LASTS;
    t->bequests = arena_offset(b);
    CHECK_EQ(in_child({}), 0);
    CHECK_EQ(block_owner(b), me() & ID_OWNER);
    t->bequests = 0;
    CHECK_EQ(piu_hold_drop(&hold), 0);
}

TEST(a_starter_that_cannot_enter_the_table_leaves_bequests_to_others)
{
    struct handle_table *t = table();
    struct piu_hold hold;
    int error = ENOMEM;

    CHECK_EQ(piu_hold_new(&hold, PIU_KIND_MEMORY, 64), 0);
    between[HANDLES].after = 1; /* before the fork it can */
    at(HANDLES, fails, &error);
    CHECK_EQ(in_child({ at(HANDLES, NULL, NULL); }), 0);
    CHECK(has_happened(HANDLES));
    CHECK(atomic_load(&t->bequests)); /* of the child that could not, either */
    t->bequests = 0;
    CHECK_EQ(piu_hold_drop(&hold), 0);
}

/* ---- Pools ---------------------------------------------------------------------------------------- */

static int rest(struct piu_task *self, size_t first, size_t last)
{
    (void)self;
    (void)first;
    (void)last;
    while (pause() < 0)
        ;
    return 0;
}

static struct piu_pool *pool_new(void)
{
    struct piu_pool *pool = piu_pool_new(.processes = 1);

    CHECK(pool);
    return pool;
}

static void kill_nursery(struct piu_pool *pool)
{
    CHECK_EQ(kill(pool->nursery.pid, SIGKILL), 0);
    test_wait_until(child_wait_end(&pool->nursery, 0) == 0);
}

/* Its start fails; or it starts, and cannot begin. */
TEST(a_pool_whose_nursery_was_killed_and_has_no_successor_is_broken)
{
    for (int way = 0; way < 2; way++) {
        struct piu_pool *pool = pool_new();
        struct piu_task task = {.run = rest, .count = 20, .chunk = 1};
        struct piu_result *result = piu_pool_map_async(pool, &task);
        int error = EMFILE;

        CHECK(result);
        at(way ? SIGNALFD : CHILD_FORK, fails, &error);
        kill_nursery(pool);
        CHECK_EQ(piu_result_wait(result, PIU_SEC(10)), 0);
        CHECK_EQ(piu_result_get(result, PIU_NOW), -ECHILD);
        pool_look_after(pool); /* there is none to look after any more */
        CHECK_EQ(atomic_load(&pool->shared->state), POOL_BROKEN);
        at(way ? SIGNALFD : CHILD_FORK, NULL, NULL);
        piu_result_free(result);
        piu_pool_free(pool);
    }
}

TEST(a_nursery_gets_one_successor_and_none_in_a_pool_that_is_to_end)
{
    struct piu_pool *pool = pool_new();
    pid_t nursery = pool->nursery.pid;

    kill_nursery(pool);
    pool->reviving = 1; /* another thread is at it */
    pool_look_after(pool);
    CHECK_EQ(pool->nursery.pid, nursery);
    pool->reviving = 0;
    test_wait_until((pool_look_after(pool), pool->nursery.pid != nursery));
    nursery = pool->nursery.pid;
    CHECK_EQ(piu_pool_terminate(pool), 0);
    kill_nursery(pool);
    pool_look_after(pool);
    CHECK_EQ(pool->nursery.pid, nursery);
    piu_pool_free(pool);
}

struct own_task {
    struct piu_task task;
    struct piu_pool *pool;
};

/* Its record says that it is where no chunk is. */
static int write_over_and_die(struct piu_task *self, size_t first, size_t last)
{
    struct worker *w = ((struct own_task *)self)->pool->shared->workers;

    (void)first;
    (void)last;
    w->chunk = 1 << 20;
    kill(getpid(), SIGKILL);
    return 0;
}

static int square(int x)
{
    return x * x;
}

TEST(what_a_worker_had_begun_is_lost_though_its_record_was_written_over)
{
    struct piu_pool *pool = pool_new();
    struct own_task own = {
        .task = {.run = write_over_and_die, .struct_size = sizeof(own), .count = 1},
        .pool = pool};
    int in[] = {3}, out[1];

    CHECK_EQ(piu_pool_map(pool, &own.task, NULL), PIU_LOSSES);
    CHECK_EQ(piu_map(pool, square, in, out), 0);
    CHECK_EQ(out[0], 9);
    piu_pool_free(pool);
}

/* ---- Processes ------------------------------------------------------------------------------------ */

static int end_at_once(void *unused)
{
    (void)unused;
    return 7;
}

static int rest_for_ever(void *unused)
{
    (void)unused;
    while (pause() < 0)
        ;
    return 0;
}

static void nothing(void *unused)
{
    (void)unused;
}

TEST(a_kill_while_the_oom_killer_was_at_work_counts_as_its)
{
    struct piu_process p = {.target = rest_for_ever};
    struct piu_death death;

    for (int oom = 0; oom < 2; oom++) {
        CHECK_EQ(piu_process_start(&p), 0);
        CHECK_EQ(piu_process_kill(&p), 0);
        at(OOM, oom ? nothing : NULL, NULL);
        CHECK_EQ(piu_process_join(&p, PIU_FOREVER), 0);
        CHECK_EQ(piu_process_report(&p, &death), 0);
        CHECK_EQ(death.exitcode, -SIGKILL);
        CHECK_EQ(death.oom, oom);
        CHECK_EQ(piu_process_close(&p), 0);
    }
}

static struct piu_process *process_of_zygote(int (*target)(void *))
{
    struct piu_process *p = piu_shared_new(1, sizeof(*p));

    CHECK(p);
    p->target = target;
    return p;
}

static pid_t zygote_pid(void)
{
    uint32_t cursor = 0;
    char name[NAME_SIZE];
    uint64_t id;

    while ((id = member_next(&cursor))) {
        member_name(id, name);
        if (strcmp(name, "zygote") == 0)
            return member_pid(id);
    }
    return 0;
}

TEST(a_signal_does_not_end_the_wait_for_a_zygote_that_is_dying)
{
    struct piu_process *p;
    int error = EINTR;

    CHECK_EQ(piu_init(.zygote = true), 0);
    p = process_of_zygote(end_at_once);
    test_wait_until(zygote_pid()); /* it is a member now */
    CHECK_EQ(kill(zygote_pid(), SIGKILL), 0);
    at(CHILD_JOIN, fails, &error);
    CHECK_EQ(piu_process_start(p, .how = PIU_ZYGOTE), -ECHILD);
    CHECK(has_happened(CHILD_JOIN));
    CHECK(waitpid(-1, NULL, WNOHANG) < 0); /* it was waited for */
}

/* Another thread has taken the descriptor that was to be its pidfd's. */
TEST(a_child_that_cannot_be_watched_has_ended_when_its_start_fails)
{
    struct piu_process *p;
    int error = EMFILE, interrupted = EINTR;
    uint32_t cursor = 0;
    unsigned members = 0;

    CHECK_EQ(piu_init(.zygote = true), 0);
    p = process_of_zygote(rest_for_ever);
    at(RECEIVE, fails, &error);
    at(CHILD_WAIT, fails, &interrupted);
    CHECK_EQ(piu_process_start(p, .how = PIU_ZYGOTE), -EMFILE);
    CHECK(has_happened(RECEIVE) && has_happened(CHILD_WAIT));
    member_sweep_dead(true);
    while (member_next(&cursor))
        members++;
    CHECK_EQ(members, 2); /* the zygote, and we */
    CHECK_EQ(piu_process_start(p, .how = PIU_ZYGOTE), 0);
    CHECK_EQ(piu_process_kill(p), 0);
    CHECK_EQ(piu_process_join(p, PIU_FOREVER), 0);
}

TEST(of_two_who_join_a_child_one_writes_down_how_it_ended)
{
    struct piu_process *p;
    int code;

    CHECK_EQ(piu_init(.zygote = true), 0);
    p = process_of_zygote(end_at_once);
    CHECK_EQ(piu_process_start(p, .how = PIU_ZYGOTE), 0);
    p->child->child.ending = true; /* another thread is at it */
    CHECK_EQ(piu_process_join(p, PIU_MSEC(50)), -ETIMEDOUT);
    p->child->child.ending = false;
    CHECK_EQ(piu_process_join(p, PIU_FOREVER), 0);
    CHECK_EQ(piu_process_exitcode(p, &code), 0);
    CHECK_EQ(code, 7);
}
