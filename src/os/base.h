/* What every file of the library may use: cleanup, bounds, hints to the compiler and the CPU. */
#ifndef PIU_OS_BASE_H
#define PIU_OS_BASE_H

#include <assert.h>
#include <errno.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A 64-bit word's first half is its low one: the futex (shm/owner.h, sync/semaphore.h). */
static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "piu's words are little-endian");

#define cleanup(function)             __attribute__((cleanup(function)))
#define likely(x)                     __builtin_expect(!!(x), 1)
#define unlikely(x)                   __builtin_expect(!!(x), 0)
#define noinline                      __attribute__((noinline))
#define array_size(a)                 (sizeof(a) / sizeof((a)[0]))
#define container_of(p, type, member) ((type *)((char *)(p)-offsetof(type, member)))

#if defined(PIU_TSAN) /* told: tests/step has another runtime behind the same calls */
#elif defined(__SANITIZE_THREAD__)
#define PIU_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define PIU_TSAN 1
#endif
#endif
#ifndef PIU_TSAN
#define PIU_TSAN 0
#endif

static inline uint64_t min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static inline uint64_t max_u64(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* Up to the next multiple of `unit`, a power of two.  The caller has checked for overflow. */
static inline uint64_t round_up(uint64_t n, uint64_t unit)
{
    return (n + unit - 1) & ~(unit - 1);
}

/* Tell the CPU that this is a spin: a few ns on x86, about as much on aarch64. */
static inline void cpu_relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("isb" ::: "memory");
#endif
}

#endif
