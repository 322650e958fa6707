/* The table of members: joining, leaving, and what became of whom. */
#include "shm/member.h"

#include "os/clock.h"
#include "os/fd.h"
#include "os/fence.h"
#include "os/futex.h"
#include "os/machine.h"
#include "os/pidfd.h"
#include "os/wiped.h"
#include "shm/sweep.h"

#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define SLOTS_PIECE  16u  /* records that get memory at once: 16 KB */
#define WINDOW_FIRST 255u /* slots that are gone through before one is used again */

_Thread_local struct member_thread member_thread
    __attribute__((tls_model("initial-exec")));

/* For the case that there is no memory for the page: nobody joins then. */
static struct self nobody;
struct self *member_self = &nobody;

static uint64_t self_id(void)
{
    return atomic_load(&member_self->id);
}

/* ---- The life word --------------------------------------------------------- */

static uint64_t life_make(uint64_t generation, uint32_t pid, enum member_state state)
{
    return generation << 31 | (uint64_t)pid << 9 | (uint64_t)state;
}

static uint64_t life_generation(uint64_t life)
{
    return life >> 31;
}

static uint32_t life_pid(uint64_t life)
{
    return (uint32_t)(life >> 9) & 0x3fffff; /* Linux: pid numbers have 22 bits at most */
}

static enum member_state life_state(uint64_t life)
{
    return (enum member_state)(life & 7);
}

static bool life_move(struct member *m, uint64_t from, uint32_t pid,
                      enum member_state state)
{
    return atomic_compare_exchange_strong(&m->life, &from,
                                          life_make(life_generation(from), pid, state));
}

static struct member *slot_record(uint32_t slot)
{
    return (struct member *)(void *)(arena.base + ARENA_MEMBERS +
                                     (size_t)slot * MEMBER_SIZE);
}

static struct member *slot_member(uint32_t slot)
{
    /* acquire, for the release in slots_back(): the record has memory */
    if (slot == 0 || !arena.base ||
        slot >= atomic_load_explicit(&arena_header()->members_committed,
                                     memory_order_acquire))
        return NULL;
    return slot_record(slot);
}

struct member *member_of(uint64_t id)
{
    return slot_member(id_slot(id));
}

/* ---- History --------------------------------------------------------------- */
/*
 * left[]: four words, used in turn, each for 48 generations: a bit for each that left.  Which
 * 48, its upper 16 bits tell: so a sweeper that was stopped for long, and comes back when the
 * slot has had hundreds of others, can neither write nor read what is not its own.
 *
 *    63      48 47                  0
 *    | round   | left, by generation |     round = generation / (4 * 48)
 */
#define HISTORY_BITS 48u

static _Atomic uint64_t *history_word(struct member *m, uint64_t generation)
{
    return &m->left[generation / HISTORY_BITS % HISTORY_WORDS];
}

static uint64_t history_round(uint64_t generation)
{
    return generation / HISTORY_BITS / HISTORY_WORDS & 0xffff;
}

/* What is not noted died.  Who notes it twice notes the same. */
static void history_note_left(struct member *m, uint64_t generation)
{
    uint64_t round = history_round(generation);
    uint64_t bit = UINT64_C(1) << generation % HISTORY_BITS;
    uint64_t old = atomic_load(history_word(m, generation));
    uint64_t kept;

    do {
        kept = old >> HISTORY_BITS == round ? old : round << HISTORY_BITS;
        if ((int16_t)(uint16_t)((old >> HISTORY_BITS) - round) > 0)
            return; /* we come too late: long forgotten */
    } while (
        !atomic_compare_exchange_strong(history_word(m, generation), &old, kept | bit));
}

static enum fate history_read(struct member *m, uint64_t generation)
{
    uint64_t word = atomic_load(history_word(m, generation));

    return word >> HISTORY_BITS == history_round(generation) &&
                   word >> generation % HISTORY_BITS & 1
               ? FATE_LEFT
               : FATE_DIED;
}

