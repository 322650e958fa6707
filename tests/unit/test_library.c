#include "test.h"

#include "os/log.h"
#include "waits.h"

TEST(the_version_is_the_headers)
{
    CHECK_STR(piu_version(), PIU_VERSION);
}

TEST(every_result_that_the_header_names_has_words_of_its_own)
{
    static const int results[] = {
        0,        PIU_OWNER_DIED, PIU_REDELIVERED, PIU_LOSSES, PIU_FAILED,
        PIU_LAST, -EADDRINUSE,    -EAGAIN,         -EBUSY,     -ECANCELED,
        -ECHILD,  -EDEADLK,       -EFAULT,         -EINTR,     -EINVAL,
        -EMFILE,  -EMSGSIZE,      -ENAMETOOLONG,   -ENODATA,   -ENOENT,
        -ENOEXEC, -ENOMEM,        -ENOSPC,         -ENOSYS,    -ENOTRECOVERABLE,
        -ENOTSUP, -EOVERFLOW,     -EPERM,          -EPIPE,     -ESHUTDOWN,
        -ESRCH,   -ESTALE,        -ETIMEDOUT,      -EXDEV,
    };

    for (size_t i = 0; i < sizeof(results) / sizeof(results[0]); i++) {
        const char *text = piu_strerror(results[i]);

        CHECK(strlen(text) > 3);
        CHECK(strncmp(text, "unknown", 7) != 0);
        for (size_t j = 0; j < i; j++)
            CHECK(strcmp(text, piu_strerror(results[j])) != 0);
    }
    CHECK_STR(piu_strerror(-12345), "unknown error");
    CHECK_STR(piu_strerror(12345), "unknown news");
    CHECK_STR(piu_strerror(-ETIMEDOUT), "out of time");
}

TEST(there_is_a_cpu)
{
    CHECK(piu_cpu_count() >= 1);
    CHECK(piu_cpu_count() <= (unsigned)sysconf(_SC_NPROCESSORS_CONF));
}

static void keep_line(void *argument, const char *line)
{
    snprintf(argument, 64, "%s", line);
}

TEST(the_log_goes_to_the_callback_also_in_forked_children)
{
    char *text = test_shared(64);

    log_line("nobody hears this");
    CHECK_EQ(piu_init(.log = keep_line, .log_argument = text), 0);
    log_line("number %d", 5);
    CHECK_STR(text, "number 5");
    CHECK_EQ(piu_init(), 0); /* says nothing about the log */
    CHECK_EQ(in_child({ log_line("from the child"); }), 0);
    CHECK_STR(text, "from the child");
}

TEST(init_without_keywords_is_an_error)
{
    size_t small = 3;

    CHECK_EQ(piu_begin(NULL), -EINVAL);
    CHECK_EQ(piu_begin((void *)&small), -EINVAL);
}
