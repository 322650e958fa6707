#include "sync/semaphore.h"

#include "os/futex.h"
#include "shm/owner.h"
#include "sync/lock.h"
#include "sync/roll.h"
#include "sync/slices.h"

/*
 *    0       4     8       12        16     20     24        32
 *    | value | tag | flags | initial | debt | left | holders | zero                      |
 *    64     72      80                                                            128
 *    | gate | armed | change: what is about to happen to all of the above             |
 *
 *    value   31 sleepers   30..0 units that nobody has
 *    tag     of the last change
 *
 * A plain semaphore is its value and nothing else: acquire and release are one
 * compare-and-swap.  One that gives units of the dead back (flags, or a first piu_semaphore_
 * enter) keeps a roll of holders (a member's id and its units), and then
 *
 * S1  debt, left and the roll change only inside the gate, with the value as one: the change
 *     is written down and armed, committed by the compare-and-swap that gives the value's
 *     word its tag, then applied.  With flags the value changes in no other way
 * S2  an entry's units are never more than what its member acquired; with flags a release by
 *     one who has none counts for those that left, else for the first on the roll
 * S3  left: the units of members that left; they stay out until somebody releases them
 * S4  debt: units that were given back for the dead and are still owed by a late release
 * S5  flags and initial are set by init and stay
 * S6  who sleeps saw the sleepers bit in the word it sleeps on; who takes a unit after a sleep
 *     sets the bit again, and wakes the next one if units are left
 * Crash: inside the gate, an armed change that has its tag in the word is applied by the next
 * one in; any other never was.  Killed before its wake: sleepers look at the value after each
 * slice.
 */
struct change {
    uint64_t entry; /* offset of the roll's entry; 0: none is concerned */
    uint64_t who;   /* 0: the entry becomes vacant */
    uint32_t held;
    uint32_t debt, left;
    int32_t units; /* to be added to the value */
    uint32_t tag;
    uint32_t awake;    /* the sleepers bit, where it is to be cleared */
    uint32_t sleepers; /* where it is to be set */
    uint32_t reserved;
};

struct semaphore {
    alignas(64) _Atomic uint64_t word; /* value below, tag above */
    uint32_t flags;
    uint32_t initial;
    _Atomic uint32_t debt;
    _Atomic uint32_t left;
    roll_word holders;
    alignas(64) owner_word gate;
    _Atomic uint32_t armed;
    struct change change;
};
static_assert(sizeof(struct semaphore) == sizeof(struct piu_semaphore),
              "the public size");
static_assert(offsetof(struct semaphore, change) == 80,
              "shared layout: raise ARENA_STAMP");

#define SLEEPERS  (UINT32_C(1) << 31)
#define VALUE_MAX (SLEEPERS - 1)
#define TAG_SHIFT 32

static struct semaphore *inside(struct piu_semaphore *s)
{
    return (struct semaphore *)(void *)s;
}

static const struct semaphore *look(const struct piu_semaphore *s)
{
    return (const struct semaphore *)(const void *)s;
}

static bool recovers(const struct semaphore *s)
{
    return s->flags != 0;
}

static uint64_t word_now(const struct semaphore *s)
{
    return atomic_load_explicit(&s->word, memory_order_relaxed);
}

static uint32_t value_now(const struct semaphore *s)
{
    return (uint32_t)word_now(s);
}

static uint32_t units(const struct semaphore *s)
{
    return value_now(s) & ~SLEEPERS;
}

static uint64_t word_with(uint64_t word, uint32_t value)
{
    return (word & ~(uint64_t)UINT32_MAX) | value;
}

static const _Atomic uint32_t *futex_of(const struct semaphore *s)
{
    return (const _Atomic uint32_t *)(const void *)&s->word; /* little-endian */
}

/* ---- Plain: one word ----------------------------------------------------------------- */

