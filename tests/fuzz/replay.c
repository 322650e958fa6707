/*
 * usage: replay [--random COUNT[:SEED]] [FILE]...
 * The fuzzer's inputs without libFuzzer: files that it has found, and numbers.  A child does them
 * one after the other; one that ends it is told, and another child goes on behind it.
 */
#include "image.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define INPUT_MOST 256
#define GUARD      20 /* seconds until an input hangs */

struct plan {
    char **files;
    size_t files_count;
    size_t random_count;
    uint64_t seed;
};

static uint64_t random_next(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

static size_t file_read(const char *path, unsigned char *ret)
{
    FILE *file = fopen(path, "rb");
    size_t size = file ? fread(ret, 1, INPUT_MOST, file) : 0;

    if (!file) {
        perror(path);
        exit(2);
    }
    fclose(file);
    return size;
}

/* Of its own number alone, so that it can be done again by itself. */
static size_t random_make(uint64_t seed, unsigned char *ret)
{
    size_t size;

    seed = seed * UINT64_C(0x9e3779b97f4a7c15) | 1;
    for (unsigned i = 0; i < 8; i++)
        random_next(&seed);
    size = 40 + random_next(&seed) % 80;
    for (size_t i = 0; i < size; i++)
        ret[i] = (unsigned char)(random_next(&seed) >> 32);
    return size;
}

static void input_do(const struct plan *plan, size_t n)
{
    unsigned char bytes[INPUT_MOST];
    size_t size = n < plan->files_count
                      ? file_read(plan->files[n], bytes)
                      : random_make(plan->seed + n - plan->files_count, bytes);

    alarm(GUARD);
    fuzz_one(bytes, size);
}

static void tell(const struct plan *plan, size_t n, int status)
{
    const char *how = WIFSIGNALED(status) ? strsignal(WTERMSIG(status)) : "ended early";

    if (n < plan->files_count)
        printf("%s: %s\n", plan->files[n], how);
    else
        printf("--random 1:%llu: %s\n",
               (unsigned long long)(plan->seed + n - plan->files_count), how);
    fflush(stdout);
}

/* Returns how many ended their child. */
static size_t all_do(const struct plan *plan)
{
    size_t *at = mmap(NULL, sizeof(*at), PROT_READ | PROT_WRITE,
                      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    size_t count = plan->files_count + plan->random_count, bad = 0;

    while (*at < count) {
        pid_t pid = fork();
        int status;

        if (pid == 0) {
            signal(SIGALRM, SIG_DFL);
            image_begin();
            for (; *at < count; ++*at)
                input_do(plan, *at);
            _exit(0);
        }
        if (pid < 0 || waitpid(pid, &status, 0) < 0)
            exit(2);
        if (*at < count) {
            tell(plan, (*at)++, status);
            bad++;
        }
    }
    return bad;
}

int main(int argc, char **argv)
{
    struct plan plan = {.seed = 1};
    size_t bad;
    int first = 1;

    if (argc > 2 && strcmp(argv[1], "--random") == 0) {
        char *end;

        plan.random_count = strtoul(argv[2], &end, 10);
        if (*end == ':')
            plan.seed = strtoull(end + 1, NULL, 10);
        first = 3;
    }
    plan.files = argv + first;
    plan.files_count = (size_t)(argc - first);
    bad = all_do(&plan);
    printf("%zu files and %zu numbers: %zu passed, %zu failed\n", plan.files_count,
           plan.random_count, plan.files_count + plan.random_count - bad, bad);
    return bad != 0;
}
