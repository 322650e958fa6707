/* Images: scenes cut off, kept, put back. */
#include "image.h"

#include "flow/ledger.h"
#include "shm/run.h"
#include "shm/slot.h"
#include "shm/span.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#define NEED(condition)                                                            \
    do {                                                                           \
        if (!(condition)) {                                                        \
            fprintf(stderr, "%s:%d: %s failed\n", __FILE__, __LINE__, #condition); \
            exit(2);                                                               \
        }                                                                          \
    } while (0)

struct objects *objects;
struct piu_queue *queues[QUEUES];
struct pool_shared *pool;
struct job *jobs[3];
void *blocks[BLOCKS];
struct piu_hold holds[3];

/* The instruction that a scene is cut off after; the last one is behind its end. */
static const unsigned cuts[] = {40, 120, 350, 900, 2500, UINT32_MAX};

struct image {
    unsigned char *parts[3]; /* header and members, unit table, heap */
    size_t sizes[3];
    struct arena arena; /* these two are private, and go with it */
    struct ledger ledger;
};

static struct image base, *images;
static size_t heap_seen; /* bytes of the heap that may be other than zero */
static int first_fd;     /* descriptors from here on are an input's */

/* ---- Taken, put back ---------------------------------------------------------------------- */

static unsigned char *part_at(unsigned part)
{
    const uint64_t offsets[] = {0, arena.unit_table, arena.heap};

    return arena.base + offsets[part];
}

static void image_take(struct image *ret)
{
    uint64_t units = heap_committed();

    ret->arena = arena;
    ret->ledger = ledger_mine;
    ret->sizes[0] = ARENA_MEMBERS + (size_t)slots_end() * MEMBER_SIZE;
    ret->sizes[1] = units * sizeof(uint64_t);
    ret->sizes[2] = units * UNIT_SIZE;
    for (unsigned i = 0; i < 3; i++) {
        NEED(ret->parts[i] = malloc(ret->sizes[i]));
        memcpy(ret->parts[i], part_at(i), ret->sizes[i]);
    }
}

static void image_put_back(const struct image *image)
{
    size_t now = (size_t)(atomic_load(&arena.end) - arena.heap);

    heap_seen = heap_seen > now ? heap_seen : now;
    for (unsigned i = 0; i < 3; i++)
        memcpy(part_at(i), image->parts[i], image->sizes[i]);
    for (int fd = first_fd; fd < first_fd + 32; fd++)
        close(fd);
    arena = image->arena;
    ledger_mine = image->ledger;
    if (heap_seen > image->sizes[2]) {
        memset(arena.base + arena.unit_table + image->sizes[1], 0,
               heap_seen / UNIT_SIZE * sizeof(uint64_t) - image->sizes[1]);
        arena_unback(arena.heap + image->sizes[2], heap_seen - image->sizes[2]);
    }
}

/* ---- The objects ---------------------------------------------------------------------------- */

static int run(struct piu_task *self, size_t first, size_t last)
{
    (void)self;
    (void)first;
    (void)last;
    return 0;
}

static struct job *make_job(size_t count, bool iterated)
{
    struct piu_task task = {.run = run, .count = count, .chunk = 1, .retries = 1};
    struct job_wish wish = {.task = &task,
                            .code = 0,
                            .places = WORKERS,
                            .iterated = iterated,
                            .unordered = iterated};
    struct job_plan plan;
    struct job *j;

    NEED(job_plan(&wish, &plan) == 0 && job_new(&wish, &plan, 0, &j) == 0);
    return j;
}

static void make_pool(void)
{
    void *block;
    struct pool_shared *p;
    uint64_t who;

    NEED(member_who(&who) == 0);
    NEED(block_new_family(sizeof(*p) + WORKERS * sizeof(p->workers[0]), &block) == 0);
    p = pool = block;
    p->stamp = POOL_STAMP;
    p->places = WORKERS;
    p->poke = p->ended = -1;
    jobs[0] = make_job(4, false);
    jobs[1] = make_job(200, false);
    jobs[2] = make_job(60, true);
    pool_lock(p, who);
    for (unsigned i = 0; i < 3; i++)
        pool_append(p, jobs[i]);
    pool_unlock(p);
}

static void make_queues(void)
{
    static unsigned char bytes[LARGE];
    uint64_t who;

    NEED(member_who(&who) == 0);
    NEED(queues[0] = piu_queue_new(0));
    NEED(queues[1] = piu_queue_new(.maxsize = 6, .putters = true));
    NEED(queues[2] = piu_queue_new(.tasks = true));
    NEED(queues[3] = piu_queue_new(.maxsize = 8, .tasks = true));
    for (unsigned i = 0; i < QUEUES; i++) {
        for (unsigned n = 0; n < 3; n++)
            NEED(piu_queue_put(queues[i], bytes, i == 3 ? LARGE : SMALL, PIU_NOW) == 0);
    }
    NEED(piu_queue_putter(queues[1]) == 0);
    for (unsigned i = 0; i < 400; i++) /* more than one chunk */
        NEED(piu_queue_put(queues[0], bytes, SMALL, PIU_NOW) == 0);
}

static void make_objects(void)
{
    static const size_t sizes[BLOCKS] = {64, 100, 1000, 8192, 20000, 70000};

    NEED(objects = piu_shared_new(1, sizeof(*objects)));
    NEED(piu_semaphore_init(&objects->semaphore, 2, PIU_RECOVER) == 0);
    NEED(piu_semaphore_init(&objects->bounded, 2, PIU_BOUNDED) == 0);
    NEED(piu_barrier_init(&objects->barrier, 3) == 0);
    for (unsigned i = 0; i < BLOCKS; i++)
        NEED(blocks[i] = piu_shared_new(1, sizes[i]));
    NEED(piu_name(&objects->lock, "a lock") == 0 && piu_name(blocks[0], "a block") == 0);
    NEED(piu_hold_new(&holds[0], PIU_KIND_MEMORY, 100) == 0);
    NEED(piu_hold_new(&holds[1], PIU_KIND_SEMAPHORE, sizeof(struct piu_semaphore)) == 0);
    NEED(piu_hold_new(&holds[2], PIU_KIND_CONDITION, sizeof(struct piu_condition)) == 0);
    make_queues();
    make_pool();
}

/* One that holds, has taken, reserved, arrived, and is killed: in every image. */
static void be_a_holder(void)
{
    static unsigned char bytes[LARGE];
    size_t size = sizeof(bytes);
    void *message;

    piu_rlock_acquire(&objects->rlock, PIU_NOW);
    piu_semaphore_acquire(&objects->semaphore, PIU_NOW);
    piu_rwlock_acquire_read(&objects->rwlock, PIU_NOW);
    piu_queue_take(queues[3], &message, &size, PIU_NOW);
    piu_queue_get(queues[2], bytes, &size, PIU_NOW);
    piu_queue_reserve(queues[1], SMALL, &message, PIU_NOW);
    piu_queue_putter(queues[1]);
    piu_barrier_wait(&objects->barrier, NULL, 1);
    _exit(0);
}

static pid_t start(void (*function)(void))
{
    pid_t pid = fork();

    NEED(pid >= 0);
    if (pid == 0) {
        function();
        _exit(0);
    }
    return pid;
}

static void wait_for(pid_t pid)
{
    int status;

    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
}

void image_begin(void)
{
    make_objects();
    NEED((first_fd = dup(0)) >= 0);
    close(first_fd);
    wait_for(start(be_a_holder));
    image_take(&base);
    NEED(images = calloc(image_count(), sizeof(*images)));
}

/* ---- Scenes ---------------------------------------------------------------------------------- */

static unsigned scene;

unsigned image_count(void)
{
    return operation_count() * (unsigned)array_size(cuts);
}

static void be_a_victim(void)
{
    uint64_t who;

    member_who(&who);
    ptrace(PTRACE_TRACEME, 0, NULL, NULL);
    raise(SIGSTOP);
    operation_do(scene, 0);
    _exit(0);
}

/* Where tracing is not allowed all are cut off behind their ends. */
static void cut_off(pid_t pid, unsigned after)
{
    int status = 0;

    while (waitpid(pid, &status, WUNTRACED) < 0 && errno == EINTR)
        ;
    for (unsigned i = 0; WIFSTOPPED(status) && i < after && after != UINT32_MAX; i++) {
        if (ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL) < 0)
            break;
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
            ;
    }
    if (WIFSTOPPED(status) && after == UINT32_MAX) {
        ptrace(PTRACE_CONT, pid, NULL, NULL);
        wait_for(pid);
    } else if (WIFSTOPPED(status)) {
        kill(pid, SIGKILL);
        wait_for(pid);
    }
}

