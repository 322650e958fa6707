/* What -fsanitize=thread and --wrap call: a crash point, then what was asked for. */
#include "points.h"

#include "roles.h"

#include <linux/futex.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>

#define HERE           __builtin_return_address(0)
#define NR_FUTEX_WAITV 449

/* ---- Plain memory: loads change nothing ------------------------------------------------- */

#define NO_POINT(name, ...) \
    void name(__VA_ARGS__); \
    void name(__VA_ARGS__)  \
    {                       \
    }
#define POINT(name, ...)    \
    void name(__VA_ARGS__); \
    void name(__VA_ARGS__)  \
    {                       \
        crash_point(HERE);  \
    }

#pragma GCC diagnostic ignored "-Wunused-parameter"

NO_POINT(__tsan_init, void)
NO_POINT(__tsan_func_entry, void *pc)
NO_POINT(__tsan_func_exit, void)
NO_POINT(__tsan_read1, void *at)
NO_POINT(__tsan_read2, void *at)
NO_POINT(__tsan_read4, void *at)
NO_POINT(__tsan_read8, void *at)
NO_POINT(__tsan_read16, void *at)
NO_POINT(__tsan_unaligned_read2, void *at)
NO_POINT(__tsan_unaligned_read4, void *at)
NO_POINT(__tsan_unaligned_read8, void *at)
NO_POINT(__tsan_unaligned_read16, void *at)
NO_POINT(__tsan_volatile_read1, void *at)
NO_POINT(__tsan_volatile_read2, void *at)
NO_POINT(__tsan_volatile_read4, void *at)
NO_POINT(__tsan_volatile_read8, void *at)
NO_POINT(__tsan_volatile_read16, void *at)
NO_POINT(__tsan_read_range, void *at, size_t size)
POINT(__tsan_write1, void *at)
POINT(__tsan_write2, void *at)
POINT(__tsan_write4, void *at)
POINT(__tsan_write8, void *at)
POINT(__tsan_write16, void *at)
POINT(__tsan_unaligned_write2, void *at)
POINT(__tsan_unaligned_write4, void *at)
POINT(__tsan_unaligned_write8, void *at)
POINT(__tsan_unaligned_write16, void *at)
POINT(__tsan_volatile_write1, void *at)
POINT(__tsan_volatile_write2, void *at)
POINT(__tsan_volatile_write4, void *at)
POINT(__tsan_volatile_write8, void *at)
POINT(__tsan_volatile_write16, void *at)
POINT(__tsan_read_write1, void *at)
POINT(__tsan_read_write2, void *at)
POINT(__tsan_read_write4, void *at)
POINT(__tsan_read_write8, void *at)
POINT(__tsan_read_write16, void *at)
POINT(__tsan_write_range, void *at, size_t size)

void *__tsan_memcpy(void *to, const void *from, size_t size);
void *__tsan_memcpy(void *to, const void *from, size_t size)
{
    crash_point(HERE);
    return memcpy(to, from, size);
}

void *__tsan_memmove(void *to, const void *from, size_t size);
void *__tsan_memmove(void *to, const void *from, size_t size)
{
    crash_point(HERE);
    return memmove(to, from, size);
}

void *__tsan_memset(void *to, int byte, size_t size);
void *__tsan_memset(void *to, int byte, size_t size)
{
    crash_point(HERE);
    return memset(to, byte, size);
}

/* ---- Atomic operations, all of them sequentially consistent here ----------------------------- */

#define RMW(bits, type, name)                                        \
    type __tsan_atomic##bits##_##name(type *at, type value, int mo); \
    type __tsan_atomic##bits##_##name(type *at, type value, int mo)  \
    {                                                                \
        crash_point(HERE);                                           \
        return __atomic_##name(at, value, __ATOMIC_SEQ_CST);         \
    }

#define CAS(bits, type, name, weak)                                                     \
    int __tsan_atomic##bits##_compare_exchange_##name(type *at, type *expected,         \
                                                      type value, int mo, int fail);    \
    int __tsan_atomic##bits##_compare_exchange_##name(type *at, type *expected,         \
                                                      type value, int mo, int fail)     \
    {                                                                                   \
        crash_point(HERE);                                                              \
        return __atomic_compare_exchange_n(at, expected, value, weak, __ATOMIC_SEQ_CST, \
                                           __ATOMIC_SEQ_CST);                           \
    }