/* 0; -EBUSY: no unit.  Who sleeps, or slept, sets the sleepers bit in any case (S6). */
static int plain_take(struct semaphore *s, bool sleeps)
{
    uint32_t bit = sleeps ? SLEEPERS : 0;
    uint64_t old = word_now(s);

    for (;;) {
        uint32_t value = (uint32_t)old;
        bool none = (value & ~SLEEPERS) == 0;
        uint32_t new = none ? value | bit : (value - 1) | bit;

        if (none && new == value)
            return -EBUSY;
        /* acquire, for the release in plain_give() and change_commit() */
        if (atomic_compare_exchange_weak_explicit(&s->word, &old, word_with(old, new),
                                                  memory_order_acquire,
                                                  memory_order_relaxed))
            return none ? -EBUSY : 0;
    }
}

/* > 0: somebody is to be woken. */
static int plain_give(struct semaphore *s)
{
    uint64_t old = word_now(s);

    do {
        if (((uint32_t)old & ~SLEEPERS) == VALUE_MAX)
            return -EOVERFLOW;
        /* release, for the acquire in plain_take() */
    } while (!atomic_compare_exchange_weak_explicit(
        &s->word, &old, word_with(old, ((uint32_t)old & ~SLEEPERS) + 1),
        memory_order_release, memory_order_relaxed));
    return (uint32_t)old & SLEEPERS ? 1 : 0;
}

/* ---- Changes: several words as one (S1) ---------------------------------------------- */

static uint32_t held_by(const struct roll_entry *e)
{
    return atomic_load_explicit(&e->value, memory_order_relaxed);
}

/* Once or twice, it is the same. */
static void change_apply(struct semaphore *s)
{
    const struct change *c = &s->change;
    struct roll_entry *e = roll_entry_at(c->entry);

    if (e)
        roll_put(e, c->who, 0, c->held, 0);
    atomic_store_explicit(&s->debt, c->debt, memory_order_relaxed);
    atomic_store_explicit(&s->left, c->left, memory_order_relaxed);
}

static void change_disarm(struct semaphore *s)
{
    /* release: what was applied, before it is said to be */
    atomic_store_explicit(&s->armed, 0, memory_order_release);
}

/* All as it is; `e` (or NULL) is the entry that will change. */
static struct change change_of(const struct semaphore *s, const struct roll_entry *e)
{
    return (struct change){
        .entry = arena_offset(e),
        .who = e ? atomic_load_explicit(&e->who, memory_order_relaxed) : 0,
        .held = e ? held_by(e) : 0,
        .debt = atomic_load_explicit(&s->debt, memory_order_relaxed),
        .left = atomic_load_explicit(&s->left, memory_order_relaxed),
        .tag = (uint32_t)(word_now(s) >> TAG_SHIFT) + 1,
    };
}

/*
 * The one store that makes it so.  > 0: and somebody is to be woken.  -EBUSY, -EOVERFLOW: it
 * cannot be, who needs no gate was faster.
 */
static int change_commit(struct semaphore *s)
{
    const struct change *c = &s->change;
    uint64_t old = word_now(s), new;

    do {
        int64_t value = (int64_t)((uint32_t)old & ~SLEEPERS) + c->units;
        uint32_t bit = ((uint32_t)old & SLEEPERS & ~c->awake) | c->sleepers;

        if (value < 0 || value > VALUE_MAX)
            return value < 0 ? -EBUSY : -EOVERFLOW;
        new = (uint64_t)c->tag << TAG_SHIFT | bit | (uint32_t)value;
        /* as plain_take() and plain_give() */
    } while (!atomic_compare_exchange_weak_explicit(
        &s->word, &old, new, memory_order_acq_rel, memory_order_relaxed));
    return (uint32_t)old & c->awake ? 1 : 0;
}

static int change_do(struct semaphore *s, const struct change *c)
{
    int r;

    s->change = *c;
    /* release, for the acquire in gate_enter(): who sees it armed sees it whole */
    atomic_store_explicit(&s->armed, 1, memory_order_release);
    r = change_commit(s);
    if (r >= 0)
        change_apply(s);
    change_disarm(s);
    return r;
}

/* Its user was killed in the gate. */
static void change_recover(struct semaphore *s)
{
    if ((uint32_t)(word_now(s) >> TAG_SHIFT) == s->change.tag)
        change_apply(s);
    change_disarm(s);
}