/* ---- Ends --------------------------------------------------------------------- */

/* glibc: the futex is the first word of a mutex. */
static _Atomic uint32_t *life_futex(struct member *m)
{
    return (_Atomic uint32_t *)(void *)&m->life_lock;
}

/* One that left runs on for a moment, and its threads may still be inside piu. */
static bool process_runs(const struct member *m, uint64_t life)
{
    return !PIU_TSAN &&
           pidfd_is_running((pid_t)life_pid(life), atomic_load(&m->identity)) != 0;
}

static bool slot_free(struct member *m, uint64_t life)
{
    return atomic_compare_exchange_strong(
        &m->life, &life, life_make(life_generation(life) + 1, 0, MEMBER_FREE));
}

/*
 * LEFT, DIED -> FREE: all may do this at once, and again after one who was killed at it.  The
 * process must have ended: only then the sweep finds all, and nothing of it (its lock on the
 * witness, its place in the kernel's list of robust locks) is in the next one's way.
 */
static void end_finish(struct member *m, uint32_t slot, uint64_t life)
{
    bool died = life_state(life) == MEMBER_DIED;
    bool runs = !died && process_runs(m, life);

    if (sweep_member(m, id_make(slot, life_generation(life)), died) < 0 || runs)
        return;
    if (!died)
        history_note_left(m, life_generation(life));
    slot_free(m, life);
}

/* The witness of a generation is a byte of its own: a stray description bars nobody else. */
static uint64_t witness_index(uint64_t id)
{
    return id_generation(id) * MEMBER_SLOTS + id_slot(id);
}

/* The kernel has said that the thread which joined has ended, or that it never will say so. */
static bool life_is_marked(struct member *m)
{
    return atomic_load(life_futex(m)) & FUTEX_OWNER_DIED;
}

/*
 * Not merely running: still the program that joined.  exec closes its witness, and marks the
 * word.  One of both alone says nothing: programs close descriptors that they do not know, and
 * the thread that joined may be gone.
 */
static bool process_lives(struct member *m, uint64_t id, uint64_t life)
{
    int running = pidfd_is_running((pid_t)life_pid(life), atomic_load(&m->identity));

    if (running < 0)
        return true; /* cannot be told now: never to be read as dead */
    return running && (!life_is_marked(m) || arena_witness_is_held(witness_index(id)));
}

static bool is_gone(pid_t pid)
{
    return kill(pid, 0) < 0 && errno == ESRCH;
}

bool member_seems_alive(uint64_t id)
{
    struct member *m = member_of(id);
    uint64_t life = m ? atomic_load(&m->life) : 0;
    uint32_t futex = m ? atomic_load(life_futex(m)) : 0;

    return life_generation(life) == id_generation(id) &&
           life_state(life) == MEMBER_LIVE &&
           (PIU_TSAN || (futex != 0 && !(futex & FUTEX_OWNER_DIED)));
}

/* `running_left`: one that left counts as alive until its process has ended. */
static enum fate fate_of(uint64_t id, bool running_left)
{
    struct member *m = member_of(id);
    uint64_t life;

    if (!m)
        return FATE_DIED;
    for (;;) {
        life = atomic_load(&m->life);
        if (life_generation(life) != id_generation(id))
            return life_generation(life) > id_generation(id)
                       ? history_read(m, id_generation(id))
                       : FATE_DIED;
        switch (life_state(life)) {
        case MEMBER_CLAIMED:
            if (!is_gone((pid_t)life_pid(life)))
                return FATE_ALIVE;
            slot_free(m, life);
            break; /* whoever moved it: look again */
        case MEMBER_LIVE:
            if (PIU_TSAN || process_lives(m, id, life))
                return FATE_ALIVE;
            life_move(m, life, life_pid(life), MEMBER_DIED);
            break;
        case MEMBER_LEFT:
            return running_left && process_runs(m, life) ? FATE_ALIVE : FATE_LEFT;
        default:
            return FATE_DIED; /* FREE in this generation: nobody had it yet */
        }
    }
}

