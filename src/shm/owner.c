/* The slow ways of the owner word: spin, sleep in slices, and ask whether the owner lives. */
#include "shm/owner.h"

#include "os/futex.h"
#include "os/log.h"
#include "shm/fate.h"

#include <piu.h>

#include <limits.h>
#include <sched.h>
#include <stdio.h>

#define SPINS       200 /* some us: what a critical section takes */
#define YIELDS      4
#define SLICE_FIRST (20 * MSEC)
#define SLICE_LAST  (100 * MSEC)
#define DOUBT_FIRST (100 * INT64_C(1000))
#define DOUBT_LAST  (5 * MSEC)
#define ENTER_FIRST (50 * INT64_C(1000))
#define ENTER_LAST  (10 * MSEC)

static const _Atomic uint32_t *futex_of(const owner_word *word)
{
    return (const _Atomic uint32_t *)(const void *)word; /* little-endian: the low half */
}

uint64_t owner_of(const owner_word *word)
{
    uint64_t value = atomic_load(word);

    return value == OWNER_NEWS ? 0 : value & ID_MASK;
}

/* Free words are taken with the waiters bit, when we may not be the only one to sleep (W2). */
static int try_after_sleep(owner_word *word, uint64_t who)
{
    uint64_t old = atomic_load(word);

    while ((old & ~ID_WAITERS) == 0 || old == OWNER_NEWS) {
        if (atomic_compare_exchange_strong(word, &old, who | ID_WAITERS))
            return old == OWNER_NEWS ? OWNER_DIED : 0;
    }
    return -EBUSY;
}

static int spin(owner_word *word, uint64_t who)
{
    static const int pause = 8;
    bool spins = member_worth_spinning(who, atomic_load(word) & ID_MASK);
    int r = -EBUSY;

    for (int i = 0; spins && i < SPINS && r < 0; i++) {
        for (int j = 0; j < pause; j++)
            cpu_relax();
        if (atomic_load_explicit(word, memory_order_relaxed) <= OWNER_NEWS)
            r = owner_try(word, who);
    }
    for (int i = 0; i < YIELDS && r < 0; i++) {
        sched_yield();
        r = owner_try(word, who);
    }
    return r;
}

/* From the dead owner to us; the bit stays, others may sleep. */
static int take_from_dead(owner_word *word, uint64_t old, uint64_t who)
{
    return atomic_compare_exchange_strong(word, &old, who | ID_WAITERS) ? OWNER_DIED
                                                                        : -EBUSY;
}

/* Sleep until the word or its owner's life changes, at most one slice. */
static int sleep_on(owner_word *word, uint64_t old, int64_t slice)
{
    struct futex_watch watch[2] = {{futex_of(word), (uint32_t)old}};
    uint32_t expected = 0;
    const _Atomic uint32_t *life = member_life_futex(old & ID_MASK, &expected);
    int r;

    watch[1] = (struct futex_watch){life, expected};
    r = futex_wait_any(watch, life ? 2 : 1, slice);
    if (life && atomic_load(life) != expected)
        futex_wake(life,
                   INT_MAX); /* the kernel woke one of those who wait for this member */
    return r;
}

struct waiting {
    int64_t deadline;
    int64_t slice;
    int64_t doubt; /* slice while the owner seems dead and its process is still there */
    int64_t slept; /* since we last asked whether we are alone */
    bool told;     /* of an owner that left */
    bool alone;
};

static void tell_left(struct waiting *w, const owner_word *word, uint64_t id)
{
    char holder[NAME_SIZE], lock[NAME_SIZE];

    if (w->told)
        return;
    w->told = true;
    member_name(id, holder);
    if (!*piu_name_of((const void *)word, lock, sizeof(lock)))
        snprintf(lock, sizeof(lock), "the lock at %p", (const void *)word);
    log_line("%s is held by %s, which has ended without releasing it (left by %s)", lock,
             holder, holder);
}

/* The owner seems not to be there: 0 wait on, OWNER_DIED it is ours now, -EBUSY look again. */
static int ask_owner(owner_word *word, uint64_t old, uint64_t who, struct waiting *w)
{
    enum fate fate = member_fate(old & ID_MASK);

    if (fate == FATE_ALIVE)
        return 0;
    if (fate == FATE_DIED)
        return take_from_dead(word, old, who);
    tell_left(w, word, old & ID_MASK);
    return 0;
}

/* The owner left, or it is this very thread: is there anybody who could release? */
static void ask_alone(struct waiting *w, int64_t slept)
{
    w->slept += slept;
    if (w->slept < SLICE_LAST || w->deadline != CLOCK_FOREVER)
        return;
    w->slept = 0;
    w->alone = member_is_alone();
}