static void gate_enter(struct semaphore *s, uint64_t who)
{
    if (owner_enter(&s->gate, who) == OWNER_DIED &&
        atomic_load_explicit(&s->armed, memory_order_acquire))
        change_recover(s);
}

static void gate_leave(struct semaphore *s)
{
    owner_leave(&s->gate);
}

/* ---- What the dead held ------------------------------------------------------------------ */

static uint32_t held_by_living(const struct semaphore *s)
{
    struct roll_walk walk;
    struct roll_entry *e;
    uint64_t sum = 0;

    for (e = roll_first(&walk, &s->holders); e; e = roll_next(&walk))
        if (held_by(e) && !who_has_ended(walk.who))
            sum += held_by(e);
    return (uint32_t)min_u64(sum, VALUE_MAX);
}

/* min(held by the dead, max(0, initial - value - held by the living)) */
static uint32_t units_back(const struct semaphore *s, uint32_t held_by_dead)
{
    uint64_t accounted = (uint64_t)units(s) + held_by_living(s);

    return accounted >= s->initial
               ? 0
               : (uint32_t)min_u64(held_by_dead, s->initial - accounted);
}

static void entry_settle(struct semaphore *s, struct roll_entry *e, enum fate fate)
{
    struct change c = change_of(s, e);

    if (fate == FATE_DIED) {
        uint32_t back = units_back(s, c.held);

        c.units = (int32_t)back;
        c.debt += back;
    } else if (recovers(s)) {
        c.left += c.held;
    }
    c.who = 0;
    c.held = 0;
    change_do(s, &c);
}

/* The entries of all that ended become vacant. */
static void holders_settle(struct semaphore *s)
{
    struct roll_walk walk;
    struct roll_entry *e;

    for (e = roll_first(&walk, &s->holders); e; e = roll_next(&walk)) {
        enum fate fate =
            member_seems_alive(walk.who) ? FATE_ALIVE : member_fate(walk.who);

        if (fate != FATE_ALIVE)
            entry_settle(s, e, fate);
    }
}

/* ---- Acquire and release with a roll, inside the gate --------------------------------- */

/* The member's own entry; its `who` is still to be set where it is a new one. */
static int holder_entry(struct semaphore *s, uint64_t id, struct roll_entry **ret)
{
    struct roll_entry *e = roll_find(&s->holders, id);
    int r = 0;

    if (!e)
        e = roll_vacant(&s->holders);
    if (!e) {
        holders_settle(s);
        e = roll_vacant(&s->holders);
    }
    if (!e) {
        r = roll_grow(&s->holders);
        e = roll_vacant(&s->holders);
    }
    if (!e)
        return r < 0 ? r : -ENOMEM;
    *ret = e;
    return 0;
}

/* True: the sleepers bit is there, and no unit. */
static bool sleeper_mark(struct semaphore *s)
{
    uint64_t old = word_now(s);

    while (((uint32_t)old & ~SLEEPERS) == 0) {
        if ((uint32_t)old & SLEEPERS || atomic_compare_exchange_weak_explicit(
                                            &s->word, &old, word_with(old, SLEEPERS),
                                            memory_order_relaxed, memory_order_relaxed))
            return true;
    }
    return false;
}

static int unit_take(struct semaphore *s, uint64_t id, bool sleeps)
{
    struct roll_entry *e;
    struct change c;
    int r = holder_entry(s, id, &e);

    if (r < 0)
        return r;
    c = change_of(s, e);
    c.held = c.who ? c.held + 1 : 1;
    c.who = id;
    c.units = -1;
    c.sleepers = sleeps ? SLEEPERS : 0;
    return change_do(s, &c);
}

/* Where others take without the gate, a unit that was there may be gone: then again. */
static int units_take(struct semaphore *s, uint64_t id, bool sleeps)
{
    int r;

    do {
        if (units(s) == 0)
            holders_settle(s);
        if (units(s) == 0 && (!sleeps || sleeper_mark(s)))
            return -EBUSY;
        r = unit_take(s, id, sleeps);
    } while (r == -EBUSY);
    return r;
}

