#include "progress.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

/* What a file costs besides its bytes (to open, to close), in bytes: for the time left. */
enum { FILE_COST = 8000 };

static int64_t now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

static double seconds_since(int64_t then)
{
    return (double)(now() - then) / 1e9;
}

static size_t columns(bool terminal)
{
    struct winsize window;

    if (!terminal)
        return 200;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &window) < 0 || window.ws_col == 0)
        return 79;
    return window.ws_col - 1; /* some terminals wrap a line that is full */
}

static void erase(struct progress *p)
{
    size_t room = columns(p->terminal); /* the window may have become narrower */

    if (p->drawn > 0)
        printf("\r%*s\r", (int)(p->drawn < room ? p->drawn : room), "");
    p->drawn = 0;
}

void progress_begin(struct progress *p, const char *label, uint64_t bytes, size_t files)
{
    *p = (struct progress){.label = label, .bytes = bytes, .files = files};
    p->terminal = isatty(STDOUT_FILENO);
    p->began = p->shown = now();
}

void progress_show(struct progress *p, uint64_t bytes, size_t files)
{
    double all = (double)p->bytes + FILE_COST * (double)p->files;
    double done = (double)bytes + FILE_COST * (double)files;
    double seconds = seconds_since(p->began);
    int left = done > 0 && done < all ? (int)(seconds * (all - done) / done + 0.5) : 0;
    char fields[5][64]; /* a narrow window shows as many as it has room for */
    char line[400] = "";
    size_t room = columns(p->terminal);

    if (seconds_since(p->shown) < (p->terminal ? 0.1 : 1.0))
        return;
    p->shown = now();
    snprintf(fields[0], 64, "%-8s %3.0f%%", p->label, 100 * done / all);
    snprintf(fields[1], 64, "   %.0f of %.0f MB", (double)bytes / 1e6,
             (double)p->bytes / 1e6);
    snprintf(fields[2], 64, "   %.0f MB/s", (double)bytes / 1e6 / seconds);
    snprintf(fields[3], 64, "   %d:%02d left", left / 60, left % 60);
    snprintf(fields[4], 64, "   %zu of %zu files", files, p->files);
    for (int i = 0; i < 5 && strlen(line) + strlen(fields[i]) <= room; i++)
        strcat(line, fields[i]);

    erase(p);
    printf("%s%s", line, p->terminal ? "" : "\n");
    fflush(stdout);
    p->drawn = p->terminal ? strlen(line) : 0;
}

void progress_say(struct progress *p, const char *format, ...)
{
    va_list arguments;

    erase(p);
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    printf("\n");
    fflush(stdout);
}

double progress_end(struct progress *p, uint64_t bytes, size_t files)
{
    double seconds = seconds_since(p->began);

    progress_say(p, "%-8s 100%%   %.0f MB   %.0f MB/s   %.2f s   %zu files", p->label,
                 (double)bytes / 1e6, (double)bytes / 1e6 / seconds, seconds, files);
    return seconds;
}
