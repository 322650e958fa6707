#include "wait.h"

#include <time.h>
#include <unistd.h>

#define SLICE      PIU_MSEC(100)
#define SPINS      64 /* tries: some us, about what giving up the GIL and a futex would cost */
#define QUEUE_SPIN 5000 /* ns, as much; a queue does not sleep for so short a time */

int64_t wait_clock(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return PIU_SEC((int64_t)t.tv_sec) + t.tv_nsec;
}

static int64_t deadline_of(int64_t timeout)
{
    int64_t deadline;

    return __builtin_add_overflow(wait_clock(), timeout, &deadline) ? PIU_FOREVER
                                                                    : deadline;
}

static int64_t left_until(int64_t deadline)
{
    int64_t left;

    if (deadline == PIU_FOREVER)
        return PIU_FOREVER;
    left = deadline - wait_clock();
    return left > 0 ? left : 0;
}

int wait_in_slices(wait_call *call, void *argument, int64_t timeout)
{
    int64_t deadline = deadline_of(timeout), left = timeout;
    /* Python runs handlers in the main thread alone */
    int64_t longest = gettid() == getpid() ? SLICE : WAIT_LONGEST;
    int r;

    for (;;) {
        int64_t slice = left < longest ? left : longest;

        Py_BEGIN_ALLOW_THREADS
        r = call(argument, slice);
        Py_END_ALLOW_THREADS
        if (r != -EINTR && r != -ETIMEDOUT)
            return r;
        if (PyErr_CheckSignals() < 0)
            return -EINTR;
        left = left_until(deadline);
        if (r == -ETIMEDOUT && left == 0)
            return r;
    }
}

int wait_spinning(wait_call *call, void *argument, int64_t timeout)
{
    int r = call(argument, PIU_NOW);

    for (int i = 0; r == -ETIMEDOUT && timeout > 0 && i < SPINS; i++) {
#if defined(__x86_64__)
        __builtin_ia32_pause();
#endif
        r = call(argument, PIU_NOW);
    }
    return r != -ETIMEDOUT || timeout <= 0 ? r : wait_in_slices(call, argument, timeout);
}

int wait_at_queue(wait_call *call, void *argument, int64_t timeout)
{
    int r = call(argument, timeout < QUEUE_SPIN ? timeout : QUEUE_SPIN);

    if (r != -ETIMEDOUT || timeout <= QUEUE_SPIN)
        return r;
    return wait_in_slices(call, argument, timeout);
}

int timeout_from(PyObject *object, int64_t *ret)
{
    double seconds;

    if (!object || object == Py_None) {
        *ret = PIU_FOREVER;
        return 0;
    }
    seconds = PyFloat_AsDouble(object);
    if (seconds == -1 && PyErr_Occurred())
        return -1;
    if (seconds != seconds) {
        PyErr_SetString(PyExc_ValueError, "Invalid value NaN (not a number)");
        return -1;
    }
    *ret = seconds <= 0 ? 0 : seconds >= 9e9 ? PIU_FOREVER : (int64_t)(seconds * 1e9);
    return 0;
}
