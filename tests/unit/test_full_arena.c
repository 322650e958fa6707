/* No memory is left in the arena: what needs some says so, and what needs none works. */
#include "full_arena.h"
#include "pools.h"

#include <piu.h>

struct things {
    struct piu_lock lock;
    struct piu_rlock rlock;
    struct piu_rwlock rwlock;
    struct piu_semaphore bounded;
    struct piu_condition condition;
    struct piu_event event;
    struct piu_barrier barrier;
    struct piu_queue *queue, *counted;
};

static struct things *things_new(void)
{
    struct things *t = piu_shared_new(1, sizeof(*t));

    CHECK(t);
    CHECK_EQ(piu_semaphore_init(&t->bounded, 1, PIU_BOUNDED), 0);
    CHECK_EQ(piu_barrier_init(&t->barrier, 1), 0);
    CHECK((t->queue = piu_queue_new()) &&
          (t->counted = piu_queue_new(.tasks = true, .putters = true)));
    return t;
}

static struct filler filler;

static struct things *things_in_full_arena(void)
{
    struct things *t = things_new();

    limit_arena();
    fill_arena(&filler);
    return t;
}

/* All of it, twice: what was refused a first time has left nothing half done. */
static void check_things_work(struct things *t)
{
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(piu_lock_acquire(&t->lock, PIU_NOW), 0);
        CHECK_EQ(piu_condition_wait(&t->condition, &t->lock, PIU_NOW), -ETIMEDOUT);
        CHECK_EQ(piu_lock_release(&t->lock), 0);
        CHECK_EQ(piu_rwlock_acquire_read(&t->rwlock, PIU_NOW), 0);
        CHECK_EQ(piu_rwlock_release(&t->rwlock), 0);
        CHECK_EQ(piu_rwlock_acquire_write(&t->rwlock, PIU_NOW), 0);
        CHECK_EQ(piu_rwlock_release(&t->rwlock), 0);
        CHECK_EQ(piu_semaphore_acquire(&t->bounded, PIU_NOW), 0);
        CHECK_EQ(piu_semaphore_release(&t->bounded), 0);
        CHECK_EQ(piu_semaphore_release(&t->bounded), -EOVERFLOW);
        CHECK_EQ(piu_barrier_wait(&t->barrier, NULL, PIU_NOW), 0);
        CHECK_EQ(piu_queue_put(t->queue, &i, sizeof(i), PIU_NOW), 0);
        CHECK_EQ(piu_queue_get(t->queue, &i, &(size_t){sizeof(i)}, PIU_NOW), 0);
        CHECK_EQ(piu_queue_putter(t->counted), 0);
        CHECK_EQ(piu_queue_put(t->counted, &i, sizeof(i), PIU_NOW), 0);
        CHECK_EQ(piu_queue_get(t->counted, &i, &(size_t){sizeof(i)}, PIU_NOW), 0);
        CHECK_EQ(piu_queue_task_done(t->counted), 0);
        CHECK_EQ(piu_queue_putter_done(t->counted), 0);
        CHECK_EQ(piu_name(t, "things"), 0);
    }
}

#define check_refused(call) CHECK_EQ(call, -ENOMEM)

