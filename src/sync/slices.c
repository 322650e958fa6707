#include "sync/slices.h"

#include "os/clock.h"
#include "os/futex.h"
#include "os/machine.h"
#include "shm/arena.h"
#include "shm/fate.h"
#include "shm/member.h"

#include <limits.h>

#define SPINS_MIN 8
#define SPINS_MAX 400 /* about 10 us: a sleep and a wake-up cost that and more */

#define SLICE_BRIEF INT64_C(1000000) /* before lives are watched */
#define DOUBT_FIRST INT64_C(100000)
#define DOUBT_LAST  INT64_C(5000000)

/* What spinning brought this thread lately decides how long it spins. */
static _Thread_local int spins = SPINS_MAX;

void slices_spin(const _Atomic uint32_t *word, uint32_t expected)
{
    if (machine_cpus_online() < 2)
        return;
    for (int i = 0; i < spins; i++) {
        /* relaxed: the caller looks again, with the order it needs */
        if (atomic_load_explicit(word, memory_order_relaxed) != expected) {
            spins = SPINS_MAX;
            return;
        }
        cpu_relax();
    }
    spins = spins / 2 < SPINS_MIN ? SPINS_MIN : spins / 2;
}

void slices_begin(struct slices *s, uint64_t who, const void *object, int64_t timeout)
{
    *s = (struct slices){
        .who = who,
        .object = arena_has(object, 1) ? object : NULL,
        .deadline = deadline_after(timeout),
        .next = SLICE_FIRST,
        .doubt = DOUBT_FIRST,
    };
}

void slices_begin_watching(struct slices *s, uint64_t who, const void *object,
                           int64_t timeout)
{
    slices_begin(s, who, object, timeout);
    s->next = SLICE_BRIEF;
}

/* Only who really sleeps is worth showing to people. */
static void tell(struct slices *s)
{
    if (!s->told && s->object)
        operation_waits(s->who, s->object);
    s->told = true;
}

/* The caller looks once more before it hears that it is alone. */
static void slice_end(struct slices *s, int64_t *slice)
{
    if (slice == &s->doubt) {
        *slice = min_timeout(*slice * 2, DOUBT_LAST);
    } else if (*slice < SLICE_FIRST) {
        *slice = SLICE_FIRST;
    } else {
        if (*slice == SLICE_LAST && s->deadline == CLOCK_FOREVER)
            s->alone = member_is_alone();
        *slice = min_timeout(*slice * 2, SLICE_LAST);
    }
}

/*
 * The words of the lives, but for our own, go behind the word itself.  false: one of them seems to
 * have ended, but the caller found it alive: the kernel marks the word first, and then takes the
 * process down.
 */
static bool watch_lives(const struct slices *s, const struct lives *lives,
                        struct futex_watch *watch, unsigned *count)
{
    bool alive = true;

    for (unsigned i = 0; i < lives->count; i++) {
        const _Atomic uint32_t *life;
        uint32_t expected;

        if (lives->ids[i] == (s->who & ID_MASK))
            continue;
        life = member_life_futex(lives->ids[i], &expected);
        if (life)
            watch[(*count)++] = (struct futex_watch){life, expected};
        alive &= member_seems_alive(lives->ids[i]);
    }
    return alive;
}

/* The kernel woke one of those who wait for this member: the others are to look as well. */
static void lives_pass_on(const struct futex_watch *watch, unsigned count)
{
    for (unsigned i = 1; i < count; i++) {
        if (atomic_load(watch[i].word) != watch[i].expected)
            futex_wake(watch[i].word, INT_MAX);
    }
}

int slices_sleep(struct slices *s, const _Atomic uint32_t *word, uint32_t expected,
                 const struct lives *lives)
{
    struct futex_watch watch[1 + LIVES_MAX] = {{word, expected}};
    int64_t left = deadline_left(s->deadline), *slice = &s->next;
    unsigned count = 1;
    int r;

    if (left == 0)
        return -ETIMEDOUT;
    if (s->alone)
        return -EDEADLK;
    tell(s);
    if (lives && s->next >= SLICE_FIRST && !watch_lives(s, lives, watch, &count))
        slice = &s->doubt;
    r = futex_wait_any(watch, count, min_timeout(*slice, left));
    lives_pass_on(watch, count);
    if (r == -ETIMEDOUT)
        slice_end(s, slice);
    return r == -EINTR ? r : 0;
}

void slices_end(struct slices *s)
{
    if (s->told && s->object)
        operation_waits(s->who, NULL);
}