enum fate member_fate_unswept(uint64_t id)
{
    return fate_of(id, true);
}

enum fate member_fate(uint64_t id)
{
    enum fate fate = fate_of(id, false);
    struct member *m = member_of(id);
    uint64_t life = m ? atomic_load(&m->life) : 0;

    if (life_generation(life) == id_generation(id) && life_state(life) >= MEMBER_LEFT)
        end_finish(m, id_slot(id), life);
    return fate;
}

static bool slot_is_doubtful(uint32_t slot, bool thorough, uint64_t *ret_id)
{
    uint64_t life = atomic_load(&slot_record(slot)->life);

    *ret_id = id_make(slot, life_generation(life));
    switch (life_state(life)) {
    case MEMBER_FREE:
        return false;
    case MEMBER_LIVE:
        return thorough || !member_seems_alive(*ret_id);
    default:
        return true;
    }
}

static void slot_tidy(uint32_t slot)
{
    uint64_t id;

    if (slot_is_doubtful(slot, false, &id))
        member_fate(id);
}

void member_sweep_dead(bool thorough)
{
    uint32_t end = arena.base ? atomic_load(&arena_header()->members_committed) : 0;
    uint64_t id;

    for (uint32_t slot = 1; slot < end; slot++) {
        if (slot_is_doubtful(slot, thorough, &id))
            member_fate(id);
    }
}

const _Atomic uint32_t *member_life_futex(uint64_t id, uint32_t *ret_expected)
{
    struct member *m = member_of(id);
    uint32_t old;

    if (!m || PIU_TSAN)
        return NULL;
    old = atomic_load(life_futex(m));
    if (old == 0 || old & FUTEX_OWNER_DIED)
        return NULL;
    /* the kernel wakes (one, who wakes the next) only where this bit is set */
    *ret_expected = atomic_fetch_or(life_futex(m), FUTEX_WAITERS) | FUTEX_WAITERS;
    return life_futex(m);
}

pid_t member_pid(uint64_t id)
{
    const struct member *m = member_of(id);
    uint64_t life = m ? atomic_load(&m->life) : 0;

    return life_generation(life) == id_generation(id) && life_state(life) == MEMBER_LIVE
               ? (pid_t)life_pid(life)
               : 0;
}

void member_name(uint64_t id, char ret[NAME_SIZE])
{
    const struct member *m = member_of(id);

    memset(ret, 0, NAME_SIZE);
    if (m)
        memcpy(ret, m->name, NAME_SIZE - 1); /* may be of the next one, for people only */
}

/* ---- Slots ----------------------------------------------------------------------- */

static int slots_back(uint32_t slot)
{
    struct arena_header *h = arena_header();
    uint32_t committed = atomic_load(&h->members_committed);

    while (slot >= committed) {
        int r = arena_back(ARENA_MEMBERS + (uint64_t)committed * MEMBER_SIZE,
                           (uint64_t)SLOTS_PIECE * MEMBER_SIZE);

        if (r < 0)
            return r;
        /* release, for the acquire in slot_member() */
        if (atomic_compare_exchange_strong(&h->members_committed, &committed,
                                           committed + SLOTS_PIECE))
            committed += SLOTS_PIECE;
    }
    return 0;
}

/*
 * Whoever joins is not a member yet and cannot sweep: it takes slots that are free, and sweeps
 * some others when it has joined (tidy_up).
 */
static bool slot_claim(uint32_t slot, bool sweeps, uint64_t *ret_id)
{
    struct member *m = slot_record(slot);
    uint64_t life = atomic_load(&m->life);

    if (sweeps || life_state(life) == MEMBER_CLAIMED) {
        slot_tidy(slot);
        life = atomic_load(&m->life);
    }
    if (life_state(life) != MEMBER_FREE ||
        !life_move(m, life, (uint32_t)getpid(), MEMBER_CLAIMED))
        return false;
    *ret_id = id_make(slot, life_generation(life));
    return true;
}

