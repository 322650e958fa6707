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

struct self *member_self;
_Thread_local struct member_thread member_thread __attribute__((tls_model("initial-exec")));

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

static bool life_move(struct member *m, uint64_t from, uint32_t pid, enum member_state state)
{
    return atomic_compare_exchange_strong(&m->life, &from,
                                          life_make(life_generation(from), pid, state));
}

static struct member *slot_record(uint32_t slot)
{
    return (struct member *)(void *)(arena.base + ARENA_MEMBERS + (size_t)slot * MEMBER_SIZE);
}

static struct member *slot_member(uint32_t slot)
{
    /* acquire, for the release in slots_back(): the record has memory */
    if (slot == 0 || !arena.base ||
        slot >= atomic_load_explicit(&arena_header()->members_committed, memory_order_acquire))
        return NULL;
    return slot_record(slot);
}

struct member *member_of(uint64_t id)
{
    return slot_member(id_slot(id));
}

/* ---- History --------------------------------------------------------------- */

static void history_write(struct member *m, uint64_t generation, bool died)
{
    uint64_t bit = UINT64_C(1) << (generation % 64);
    _Atomic uint64_t *word = &m->died[generation % HISTORY / 64];

    if (died)
        atomic_fetch_or(word, bit);
    else
        atomic_fetch_and(word, ~bit);
}

static enum fate history_read(const struct member *m, uint64_t generation, uint64_t now)
{
    uint64_t bits = atomic_load(&m->died[generation % HISTORY / 64]);

    if (generation > now || now - generation >= HISTORY)
        return FATE_DIED;
    return bits >> (generation % 64) & 1 ? FATE_DIED : FATE_LEFT;
}

/* ---- Ends --------------------------------------------------------------------- */

/* ENDING -> FREE: all may do this at once, and again after one who was killed at it. */
static void end_finish(struct member *m, uint32_t slot, uint64_t life)
{
    uint64_t generation = life_generation(life);
    bool died = life_state(life) == MEMBER_DIED;

    sweep_member(m, id_make(slot, generation), died);
    history_write(m, generation, died);
    atomic_compare_exchange_strong(&m->life, &life, life_make(generation + 1, 0, MEMBER_FREE));
}

/* Not merely running: still the program that joined (exec closes its witness). */
static bool process_lives(const struct member *m, uint32_t slot, uint64_t life)
{
    int running = pidfd_is_running((pid_t)life_pid(life), m->identity);

    if (running < 0)
        return true; /* cannot be told now: never to be read as dead */
    return running && fd_witness_is_held(arena.fd, slot);
}

/* glibc: the futex is the first word of a mutex. */
static _Atomic uint32_t *life_futex(struct member *m)
{
    return (_Atomic uint32_t *)(void *)&m->life_lock;
}

bool member_seems_alive(uint64_t id)
{
    struct member *m = member_of(id);
    uint64_t life = m ? atomic_load(&m->life) : 0;
    uint32_t futex = m ? atomic_load(life_futex(m)) : 0;

    return life_generation(life) == id_generation(id) && life_state(life) == MEMBER_LIVE &&
           (PIU_TSAN || (futex != 0 && !(futex & FUTEX_OWNER_DIED)));
}

enum fate member_fate_unswept(uint64_t id)
{
    struct member *m = member_of(id);
    uint64_t life;

    if (!m)
        return FATE_DIED;
    for (;;) {
        life = atomic_load(&m->life);
        if (life_generation(life) != id_generation(id))
            return history_read(m, id_generation(id), life_generation(life));
        switch (life_state(life)) {
        case MEMBER_CLAIMED:
            return FATE_ALIVE;
        case MEMBER_LIVE:
            if (PIU_TSAN || process_lives(m, id_slot(id), life))
                return FATE_ALIVE;
            life_move(m, life, life_pid(life), MEMBER_DIED);
            break; /* whoever moved it: look again */
        case MEMBER_LEFT:
            return FATE_LEFT;
        default:
            return FATE_DIED; /* FREE in this generation: nobody had it yet */
        }
    }
}

