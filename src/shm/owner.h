/*
 * The owner word: 64 bits that are free (0) or name their owner; the base of every lock.
 *
 *    63..48 thread   47..32 generation, high | 31 waiters   30..17 slot   16..0 generation, low
 *                                            `------------- the futex -------------------------'
 *
 *    0 --acquire--> owner --release--> 0 (and one sleeper is woken if the waiters bit was set)
 *    owner died:  the next acquirer moves the word from the dead owner to itself, with news;
 *                 a release by another moves it to OWNER_NEWS: free, and the news stays
 *
 * W1  a word is 0, OWNER_NEWS, or the id of a member (+ thread, + waiters)
 * W2  who sleeps has set the waiters bit, or saw it; who takes the word after a sleep sets it
 * W3  every sleep ends after 100 ms at the latest, and looks whether the owner lives
 * So nothing depends on a wake-up that a dead member owed.
 */
#ifndef PIU_SHM_OWNER_H
#define PIU_SHM_OWNER_H

#include "os/clock.h"
#include "shm/member.h"

#define OWNER_NEWS UINT64_C(1) /* slot 0, generation 1: free, its last owner died */
#define OWNER_DIED 1           /* the result: held, with news; PIU_OWNER_DIED */

typedef _Atomic uint64_t owner_word;

/* One step: 0, OWNER_DIED (the news was on the free word) or -EBUSY. */
static inline int owner_try(owner_word *word, uint64_t who)
{
    uint64_t old = 0;

    /* acquire, for the release in owner_release(): what the last owner wrote is seen */
    if (likely(atomic_compare_exchange_strong_explicit(
            word, &old, who, memory_order_acquire, memory_order_relaxed)))
        return 0;
    if (old == OWNER_NEWS &&
        atomic_compare_exchange_strong_explicit(word, &old, who, memory_order_acquire,
                                                memory_order_relaxed))
        return OWNER_DIED;
    return -EBUSY;
}

int owner_wait(owner_word *word, uint64_t who,
               int64_t timeout); /* the slow way of acquire */

/*
 * 0, OWNER_DIED: held;  -ETIMEDOUT, -EINTR: not.  A holder that *left* keeps the word until
 * somebody releases it (it is told once to the log).  -EDEADLK: it left, or is the calling thread,
 * there is no timeout, and nobody is left who could release it (see fate.h).
 */
static inline int owner_acquire(owner_word *word, uint64_t who, int64_t timeout)
{
    int r = owner_try(word, who);

    return likely(r >= 0) ? r : owner_wait(word, who, timeout);
}

/* By one who got -EDEADLK and needs it all the same: 0 or OWNER_DIED, held. */
int owner_seize(owner_word *word, uint64_t who);

void owner_release_waking(owner_word *word, uint64_t who);

/* By the owner itself, who is sure of it. */
static inline void owner_release(owner_word *word, uint64_t who)
{
    /* release, for the acquire in owner_try() */
    uint64_t old = who;

    if (unlikely(!atomic_compare_exchange_strong_explicit(
            word, &old, 0, memory_order_release, memory_order_relaxed)))
        owner_release_waking(word, who);
}

/* By anybody: 0, or -EPERM: it is free. */
int owner_release_any(owner_word *word, uint64_t who);
uint64_t owner_of(const owner_word *word); /* its id, 0: free */

/*
 * piu's own critical sections: never -EINTR, never out of time, and an owner that left
 * (exit() in a signal handler) counts as dead.  OWNER_DIED: repair first.  Nobody is woken:
 * they last some ns, so who finds one taken spins, and then looks again after 50 us and more
 * (only a holder that was preempted or stopped makes one last that long).
 */
int owner_enter_wait(owner_word *word, uint64_t who);

static inline int owner_enter(owner_word *word, uint64_t who)
{
    int r = owner_try(word, who);

    return likely(r >= 0) ? r : owner_enter_wait(word, who);
}

/* What owner_enter() took: a plain store, for nobody else writes the word of a live owner. */
static inline void owner_leave(owner_word *word)
{
    /* release, for the acquire in owner_try() */
    atomic_store_explicit(word, 0, memory_order_release);
}

bool owner_check(const owner_word *word); /* W1 */

#endif