static int slot_find(uint64_t *ret_id)
{
    struct arena_header *h = arena_header();
    bool sweeps = self_id() != 0;
    uint32_t window = atomic_load(&h->member_window);

    if (window == 0)
        atomic_compare_exchange_strong(&h->member_window, &window, WINDOW_FIRST);
    for (window = atomic_load(&h->member_window);;
         window = atomic_load(&h->member_window)) {
        uint32_t wider =
            window * 2 < MEMBER_SLOTS - 1 ? window * 2 + 1 : MEMBER_SLOTS - 1;
        uint32_t from = atomic_load(&h->member_cursor);

        for (uint32_t i = 0; i < window; i++) {
            uint32_t slot = 1 + (from + i) % window;
            int r = slots_back(slot);

            if (r < 0)
                return r;
            if (slot_claim(slot, sweeps, ret_id)) {
                atomic_store(&h->member_cursor,
                             slot); /* a hint: the next one begins behind */
                return 0;
            }
        }
        if (window >= MEMBER_SLOTS - 1)
            return -ENOSPC;
        atomic_compare_exchange_strong(&h->member_window, &window, wider);
    }
}

static void record_init(struct member *m, const char *name)
{
    m->starter = self_id();
    atomic_store(&m->threads, 0);
    atomic_store(&m->cpu, 0);
    atomic_store(&m->held_lock, 0);
    atomic_store(&m->held_overflow, 0);
    /* one by one: a slow sweeper may still look at them */
    for (unsigned i = 0; i < OPERATIONS; i++) {
        atomic_store_explicit(&m->operations[i].wake, 0, memory_order_relaxed);
        atomic_store_explicit(&m->operations[i].object, 0, memory_order_relaxed);
    }
    for (unsigned i = 0; i < HELD_CELLS; i++)
        atomic_store_explicit(&m->held[i].block, 0, memory_order_relaxed);
    memset(m->name, 0, sizeof(m->name));
    strncpy(m->name, name ? name : "", sizeof(m->name) - 1);
}

int member_claim(const char *name, uint64_t *ret_id)
{
    uint64_t id;
    int r = slot_find(&id);

    if (r < 0)
        return r;
    record_init(member_of(id), name);
    *ret_id = id;
    return 0;
}

void member_unclaim(uint64_t id)
{
    struct member *m = member_of(id);
    uint64_t life = m ? atomic_load(&m->life) : 0;

    if (m && life_generation(life) == id_generation(id) &&
        life_state(life) == MEMBER_CLAIMED)
        slot_free(m, life);
}

uint64_t member_next(uint32_t *cursor)
{
    uint32_t end = arena.base ? atomic_load(&arena_header()->members_committed) : 0;

    for (uint32_t slot = *cursor ? *cursor : 1; slot < end; slot++) {
        uint64_t life = atomic_load(&slot_record(slot)->life);

        if (life_state(life) == MEMBER_LIVE) {
            *cursor = slot + 1;
            return id_make(slot, life_generation(life));
        }
    }
    *cursor = end;
    return 0;
}

/* ---- Joining ------------------------------------------------------------------ */

/*
 * The mutex stays locked for life: the kernel marks it when this thread or process ends, or
 * execs.  It is never unlocked, for that would follow pointers that lie in shared memory.
 */
static void life_lock_hold(struct member *m)
{
    pthread_mutexattr_t attributes;

    if (PIU_TSAN)
        return;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    pthread_mutex_init(&m->life_lock, &attributes);
    pthread_mutex_lock(&m->life_lock);
    pthread_mutexattr_destroy(&attributes);
    /* after a raw clone() glibc does not know who we are, and the kernel not its list */
    if ((atomic_load(life_futex(m)) & FUTEX_TID_MASK) != (uint32_t)gettid())
        atomic_fetch_or(life_futex(m), FUTEX_OWNER_DIED);
}

