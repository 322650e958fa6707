#include "sync/units.h"

/* ---- Changes: several words as one (S1) ---------------------------------------------- */

/*
 * Begin one: all as it is; `e` (or NULL) is the entry that will change.  Written where it will
 * be read: a copy of words that were just written one by one waits for them.
 */
static inline struct change *change_begin(struct semaphore *s, const struct roll_entry *e)
{
    struct change *c = &s->change;

    c->entry = arena_offset(e);
    c->who = e ? atomic_load_explicit(&e->who, memory_order_relaxed) : 0;
    c->held = e ? held_by(e) : 0;
    c->debt = atomic_load_explicit(&s->debt, memory_order_relaxed);
    c->left = atomic_load_explicit(&s->left, memory_order_relaxed);
    c->units = 0;
    c->tag = (uint32_t)(word_now(s) >> TAG_SHIFT) + 1;
    c->awake = 0;
    c->sleepers = 0;
    return c;
}

/* Once or twice, it is the same. */
static inline void change_apply(struct semaphore *s, struct roll_entry *e)
{
    const struct change *c = &s->change;

    if (e && atomic_load_explicit(&e->who, memory_order_relaxed) ==
                 c->who) /* the same one's, and so all but its units */
        atomic_store_explicit(&e->value, c->held, memory_order_relaxed);
    else if (e)
        roll_put(e, c->who, 0, c->held, 0);
    atomic_store_explicit(&s->debt, c->debt, memory_order_relaxed);
    atomic_store_explicit(&s->left, c->left, memory_order_relaxed);
}

static void change_disarm(struct semaphore *s)
{
    /* release: what was applied, before it is said to be */
    atomic_store_explicit(&s->armed, 0, memory_order_release);
}

/*
 * False: not that word any more.  With flags nobody else writes it (S1), and a store will do, for
 * what a user did passes on by the gate.
 */
static bool word_move(struct semaphore *s, uint64_t *old, uint64_t new)
{
    if (!recovers(s)) /* as plain_take() and plain_give() */
        return atomic_compare_exchange_weak_explicit(
            &s->word, old, new, memory_order_acq_rel, memory_order_relaxed);
    /* release: armed, before it is committed; the fence: before it is applied */
    atomic_store_explicit(&s->word, new, memory_order_release);
    atomic_signal_fence(memory_order_seq_cst);
    return true;
}

/*
 * The one store that makes it so.  > 0: and somebody is to be woken.  -EBUSY, -EOVERFLOW: it
 * cannot be, who needs no gate was faster.
 */
static inline int change_commit(struct semaphore *s)
{
    const struct change *c = &s->change;
    uint64_t old = word_now(s), new;

    do {
        int64_t value = (int64_t)((uint32_t)old & ~SLEEPERS) + c->units;
        uint32_t bit = ((uint32_t)old & SLEEPERS & ~c->awake) | c->sleepers;

        if (value < 0 || value > VALUE_MAX)
            return value < 0 ? -EBUSY : -EOVERFLOW;
        new = (uint64_t)c->tag << TAG_SHIFT | bit | (uint32_t)value;
    } while (!word_move(s, &old, new));
    return (uint32_t)old & c->awake ? 1 : 0;
}

/* What was begun, with its entry. */
static inline int change_do(struct semaphore *s, struct roll_entry *e)
{
    int r;

    /* release, for the acquire in change_recover(): who sees it armed sees it whole */
    atomic_store_explicit(&s->armed, 1, memory_order_release);
    r = change_commit(s);
    if (r >= 0)
        change_apply(s, e);
    change_disarm(s);
    return r;
}

void change_recover(struct semaphore *s)
{
    /* acquire, for the release in change_do(): who sees it armed sees it whole */
    if (atomic_load_explicit(&s->armed, memory_order_acquire) == 0)
        return;
    if ((uint32_t)(word_now(s) >> TAG_SHIFT) == s->change.tag)
        change_apply(s, roll_entry_at(s->change.entry));
    change_disarm(s);
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
    struct change *c = change_begin(s, e);

    if (fate == FATE_DIED) {
        uint32_t back = units_back(s, c->held);

        c->units = (int32_t)back;
        c->debt += back;
    } else if (recovers(s)) {
        c->left += c->held;
    }
    c->who = 0;
    c->held = 0;
    change_do(s, e);
}

void units_settle(struct semaphore *s)
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
        units_settle(s);
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
    struct change *c;
    int r = holder_entry(s, id, &e);

    if (r < 0)
        return r;
    c = change_begin(s, e);
    c->held = c->who ? c->held + 1 : 1;
    c->who = id;
    c->units = -1;
    c->sleepers = sleeps ? SLEEPERS : 0;
    return change_do(s, e);
}

/* Where others take without the gate, a unit that was there may be gone: then again. */
int units_take(struct semaphore *s, uint64_t id, bool sleeps)
{
    int r;

    do {
        if (units(s) == 0)
            units_settle(s);
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

/* Do what was begun, with one unit more, or one debt less.  > 0: somebody is to be woken. */
static int unit_add(struct semaphore *s, struct roll_entry *e)
{
    struct change *c = &s->change;

    if (units(s) >= s->initial && c->debt) {
        c->debt--;
    } else {
        if (s->flags & PIU_BOUNDED && units(s) >= s->initial)
            return -EOVERFLOW;
        c->units = 1;
        c->awake = SLEEPERS;
    }
    return change_do(s, e);
}

static int unit_give_own(struct semaphore *s, struct roll_entry *e)
{
    change_begin(s, e)->held--;
    return unit_add(s, e);
}

static int unit_give_for_other(struct semaphore *s)
{
    struct roll_entry *e;
    struct change *c;

    units_settle(s);
    c = change_begin(s, NULL);
    if (units(s) >= s->initial && c->debt) /* a dead one's, and in */
        return unit_add(s, NULL);
    if (c->left > 0) {
        c->left--;
        return unit_add(s, NULL);
    }
    e = holder_other(s);
    return e ? unit_give_own(s, e) : unit_add(s, NULL);
}

int units_give_bare(struct semaphore *s)
{
    change_begin(s, NULL);
    return unit_add(s, NULL);
}

int units_give(struct semaphore *s, uint64_t id)
{
    struct roll_entry *e = roll_find(&s->holders, id);

    if (e && held_by(e))
        return unit_give_own(s, e);
    return recovers(s) ? unit_give_for_other(s) : units_give_bare(s);
}
