#include "os/solo.h"

#include "os/fd.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#define STATUS_SIZE 8192 /* with some hundred groups; a longer one is not told */

static uint64_t bit_of(int signal)
{
    return UINT64_C(1) << (signal - 1);
}

static uint64_t harmless(void)
{
    return bit_of(SIGILL) | bit_of(SIGTRAP) | bit_of(SIGBUS) | bit_of(SIGFPE) |
           bit_of(SIGSEGV) | bit_of(SIGSYS) | bit_of(32) |
           bit_of(33); /* glibc: cancel a thread, set the user's id in all */
}

/* A number behind "<name>:"; false: there is no such line. */
static bool field(const char *text, const char *name, int base, uint64_t *ret)
{
    const char *at = strstr(text, name);

    if (at)
        *ret = strtoull(at + strlen(name), NULL, base);
    return at != NULL;
}

bool solo_is_sure(void)
{
    uint64_t threads, caught;
    char text[STATUS_SIZE];

    return fd_read_text("/proc/self/status", text, sizeof(text)) == 0 &&
           field(text, "\nThreads:", 10, &threads) && threads == 1 &&
           field(text, "\nSigCgt:", 16, &caught) && !(caught & ~harmless());
}
