#include "sync/semaphore.h"

#include "os/futex.h"
#include "shm/owner.h"
#include "sync/slices.h"
#include "sync/units.h"

static struct semaphore *inside(struct piu_semaphore *s)
{
    return (struct semaphore *)(void *)s;
}

static const struct semaphore *look(const struct piu_semaphore *s)
{
    return (const struct semaphore *)(const void *)s;
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

/* ---- The interface ---------------------------------------------------------------------- */

int piu_semaphore_init(struct piu_semaphore *s, unsigned value, unsigned flags)
{
    uint64_t who;
    int r = flags ? member_uses(s, sizeof(*s), &who) : member_looks(s);

    if (value > VALUE_MAX || (uintptr_t)s % alignof(struct semaphore) ||
        flags & ~(unsigned)(PIU_BOUNDED | PIU_RECOVER))
        return -EINVAL;
    if (r < 0)
        return r;
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

    units_enter(s, who);
    r = units_take(s, who & ID_MASK, sleeps);
    units_leave(s);
    return r;
}

/* What holders that died have, before the caller goes to sleep. */
static bool units_recover(struct semaphore *s, uint64_t who)
{
    if (!has_holders(s, TAKE_BARE))
        return false;
    units_enter(s, who);
    units_settle(s);
    units_leave(s);
    return units(s) > 0;
}

static int take(struct semaphore *s, uint64_t who, enum taking how, bool sleeps)
{
    int r;

    if (is_recorded(s, how))
        return take_recorded(s, who, sleeps);
    r = plain_take(s, sleeps);
    return r == -EBUSY && units_recover(s, who) ? plain_take(s, sleeps) : r;
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
    int r = unlikely(!s) ? -EINVAL : member_who(&who);

    if (unlikely(r < 0))
        return r;
    if (unlikely(is_recorded(look(s), how) && !arena_has(s, sizeof(*s))))
        return -EFAULT;
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
    int r = member_uses(s, sizeof(*s), &who);

    if (r < 0)
        return r;
    units_enter(s, who);
    r = is_recorded(s, how) ? units_give(s, who & ID_MASK) : units_give_bare(s);
    units_leave(s);
    return r;
}

static int release(struct piu_semaphore *s, enum taking how)
{
    struct semaphore *in = inside(s);
    int r = member_looks(s);

    if (unlikely(r < 0))
        return r;
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
    return member_looks(s) == 0 ? units(look(s)) : 0;
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
