#include "os/futex.h"

#include "os/clock.h"

#include <limits.h>
#include <linux/futex.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The kernel's headers have these since 5.16; ours may be older. */
#define NR_FUTEX_WAITV 449
#define FUTEX_SIZE_U32 2

struct waitv_entry {
    uint64_t value;
    uint64_t address;
    uint32_t flags;
    uint32_t reserved;
};
static_assert(sizeof(struct waitv_entry) == 24, "struct futex_waitv of the kernel");

/* Not FUTEX_PRIVATE_FLAG: the words lie in memory that processes share. */
static int futex_call(const _Atomic uint32_t *word, int operation, uint32_t value,
                      const struct timespec *timeout)
{
    return (int)syscall(SYS_futex, word, operation, value, timeout, NULL, 0);
}

/* The answer without a sleep: the kernel would add its timer slack of 50 us even to 0 ns. */
static int word_compare(const _Atomic uint32_t *word, uint32_t expected)
{
    return atomic_load(word) == expected ? -ETIMEDOUT : -EAGAIN;
}

int futex_wait(const _Atomic uint32_t *word, uint32_t expected, int64_t timeout)
{
    struct timespec span;

    if (timeout <= 0)
        return word_compare(word, expected);
    /*
     * For ever is 292 years: without a timeout the kernel would restart the call after a
     * handler with SA_RESTART, and the caller would never hear of the signal.
     */
    span = timespec_of(timeout);
    return futex_call(word, FUTEX_WAIT, expected, &span) < 0 ? -errno : 0;
}

void futex_wake(const _Atomic uint32_t *word, int count)
{
    int error = errno; /* a wake may come behind a call whose errno is still wanted */

    (void)futex_call(word, FUTEX_WAKE, (uint32_t)(count < 0 ? INT_MAX : count), NULL);
    errno = error;
}

enum { WAITV_UNKNOWN, WAITV_HERE, WAITV_MISSING };

static _Atomic int waitv_state; /* what is once found stays; all finders find the same */

static int waitv_probe(void)
{
    if (getenv("PIU_NO_WAITV"))
        return WAITV_MISSING;
    /* No words at all is EINVAL where the call exists; else ENOSYS, or EPERM by a filter. */
    if (syscall(NR_FUTEX_WAITV, NULL, 0, 0, NULL, CLOCK_MONOTONIC) < 0 && errno == EINVAL)
        return WAITV_HERE;
    return WAITV_MISSING;
}

bool futex_has_wait_any(void)
{
    /* relaxed: the value carries nothing but itself */
    int state = atomic_load_explicit(&waitv_state, memory_order_relaxed);

    if (unlikely(state == WAITV_UNKNOWN)) {
        state = waitv_probe();
        atomic_store_explicit(&waitv_state, state, memory_order_relaxed);
    }
    return state == WAITV_HERE;
}

static int waitv_call(const struct futex_watch *watch, unsigned count, int64_t timeout)
{
    struct waitv_entry entries[FUTEX_WATCH_MAX];
    int64_t deadline = deadline_after(timeout);
    struct timespec until = timespec_of(deadline);

    for (unsigned i = 0; i < count; i++)
        entries[i] = (struct waitv_entry){
            .value = watch[i].expected,
            .address = (uintptr_t)watch[i].word,
            .flags = FUTEX_SIZE_U32,
        };
    /* Unlike FUTEX_WAIT it takes an absolute time. */
    if (syscall(NR_FUTEX_WAITV, entries, count, 0,
                deadline == CLOCK_FOREVER ? NULL : &until, CLOCK_MONOTONIC) < 0)
        return -errno;
    return 0;
}

static int watch_compare(const struct futex_watch *watch, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (word_compare(watch[i].word, watch[i].expected) == -EAGAIN)
            return -EAGAIN;
    return -ETIMEDOUT;
}

int futex_wait_any(const struct futex_watch *watch, unsigned count, int64_t timeout)
{
    int r;

    if (count == 0 || count > FUTEX_WATCH_MAX)
        return -EINVAL;
    if (timeout <= 0)
        return watch_compare(watch, count);
    if (count > 1 && futex_has_wait_any()) {
        r = waitv_call(watch, count, timeout);
        if (r != -ENOSYS && r != -EPERM)
            return r;
        /* A filter was put on after the probe. */
        atomic_store_explicit(&waitv_state, WAITV_MISSING, memory_order_relaxed);
    }
    r = watch_compare(watch, count);
    return r == -EAGAIN ? r : futex_wait(watch[0].word, watch[0].expected, timeout);
}
