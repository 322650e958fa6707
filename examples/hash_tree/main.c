/*
 * hash_tree [DIR [LIST]]: the SHA-256 of every regular file under DIR (/usr), first by one
 * process and then by a piu pool on all CPUs.  Half-way through, a worker of the pool is
 * killed; nothing is lost.  LIST gets the digests in the form that sha256sum -c reads.
 * Exit status: 0, or 1 if a pass failed or the two passes differ.
 */
#include "progress.h"
#include "tree.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <piu.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct digest {
    unsigned char sha256[32];
    int error;            /* errno where the file could not be read: there is no digest */
    _Atomic pid_t by;     /* the process that is, or was, at it */
    _Atomic pid_t before; /* the one that died over it, where this is another try */
};

/*
 * A pass over the tree, in shared memory: workers write, the parent looks on.  Each file has
 * a mark: the bytes read so far, and DONE when its digest stands.  The progress is the sum of
 * the marks, so a worker that dies leaves no total that would have to be put right.
 */
struct pass {
    struct tree tree;
    bool hashing; /* false: it just reads */
    _Atomic uint64_t *marks;
    struct digest *digests;
    struct progress progress; /* the parent's, as are the results: */
    uint64_t bytes;
    double seconds;
};

#define DONE (UINT64_C(1) << 63)

static int complain(const char *what, int r)
{
    fprintf(stderr, "hash_tree: %s: %s\n", what, piu_strerror(r));
    return EXIT_FAILURE;
}

/* ---- The work ------------------------------------------------------------------------- */

/* Returns 0 or an errno; *mark follows. */
static int hash_file(const char *path, bool hashing, unsigned char *sha256,
                     _Atomic uint64_t *mark)
{
    unsigned char buffer[1 << 17];
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    EVP_MD_CTX *context;
    uint64_t bytes = 0;
    ssize_t n = 0;
    bool good;
    int error;

    if (fd < 0)
        return errno;
    context = EVP_MD_CTX_new();
    good = context != NULL && EVP_DigestInit_ex(context, EVP_sha256(), NULL);
    while (good && (n = read(fd, buffer, sizeof(buffer))) > 0) {
        good = !hashing || EVP_DigestUpdate(context, buffer, (size_t)n);
        bytes += (uint64_t)n;
        atomic_store_explicit(mark, bytes, memory_order_relaxed);
    }
    error = n < 0 ? errno : 0;
    if (!good || (error == 0 && !EVP_DigestFinal_ex(context, sha256, NULL)))
        error = EIO;
    EVP_MD_CTX_free(context);
    close(fd);
    return error;
}

static void pass_work(struct pass *pass, size_t first, size_t last)
{
    for (size_t i = first; i < last; i++) {
        struct digest *digest = &pass->digests[i];
        _Atomic uint64_t *mark = &pass->marks[i];

        digest->before = digest->by;
        digest->by = getpid();
        atomic_store_explicit(mark, 0, memory_order_relaxed);
        digest->error =
            hash_file(pass->tree.files[i].path, pass->hashing, digest->sha256, mark);
        /* release, for the acquire in pass_done(): who sees DONE sees the digest */
        atomic_fetch_or_explicit(mark, DONE, memory_order_release);
    }
}

static bool pass_done(const struct pass *pass, size_t i, uint64_t *ret_bytes)
{
    uint64_t mark = atomic_load_explicit(&pass->marks[i], memory_order_acquire);

    *ret_bytes = mark & ~DONE;
    return (mark & DONE) != 0;
}

/* ---- A pass, begun and watched --------------------------------------------------------- */

static struct pass *pass_new(const struct tree *tree, bool hashing)
{
    struct pass *pass = piu_shared_new(1, sizeof(*pass));

    if (pass == NULL)
        return NULL;
    pass->tree = *tree;
    pass->hashing = hashing;
    pass->marks = piu_shared_new(tree->count, sizeof(*pass->marks));
    pass->digests = piu_shared_new(tree->count, sizeof(*pass->digests));
    return pass->marks != NULL && pass->digests != NULL ? pass : NULL;
}

static void pass_show(struct pass *pass, bool last)
{
    size_t files = 0;
    uint64_t bytes;

    pass->bytes = 0;
    for (size_t i = 0; i < pass->tree.count; i++, pass->bytes += bytes)
        files += pass_done(pass, i, &bytes);
    if (last)
        pass->seconds = progress_end(&pass->progress, pass->bytes, files);
    else
        progress_show(&pass->progress, pass->bytes, files);
}

