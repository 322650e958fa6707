#include "sync/condition.h"

#include "os/clock.h"
#include "os/futex.h"
#include "sync/lock.h"
#include "sync/rlock.h"
#include "sync/roll.h"
#include "sync/slices.h"

/*
 *    0      8         16       24          32        40                  64
 *    | gate | waiters | ticket | pass_from | pass_to | zero              |
 *
 * A waiter is an entry of the roll `waiters`: who, order (its ticket), state (its own futex).
 *
 *    not there --itself--> WAITING --notifier--> NOTIFIED --itself, with the lock--> not there
 *                             `--itself, with the lock: time is up, a signal--> not there
 *    between() ended the wait: out, as one of a member that ended, and a notify passes on
 *    a member that ended:  WAITING: its entry is taken out;  NOTIFIED: that, and the longest
 *    waiting one is notified instead.  Any waiter does so in its slice, and any notifier.
 *
 * C1  an entry is put, notified and passed on inside the gate; orders never come twice, and
 *     the lowest waits longest
 * C2  an entry is on the roll before its waiter releases the lock, and stays until the waiter
 *     holds the lock again: no notify between is lost, and none dies with a waiter
 * C3  pass_to is not 0 while a notify passes from one entry to the other: the next one in the
 *     gate ends that
 * Crash: a notifier has notified some, those that it came to.
 */
struct condition {
    alignas(64) owner_word gate;
    roll_word waiters;
    _Atomic uint64_t ticket;
    _Atomic uint64_t pass_from, pass_to; /* offsets of entries */
    uint64_t reserved[3];
};
static_assert(sizeof(struct condition) == sizeof(struct piu_condition),
              "the public size");

enum waiter_state { WAITING = 1, NOTIFIED };

/* The lock that goes with it, of either kind: an owner word, and perhaps a depth. */
struct guard {
    owner_word *word;
    _Atomic uint32_t *depth; /* NULL: not recursive */
    uint32_t saved;
};

/* What the waiter does between its sleeps; NULL: nothing. */
struct between {
    int (*call)(void *);
    void *argument;
};

static struct condition *inside(struct piu_condition *c)
{
    return (struct condition *)(void *)c;
}

static uint32_t state_of(const struct roll_entry *e)
{
    /* acquire, for the release in waiter_notify() */
    return atomic_load_explicit(&e->state, memory_order_acquire);
}

/* ---- The guard ------------------------------------------------------------------------ */

static bool guard_is_mine(const struct guard *g, uint64_t who)
{
    return (atomic_load_explicit(g->word, memory_order_relaxed) & WHO_MASK) == who;
}

static void guard_release(struct guard *g, uint64_t who)
{
    if (g->depth)
        g->saved = atomic_load_explicit(g->depth, memory_order_relaxed);
    owner_release_any(g->word, who); /* -EPERM: another released it for us just now */
}

/*
 * However long it takes: a condition is left with its lock.  0 or OWNER_DIED.  One that a member
 * left locked, when nobody else is there to release it, is ours.
 */
static int guard_acquire(struct guard *g, uint64_t who)
{
    int r;

    if (g->depth && guard_is_mine(g, who)) { /* a recursive one that between() has kept */
        atomic_fetch_add(g->depth, g->saved);
        return 0;
    }
    do
        r = owner_acquire(g->word, who, CLOCK_FOREVER);
    while (r == -EINTR);
    if (r == -EDEADLK)
        r = owner_seize(g->word, who);
    if (g->depth)
        atomic_store_explicit(g->depth, g->saved, memory_order_relaxed);
    return r;
}

/* ---- Waiters, inside the gate ------------------------------------------------------- */

/* The wake comes later, outside the gate. */
static void waiter_notify(struct roll_entry *e)
{
    /* release, for the acquire in state_of() */
    atomic_store_explicit(&e->state, NOTIFIED, memory_order_release);
}

/* The longest waiting one that lives; NULL: nobody waits. */
static struct roll_entry *waiter_first(const struct condition *c)
{
    struct roll_entry *e, *first = NULL;
    struct roll_walk walk;

    for (e = roll_first(&walk, &c->waiters); e; e = roll_next(&walk))
        if (state_of(e) == WAITING && (!first || e->order < first->order) &&
            !who_has_ended(walk.who))
            first = e;
    return first;
}

static void pass_end(struct condition *c)
{
    struct roll_entry *from = roll_entry_at(atomic_load(&c->pass_from));
    struct roll_entry *to = roll_entry_at(atomic_load(&c->pass_to));

    if (to) {
        waiter_notify(to);
        futex_wake(&to->state, 1);
    }
    if (from)
        roll_remove(from);
    atomic_store(&c->pass_to, 0);
}

