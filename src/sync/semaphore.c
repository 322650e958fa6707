#include "sync/semaphore.h"

#include "os/futex.h"
#include "shm/owner.h"
#include "sync/lock.h"
#include "sync/roll.h"
#include "sync/slices.h"

/*
 *    0       4       8         12     16     20        24        32
 *    | value | flags | initial | debt | left | zero    | holders | zero                 |
 *    64     72      80                                                      112
 *    | gate | armed | change: what all of the above shall be                | zero      |
 *
 *    value   31 sleepers   30..0 units that nobody has
 *
 * A plain semaphore is its value word and nothing else.  One that gives units of the dead
 * back keeps a roll of holders (a member's id and its units), and then
 *
 * S1  value, debt, left and the roll change only inside the gate, together: the change is
 *     written down as they shall be, armed by one store, then applied
 * S2  an entry's units are never more than what its member acquired; a release by one who has
 *     none counts for those that left, else for the first on the roll
 * S3  left: the units of members that left; they stay out until somebody releases them
 * S4  debt: units that were given back for the dead and are still owed by a late release
 * S5  flags and initial are set by init and stay
 * S6  who sleeps saw the sleepers bit in the word it sleeps on; who takes a unit after a sleep
 *     sets the bit again, and wakes the next one if units are left
 * Crash: inside the gate, an armed change is applied by the next one in; not armed, it never
 * was.  Killed before its wake: sleepers look at the value after each slice.
 */
struct change {
    uint64_t entry; /* offset of the roll's entry; 0: none is concerned */
    uint64_t who;   /* 0: the entry becomes vacant */
    uint32_t held;
    uint32_t value, debt, left;
};

struct semaphore {
    alignas(64) _Atomic uint32_t value;
    uint32_t flags;
    uint32_t initial;
    _Atomic uint32_t debt;
    _Atomic uint32_t left;
    uint32_t reserved;
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

static uint32_t word_now(const struct semaphore *s)
{
    return atomic_load_explicit(&s->value, memory_order_relaxed);
}

static uint32_t units(const struct semaphore *s)
{
    return word_now(s) & ~SLEEPERS;
}

/* ---- Plain: one word ----------------------------------------------------------------- */

/* 0; -EBUSY: no unit.  Who sleeps, or slept, sets the sleepers bit in any case (S6). */
static int plain_take(struct semaphore *s, bool sleeps)
{
    uint32_t bit = sleeps ? SLEEPERS : 0;
    uint32_t old = word_now(s);

    for (;;) {
        bool none = (old & ~SLEEPERS) == 0;
        uint32_t new = none ? old | bit : (old - 1) | bit;

        if (none && new == old)
            return -EBUSY;
        /* acquire, for the release in plain_give() */
        if (atomic_compare_exchange_weak_explicit(
                &s->value, &old, new, memory_order_acquire, memory_order_relaxed))
            return none ? -EBUSY : 0;
    }
}

/* > 0: somebody is to be woken. */
static int plain_give(struct semaphore *s)
{
    uint32_t old = word_now(s);

    do {
        if ((old & ~SLEEPERS) == VALUE_MAX)
            return -EOVERFLOW;
        /* release, for the acquire in plain_take() */
    } while (!atomic_compare_exchange_weak_explicit(
        &s->value, &old, (old & ~SLEEPERS) + 1, memory_order_release,
        memory_order_relaxed));
    return old & SLEEPERS ? 1 : 0;
}

/* ---- Changes: several words as one (S1) ---------------------------------------------- */

static uint32_t held_by(const struct roll_entry *e)
{
    return atomic_load_explicit(&e->value, memory_order_relaxed);
}

static void change_apply(struct semaphore *s)
{
    const struct change *c = &s->change;
    struct roll_entry *e = roll_entry_at(c->entry);

    if (e)
        roll_put(e, c->who, 0, c->held, 0);
    atomic_store_explicit(&s->debt, c->debt, memory_order_relaxed);
    atomic_store_explicit(&s->left, c->left, memory_order_relaxed);
    atomic_store_explicit(&s->value, c->value, memory_order_relaxed);
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
        .value = word_now(s),
        .debt = atomic_load_explicit(&s->debt, memory_order_relaxed),
        .left = atomic_load_explicit(&s->left, memory_order_relaxed),
    };
}

static void change_do(struct semaphore *s, const struct change *c)
{
    s->change = *c;
    /* release, for the acquire in gate_enter(): who sees it armed sees it whole */
    atomic_store_explicit(&s->armed, 1, memory_order_release);
    change_apply(s);
}