/* One process takes one file after the other. */
static int serial_target(void *argument)
{
    struct pass *pass = argument;

    pass_work(pass, 0, pass->tree.count);
    return 0;
}

static int pass_serially(struct pass *pass, const char *label)
{
    struct piu_process process = {
        .target = serial_target, .argument = pass, .daemon = true};
    int exitcode, r;

    progress_begin(&pass->progress, label, pass->tree.bytes, pass->tree.count);
    r = piu_process_start(&process);
    if (r < 0)
        return r;
    while ((r = piu_process_join(&process, PIU_MSEC(100))) == -ETIMEDOUT)
        pass_show(pass, false);
    if (r == 0)
        r = piu_process_exitcode(&process, &exitcode);
    if (r == 0 && exitcode != 0)
        r = -ECHILD;
    pass_show(pass, true);
    return r;
}

/* A pool takes them; each file is an item. */
struct hashing {
    struct piu_task task;
    struct pass *pass;
};

static int hashing_run(struct piu_task *self, size_t first, size_t last)
{
    pass_work(piu_container_of(self, struct hashing, task)->pass, first, last);
    return 0;
}

/* Of the workers that are at it, the one that has most left to do: it will be at it still. */
static pid_t find_victim(struct piu_pool *pool, const struct pass *pass)
{
    pid_t workers[256], victim = 0;
    uint64_t most = 0, bytes;
    size_t count;

    if (piu_pool_workers(pool, workers, PIU_LENGTH(workers), &count) < 0)
        return 0;
    for (size_t i = 0; i < pass->tree.count; i++) {
        if (pass->digests[i].by == 0 || pass_done(pass, i, &bytes) ||
            pass->tree.files[i].size <= bytes + most)
            continue;
        for (size_t w = 0; w < count && w < PIU_LENGTH(workers); w++)
            if (workers[w] == pass->digests[i].by) {
                victim = workers[w];
                most = pass->tree.files[i].size - bytes;
            }
    }
    return victim;
}

static bool kill_a_worker(struct piu_pool *pool, struct pass *pass)
{
    pid_t victim = find_victim(pool, pass);
    const char *path = "nothing"; /* it was between two files */
    uint64_t bytes;

    if (victim == 0 || kill(victim, SIGKILL) < 0)
        return false;
    for (size_t i = 0; i < pass->tree.count; i++)
        if (pass->digests[i].before == victim ||
            (pass->digests[i].by == victim && !pass_done(pass, i, &bytes)))
            path = pass->tree.files[i].path;
    progress_say(&pass->progress, "half-way: SIGKILL to worker %d, which was hashing %s",
                 (int)victim, path);
    return true;
}

static int pass_in_pool(struct pass *pass, const char *label, bool killing,
                        struct piu_report **ret)
{
    struct hashing hashing = {
        .task = {.run = hashing_run,
                 .struct_size = sizeof(hashing),
                 .count = pass->tree.count,
                 .chunk = 1,
                 .retries = 2},
        .pass = pass,
    };
    struct piu_pool *pool;
    struct piu_result *result;
    int r;

    progress_begin(&pass->progress, label, pass->tree.bytes, pass->tree.count);
    pool = piu_pool_new(); /* a process for each CPU that we may use */
    result = pool == NULL ? NULL : piu_pool_map_async(pool, &hashing.task);
    if (result == NULL)
        return -errno;
    while ((r = piu_result_wait(result, PIU_MSEC(killing ? 10 : 100))) == -ETIMEDOUT) {
        pass_show(pass, false);
        if (killing && pass->bytes >= pass->tree.bytes / 2)
            killing = !kill_a_worker(pool, pass);
    }
    if (r == 0)
        r = piu_result_get(result, PIU_NOW);
    pass_show(pass, true);
    if (r >= 0 && ret != NULL)
        r = piu_result_report(result, ret);
    piu_result_free(result);
    piu_pool_free(pool);
    return r;
}

/* ---- What came of it -------------------------------------------------------------------- */

static void print_losses(const struct pass *pass, const struct piu_report *report)
{
    const struct piu_loss *loss, *retry;
    size_t losses = piu_report_losses(report, &loss);
    size_t retries = piu_report_retries(report, &retry);
    const struct file *files = pass->tree.files;

    printf("%-14s%zu\n", "lost", losses);
    for (size_t i = 0; i < losses; i++)
        printf("%-14sworker %d died %u times over %s\n", "", (int)loss[i].pid,
               loss[i].attempts, files[loss[i].first].path);
    for (size_t i = 0; i < retries; i++)
        printf("%-14sworker %d died while it hashed %s; worker %d did it again\n",
               "tried again", (int)retry[i].pid, files[retry[i].first].path,
               (int)pass->digests[retry[i].first].by);
}