/* Whose unit is it that a member brings which has none itself (S2)?  NULL: no entry's. */
static struct roll_entry *holder_other(const struct semaphore *s)
{
    struct roll_walk walk;
    struct roll_entry *e;

    for (e = roll_first(&walk, &s->holders); e; e = roll_next(&walk))
        if (held_by(e))
            return e;
    return NULL;
}

/* Do `c`, with one unit more, or one debt less.  > 0: somebody is to be woken. */
static int unit_add(struct semaphore *s, struct change *c)
{
    if (units(s) >= s->initial && c->debt) {
        c->debt--;
    } else {
        if (s->flags & PIU_BOUNDED && units(s) >= s->initial)
            return -EOVERFLOW;
        c->units = 1;
        c->awake = SLEEPERS;
    }
    return change_do(s, c);
}

static int unit_give_own(struct semaphore *s, const struct roll_entry *e)
{
    struct change c = change_of(s, e);

    c.held--;
    return unit_add(s, &c);
}

static int unit_give_for_other(struct semaphore *s)
{
    bool pays, leaves;
    struct change c;

    holders_settle(s);
    c = change_of(s, NULL);
    pays = units(s) >= s->initial && c.debt; /* then it is a dead one's, and in */
    leaves = c.left > 0;
    if (!pays && !leaves)
        c = change_of(s, holder_other(s));
    if (!pays && leaves)
        c.left--;
    else if (c.held)
        c.held--;
    return unit_add(s, &c);
}

/* Of a plain semaphore: it may be owed, but is no holder's. */
static int unit_give_bare(struct semaphore *s)
{
    struct change c = change_of(s, NULL);

    return unit_add(s, &c);
}

/* > 0: somebody is to be woken. */
static int units_give(struct semaphore *s, uint64_t id)
{
    const struct roll_entry *e = roll_find(&s->holders, id);

    if (e && held_by(e))
        return unit_give_own(s, e);
    return recovers(s) ? unit_give_for_other(s) : unit_give_bare(s);
}

/* ---- The interface ---------------------------------------------------------------------- */

int piu_semaphore_init(struct piu_semaphore *s, unsigned value, unsigned flags)
{
    uint64_t who;
    int r;

    if (!s || value > VALUE_MAX || flags & ~(unsigned)(PIU_BOUNDED | PIU_RECOVER))
        return -EINVAL;
    r = flags ? member_who(&who) : 0;
    if (r < 0)
        return r;
    if (flags && !arena_has(s, sizeof(*s)))
        return -EFAULT;
    *inside(s) = (struct semaphore){.word = value, .flags = flags, .initial = value};
    return 0;
}

enum taking {
    TAKE_BARE, /* a unit that is nobody's, unless flags say otherwise */
    TAKE_HELD  /* recorded */
};

static bool is_recorded(const struct semaphore *s, enum taking how)
{
    return how == TAKE_HELD || recovers(s);
}

/* Whose death may bring a unit. */
static bool has_holders(const struct semaphore *s, enum taking how)
{
    return is_recorded(s, how) ||
           atomic_load_explicit(&s->holders, memory_order_relaxed) != 0;
}

static int take_recorded(struct semaphore *s, uint64_t who, bool sleeps)
{
    int r;

    gate_enter(s, who);
    r = units_take(s, who & ID_MASK, sleeps);
    gate_leave(s);
    return r;
}

/* What holders that died have, before the caller goes to sleep. */
static bool is_back(struct semaphore *s, uint64_t who)
{
    if (!has_holders(s, TAKE_BARE))
        return false;
    gate_enter(s, who);
    holders_settle(s);
    gate_leave(s);
    return units(s) > 0;
}

static int take(struct semaphore *s, uint64_t who, enum taking how, bool sleeps)
{
    int r;

    if (is_recorded(s, how))
        return take_recorded(s, who, sleeps);
    r = plain_take(s, sleeps);
    return r == -EBUSY && is_back(s, who) ? plain_take(s, sleeps) : r;
}

/* Several releases may have woken one sleeper, or units came back for the dead (S6). */
static void wake_next(struct semaphore *s)
{
    if (value_now(s) & SLEEPERS && units(s))
        futex_wake(futex_of(s), 1);
}

