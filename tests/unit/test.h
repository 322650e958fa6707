/*
 * A small framework for tests in C, one program for each tests/unit/test_<noun>.c:
 *
 *     #include "test.h"
 *
 *     TEST(a_killed_child_is_seen_by_its_parent)
 *     {
 *         int status = in_child_killed({ child_does_something(); });
 *
 *         CHECK(WIFSIGNALED(status));
 *         CHECK_EQ(WTERMSIG(status), SIGKILL);
 *     }
 *
 * Every test runs in a process and a session of its own.  When it ends, or its time is up,
 * everything that it started is killed with it, whatever session it moved to.
 * A check that fails ends its process and fails the test, in whichever process it stands.
 * What a test prints is shown when it fails, or with -v.
 */
#ifndef TEST_H
#define TEST_H

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

struct test {
    const char *name;
    const char *file;
    void (*run)(void);
    int limit; /* seconds, at most 20 when 0; a test that needs more says .limit = 60 */
    struct test *next;
};

void test_register(struct test *test);

/* TEST(the_sentence_it_proves) { ... }, or TEST(the_sentence, .limit = 60) { ... } */
#define TEST(...) TEST_DEFINE(__VA_ARGS__, .file = __FILE__)
#define TEST_DEFINE(sentence, ...)                                     \
    static void sentence(void);                                        \
    static struct test test_of_##sentence = {                          \
        .name = #sentence, .run = sentence, __VA_ARGS__};              \
    __attribute__((constructor)) static void register_##sentence(void) \
    {                                                                  \
        test_register(&test_of_##sentence);                            \
    }                                                                  \
    static void sentence(void)

/* ---- Checks ------------------------------------------------------------------------ */

#define CHECK(expr) ((expr) ? (void)0 : test_fail(__FILE__, __LINE__, "%s", #expr))

/* two integers, compared as signed long long; both are printed */
#define CHECK_EQ(a, b) \
    test_check_eq(__FILE__, __LINE__, #a " == " #b, (long long)(a), (long long)(b))

/* two strings; NULL equals NULL only */
#define CHECK_STR(a, b) test_check_str(__FILE__, __LINE__, #a " == " #b, (a), (b))

/* this machine cannot run the test; the reason is a string */
#define SKIP(reason) test_skip(reason)

_Noreturn void test_fail(const char *file, int line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
_Noreturn void test_skip(const char *reason);
void test_check_eq(const char *file, int line, const char *expr, long long a,
                   long long b);
void test_check_str(const char *file, int line, const char *expr, const char *a,
                    const char *b);

/* ---- Children ---------------------------------------------------------------------- */
/*
 * Each runs a block in a forked child.
 *
 *     in_child({ ... })         the child ends by exit(0); the value is its wait status
 *     in_child_killed({ ... })  the child then kills itself with SIGKILL; its wait status
 *     child_start({ ... })      does not wait: the value is its pid, for child_wait(pid)
 */
#define in_child(...)              \
    __extension__({                \
        if (test_fork() == 0) {    \
            __VA_ARGS__            \
            exit(0);               \
        }                          \
        child_wait(test_forked()); \
    })

#define in_child_killed(...)       \
    __extension__({                \
        if (test_fork() == 0) {    \
            __VA_ARGS__            \
            test_die();            \
        }                          \
        child_wait(test_forked()); \
    })

#define child_start(...)        \
    __extension__({             \
        if (test_fork() == 0) { \
            __VA_ARGS__         \
            exit(0);            \
        }                       \
        test_forked();          \
    })

int child_wait(pid_t pid);     /* its wait status */
pid_t test_fork(void);         /* fork() that never fails, with nothing left in stdio */
pid_t test_forked(void);       /* the child that this thread forked last */
_Noreturn void test_die(void); /* by SIGKILL */

/* ---- Events ------------------------------------------------------------------------ */

/* zeroed memory that the children of this test share with it; unmapped by nobody */
void *test_shared(size_t size);

/* poll until it is true; the test's time limit ends the wait and names the expression */
#define test_wait_until(expr)                      \
    do {                                           \
        while (!(expr))                            \
            test_pause(__FILE__, __LINE__, #expr); \
    } while (0)

void test_pause(const char *file, int line, const char *expr);

/* run(i, arg) in n threads at once, i from 0; returns when all of them have ended */
void test_threads(int n, void (*run)(int i, void *arg), void *arg);

#endif