void member_renew(uint64_t who)
{
    struct member *m = member_of(who);

    if (!PIU_TSAN && m && life_is_marked(m) && (who & ID_MASK) == self_id() &&
        pthread_mutex_trylock(&m->life_lock) == EOWNERDEAD)
        pthread_mutex_consistent(&m->life_lock);
}

/*
 * The witness: a description that exec closes, with a lock on a byte of ours (os/fd.h).  Not in
 * wiped memory: a forked child has it open and must close it, or its parent would seem to
 * live on after an exec.  A child of _Fork() does so when it joins.
 */
static int witness = -1;

static void witness_close(void)
{
    if (arena_is_behind(
            witness)) /* not when the program has closed it, and has another there */
        fd_close(witness);
    witness = -1;
}

static int own_identity(uint64_t *ret)
{
    cleanup(fd_done) int fd = -1;
    int r = pidfd_of(getpid(), &fd);

    return r < 0 ? r : pidfd_identity(fd, getpid(), ret);
}

/* CLAIMED by the starter -> CLAIMED by us, so that nobody takes the record while we fill it. */
static bool claim_take_over(uint64_t id)
{
    struct member *m = member_of(id);
    uint64_t life = m ? atomic_load(&m->life) : 0;

    return m && life_generation(life) == id_generation(id) &&
           life_state(life) == MEMBER_CLAIMED &&
           life_move(m, life, (uint32_t)getpid(), MEMBER_CLAIMED);
}

int member_witness(int *ret_fd)
{
    return fd_witness_open(arena.fd, ret_fd);
}

static int record_live(uint64_t id, int given)
{
    struct member *m = member_of(id);
    uint64_t life, identity;
    int r;

    witness_close();
    witness = given;
    r = own_identity(&identity);
    if (r == 0 && witness < 0)
        r = member_witness(&witness);
    if (r == 0)
        r = fd_witness_lock(witness, witness_index(id));
    if (r < 0)
        return r;
    if (fence_register() < 0)
        atomic_store(&arena_header()->heavy_fences, 1);
    atomic_store(&m->identity, identity);
    life_lock_hold(m);
    life = life_make(id_generation(id), (uint32_t)getpid(), MEMBER_CLAIMED);
    if (!life_move(m, life, (uint32_t)getpid(), MEMBER_LIVE))
        return -EAGAIN; /* the starter gave us up */
    /* release, for member_who(): a thread that sees the id may use the record */
    atomic_store_explicit(&member_self->id, id, memory_order_release);
    return 0;
}

/* ---- Before anything else, and around fork --------------------------------------- */
/*
 * A fork waits until no thread of the process is joining: the child would inherit what that
 * thread has open and nobody knows yet.  (Not for ever: the fork may come from a signal handler
 * that interrupted just that thread.)
 */
static _Thread_local bool fork_bars_joining;

static void fork_begin(void)
{
    int64_t deadline = deadline_after(100 * MSEC);
    uint32_t idle = 0;

    fork_bars_joining = true;
    while (!atomic_compare_exchange_strong(&member_self->joining, &idle, 1)) {
        idle = 0;
        if (deadline_left(deadline) == 0) {
            fork_bars_joining = false;
            return;
        }
        sched_yield();
    }
}

static void fork_end(void)
{
    if (fork_bars_joining)
        atomic_store(&member_self->joining, 0);
}

/* Before main(), when there is one thread: so that nobody can come too late. */
__attribute__((constructor(101))) static void self_open(void)
{
    void *page;

    if (wiped_new(sizeof(*member_self), &page) < 0)
        return;
    member_self = page;
    if (pthread_atfork(fork_begin, fork_end, witness_close) != 0)
        member_self = &nobody;
}

static int join_process(uint64_t claimed, int given)
{
    uint64_t id = claimed;
    int r;

    if (!claimed || !claim_take_over(claimed)) {
        char name[NAME_SIZE];

        snprintf(name, sizeof(name), "pid-%d", (int)getpid());
        r = member_claim(name, &id);
        if (r < 0)
            return r;
    }
    r = record_live(id, given);
    if (r < 0)
        member_unclaim(id);
    return r;
}

