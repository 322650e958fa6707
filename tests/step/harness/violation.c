/* What is wrong is told, in one write, and the job ends; test.h's checks, for all of its processes. */
#include "job.h"

#include <stdarg.h>

/* What a child that failed had to say. */
struct words {
    _Atomic int said;
    char text[400];
};

static struct words *words;

struct here here;

void violation_forget(void)
{
    words->said = 0;
}

/* ---- Told ---------------------------------------------------------------------------------- */

struct message {
    char text[3000];
    size_t length;
};

static void __attribute__((format(printf, 2, 3)))
message_add(struct message *m, const char *format, ...)
{
    va_list args;
    int length;

    va_start(args, format);
    length = vsnprintf(m->text + m->length, sizeof(m->text) - m->length, format, args);
    va_end(args);
    m->length += (size_t)length;
    if (m->length >= sizeof(m->text))
        m->length = sizeof(m->text) - 1;
}

static void message_add_place(struct message *m, const char *text)
{
    const struct kill_case *c = job.c;
    const struct trace *a = &job.trace, *b = &job.other_trace;

    message_add(m, "%s  %s/%s, instruction %zu of %zu%s: %s\n    %s: %s\n",
                here.judged ? "VIOLATION" : "TROUBLE", c->structure, c->name, here.n,
                *a->count, here.stepped ? " (single steps)" : "", trace_name(a, here.n),
                here.phase, text);
    if (kill_is_of_two(c))
        message_add(m, "    B %s at %zu of %zu: %s\n",
                    c->then ? "was killed then" : "stood", here.m, *b->count,
                    trace_name(b, here.m));
    if (words->said)
        message_add(m, "    a child said: %s\n", words->text);
}

static void message_add_command(struct message *m)
{
    const struct kill_case *c = job.c;

    message_add(m, "    again: build/tests/step/%s %s%s/%s --at %zu",
                program_invocation_short_name, c->twin ? "--selftest " : "", c->structure,
                c->name, here.n);
    if (kill_is_of_two(c))
        message_add(m, " --with %zu", here.m);
    message_add(m, " --way %u --by %s\n", kill_now.way, death_names[kill_now.how]);
}

/* All on one write, so that shares do not mix. */
_Noreturn void violation(const char *text)
{
    struct message message = {.length = 0};

    alarm(0);
    if (here.n > *job.trace.count)
        here.n = *job.trace.count;
    *(here.judged ? &job.count->violations : &job.count->troubles) += 1;
    message_add_place(&message, text);
    message_add_command(&message);
    if (!job.c->twin || !here.judged || job.plan->at != SIZE_MAX)
        (void)!write(STDOUT_FILENO, message.text, message.length);
    children_kill();
    _exit(1);
}

static void hangs(int signal)
{
    (void)signal;
    violation("it hangs");
}

static void crashed(int signal)
{
    char text[64];

    snprintf(text, sizeof(text), "the survivor got signal %d", signal);
    if (getpid() == job.pid)
        violation(text);
    _exit(1);
}

void violations_begin(void)
{
    signal(SIGALRM, hangs);
    signal(SIGSEGV, crashed);
    signal(SIGBUS, crashed);
    words = test_shared(sizeof(*words));
}

/* ---- A check of test.h that does not hold, in any of the processes ------------------------------ */

void test_fail(const char *file, int line, const char *format, ...)
{
    char text[300], whole[sizeof(words->text)];
    const char *base = strrchr(file, '/');
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    snprintf(whole, sizeof(whole), "%s:%d: %s", base ? base + 1 : file, line, text);
    if (!words) { /* there is no job yet */
        fprintf(stderr, "%s\n", whole);
        _exit(2);
    }
    if (getpid() == job.pid)
        violation(whole);
    if (!words->said) {
        memcpy(words->text, whole, sizeof(whole));
        words->said = 1;
    }
    _exit(1);
}

void test_check_eq(const char *file, int line, const char *expr, long long a, long long b)
{
    if (a != b)
        test_fail(file, line, "%s: %lld, %lld", expr, a, b);
}

void test_check_str(const char *file, int line, const char *expr, const char *a,
                    const char *b)
{
    if (strcmp(a, b) != 0)
        test_fail(file, line, "%s: \"%s\", \"%s\"", expr, a, b);
}