static void gate_enter(struct semaphore *s, uint64_t who)
{
    if (owner_enter(&s->gate, who) == OWNER_DIED &&
        atomic_load_explicit(&s->armed, memory_order_acquire))
        change_apply(s);
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

        c.value += back;
        c.debt += back;
    } else {
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

static int units_take(struct semaphore *s, uint64_t id, bool sleeps)
{
    struct roll_entry *e;
    struct change c;
    int r;

    if (units(s) == 0)
        holders_settle(s);
    if (units(s) == 0) {
        if (sleeps)
            atomic_store_explicit(&s->value, SLEEPERS, memory_order_relaxed);
        return -EBUSY;
    }
    r = holder_entry(s, id, &e);
    if (r < 0)
        return r;
    c = change_of(s, e);
    c.held = c.who ? c.held + 1 : 1;
    c.who = id;
    c.value = (c.value - 1) | (sleeps ? SLEEPERS : 0);
    change_do(s, &c);
    return 0;
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

/* One unit more in `c`, or one debt less. */
static int unit_add(const struct semaphore *s, struct change *c)
{
    uint32_t value = c->value & ~SLEEPERS;

    if (value >= s->initial && c->debt) {
        c->debt--;
        return 0;
    }
    if (value == VALUE_MAX || (s->flags & PIU_BOUNDED && value >= s->initial))
        return -EOVERFLOW;
    c->value = value + 1;
    return 0;
}

static int unit_give_own(struct semaphore *s, const struct roll_entry *e)
{
    struct change c = change_of(s, e);
    int r;

    c.held--;
    r = unit_add(s, &c);
    if (r == 0)
        change_do(s, &c);
    return r;
}

static int unit_give_for_other(struct semaphore *s)
{
    bool pays, leaves;
    struct change c;
    int r;

    holders_settle(s);
    c = change_of(s, NULL);
    pays = (c.value & ~SLEEPERS) >= s->initial &&
           c.debt; /* then it is a dead one's, and in */
    leaves = c.left > 0;
    if (!pays && !leaves)
        c = change_of(s, holder_other(s));
    if (!pays && leaves)
        c.left--;
    else if (c.held)
        c.held--;
    r = unit_add(s, &c);
    if (r == 0)
        change_do(s, &c);
    return r;
}

/* > 0: somebody is to be woken. */
static int units_give(struct semaphore *s, uint64_t id)
{
    const struct roll_entry *e = roll_find(&s->holders, id);
    uint32_t before = word_now(s);
    int r = e && held_by(e) ? unit_give_own(s, e) : unit_give_for_other(s);

    if (r < 0)
        return r;
    return before & SLEEPERS && units(s) ? 1 : 0;
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
    *inside(s) = (struct semaphore){.value = value, .flags = flags, .initial = value};
    return 0;
}

static int take(struct semaphore *s, uint64_t who, bool sleeps)
{
    int r;

    if (!recovers(s))
        return plain_take(s, sleeps);
    gate_enter(s, who);
    r = units_take(s, who & ID_MASK, sleeps);
    gate_leave(s);
    return r;
}

/* Several releases may have woken one sleeper, or units came back for the dead (S6). */
static void wake_next(struct semaphore *s)
{
    if (word_now(s) & SLEEPERS && units(s))
        futex_wake(&s->value, 1);
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

static int take_asleep(struct semaphore *s, uint64_t who, int64_t timeout)
{
    struct lives holders = {0};
    struct slices slices;
    int r;

    if (recovers(s))
        slices_begin_watching(&slices, who, s, timeout);
    else
        slices_begin(&slices, who, s, timeout);
    slices_spin(&s->value, 0);
    while ((r = take(s, who, true)) == -EBUSY) {
        if (recovers(s))
            holders_list(s, &holders);
        r = slices_sleep(&slices, &s->value, SLEEPERS, &holders);
        if (r < 0)
            break;
    }
    slices_end(&slices);
    if (r == 0)
        wake_next(s);
    return r;
}

int piu_semaphore_acquire(struct piu_semaphore *s, int64_t timeout)
{
    uint64_t who;
    int r;

    if (unlikely(!s))
        return -EINVAL;
    if (unlikely(recovers(look(s)) && !arena_has(s, sizeof(*s))))
        return -EFAULT;
    r = member_who(&who);
    if (unlikely(r < 0))
        return r;
    r = take(inside(s), who, false);
    if (r == -EBUSY)
        return timeout > 0 ? take_asleep(inside(s), who, timeout) : -ETIMEDOUT;
    if (r == 0 && recovers(look(s)))
        wake_next(inside(s));
    return r;
}

static int give(struct semaphore *s)
{
    uint64_t who;
    int r;

    if (!recovers(s))
        return plain_give(s);
    if (!arena_has(s, sizeof(*s)))
        return -EFAULT;
    r = member_who(&who);
    if (r < 0)
        return r;
    gate_enter(s, who);
    r = units_give(s, who & ID_MASK);
    gate_leave(s);
    return r;
}

int piu_semaphore_release(struct piu_semaphore *s)
{
    int r;

    if (unlikely(!s))
        return -EINVAL;
    r = give(inside(s));
    if (unlikely(r > 0))
        futex_wake(&inside(s)->value, 1);
    return r < 0 ? r : 0;
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

    if (!recovers(in))
        return true;
    return owner_check(&in->gate) && roll_check(&in->holders) &&
           (!(in->flags & PIU_BOUNDED) || units(in) <= in->initial) &&
           (atomic_load(&in->armed) == 0 || atomic_load(&in->gate) != 0);
}