/* Handlers for fork that come before the child's own code may need it to be a member. */
static _Thread_local struct expectation {
    uint64_t id;
    int given;
} expected = {.given = -1};

void member_expect(uint64_t id, int given)
{
    expected = (struct expectation){id, given};
}

bool member_expects(void)
{
    return expected.given >= 0;
}

/* The claim that came with exec serves once, and in the process that it was made for. */
static int join_alone(uint64_t claimed, int given)
{
    int r = arena_open();

    if (!claimed && given < 0) {
        claimed = expected.id;
        given = expected.given;
    }
    if (r == 0 && given < 0 &&
        !arena_is_home()) /* what a member started is in its namespace */
        r = -EXDEV;
    if (r == 0 && !claimed)
        claimed = arena_inherited_id();
    return r < 0 ? r : join_process(claimed, given);
}

/* One thread of the process does it; the word is wiped, so a fork half way is no harm. */
static int join_once(uint64_t claimed, int given)
{
    int r = member_self == &nobody ? -ENOMEM : 0;

    /* a write first: a read would map the page of zeroes, and the write then copy it */
    atomic_fetch_or(&member_self->joining, 0);
    /* acquire, for the release in record_live() */
    while (r == 0 && !atomic_load_explicit(&member_self->id, memory_order_acquire)) {
        uint32_t idle = 0;

        if (!atomic_compare_exchange_strong(&member_self->joining, &idle, 1)) {
            sched_yield();
            continue;
        }
        if (!atomic_load(&member_self->id))
            r = join_alone(claimed, given);
        atomic_store(&member_self->joining, 0);
    }
    return r;
}

/* ---- Threads -------------------------------------------------------------------------- */
/*
 * Numbers are given in turn, and again only when their thread has ended: two with the same one
 * would share a recursive lock.
 */
static pthread_key_t thread_key;
static pthread_once_t thread_key_once = PTHREAD_ONCE_INIT;

static void thread_number_back(void *argument)
{
    uint32_t number = (uint32_t)(uintptr_t)argument - 1;

    atomic_fetch_and(&member_self->threads[number / 64], ~(UINT64_C(1) << number % 64));
    member_thread =
        (struct member_thread){0}; /* if a destructor that comes later calls */
}

static void thread_key_make(void)
{
    pthread_key_create(&thread_key, thread_number_back);
}

static uint32_t thread_number(void)
{
    for (uint32_t tries = 0; tries < THREADS_MAX; tries++) {
        uint32_t number = atomic_fetch_add(&member_self->thread_cursor, 1) % THREADS_MAX;
        uint64_t bit = UINT64_C(1) << number % 64;

        if (!(atomic_fetch_or(&member_self->threads[number / 64], bit) & bit))
            return number;
    }
    return 0; /* more threads than Linux allows */
}

static void thread_begin(uint64_t id)
{
    struct member *m = member_of(id);
    uint64_t number = thread_number();

    pthread_once(&thread_key_once, thread_key_make);
    pthread_setspecific(thread_key, (void *)(uintptr_t)(number + 1));
    atomic_fetch_add(&m->threads, 1);
    member_renew(id);
    member_thread.who = id | number << 48;
    member_thread.id = self_id();
}

/* ---- The way in ------------------------------------------------------------------------- */

/* Each that joins sweeps two others, if they are dead: so slots do not run out. */
static void tidy_up(void)
{
    uint32_t end = atomic_load(&arena_header()->members_committed);
    uint32_t slot = atomic_load(&arena_header()->member_cursor);

    for (int i = 0; i < 2; i++) {
        slot = slot + 1 < end ? slot + 1 : 1;
        slot_tidy(slot);
    }
}

int member_join_as(uint64_t id, int given)
{
    bool joins = self_id() == 0;
    int cancel, r;

    /* a thread that is cancelled in here would leave `joining` set */
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);
    r = join_once(id, given);
    if (given >= 0 && given != witness)
        fd_close(given); /* we were a member already */
    if (r == 0)
        thread_begin(self_id());
    if (r == 0 && joins && !id)
        tidy_up();
    pthread_setcancelstate(cancel, NULL);
    return r;
}