static void waiter_bury(struct condition *c, struct roll_entry *dead)
{
    struct roll_entry *next = state_of(dead) == NOTIFIED ? waiter_first(c) : NULL;

    if (!next) {
        roll_remove(dead);
        return;
    }
    atomic_store(&c->pass_from, arena_offset(dead));
    atomic_store(&c->pass_to, arena_offset(next)); /* C3: it is decided */
    pass_end(c);
}

static void gate_enter(struct condition *c, uint64_t who)
{
    if (owner_enter(&c->gate, who) == OWNER_DIED && atomic_load(&c->pass_to))
        pass_end(c);
}

static void gate_leave(struct condition *c)
{
    owner_leave(&c->gate);
}

static struct roll_entry *waiter_dead(const struct condition *c)
{
    struct roll_walk walk;
    struct roll_entry *e;

    for (e = roll_first(&walk, &c->waiters); e; e = roll_next(&walk))
        if (who_has_ended(walk.who))
            return e;
    return NULL;
}

static void waiters_bury(struct condition *c)
{
    struct roll_entry *dead;

    while ((dead = waiter_dead(c)))
        waiter_bury(c, dead);
}

/* ---- Waiting ---------------------------------------------------------------------------- */

static int waiter_put(struct condition *c, uint64_t who, struct roll_entry **ret)
{
    struct roll_entry *e;
    int r = 0;

    gate_enter(c, who);
    e = roll_vacant(&c->waiters);
    if (!e) {
        waiters_bury(c);
        e = roll_vacant(&c->waiters);
    }
    if (!e) {
        r = roll_grow(&c->waiters);
        e = roll_vacant(&c->waiters);
    }
    if (e)
        roll_put(e, who, atomic_fetch_add(&c->ticket, 1), 0, WAITING);
    gate_leave(c);
    *ret = e;
    return e ? 0 : r < 0 ? r : -ENOMEM;
}

/*
 * Out of the roll, unless a notify came at the last moment: then 0, and it stays.  -ECANCELED:
 * between() ended the wait, and such a notify goes to the next.
 */
static int waiter_withdraw(struct condition *c, uint64_t who, struct roll_entry *e,
                           int why)
{
    gate_enter(c, who);
    if (why == -ECANCELED)
        waiter_bury(c, e);
    else if (state_of(e) == NOTIFIED)
        why = 0;
    else
        roll_remove(e);
    gate_leave(c);
    return why;
}

static void look_for_dead(struct condition *c, uint64_t who)
{
    if (!waiter_dead(c)) /* mostly: seen without the gate */
        return;
    gate_enter(c, who);
    waiters_bury(c);
    gate_leave(c);
}

/* 0: sleep on; -ECANCELED: it ended the wait; -EPERM: this is a child that it has forked */
static int between_call(const struct between *b, uint64_t who)
{
    uint64_t now;
    int r = b->call(b->argument);

    if (member_who(&now) < 0 || now != who)
        return -EPERM;
    return r == 0 ? 0 : -ECANCELED;
}

/* 0 notified, -ETIMEDOUT, -EINTR, or what between_call() said */
static int waiter_sleep(struct condition *c, uint64_t who, struct roll_entry *e,
                        const struct between *b, int64_t timeout)
{
    struct slices slices;
    int r = 0;

    slices_begin(&slices, who, c, timeout);
    slices_spin(&e->state, WAITING);
    while (state_of(e) == WAITING && r == 0) {
        r = slices_sleep(&slices, &e->state, WAITING, NULL);
        if (r == 0 && state_of(e) == WAITING)
            look_for_dead(c, who);
        if (b->call && (r == 0 || r == -EINTR))
            r = between_call(b, who);
    }
    if (r == -EPERM) /* the slices are the parent's */
        return r;
    slices_end(&slices);
    return r;
}

static int wait(struct condition *c, struct guard *g, uint64_t who,
                const struct between *b, int64_t timeout)
{
    struct roll_entry *e;
    int r = waiter_put(c, who, &e);
    int lock;

    if (r < 0)
        return r;
    guard_release(g, who);
    r = waiter_sleep(c, who, e, b, timeout);
    if (r == -EPERM) /* in a child: the entry is its parent's, as was the lock */
        return r;
    lock = guard_acquire(g, who);
    if (r < 0) /* with the lock (C2): who had it until now may have notified us */
        r = waiter_withdraw(c, who, e, r);
    if (r == 0)
        roll_remove(e); /* C2 */
    return lock == 0 ? r : lock;
}