enum fate member_fate(uint64_t id)
{
    enum fate fate = member_fate_unswept(id);
    struct member *m = member_of(id);
    uint64_t life = m ? atomic_load(&m->life) : 0;

    if (life_generation(life) == id_generation(id) && life_state(life) >= MEMBER_LEFT)
        end_finish(m, id_slot(id), life);
    return fate;
}

void member_sweep_dead(bool thorough)
{
    uint32_t end = arena.base ? atomic_load(&arena_header()->members_committed) : 0;

    for (uint32_t slot = 1; slot < end; slot++) {
        uint64_t life = atomic_load(&slot_record(slot)->life);
        uint64_t id = id_make(slot, life_generation(life));

        if (life_state(life) >= MEMBER_LEFT ||
            (life_state(life) == MEMBER_LIVE && (thorough || !member_seems_alive(id))))
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

static bool is_gone(pid_t pid)
{
    return kill(pid, 0) < 0 && errno == ESRCH;
}

static bool slot_claim(uint32_t slot, uint64_t *ret_id)
{
    struct member *m = slot_record(slot);
    uint64_t life = atomic_load(&m->life);

    /* a claimer that died before its child came */
    if (life_state(life) == MEMBER_CLAIMED && is_gone((pid_t)life_pid(life)) &&
        atomic_compare_exchange_strong(&m->life, &life,
                                       life_make(life_generation(life) + 1, 0, MEMBER_FREE)))
        life = atomic_load(&m->life);
    if (life_state(life) == MEMBER_LEFT || life_state(life) == MEMBER_DIED) {
        end_finish(m, slot, life);
        life = atomic_load(&m->life);
    }
    if (life_state(life) != MEMBER_FREE || !life_move(m, life, (uint32_t)getpid(), MEMBER_CLAIMED))
        return false;
    *ret_id = id_make(slot, life_generation(life));
    return true;
}

static int slot_find(uint64_t *ret_id)
{
    struct arena_header *h = arena_header();
    uint32_t window = atomic_load(&h->member_window);

    if (window == 0)
        atomic_compare_exchange_strong(&h->member_window, &window, WINDOW_FIRST);
    for (window = atomic_load(&h->member_window);; window = atomic_load(&h->member_window)) {
        uint32_t wider = window * 2 < MEMBER_SLOTS - 1 ? window * 2 + 1 : MEMBER_SLOTS - 1;

        for (uint32_t i = 0; i < window; i++) {
            uint32_t slot = 1 + atomic_fetch_add(&h->member_cursor, 1) % window;
            int r = slots_back(slot);

            if (r < 0)
                return r;
            if (slot_claim(slot, ret_id))
                return 0;
        }
        if (window == MEMBER_SLOTS - 1)
            return -ENOSPC;
        atomic_compare_exchange_strong(&h->member_window, &window, wider);
    }
}

static void record_init(struct member *m, const char *name)
{
    m->identity = 0;
    m->starter = member_self ? atomic_load(&member_self->id) : 0;
    atomic_store(&m->threads, 0);
    atomic_store(&m->held_overflow, 0);
    atomic_store(&m->cpu, 0);
    memset(m->operations, 0, sizeof(m->operations));
    memset(m->held, 0, sizeof(m->held));
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

    if (!m || life_generation(life) != id_generation(id) || life_state(life) != MEMBER_CLAIMED)
        return;
    history_write(m, id_generation(id), true);
    atomic_compare_exchange_strong(&m->life, &life,
                                       life_make(life_generation(life) + 1, 0, MEMBER_FREE));
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

/* The mutex stays locked for life: the kernel marks it when this thread or process ends. */
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
}

/*
 * The witness: a description that exec closes, with a lock on byte `slot` (os/fd.h).  Not in
 * wiped memory: a forked child has it open and must close it, or its parent would seem to
 * live on after an exec.  A child of _Fork() does so when it joins.
 */
static int witness = -1;

static void witness_close(void)
{
    witness = fd_close(witness);
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
    uint64_t life;
    int r;

    witness_close();
    witness = given;
    r = own_identity(&m->identity);
    if (r == 0 && witness < 0)
        r = member_witness(&witness);
    if (r == 0)
        r = fd_witness_lock(witness, id_slot(id));
    if (r < 0)
        return r;
    if (fence_register() < 0)
        atomic_store(&arena_header()->heavy_fences, 1);
    life_lock_hold(m);
    history_write(m, id_generation(id), true); /* an answer in case we are seen to be gone */
    life = atomic_load(&m->life);
    life_move(m, life, (uint32_t)getpid(), MEMBER_LIVE);
    /* release, for member_who(): a thread that sees the id may use the record */
    atomic_store_explicit(&member_self->id, id, memory_order_release);
    return 0;
}

static int self_open(void)
{
    struct self *fresh;
    void *page;
    int r;

    if (member_self)
        return 0;
    r = wiped_new(sizeof(*fresh), &page);
    if (r < 0)
        return r;
    fresh = page;
    if (!__sync_bool_compare_and_swap(&member_self, NULL, fresh))
        return 0; /* another thread was first; a page is lost, once */
    return -pthread_atfork(NULL, NULL, witness_close);
}

static int join_process(uint64_t claimed, int given)
{
    uint64_t id = claimed;
    int r;

    if (claimed && !claim_take_over(claimed))
        claimed = 0;
    if (!claimed) {
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

/* One thread of the process does it; the word is wiped, so a fork half way is no harm. */
static int join_once(uint64_t claimed, int given)
{
    int r = 0;

    /* a write first: a read would map the page of zeroes, and the write then copy it */
    atomic_fetch_or(&member_self->joining, 0);
    while (!atomic_load_explicit(&member_self->id, memory_order_acquire)) {
        uint32_t idle = 0;

        if (!atomic_compare_exchange_strong(&member_self->joining, &idle, 1)) {
            sched_yield();
            continue;
        }
        if (!atomic_load(&member_self->id))
            r = join_process(claimed, given);
        atomic_store(&member_self->joining, 0);
        if (r < 0)
            return r;
    }
    return 0;
}

static void thread_begin(uint64_t id)
{
    uint64_t number = atomic_fetch_add(&member_of(id)->threads, 1);

    member_thread.who = id | (number & 0xffff) << 48;
    member_thread.id = atomic_load(&member_self->id);
}

int member_join_as(uint64_t id, int given)
{
    int r = arena_open();

    if (r == 0)
        r = self_open();
    if (r == 0)
        r = join_once(id, given);
    if (r == 0)
        thread_begin(atomic_load(&member_self->id));
    return r;
}

int member_join(void)
{
    return member_join_as(arena_inherited_id(), -1);
}

void member_rename(const char *name)
{
    struct member *m = member_self ? member_of(atomic_load(&member_self->id)) : NULL;

    if (!m)
        return;
    memset(m->name, 0, sizeof(m->name));
    strncpy(m->name, name, sizeof(m->name) - 1);
}

void member_note_exitcode(int exitcode)
{
    uint64_t id = member_self ? atomic_load(&member_self->id) : 0;

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

static void leave_as(uint64_t id, enum member_state how)
{
    struct member *m = member_of(id);
    uint64_t life = atomic_load(&m->life);

    if (life_generation(life) == id_generation(id) && life_state(life) == MEMBER_LIVE &&
        life_move(m, life, life_pid(life), how))
        end_finish(m, id_slot(id), atomic_load(&m->life));
}

void member_leave(void)
{
    uint64_t id = member_self ? atomic_load(&member_self->id) : 0;

    if (!id)
        return;
    leave_as(id, MEMBER_LEFT);
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
    life_move(member_of(id), atomic_load(&member_of(id)->life), (uint32_t)getpid(), MEMBER_LIVE);
    thread_begin(id);
    return 0;
}

void member_play_end(bool died)
{
    leave_as(member_thread.who & ID_MASK, died ? MEMBER_DIED : MEMBER_LEFT);
    member_thread = (struct member_thread){0};
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