/* One slice: >= 0 held, -EBUSY go on, other errors end the wait. */
static int wait_slice(owner_word *word, uint64_t who, struct waiting *w)
{
    uint64_t old = atomic_load(word);
    int64_t left = deadline_left(w->deadline);
    int64_t *slice = &w->slice;
    int64_t slept;
    int r;

    if ((old & ~ID_WAITERS) == 0 || old == OWNER_NEWS)
        return try_after_sleep(word, who);
    if (w->alone)
        return -EDEADLK;
    if (left == 0) {
        /* without the bit: who only tries must not cost the owner a system call */
        r = member_seems_alive(old & ID_MASK) ? 0 : ask_owner(word, old, who, w);
        return r != 0 ? r : -ETIMEDOUT;
    }
    if (!(old & ID_WAITERS) &&
        !atomic_compare_exchange_strong(word, &old, old | ID_WAITERS))
        return -EBUSY;
    old |= ID_WAITERS;
    if (!member_seems_alive(old & ID_MASK)) {
        r = ask_owner(word, old, who, w);
        if (r != 0)
            return r;
        slice =
            &w->doubt; /* the kernel marks the word first, and then takes the process down */
    }
    slept = min_timeout(left, *slice);
    r = sleep_on(word, old, slept);
    *slice = min_timeout(*slice * 2, slice == &w->doubt ? DOUBT_LAST : SLICE_LAST);
    if (r == -EINTR)
        return -EINTR;
    if (r == -ETIMEDOUT) {
        r = ask_owner(word, old, who, w); /* the word may not have told the end */
        if (r != 0)
            return r;
        ask_alone(w, slept);
    }
    return -EBUSY;
}

static noinline int wait_long(owner_word *word, uint64_t who, struct waiting *w)
{
    int r;

    operation_waits(who, (const void *)word);
    do
        r = wait_slice(word, who, w);
    while (r == -EBUSY);
    operation_waits(who, NULL);
    return r;
}

int owner_wait(owner_word *word, uint64_t who, int64_t timeout)
{
    struct waiting w = {.slice = SLICE_FIRST, .doubt = DOUBT_FIRST};
    int r;

    if (timeout > 0) {
        r = spin(word, who);
        if (r >= 0)
            return r;
    }
    w.deadline = deadline_after(timeout);
    return wait_long(word, who, &w);
}

int owner_seize(owner_word *word, uint64_t who)
{
    return atomic_exchange(word, who) == 0 ? 0 : OWNER_DIED;
}

/*
 * The dead owner's section becomes ours; whoever asks for its fate next sweeps.  So does one
 * that this very thread is in: a signal handler called exit(), and what it interrupted will
 * never go on.
 */
static int enter_dead(owner_word *word, uint64_t old, uint64_t who)
{
    if ((old & WHO_MASK) ==
        who) /* no bit belongs here, but somebody may have written one */
        return OWNER_DIED;
    if (member_fate_unswept(old & ID_MASK) == FATE_ALIVE)
        return -EBUSY;
    return atomic_compare_exchange_strong(word, &old, who) ? OWNER_DIED : -EBUSY;
}

/*
 * One slice.  The kernel wakes who sleeps when it marks the owner's life, but that is not its end
 * yet: from then on it is asked for anew soon, and not after a slice that has grown in the wait.
 */
static void enter_sleep(owner_word *word, uint64_t old, int64_t *slice, int64_t *doubt)
{
    bool alive = member_seems_alive(old & ID_MASK);
    int64_t *turn = alive ? slice : doubt;

    if (sleep_on(word, old, *turn) == -ETIMEDOUT)
        *turn = min_timeout(*turn * 2, alive ? ENTER_LAST : DOUBT_LAST);
}

int owner_enter_wait(owner_word *word, uint64_t who)
{
    int64_t slice = ENTER_FIRST, doubt = DOUBT_FIRST;
    int r = spin(word, who);

    while (r < 0) {
        uint64_t old = atomic_load(word);

        if (old > OWNER_NEWS)
            enter_sleep(word, old, &slice, &doubt);
        r = owner_try(word, who);
        if (r < 0 && old > OWNER_NEWS)
            r = enter_dead(word, old, who);
    }
    return r;
}

/* ---- Release --------------------------------------------------------------------- */

/* From `old` to `to`; the wake is on record first, so that our death does not lose it. */
static bool release_to(owner_word *word, uint64_t old, uint64_t to, uint64_t who)
{
    bool wakes = (old & ID_WAITERS) != 0;
    bool moved;

    if (wakes)
        operation_about_to_wake(who, futex_of(word));
    /* release, for the acquire in owner_try() */
    moved = atomic_compare_exchange_strong(word, &old, to);
    if (wakes && moved)
        futex_wake(futex_of(word), 1);
    if (wakes)
        operation_woke(who);
    return moved;
}

noinline void owner_release_waking(owner_word *word, uint64_t who)
{
    uint64_t old = atomic_load(word);

    member_renew(who);

    while ((old & WHO_MASK) == who && !release_to(word, old, 0, who))
        old = atomic_load(word);
}

int owner_release_any(owner_word *word, uint64_t who)
{
    uint64_t old = atomic_load(word);

    for (;;) {
        bool died;

        if ((old & ~ID_WAITERS) == 0 || old == OWNER_NEWS)
            return -EPERM;
        died = (old & ID_MASK) != (who & ID_MASK) && !member_seems_alive(old & ID_MASK) &&
               member_fate(old & ID_MASK) == FATE_DIED;
        if (release_to(word, old, died ? OWNER_NEWS : 0, who))
            return 0;
        old = atomic_load(word);
    }
}

bool owner_check(const owner_word *word)
{
    uint64_t id = atomic_load(word) & ID_MASK;

    return id == 0 || id == OWNER_NEWS || (id_slot(id) != 0 && member_of(id));
}
