#include "recovery_trial.h"

#include <piu.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { SETTLE = 3000000 }; /* ns: longer than any spin, so that the survivor sleeps */

/* Plain shared memory.  Who is waited for says in a word which trial it has come to. */
struct scene {
    size_t memory;
    _Atomic unsigned owns;      /* the victim */
    _Atomic unsigned waits;     /* the survivor, just about to */
    _Atomic unsigned went_on;   /* the survivor */
    _Atomic int64_t went_on_at; /* clock */
    _Atomic int failed;         /* errno of whoever could not do its part */
    _Atomic pid_t victim;
    struct piu_lock *lock;
    struct piu_queue *queue;
    struct piu_pool *pool; /* the survivor's own */
};

static struct scene *scene;

static void nap(long ns)
{
    struct timespec time = {.tv_nsec = ns};

    nanosleep(&time, NULL);
}

/* 0, or what somebody failed with. */
static int await(_Atomic unsigned *word, unsigned trial)
{
    while (atomic_load(word) < trial) {
        if (atomic_load(&scene->failed))
            return -atomic_load(&scene->failed);
        nap(50000);
    }
    return 0;
}

static _Noreturn void fail(int r)
{
    atomic_store(&scene->failed, r < 0 ? -r : EPROTO);
    _exit(1);
}

/* ---- The victim ---------------------------------------------------------------------------- */

static _Noreturn void owns_and_stays(unsigned trial)
{
    atomic_store(&scene->victim, getpid());
    atomic_store(&scene->owns, trial);
    for (;;)
        pause();
}

static void grow(void)
{
    if (scene->memory)
        private_new(scene->memory);
}

static _Noreturn void holder_main(unsigned trial)
{
    int r = piu_lock_acquire(scene->lock, PIU_FOREVER);

    if (r < 0)
        fail(r);
    owns_and_stays(trial);
}

static unsigned trial_of_getter;

static void getter_stays(int signal)
{
    (void)signal;
    owns_and_stays(trial_of_getter);
}

/* Into memory that cannot be written: so it stands where the bytes are copied, lock in hand. */
static _Noreturn void getter_main(unsigned trial)
{
    size_t size = 4096;
    void *nowhere = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    trial_of_getter = trial;
    signal(SIGSEGV, getter_stays);
    fail(piu_queue_get(scene->queue, nowhere, &size, PIU_FOREVER));
}

static int victim_start(enum victim victim, unsigned trial)
{
    pid_t pid;

    if (victim == VICTIM_WORKER)
        return 0; /* the survivor's pool has it */
    pid = fork();
    if (pid < 0)
        return -errno;
    if (pid == 0) {
        grow();
        if (victim == VICTIM_HOLDER)
            holder_main(trial);
        getter_main(trial);
    }
    return 0;
}

/* In a worker. */
static int task_main(void *argument)
{
    grow();
    owns_and_stays(*(unsigned *)argument);
}

/* ---- The survivor -------------------------------------------------------------------------- */

static int acquire(void)
{
    int r = piu_lock_acquire(scene->lock, PIU_FOREVER);

    return r < 0 ? r : r != PIU_OWNER_DIED ? -EPROTO : 0;
}

static int get(void)
{
    unsigned number;
    size_t size = sizeof(number);
    int r = piu_queue_get(scene->queue, &number, &size, PIU_FOREVER);

    return r < 0 ? r : 0;
}

static int apply(unsigned trial)
{
    int r = piu_pool_apply(scene->pool, task_main, &trial, sizeof(trial));

    return r < 0 ? r : r != PIU_LOSSES ? -EPROTO : 0;
}

static int wait_for_victim(enum victim victim, unsigned trial)
{
    switch (victim) {
    case VICTIM_HOLDER:
        return acquire();
    case VICTIM_GETTER:
        return get();
    default:
        return apply(trial);
    }
}

static int survivor_prepare(enum victim victim)
{
    if (victim != VICTIM_WORKER)
        return 0;
    scene->pool = piu_pool_new(.processes = 2);
    return scene->pool ? 0 : -errno;
}

static _Noreturn void survivor_main(enum victim victim, unsigned count)
{
    int r = survivor_prepare(victim);

    for (unsigned trial = 1; trial <= count && r == 0; trial++) {
        if (victim != VICTIM_WORKER)
            r = await(&scene->owns, trial);
        atomic_store(&scene->waits, trial);
        if (r == 0)
            r = wait_for_victim(victim, trial);
        atomic_store(&scene->went_on_at, clock_now());
        atomic_store(&scene->went_on, trial);
        if (r == 0 && victim == VICTIM_HOLDER)
            r = piu_lock_release(scene->lock);
    }
    piu_pool_free(scene->pool);
    if (r < 0)
        fail(r);
    _exit(0);
}

/* ---- Who kills ------------------------------------------------------------------------------ */

static int scene_set(enum victim victim, size_t memory)
{
    scene = shared_new(sizeof(*scene));
    scene->memory = memory;
    if (victim == VICTIM_HOLDER)
        scene->lock = piu_shared_new(1, sizeof(*scene->lock));
    if (victim == VICTIM_GETTER)
        scene->queue = piu_queue_new();
    return scene->lock || scene->queue || victim == VICTIM_WORKER ? 0 : -errno;
}

/* The victim dies; ms from that to its end, as its pidfd tells it. */
static int kill_and_poll(double *ret_ms, int64_t *ret_killed)
{
    pid_t pid = atomic_load(&scene->victim);
    int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    struct pollfd p = {.fd = fd, .events = POLLIN};

    if (fd < 0)
        return -errno;
    *ret_killed = clock_now();
    kill(pid, SIGKILL);
    while (poll(&p, 1, -1) < 0)
        continue;
    *ret_ms = (double)(clock_now() - *ret_killed) / 1e6;
    close(fd);
    waitpid(pid, NULL, 0); /* not a worker: that is its nursery's */
    return 0;
}

static int trial_run(enum victim victim, unsigned trial, struct trials *ret)
{
    int64_t killed = 0;
    int r = 0;

    if (victim == VICTIM_GETTER)
        r = piu_queue_put(scene->queue, &trial, sizeof(trial), PIU_NOW);
    if (r == 0)
        r = victim_start(victim, trial);
    if (r == 0)
        r = await(&scene->owns, trial);
    if (r == 0)
        r = await(&scene->waits, trial);
    nap(SETTLE);
    if (r == 0)
        r = kill_and_poll(&ret->kernel[trial - 1], &killed);
    if (r == 0)
        r = await(&scene->went_on, trial);
    ret->survivor[trial - 1] = (double)(atomic_load(&scene->went_on_at) - killed) / 1e6;
    ret->count = trial;
    return r;
}

int trials_run(enum victim victim, size_t memory, unsigned count, struct trials *ret)
{
    int r = scene_set(victim, memory);
    pid_t survivor;

    if (r < 0)
        return r;
    survivor = fork();
    if (survivor < 0)
        return -errno;
    if (survivor == 0)
        survivor_main(victim, count);
    for (unsigned trial = 1; trial <= count && trial <= TRIPS && r == 0; trial++)
        r = trial_run(victim, trial, ret);
    waitpid(survivor, NULL, 0);
    return r < 0 ? r : -atomic_load(&scene->failed);
}