static size_t print_differences(const struct pass *a, const struct pass *b)
{
    size_t differences = 0;
    uint64_t bytes;

    for (size_t i = 0; i < a->tree.count; i++) {
        const struct digest *x = &a->digests[i], *y = &b->digests[i];

        if (pass_done(a, i, &bytes) && pass_done(b, i, &bytes) && x->error == y->error &&
            memcmp(x->sha256, y->sha256, sizeof(x->sha256)) == 0)
            continue;
        if (differences++ < 10)
            printf("%-14s%s\n", "differs", a->tree.files[i].path);
    }
    return differences;
}

static void print_time(const struct pass *pass, const char *label)
{
    printf("%-14s%9.2f%9.0f\n", label, pass->seconds,
           (double)pass->bytes / 1e6 / pass->seconds);
}

static int write_list(const struct pass *pass, FILE *list)
{
    for (size_t i = 0; i < pass->tree.count; i++) {
        if (pass->digests[i].error != 0)
            continue;
        for (int k = 0; k < 32; k++)
            fprintf(list, "%02x", pass->digests[i].sha256[k]);
        fprintf(list, "  %s\n", pass->tree.files[i].path);
    }
    return ferror(list) || fflush(list) != 0 ? -EIO : 0;
}

/* How many digests differ. */
static size_t print_table(struct pass *serial, struct pass *piu,
                          const struct piu_report *report)
{
    const struct tree *tree = &serial->tree;
    size_t unread = 0, differences;

    printf("\n%-14s%9s%9s\n", "", "seconds", "MB/s");
    print_time(serial, "serial");
    print_time(piu, "piu");
    printf("%-14s%9.2f\n\n", "speed-up", serial->seconds / piu->seconds);
    for (size_t i = 0; i < tree->count; i++)
        unread += serial->digests[i].error != 0;
    printf("%-14s%zu, and %zu that cannot be read\n", "files", tree->count - unread,
           unread);
    if (tree->unlisted > 0)
        printf("%-14s%zu\n", "not listed", tree->unlisted);
    printf("%-14s%" PRIu64 "\n", "bytes", piu->bytes);
    print_losses(piu, report);
    differences = print_differences(serial, piu);
    if (differences > 0)
        printf("%-14s%zu DIFFER\n", "digests", differences);
    else
        printf("%-14sequal\n", "digests");
    return differences;
}

int main(int argc, char **argv)
{
    const char *directory = argc > 1 ? argv[1] : "/usr";
    struct pass *reading, *serial, *piu;
    struct piu_report *report;
    struct tree tree;
    FILE *list = NULL;
    size_t differences;
    int r;

    if (argc > 3 || directory[0] == '-') {
        fprintf(stderr, "usage: hash_tree [DIR [LIST]]\n");
        return 2;
    }
    if (argc > 2 && (list = fopen(argv[2], "w")) == NULL)
        return complain(argv[2], -errno);
    printf("Looking for files under %s\n", directory);
    r = tree_list(&tree, directory);
    if (r == -ENODATA) {
        fprintf(stderr, "hash_tree: %s: no regular file below it\n", directory);
        return EXIT_FAILURE;
    }
    if (r < 0)
        return complain(directory, r);
    printf("%zu files, %.0f MB, the largest %.0f MB; %u CPUs\n", tree.count,
           (double)tree.bytes / 1e6, (double)tree.files[0].size / 1e6, piu_cpu_count());
    printf("Each is read once before the clocks start: what fits stays in memory.\n");
    reading = pass_new(&tree, false);
    serial = pass_new(&tree, true);
    piu = pass_new(&tree, true);
    if (reading == NULL || serial == NULL || piu == NULL)
        return complain("memory", -errno);

    r = pass_in_pool(reading, "reading", false, NULL);
    if (r >= 0)
        r = pass_serially(serial, "serial");
    if (r >= 0)
        r = pass_in_pool(piu, "piu", true, &report);
    if (r < 0)
        return complain("a pass failed", r);

    differences = print_table(serial, piu, report);
    piu_report_free(report);
    if (list != NULL && (r = write_list(piu, list)) < 0)
        return complain(argv[2], r);
    return differences > 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