#define ATOMICS(bits, type)                                                         \
    type __tsan_atomic##bits##_load(const type *at, int mo);                        \
    type __tsan_atomic##bits##_load(const type *at, int mo)                         \
    {                                                                               \
        crash_point(HERE);                                                          \
        return __atomic_load_n(at, __ATOMIC_SEQ_CST);                               \
    }                                                                               \
    void __tsan_atomic##bits##_store(type *at, type value, int mo);                 \
    void __tsan_atomic##bits##_store(type *at, type value, int mo)                  \
    {                                                                               \
        crash_point(HERE);                                                          \
        __atomic_store_n(at, value, __ATOMIC_SEQ_CST);                              \
    }                                                                               \
    type __tsan_atomic##bits##_exchange(type *at, type value, int mo);              \
    type __tsan_atomic##bits##_exchange(type *at, type value, int mo)               \
    {                                                                               \
        crash_point(HERE);                                                          \
        return __atomic_exchange_n(at, value, __ATOMIC_SEQ_CST);                    \
    }                                                                               \
    type __tsan_atomic##bits##_compare_exchange_val(type *at, type old, type value, \
                                                    int mo, int fail);              \
    type __tsan_atomic##bits##_compare_exchange_val(type *at, type old, type value, \
                                                    int mo, int fail)               \
    {                                                                               \
        crash_point(HERE);                                                          \
        __atomic_compare_exchange_n(at, &old, value, false, __ATOMIC_SEQ_CST,       \
                                    __ATOMIC_SEQ_CST);                              \
        return old;                                                                 \
    }                                                                               \
    CAS(bits, type, strong, false)                                                  \
    CAS(bits, type, weak, true)                                                     \
    RMW(bits, type, fetch_add)                                                      \
    RMW(bits, type, fetch_sub)                                                      \
    RMW(bits, type, fetch_and)                                                      \
    RMW(bits, type, fetch_or)                                                       \
    RMW(bits, type, fetch_xor)                                                      \
    RMW(bits, type, fetch_nand)

ATOMICS(8, uint8_t)
ATOMICS(16, uint16_t)
ATOMICS(32, uint32_t)
ATOMICS(64, uint64_t)

void __tsan_atomic_thread_fence(int mo);
void __tsan_atomic_thread_fence(int mo)
{
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

NO_POINT(__tsan_atomic_signal_fence, int mo)

/* ---- System calls ------------------------------------------------------------------------------ */

long __real_syscall(long number, long a, long b, long c, long d, long e, long f);
long __wrap_syscall(long number, long a, long b, long c, long d, long e, long f);
long __wrap_syscall(long number, long a, long b, long c, long d, long e, long f)
{
    if ((number == SYS_futex && (b & FUTEX_CMD_MASK) == FUTEX_WAIT) ||
        number == NR_FUTEX_WAITV)
        crash_point_waits(HERE);
    else
        crash_point(HERE);
    return __real_syscall(number, a, b, c, d, e, f);
}

/*
 * All others, whatever their arguments are: those are kept, and the call itself returns to where
 * it was called.
 */
void crash_point_in_call(void *where);
void crash_point_in_call(void *where)
{
    crash_point(where);
}

#if defined(__x86_64__)
#define CALL(name)                                                                       \
    __asm__(".text\n.globl __wrap_" #name "\n.type __wrap_" #name                        \
            ", @function\n__wrap_" #name ":\n"                                           \
            "push %rdi\n push %rsi\n push %rdx\n push %rcx\n push %r8\n push %r9\n"      \
            "push %rax\n mov 56(%rsp), %rdi\n call crash_point_in_call@PLT\n pop %rax\n" \
            "pop %r9\n pop %r8\n pop %rcx\n pop %rdx\n pop %rsi\n pop %rdi\n"            \
            "jmp __real_" #name "@PLT\n.size __wrap_" #name ", .-__wrap_" #name "\n");
#elif defined(__aarch64__)
#define CALL(name)                                                                     \
    __asm__(".text\n.globl __wrap_" #name "\n.type __wrap_" #name                      \
            ", %function\n__wrap_" #name ":\n"                                         \
            "stp x29, x30, [sp, -96]!\n stp x0, x1, [sp, 16]\n stp x2, x3, [sp, 32]\n" \
            "stp x4, x5, [sp, 48]\n stp x6, x7, [sp, 64]\n str x8, [sp, 80]\n"         \
            "mov x0, x30\n bl crash_point_in_call\n"                                   \
            "ldp x0, x1, [sp, 16]\n ldp x2, x3, [sp, 32]\n ldp x4, x5, [sp, 48]\n"     \
            "ldp x6, x7, [sp, 64]\n ldr x8, [sp, 80]\n ldp x29, x30, [sp], 96\n"       \
            "b __real_" #name "\n.size __wrap_" #name ", .-__wrap_" #name "\n");
#else
#error "say here how a call is wrapped on this machine"
#endif

/* It has roles to give. */
pid_t __wrap_fork(void);
pid_t __wrap_fork(void)
{
    crash_point(HERE);
    return role_fork();
}

#include "wrapped.h" /* CALL(name) for each, from tests/fault/calls.h */
