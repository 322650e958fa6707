#include "sync/event.h"

#include "os/futex.h"
#include "shm/member.h"
#include "sync/slices.h"

#include <limits.h>

/*
 *    0       4                    64      word    31..2 times set   1 sleepers   0 set
 *    | word  | zero               |
 *
 * E1  all there is is one word; `set` rises together with the count, so a waiter sees a set
 *     that was cleared again before it got up
 * E2  who sleeps saw the sleepers bit in the word it sleeps on
 * Crash: killed before the wake, the setter leaves sleepers that find the word in their slice.
 */
struct event {
    alignas(64) _Atomic uint32_t word;
    uint32_t reserved[15];
};
static_assert(sizeof(struct event) == sizeof(struct piu_event), "the public size");

#define EVENT_SET      1u
#define EVENT_SLEEPERS 2u
#define EVENT_TIMES    4u /* one time */

static const struct event *inside(const struct piu_event *e)
{
    return (const struct event *)(const void *)e;
}

static _Atomic uint32_t *word_of(struct piu_event *e)
{
    return &((struct event *)(void *)e)->word;
}

static uint32_t word_now(const struct piu_event *e)
{
    /* acquire, for the release in piu_event_set(): what was written before set() is seen */
    return atomic_load_explicit(&inside(e)->word, memory_order_acquire);
}

int piu_event_set(struct piu_event *e)
{
    uint32_t old, new;
    int r = member_looks(e);

    if (unlikely(r < 0))
        return r;
    old = atomic_load_explicit(word_of(e), memory_order_relaxed);
    do {
        new = old &EVENT_SET ? old : ((old & ~EVENT_SLEEPERS) + EVENT_TIMES) | EVENT_SET;
        /* release, for the acquire in word_now(); also where it was set before */
    } while (!atomic_compare_exchange_weak_explicit(
        word_of(e), &old, new, memory_order_release, memory_order_relaxed));
    if (old != new &&old & EVENT_SLEEPERS)
        futex_wake(word_of(e), INT_MAX);
    return 0;
}

int piu_event_clear(struct piu_event *e)
{
    int r = member_looks(e);

    if (r == 0)
        atomic_fetch_and_explicit(word_of(e), ~EVENT_SET, memory_order_relaxed);
    return r;
}

bool piu_event_is_set(const struct piu_event *e)
{
    return member_looks(e) == 0 && word_now(e) & EVENT_SET;
}

/* The word with its sleepers bit; 0: it is set, or was since it had the count of `since`. */
static uint32_t ready_to_sleep(struct piu_event *e, uint32_t since)
{
    uint32_t word = word_now(e);

    while (!(word & EVENT_SET) && word / EVENT_TIMES == since / EVENT_TIMES)
        if (word & EVENT_SLEEPERS || atomic_compare_exchange_weak_explicit(
                                         word_of(e), &word, word | EVENT_SLEEPERS,
                                         memory_order_acquire, memory_order_acquire))
            return word | EVENT_SLEEPERS;
    return 0;
}

static int wait_asleep(struct piu_event *e, uint32_t since, int64_t timeout)
{
    struct slices slices;
    uint32_t word;
    uint64_t who;
    int r = member_who(&who);

    if (r < 0)
        return r;
    slices_begin(&slices, who, e, timeout);
    slices_spin(word_of(e), since);
    while (r == 0 && (word = ready_to_sleep(e, since)))
        r = slices_sleep(&slices, word_of(e), word, NULL);
    slices_end(&slices);
    return r;
}

int piu_event_wait(struct piu_event *e, int64_t timeout)
{
    int r = member_looks(e);
    uint32_t word;

    if (unlikely(r < 0))
        return r;
    word = word_now(e);
    if (word & EVENT_SET)
        return 0;
    return timeout <= 0 ? -ETIMEDOUT : wait_asleep(e, word, timeout);
}

const _Atomic uint32_t *event_watch(struct piu_event *e, uint32_t *ret_expected)
{
    uint32_t word = ready_to_sleep(e, word_now(e));

    if (word == 0)
        return NULL;
    *ret_expected = word;
    return word_of(e);
}

bool event_check(const struct piu_event *e)
{
    return (word_now(e) & (EVENT_SET | EVENT_SLEEPERS)) != (EVENT_SET | EVENT_SLEEPERS);
}