/* Those whose units would come back.  Outside the gate: a wrong one costs a look in vain. */
static void holders_list(const struct semaphore *s, struct lives *ret)
{
    struct roll_walk walk;
    struct roll_entry *e;

    ret->count = 0;
    for (e = roll_first(&walk, &s->holders); e; e = roll_next(&walk))
        if (held_by(e))
            lives_add(ret, walk.who);
}

static int take_asleep(struct semaphore *s, uint64_t who, enum taking how,
                       int64_t timeout)
{
    struct lives holders = {0};
    struct slices slices;
    int r;

    if (has_holders(s, how))
        slices_begin_watching(&slices, who, s, timeout);
    else
        slices_begin(&slices, who, s, timeout);
    slices_spin(futex_of(s), 0);
    while ((r = take(s, who, how, true)) == -EBUSY) {
        if (has_holders(s, how))
            holders_list(s, &holders);
        r = slices_sleep(&slices, futex_of(s), SLEEPERS, &holders);
        if (r < 0)
            break;
    }
    slices_end(&slices);
    if (r == 0)
        wake_next(s);
    return r;
}

static int acquire(struct piu_semaphore *s, enum taking how, int64_t timeout)
{
    uint64_t who;
    int r;

    if (unlikely(!s))
        return -EINVAL;
    if (unlikely(is_recorded(look(s), how) && !arena_has(s, sizeof(*s))))
        return -EFAULT;
    r = member_who(&who);
    if (unlikely(r < 0))
        return r;
    r = take(inside(s), who, how, false);
    if (r == -EBUSY)
        return timeout > 0 ? take_asleep(inside(s), who, how, timeout) : -ETIMEDOUT;
    if (r == 0 && is_recorded(look(s), how))
        wake_next(inside(s));
    return r;
}

int piu_semaphore_acquire(struct piu_semaphore *s, int64_t timeout)
{
    return acquire(s, TAKE_BARE, timeout);
}

int piu_semaphore_enter(struct piu_semaphore *s, int64_t timeout)
{
    return acquire(s, TAKE_HELD, timeout);
}

static int give_recorded(struct semaphore *s, enum taking how)
{
    uint64_t who;
    int r;

    if (!arena_has(s, sizeof(*s)))
        return -EFAULT;
    r = member_who(&who);
    if (r < 0)
        return r;
    gate_enter(s, who);
    r = is_recorded(s, how) ? units_give(s, who & ID_MASK) : unit_give_bare(s);
    gate_leave(s);
    return r;
}

static int release(struct piu_semaphore *s, enum taking how)
{
    struct semaphore *in = inside(s);
    int r;

    if (unlikely(!s))
        return -EINVAL;
    if (is_recorded(in, how) ||
        unlikely(atomic_load_explicit(&in->debt, memory_order_relaxed)))
        r = give_recorded(in, how);
    else
        r = plain_give(in);
    if (unlikely(r > 0))
        futex_wake(futex_of(in), 1);
    return r < 0 ? r : 0;
}

int piu_semaphore_release(struct piu_semaphore *s)
{
    return release(s, TAKE_BARE);
}

int piu_semaphore_exit(struct piu_semaphore *s)
{
    return release(s, TAKE_HELD);
}

unsigned piu_semaphore_value(const struct piu_semaphore *s)
{
    return s ? units(look(s)) : 0;
}

void piu_semaphore_done(struct piu_semaphore *s)
{
    if (s && arena_has(s, sizeof(*s)))
        roll_done(&inside(s)->holders);
}

unsigned semaphore_debt(const struct piu_semaphore *s)
{
    return atomic_load(&look(s)->debt);
}

bool semaphore_check(const struct piu_semaphore *s)
{
    const struct semaphore *in = look(s);

    if (!recovers(in) && atomic_load(&in->holders) == 0)
        return true;
    return owner_check(&in->gate) && roll_check(&in->holders) &&
           (!(in->flags & PIU_BOUNDED) || units(in) <= in->initial) &&
           (atomic_load(&in->armed) == 0 || atomic_load(&in->gate) != 0);
}
