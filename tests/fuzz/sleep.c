/*
 * Nobody sleeps here: this process is alone, so nothing that it waits for can come.  A lock that
 * names the process itself (a change may have led to a word with its id) is given back, as its
 * holder would; every other wait has just lasted.
 */
#include "image.h"
#include "os/futex.h"

int __wrap_futex_wait(const _Atomic uint32_t *word, uint32_t expected, int64_t timeout);
int __wrap_futex_wait_any(const struct futex_watch *watch, unsigned count,
                          int64_t timeout);

int __wrap_futex_wait(const _Atomic uint32_t *word, uint32_t expected, int64_t timeout)
{
    (void)timeout;
    return atomic_load(word) == expected ? -ETIMEDOUT : -EAGAIN;
}

int __wrap_futex_wait_any(const struct futex_watch *watch, unsigned count,
                          int64_t timeout)
{
    owner_word *word = (owner_word *)(uintptr_t)watch[0].word;

    (void)count;
    (void)timeout;
    if (member_seems_alive(atomic_load(word) & ID_MASK) ||
        member_fate_unswept(atomic_load(word) & ID_MASK) == FATE_ALIVE)
        atomic_store(word, 0);
    return -ETIMEDOUT;
}
