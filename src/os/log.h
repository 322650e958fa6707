/* The library prints nothing: one line goes to the callback of this process, if it has one. */
#ifndef PIU_OS_LOG_H
#define PIU_OS_LOG_H

#include "os/base.h"

typedef void log_function(void *argument, const char *line);

void log_to(log_function *function, void *argument);
__attribute__((format(printf, 1, 2))) void log_line(const char *format, ...);

#endif
