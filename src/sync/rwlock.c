#include "sync/rwlock.h"

#include "os/futex.h"
#include "shm/owner.h"
#include "sync/roll.h"
#include "sync/slices.h"

#include <limits.h>

/*
 *    0      8        16      24     28                                 128
 *    | gate | writer | users | news | turn | zero                      |
 *
 *    turn    31..1 changes so far   0 sleepers             (a futex: all waiters sleep on it)
 *
 * A reading thread is an entry of the roll `users`: who, value (how many times), state READS;
 * a thread that waits to write is one with state WANTS.
 *
 * L1  all of it changes inside the gate only
 * L2  `writer` is 0 or the `who` of the one writer; then there is no reader that lives
 * L3  a thread that reads may read again at any time; another is held back by a writer, and by
 *     a WANTS of a member that lives
 * L4  news is 1 from the first look at a dead writer until a writer has released
 * L5  each word is right without the others: a writer becomes `writer` before its WANTS goes,
 *     news rises before the dead writer goes and falls before the living one does
 * A member that left counts as died here: only the member itself may release, so nobody could.
 * Crash: in the gate, by L5 nothing is to be repaired; a WANTS beside its own `writer` is a
 * dead one's.
 */
struct rwlock {
    alignas(64) owner_word gate;
    _Atomic uint64_t writer;
    roll_word users;
    _Atomic uint32_t news;
    _Atomic uint32_t turn;
    uint64_t reserved[12];
};
static_assert(sizeof(struct rwlock) == sizeof(struct piu_rwlock), "the public size");

enum use { READS = 1, WANTS };

#define TURN_SLEEPERS 1u
#define TURN_CHANGE   2u

static struct rwlock *inside(struct piu_rwlock *l)
{
    return (struct rwlock *)(void *)l;
}

static void gate_enter(struct rwlock *l, uint64_t who)
{
    owner_enter(&l->gate, who); /* L5: nothing to repair */
}

static void gate_leave(struct rwlock *l)
{
    owner_leave(&l->gate);
}

/* ---- Who is there, inside the gate ----------------------------------------------------- */

static bool writer_settle(struct rwlock *l)
{
    uint64_t writer = atomic_load(&l->writer);

    if (writer && who_has_ended(writer)) {
        atomic_store(&l->news, 1);
        atomic_store(&l->writer, 0);
        writer = 0;
    }
    return writer != 0;
}

/* The entries of members that ended are taken out. */
static void users_clear(struct rwlock *l)
{
    struct roll_walk walk;
    struct roll_entry *e;

    for (e = roll_first(&walk, &l->users); e; e = roll_next(&walk))
        if (who_has_ended(walk.who))
            roll_remove(e);
}

/* A member that lives and uses the lock so. */
static bool somebody(const struct rwlock *l, enum use use)
{
    struct roll_walk walk;
    struct roll_entry *e;

    for (e = roll_first(&walk, &l->users); e; e = roll_next(&walk))
        if (atomic_load(&e->state) == use && !who_has_ended(walk.who))
            return true;
    return false;
}

static struct roll_entry *entry_of(const struct rwlock *l, uint64_t who, uint64_t mask,
                                   enum use use)
{
    struct roll_walk walk;
    struct roll_entry *e;

    for (e = roll_first(&walk, &l->users); e; e = roll_next(&walk))
        if ((walk.who & mask) == (who & mask) && atomic_load(&e->state) == use)
            return e;
    return NULL;
}

static int entry_new(struct rwlock *l, uint64_t who, enum use use)
{
    struct roll_entry *e = roll_vacant(&l->users);
    int r = 0;

    if (!e) {
        users_clear(l);
        e = roll_vacant(&l->users);
    }
    if (!e) {
        r = roll_grow(&l->users);
        e = roll_vacant(&l->users);
    }
    if (!e)
        return r < 0 ? r : -ENOMEM;
    roll_put(e, who, 0, 1, use);
    return 0;
}

static int news_of(const struct rwlock *l)
{
    return atomic_load(&l->news) ? PIU_OWNER_DIED : 0;
}

/* ---- Acquiring, inside the gate: >= 0 held, -EBUSY not yet, -ENOMEM ---------------------- */

static int read_try(struct rwlock *l, uint64_t who)
{
    struct roll_entry *e;
    int r;

    if (writer_settle(l))
        return -EBUSY;
    e = entry_of(l, who, WHO_MASK, READS);
    if (!e && somebody(l, WANTS))
        return -EBUSY; /* L3 */
    if (e && atomic_load(&e->value) == UINT32_MAX)
        return -EOVERFLOW;
    r = 0;
    if (e)
        atomic_fetch_add(&e->value, 1);
    else
        r = entry_new(l, who, READS);
    return r < 0 ? r : news_of(l);
}

static void want_end(struct rwlock *l, uint64_t who)
{
    struct roll_entry *e = entry_of(l, who, WHO_MASK, WANTS);

    if (e)
        roll_remove(e);
}

static int write_try(struct rwlock *l, uint64_t who)
{
    if (writer_settle(l) || somebody(l, READS))
        return -EBUSY;
    atomic_store(&l->writer, who);
    want_end(l, who); /* L5: after */
    return news_of(l);
}

