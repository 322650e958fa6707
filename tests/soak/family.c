#include "family.h"

#include <piu.h>

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#define ROUNDS 40 /* of work, then it ends by itself: some milliseconds */

enum { BUSY, FROM_ZYGOTE, READER, PROGRAM, CHILDREN };

static struct family_notes *notes;
static struct piu_queue *queue; /* of the family; its one declared putter is the parent */
static struct piu_lock *lock;

static void wants(const char *what, int r)
{
    if (r >= 0)
        return;
    atomic_store(&notes->failed_in, what);
    atomic_store(&notes->failed, -r);
    exit(1);
}

/* A daemon that is never asleep, and nearly always inside piu. */
static _Noreturn int busy_main(void *unused)
{
    (void)unused;
    for (;;) {
        piu_lock_acquire(lock, PIU_FOREVER);
        piu_lock_release(lock);
    }
}

/* A daemon that sleeps in the kernel. */
static _Noreturn int sleeper_main(void *unused)
{
    (void)unused;
    for (;;)
        pause();
}

/* No daemon: it ends because no declared putter is left. */
static int reader_main(void *unused)
{
    char bytes[64];
    size_t size = sizeof(bytes);

    (void)unused;
    while (piu_queue_get(queue, bytes, &size, PIU_FOREVER) >= 0)
        size = sizeof(bytes);
    return 0;
}

static int square(int x)
{
    usleep(x % 8 == 0 ? 50 : 0);
    return x * x;
}

static void children_start(struct piu_process p[CHILDREN])
{
    static const char *const sleep_argv[] = {"sleep", "1000", NULL};

    p[BUSY] = (struct piu_process){.target = busy_main, .daemon = true};
    p[FROM_ZYGOTE] = (struct piu_process){.target = sleeper_main, .daemon = true};
    p[READER] = (struct piu_process){.target = reader_main};
    p[PROGRAM] = (struct piu_process){.daemon = true};
    wants("start", piu_process_start(&p[BUSY]));
    wants("start by zygote", piu_process_start(&p[FROM_ZYGOTE], .how = PIU_ZYGOTE));
    wants("start of a reader", piu_process_start(&p[READER]));
    wants("start of a program",
          piu_process_start(&p[PROGRAM], .how = PIU_EXEC, .argv = sleep_argv));
}

static void work(struct piu_pool *pool)
{
    int in[64], out[64];

    for (int i = 0; i < 64; i++)
        in[i] = i;
    for (int round = 0; round < ROUNDS; round++) {
        char bytes[64] = "a message";

        wants("map", piu_map(pool, square, in, out));
        wants("put", piu_queue_put(queue, bytes, sizeof(bytes), PIU_FOREVER));
        wants("acquire", piu_lock_acquire(lock, PIU_FOREVER));
        wants("release", piu_lock_release(lock));
    }
}

static void end(struct piu_pool *pool, struct piu_process p[CHILDREN])
{
    piu_pool_free(pool);
    wants("putter_done", piu_queue_putter_done(queue));
    wants("join", piu_process_join(&p[READER], PIU_FOREVER));
    for (int i = 0; i < CHILDREN; i++)
        if (i != READER)
            wants("kill", piu_process_kill(&p[i]));
    exit(0);
}

void family_main(struct family_notes *n)
{
    struct piu_process *p;
    struct piu_pool *pool;

    notes = n;
    wants("init", piu_init(.zygote = true));
    atomic_store(&notes->stage, STAGE_ZYGOTE);
    queue = piu_queue_new(.putters = true);
    lock = piu_shared_new(1, sizeof(*lock));
    p = piu_shared_new(CHILDREN, sizeof(*p));
    wants("new", queue && lock && p ? 0 : -errno);
    wants("putter", piu_queue_putter(queue));
    atomic_store(&notes->stage, STAGE_CHILDREN);
    children_start(p);
    atomic_store(&notes->stage, STAGE_POOL);
    pool = piu_pool_new(.processes = 2);
    wants("pool_new", pool ? 0 : -errno);
    atomic_store(&notes->stage, STAGE_WORK);
    work(pool);
    atomic_store(&notes->stage, STAGE_END);
    end(pool, p);
    exit(0);
}