static int wait_checked(struct piu_condition *c, struct guard *g, const struct between *b,
                        int64_t timeout)
{
    uint64_t who;
    int r = member_who(&who);

    if (r < 0)
        return r;
    if (!arena_has(c, sizeof(*c)) || !arena_has((const void *)g->word, sizeof(*g->word)))
        return -EFAULT;
    if (!guard_is_mine(g, who))
        return -EPERM;
    return wait(inside(c), g, who, b, timeout);
}

int piu_condition_wait_calling(struct piu_condition *c, struct piu_lock *l,
                               int64_t timeout, int (*between)(void *), void *argument)
{
    struct between b = {between, argument};
    struct guard g;

    if (!c || !l)
        return -EINVAL;
    g = (struct guard){.word = lock_word(l)};
    return wait_checked(c, &g, &b, timeout);
}

int piu_condition_wait(struct piu_condition *c, struct piu_lock *l, int64_t timeout)
{
    return piu_condition_wait_calling(c, l, timeout, NULL, NULL);
}

int piu_condition_wait_rlock_calling(struct piu_condition *c, struct piu_rlock *l,
                                     int64_t timeout, int (*between)(void *),
                                     void *argument)
{
    struct between b = {between, argument};
    struct guard g;

    if (!c || !l)
        return -EINVAL;
    g = (struct guard){.word = rlock_word(l), .depth = rlock_depth(l)};
    return wait_checked(c, &g, &b, timeout);
}

int piu_condition_wait_rlock(struct piu_condition *c, struct piu_rlock *l,
                             int64_t timeout)
{
    return piu_condition_wait_rlock_calling(c, l, timeout, NULL, NULL);
}

/* ---- Notifying ---------------------------------------------------------------------------- */

#define BATCH 16u

/* Who is notified in one go, to be woken when the gate is open again. */
struct batch {
    struct roll_entry *entries[BATCH];
    unsigned count;
};

static void batch_add(struct batch *batch, struct roll_entry *e)
{
    waiter_notify(e);
    batch->entries[batch->count++] = e;
}

static void batch_longest(struct condition *c, struct batch *batch, unsigned count)
{
    struct roll_entry *e;

    while (batch->count < BATCH && batch->count < count && (e = waiter_first(c)))
        batch_add(batch, e);
}

/* Those that waited when the ticket was `before`: who comes back to wait again is not meant. */
static void batch_any(struct condition *c, struct batch *batch, uint64_t before)
{
    struct roll_walk walk;
    struct roll_entry *e = roll_first(&walk, &c->waiters);

    for (; e && batch->count < BATCH; e = roll_next(&walk))
        if (state_of(e) == WAITING && e->order < before)
            batch_add(batch, e);
}

/* An entry may be another's by now: to be woken for nothing is no harm. */
static void batch_wake(const struct batch *batch)
{
    for (unsigned i = 0; i < batch->count; i++)
        futex_wake(&batch->entries[i]->state, 1);
}

static void notify_in_batches(struct condition *c, uint64_t who, bool all, unsigned count)
{
    uint64_t before = atomic_load(&c->ticket);
    struct batch batch;

    do {
        batch.count = 0;
        gate_enter(c, who);
        waiters_bury(c);
        if (all)
            batch_any(c, &batch, before);
        else
            batch_longest(c, &batch, count);
        gate_leave(c);
        batch_wake(&batch);
        count -= batch.count;
    } while (batch.count == BATCH);
}

static int notify(struct piu_condition *c, bool all, unsigned count)
{
    uint64_t who;
    int r = member_uses(c, sizeof(*c), &who);

    if (r < 0)
        return r;
    if (atomic_load(&inside(c)->waiters)) /* 0: nobody has ever waited */
        notify_in_batches(inside(c), who, all, count);
    return 0;
}

int piu_condition_notify(struct piu_condition *c, unsigned count)
{
    return notify(c, false, count);
}

int piu_condition_notify_all(struct piu_condition *c)
{
    return notify(c, true, 0);
}

unsigned piu_condition_waiting(const struct piu_condition *c)
{
    const struct condition *in = (const struct condition *)(const void *)c;
    struct roll_walk walk;
    struct roll_entry *e;
    unsigned count = 0;

    if (member_looks(c) < 0 || !arena_has(c, sizeof(*c)))
        return 0;
    for (e = roll_first(&walk, &in->waiters); e; e = roll_next(&walk))
        count += state_of(e) == WAITING && !who_has_ended(walk.who);
    return count;
}

void piu_condition_done(struct piu_condition *c)
{
    if (c && arena_has(c, sizeof(*c)))
        roll_done(&inside(c)->waiters);
}

bool condition_check(const struct piu_condition *c)
{
    const struct condition *in = (const struct condition *)(const void *)c;

    return owner_check(&in->gate) && roll_check(&in->waiters) &&
           (atomic_load(&in->pass_to) == 0 || atomic_load(&in->gate) != 0);
}