static int try(struct rwlock *l, uint64_t who, enum use use)
{
    return use == READS ? read_try(l, who) : write_try(l, who);
}

/* ---- Waiting ---------------------------------------------------------------------------- */

/* Something changed that others may wait for; > 0: they are to be woken. */
static int turn_move(struct rwlock *l)
{
    uint32_t turn = atomic_load(&l->turn);

    if (!(turn & TURN_SLEEPERS))
        return 0;
    atomic_store(&l->turn, (turn & ~TURN_SLEEPERS) + TURN_CHANGE);
    return 1;
}

static uint32_t turn_to_sleep_on(struct rwlock *l)
{
    return atomic_fetch_or(&l->turn, TURN_SLEEPERS) | TURN_SLEEPERS;
}

/* Whose end would let us in, inside the gate: they were found alive just now. */
static void holders_list(const struct rwlock *l, enum use use, struct lives *ret)
{
    uint64_t writer = atomic_load(&l->writer);
    struct roll_walk walk;
    struct roll_entry *e;

    ret->count = 0;
    if (writer) {
        lives_add(ret, writer);
        return;
    }
    for (e = roll_first(&walk, &l->users); e; e = roll_next(&walk))
        if (atomic_load(&e->state) !=
            use) /* readers hold back a writer, and the reverse */
            lives_add(ret, walk.who);
}

/* Also puts a writer on the roll, the first time. */
static int try_or_want(struct rwlock *l, uint64_t who, enum use use, uint32_t *ret_turn,
                       struct lives *ret_holders)
{
    int r, want = 0;

    gate_enter(l, who);
    r = try(l, who, use);
    if (r == -EBUSY) {
        *ret_turn = turn_to_sleep_on(l);
        holders_list(l, use, ret_holders);
        if (use == WANTS && !entry_of(l, who, WHO_MASK, WANTS))
            want = entry_new(l, who, WANTS);
    }
    gate_leave(l);
    return want < 0 ? want : r;
}

/* A writer waits no more: readers that it held back may go on. */
static void give_up(struct rwlock *l, uint64_t who)
{
    int wakes;

    gate_enter(l, who);
    want_end(l, who);
    wakes = turn_move(l);
    gate_leave(l);
    if (wakes)
        futex_wake(&l->turn, INT_MAX);
}

static int acquire_asleep(struct rwlock *l, uint64_t who, enum use use, int64_t timeout)
{
    struct slices slices;
    struct lives holders;
    uint32_t turn = 0;
    int r;

    slices_begin_watching(&slices, who, l, timeout);
    while ((r = try_or_want(l, who, use, &turn, &holders)) == -EBUSY) {
        r = slices_sleep(&slices, &l->turn, turn, &holders);
        if (r < 0)
            break;
    }
    slices_end(&slices);
    if (r < 0 && use == WANTS)
        give_up(l, who);
    return r;
}

static int acquire(struct piu_rwlock *l, enum use use, int64_t timeout)
{
    uint64_t who;
    int r = member_uses(l, sizeof(*l), &who);

    if (unlikely(r < 0))
        return r;
    gate_enter(inside(l), who);
    r = try(inside(l), who, use);
    gate_leave(inside(l));
    if (r != -EBUSY)
        return r;
    return timeout > 0 ? acquire_asleep(inside(l), who, use, timeout) : -ETIMEDOUT;
}

int piu_rwlock_acquire_read(struct piu_rwlock *l, int64_t timeout)
{
    return acquire(l, READS, timeout);
}

int piu_rwlock_acquire_write(struct piu_rwlock *l, int64_t timeout)
{
    return acquire(l, WANTS, timeout);
}

/* ---- Release ---------------------------------------------------------------------------- */

/* One reading of this thread, else of another thread of its member. */
static int read_release(struct rwlock *l, uint64_t who)
{
    struct roll_entry *e = entry_of(l, who, WHO_MASK, READS);

    if (!e)
        e = entry_of(l, who, ID_MASK, READS);
    if (!e)
        return -EPERM;
    if (atomic_load(&e->value) > 1)
        atomic_fetch_sub(&e->value, 1);
    else
        roll_remove(e);
    return 0;
}

static int release(struct rwlock *l, uint64_t who)
{
    if ((atomic_load(&l->writer) & ID_MASK) != (who & ID_MASK))
        return read_release(l, who);
    atomic_store(&l->news, 0);
    atomic_store(&l->writer, 0); /* L5: after */
    return 0;
}

int piu_rwlock_release(struct piu_rwlock *l)
{
    uint64_t who;
    int r = member_uses(l, sizeof(*l), &who), wakes = 0;

    if (unlikely(r < 0))
        return r;
    gate_enter(inside(l), who);
    r = release(inside(l), who);
    if (r == 0)
        wakes = turn_move(inside(l));
    gate_leave(inside(l));
    if (wakes)
        futex_wake(&inside(l)->turn, INT_MAX);
    return r;
}

void piu_rwlock_done(struct piu_rwlock *l)
{
    if (l && arena_has(l, sizeof(*l)))
        roll_done(&inside(l)->users);
}

bool rwlock_check(const struct piu_rwlock *l)
{
    const struct rwlock *in = (const struct rwlock *)(const void *)l;

    return owner_check(&in->gate) && owner_check(&in->writer) && roll_check(&in->users);
}
