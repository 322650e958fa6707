#include "os/clock.h"

int64_t clock_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * SEC + now.tv_nsec;
}

int64_t deadline_after(int64_t timeout)
{
    int64_t deadline;

    if (timeout <= 0)
        return 0; /* before any reading of the clock */
    if (timeout == CLOCK_FOREVER ||
        __builtin_add_overflow(clock_now(), timeout, &deadline))
        return CLOCK_FOREVER;
    return deadline;
}

int64_t deadline_left(int64_t deadline)
{
    int64_t now;

    if (deadline <= 0)
        return 0;
    if (deadline == CLOCK_FOREVER)
        return CLOCK_FOREVER;
    now = clock_now();
    return deadline > now ? deadline - now : 0;
}

struct timespec timespec_of(int64_t ns)
{
    if (ns < 0)
        ns = 0;
    return (struct timespec){.tv_sec = (time_t)(ns / SEC), .tv_nsec = (long)(ns % SEC)};
}