static void image_make(unsigned number)
{
    image_put_back(&base);
    scene = number / (unsigned)array_size(cuts);
    cut_off(start(be_a_victim), cuts[number % array_size(cuts)]);
    image_take(&images[number]);
}

void image_restore(unsigned number)
{
    number %= image_count();
    if (!images[number].sizes[0])
        image_make(number);
    image_put_back(&images[number]);
}

/* ---- Words ------------------------------------------------------------------------------------ */

#define AREAS 512

static struct area {
    uint64_t *words;
    size_t count;
} areas[AREAS];
static size_t areas_count, words_count;

static void area_add(void *at, size_t size)
{
    if (areas_count == AREAS)
        return;
    areas[areas_count++] = (struct area){at, size / sizeof(uint64_t)};
    words_count += size / sizeof(uint64_t);
}

/* As it is now, before anything was changed. */
static void areas_find(void)
{
    areas_count = words_count = 0;
    area_add(arena.base, sizeof(struct arena_header));
    for (uint32_t slot = 1; slot < 5; slot++)
        area_add(slot_record(slot), sizeof(struct member));
    area_add(arena.base + arena.unit_table, heap_committed() * sizeof(uint64_t));
    for (uint64_t unit = 0; unit < heap_committed();) {
        const struct shape *shape;
        struct span *s = span_at(unit, &shape);

        if (s)
            area_add(s, sizeof(*s) + shape->count * sizeof(uint64_t));
        for (uint32_t i = 0; s && i < shape->count; i++) {
            if (block_is(span_block(s, shape, i)))
                area_add(span_block(s, shape, i), min_u64(shape->size, 1024));
        }
        if (!s && block_is(unit_address(unit)))
            area_add(unit_address(unit), 1024);
        unit += max_u64(run_length(atomic_load(unit_word(unit))), 1);
    }
}

size_t image_words(void)
{
    areas_find();
    return words_count;
}

uint64_t *image_word(size_t n)
{
    n %= words_count;
    for (size_t i = 0;; i++) {
        if (n < areas[i].count)
            return &areas[i].words[n];
        n -= areas[i].count;
    }
}

/* ---- Locks ------------------------------------------------------------------------------------- */

static void lock_open(owner_word *word)
{
    if ((atomic_load(word) & ID_MASK) == member_self_id())
        atomic_store(word, 0);
}

void image_open_locks(void)
{
    struct arena_header *h = arena_header();

    lock_open(&h->heap_lock);
    lock_open(&h->names_lock);
    lock_open(&h->handles_lock);
    lock_open(&member_of(member_self_id())->held_lock);
    for (unsigned i = 0; i < QUEUES; i++) {
        lock_open(&queues[i]->put.lock);
        lock_open(&queues[i]->get.lock);
    }
}