int member_join(void)
{
    return member_join_as(0, -1);
}

void member_rename(const char *name)
{
    struct member *m = member_of(self_id());

    if (!m)
        return;
    memset(m->name, 0, sizeof(m->name));
    strncpy(m->name, name, sizeof(m->name) - 1);
}

void member_note_exitcode(int exitcode)
{
    uint64_t id = self_id();

    if (id)
        atomic_store(&member_of(id)->exitcode,
                     id_generation(id) << 9 | 1u << 8 | (uint64_t)(exitcode & 0xff));
}

int member_exitcode(uint64_t id, int *ret)
{
    struct member *m = member_of(id);
    uint64_t word = m ? atomic_load(&m->exitcode) : 0;

    if (!(word & 1u << 8) || word >> 9 != id_generation(id))
        return -ENODATA;
    *ret = (int)(word & 0xff);
    return 0;
}

/* ---- Leaving ------------------------------------------------------------------- */

void member_leave(void)
{
    uint64_t id = self_id();
    struct member *m = member_of(id);

    if (!id)
        return;
    /* while we are alive, for it takes locks: those of one that has left are taken over */
    sweep_member(m, id, false);
    history_note_left(m, id_generation(id));
    life_move(m, life_make(id_generation(id), (uint32_t)getpid(), MEMBER_LIVE),
              (uint32_t)getpid(), MEMBER_LEFT);
    atomic_store(&member_self->id, 0);
    witness_close();
}

/* 101: after the destructors of the layers above, which still are members then. */
__attribute__((destructor(101))) static void leave_at_exit(void)
{
    member_leave();
}

/* ---- Playing members (tests under TSan) --------------------------------------- */

int member_play(const char *name)
{
    uint64_t who, id;
    int r = member_who(&who);

    if (r == 0)
        r = member_claim(name, &id);
    if (r < 0)
        return r;
    life_move(member_of(id), atomic_load(&member_of(id)->life), (uint32_t)getpid(),
              MEMBER_LIVE);
    thread_begin(id);
    return 0;
}

void member_play_end(bool died)
{
    uint64_t id = member_thread.who & ID_MASK;
    struct member *m = member_of(id);

    life_move(m, atomic_load(&m->life), (uint32_t)getpid(),
              died ? MEMBER_DIED : MEMBER_LEFT);
    member_thread = (struct member_thread){0};
    member_fate(id); /* as the process, which sweeps it */
}

bool member_worth_spinning(uint64_t who, uint64_t other)
{
    struct member *me = member_of(who);
    const struct member *m = member_of(other);
    uint32_t cpu = (uint32_t)sched_getcpu() + 1;

    if (me)
        atomic_store_explicit(&me->cpu, cpu, memory_order_relaxed);
    return machine_cpus_online() > 1 &&
           !(m && m != me && atomic_load_explicit(&m->cpu, memory_order_relaxed) == cpu);
}

/* ---- Operation records ------------------------------------------------------------ */

static struct operation *operation_of(uint64_t who)
{
    struct member *m = member_of(who);

    return m ? &m->operations[(who >> 48) % OPERATIONS] : NULL;
}

void operation_waits(uint64_t who, const void *object)
{
    struct operation *o = operation_of(who);

    if (o)
        atomic_store_explicit(&o->object, arena_offset(object), memory_order_relaxed);
}

void operation_about_to_wake(uint64_t who, const _Atomic uint32_t *futex)
{
    struct operation *o = operation_of(who);

    /* release: before the store that makes the wake due, for the sweep that reads it */
    if (o)
        atomic_store_explicit(&o->wake, arena_offset(futex), memory_order_release);
}

void operation_woke(uint64_t who)
{
    struct operation *o = operation_of(who);

    if (o)
        atomic_store_explicit(&o->wake, 0, memory_order_release);
}
