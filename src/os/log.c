/* Where the library's lines go. */
#include "os/log.h"

#include <stdarg.h>
#include <stdio.h>

static _Atomic(log_function *) sink;
static void *_Atomic sink_argument;

void log_to(log_function *function, void *argument)
{
    atomic_store(&sink_argument, argument);
    atomic_store(&sink, function);
}

void log_line(const char *format, ...)
{
    log_function *to = atomic_load(&sink);
    char line[256];
    va_list arguments;

    if (!to)
        return;
    va_start(arguments, format);
    vsnprintf(line, sizeof(line), format, arguments);
    va_end(arguments);
    to(atomic_load(&sink_argument), line);
}
