/*
 * Sleeping on a 32-bit word in shared memory, between processes.
 */
#ifndef PIU_OS_FUTEX_H
#define PIU_OS_FUTEX_H

#include "os/base.h"

/*
 * Sleep while *word == expected, at most `timeout` ns.
 *     0           woken (or for no reason: always look again)
 *     -EAGAIN     the word has another value      -ETIMEDOUT   out of time
 *     -EINTR      a signal handler ran
 */
int futex_wait(const _Atomic uint32_t *word, uint32_t expected, int64_t timeout);

#define FUTEX_WATCH_MAX 64

struct futex_watch {
    const _Atomic uint32_t *word;
    uint32_t expected;
};

/*
 * Sleep while every word has its expected value: futex_waitv (Linux 5.16).  Same results;
 * where the kernel lacks it (or a filter says EPERM, or PIU_NO_WAITV is set in the
 * environment): compares all, then sleeps on the first word alone, so wait in slices.
 * Here a handler with SA_RESTART may pass unseen: the kernel restarts this call after it.
 *     -EINVAL     no word, or more than FUTEX_WATCH_MAX
 */
int futex_wait_any(const struct futex_watch *watch, unsigned count, int64_t timeout);
bool futex_has_wait_any(void);

/* Wake up to `count` sleepers.  Never fails: a bad address wakes nobody. */
void futex_wake(const _Atomic uint32_t *word, int count);

#endif