TEST(what_needs_memory_says_so_and_works_when_there_is_some_again)
{
    struct things *t = things_in_full_arena();
    struct piu_hold hold = {.object = NULL};
    static char bytes[10000];
    size_t count = 7, queues = 0;
    void *message;

    CHECK_EQ(piu_lock_acquire(&t->lock, PIU_NOW), 0);
    check_refused(piu_condition_wait(&t->condition, &t->lock, PIU_NOW));
    CHECK(piu_lock_is_mine(&t->lock));
    CHECK_EQ(piu_lock_release(&t->lock), 0);
    check_refused(piu_rwlock_acquire_read(&t->rwlock, PIU_NOW));
    CHECK_EQ(piu_rwlock_acquire_write(&t->rwlock, PIU_NOW), 0); /* that is a word */
    CHECK_EQ(piu_rwlock_release(&t->rwlock), 0);
    check_refused(piu_semaphore_acquire(&t->bounded, PIU_NOW));
    CHECK_EQ(piu_semaphore_value(&t->bounded), 1);
    check_refused(piu_queue_put(t->queue, bytes, sizeof(bytes), PIU_NOW));
    check_refused(piu_queue_put_many(t->queue, bytes, 5000, 2, &count, PIU_NOW));
    check_refused(piu_queue_reserve(t->queue, sizeof(bytes), &message, PIU_NOW));
    check_refused(piu_queue_putter(t->counted));
    CHECK_EQ(piu_queue_qsize(t->queue), 0);
    check_refused(piu_name(t, "things"));
    check_refused(piu_hold_new(&hold, PIU_KIND_MEMORY, 1));
    check_refused(piu_hold_queue(&hold, t->queue));
    while (queues < 100 && piu_queue_new()) /* there is a place for one or two */
        queues++;
    CHECK(queues < 100 && errno == ENOMEM);
    CHECK(!piu_pool_new(.processes = 1) && errno == ENOMEM);
    empty_arena(&filler);
    check_things_work(t);
    CHECK(block_check());
}

static int acquire_and_set(void *argument)
{
    struct things *t = argument;

    CHECK(piu_lock_acquire(&t->lock, PIU_FOREVER) >= 0);
    CHECK_EQ(piu_rlock_acquire(&t->rlock, PIU_FOREVER), 0);
    CHECK_EQ(piu_rlock_release(&t->rlock), 0);
    CHECK_EQ(piu_lock_release(&t->lock), 0);
    CHECK_EQ(piu_event_set(&t->event), 0);
    return 3;
}

TEST(what_needs_none_works_between_processes_too)
{
    struct things *t = things_in_full_arena();
    struct piu_process p = {.target = acquire_and_set, .argument = t};
    int exitcode;

    CHECK_EQ(piu_lock_acquire(&t->lock, PIU_NOW), 0);
    CHECK_EQ(piu_process_start(&p), 0);
    CHECK_EQ(piu_event_wait(&t->event, PIU_MSEC(30)), -ETIMEDOUT);
    CHECK_EQ(piu_lock_release(&t->lock), 0);
    CHECK_EQ(piu_event_wait(&t->event, PIU_FOREVER), 0);
    CHECK_EQ(piu_process_join(&p, PIU_FOREVER), 0);
    CHECK_EQ(piu_process_exitcode(&p, &exitcode), 0);
    CHECK_EQ(exitcode, 3);
    in_child_killed({ CHECK(piu_lock_acquire(&t->lock, PIU_FOREVER) == 0); });
    CHECK_EQ(piu_lock_acquire(&t->lock, PIU_SEC(5)), PIU_OWNER_DIED);
    CHECK_EQ(piu_lock_release(&t->lock), 0);
    empty_arena(&filler);
}

/* Messages that are in come out, and make room for others. */
TEST(a_queue_that_found_no_room_has_lost_nothing)
{
    struct piu_queue *q = piu_queue_new();
    uint64_t put = 0, got;
    char large[3000] = {0};

    CHECK(q);
    limit_arena();
    fill_arena(&filler);
    for (size_t i = 0; i < filler.count; i += 2) /* some room, of all sizes */
        piu_shared_free(filler.blocks[i]);
    while (put < 1000000) {
        int r;

        memcpy(large, &put, sizeof(put));
        r = piu_queue_put(q, large, put % 3 ? sizeof(put) : sizeof(large), PIU_NOW);
        if (r < 0) {
            check_refused(r);
            break;
        }
        put++;
    }
    CHECK(put > 0);
    CHECK_EQ(piu_queue_qsize(q), put);
    for (got = 0; got < put; got++) {
        CHECK_EQ(piu_queue_get(q, large, &(size_t){sizeof(large)}, PIU_NOW), 0);
        CHECK(memcmp(large, &got, sizeof(got)) == 0);
    }
    CHECK_EQ(piu_queue_put(q, &got, sizeof(got), PIU_NOW), 0);
    CHECK_EQ(piu_queue_get(q, &got, &(size_t){sizeof(got)}, PIU_NOW), 0);
    CHECK_EQ(got, put);
}
