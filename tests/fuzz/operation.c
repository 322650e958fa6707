/* Operations: everything that reads what another member wrote, and never waits. */
#include "image.h"

#include "flow/handle.h"
#include "shm/sweep.h"
#include "sync/barrier.h"
#include "sync/condition.h"
#include "sync/lock.h"
#include "task/claim.h"
#include "task/note.h"

#include <stdlib.h>
#include <string.h>

static unsigned char bytes[2 * LARGE];
static uint64_t who;

static struct piu_queue *queue_of(unsigned argument)
{
    return queues[argument % QUEUES];
}

/* ---- Members, blocks ----------------------------------------------------------------------- */

static void sweep(unsigned argument)
{
    member_sweep_dead(argument % 2);
}

static void look_at_members(unsigned argument)
{
    char name[NAME_SIZE];
    uint32_t cursor = 0;
    uint64_t id;
    int code;

    for (uint32_t slot = 0; slot < 8; slot++) {
        for (uint64_t generation = 0; generation < 3; generation++)
            member_fate(id_make(slot, generation));
    }
    while ((id = member_next(&cursor))) {
        member_name(id, name);
        member_exitcode(id, &code);
        member_pid(id);
    }
    member_renew(who);
    (void)argument;
}

static void claim_a_slot(unsigned argument)
{
    uint64_t id;

    for (unsigned i = 0; i <= argument % 4; i++) {
        if (member_claim("claimed", &id) == 0)
            member_unclaim(id);
    }
}

static void allocate(unsigned argument)
{
    static const size_t sizes[] = {1, 64, 200, 1024, 8192, 9000, 40000, 300000};
    void *block = piu_shared_new(1, sizes[argument % array_size(sizes)]);

    if (block && argument & 8) {
        memset(block, 1, sizes[argument % array_size(sizes)]);
        piu_shared_free(block);
    }
}

static void free_a_block(unsigned argument)
{
    void *block = blocks[argument % BLOCKS];

    block_size(block);
    piu_shared_free(block);
    piu_shared_free(block);
}

static void count_one(void *block, uint64_t owner, void *argument)
{
    (void)block;
    *(uint64_t *)argument += owner;
}

static void check_heap(unsigned argument)
{
    uint64_t sum = 0;

    block_check();
    block_count();
    block_in_use();
    block_each(argument % BLOCK_PURPOSES, count_one, &sum);
}

/* ---- Names, handles -------------------------------------------------------------------------- */

static void name_things(unsigned argument)
{
    char name[16];

    piu_name_of(&objects->lock, name, sizeof(name));
    piu_name_of(blocks[argument % BLOCKS], name, sizeof(name));
    for (unsigned i = 0; i <= argument % 64; i++)
        piu_name((unsigned char *)blocks[5] + 64 * i, "thing");
    piu_name(blocks[argument % BLOCKS], NULL);
}

static void hold_things(unsigned argument)
{
    struct piu_hold hold;

    if (piu_hold_new(&hold, PIU_KIND_MEMORY + argument % 4, 200) == 0 && argument & 4) {
        if (piu_handle_send(&hold.handle) == 0)
            piu_handle_land(&hold.handle);
        piu_hold_drop(&hold);
    }
    if (piu_hold_take(&hold, &holds[argument % 3].handle) == 0)
        piu_hold_drop(&hold);
}

static void drop_a_hold(unsigned argument)
{
    struct piu_hold hold = holds[argument % 3];

    piu_hold_drop(&hold);
    handles_check(0);
    if (piu_hold_queue(&hold, queue_of(argument)) == 0)
        piu_hold_drop(&hold);
}

/* ---- Locks and their kin --------------------------------------------------------------------- */

static void use_lock(unsigned argument)
{
    piu_lock_owner(&objects->lock);
    if (piu_lock_acquire(&objects->lock, PIU_NOW) >= 0 || argument & 1)
        piu_lock_release(&objects->lock);
    if (piu_rlock_acquire(&objects->rlock, PIU_NOW) >= 0) {
        piu_rlock_acquire(&objects->rlock, PIU_NOW);
        piu_rlock_release(&objects->rlock);
        piu_rlock_release(&objects->rlock);
    }
}

static void use_rwlock(unsigned argument)
{
    int r = argument & 1 ? piu_rwlock_acquire_write(&objects->rwlock, PIU_NOW)
                         : piu_rwlock_acquire_read(&objects->rwlock, PIU_NOW);

    if (r >= 0 || argument & 2)
        piu_rwlock_release(&objects->rwlock);
    if (argument & 4)
        piu_rwlock_done(&objects->rwlock);
}

static void use_semaphore(unsigned argument)
{
    struct piu_semaphore *s = argument & 1 ? &objects->semaphore : &objects->bounded;

    for (unsigned i = 0; i < 3; i++)
        piu_semaphore_acquire(s, PIU_NOW);
    piu_semaphore_value(s);
    for (unsigned i = 0; i < 1 + argument % 4; i++)
        piu_semaphore_release(s);
    if (argument & 8)
        piu_semaphore_done(s);
}

static void use_condition(unsigned argument)
{
    if (piu_lock_acquire(&objects->lock, PIU_NOW) >= 0) {
        piu_condition_wait(&objects->condition, &objects->lock, PIU_NOW);
        piu_lock_release(&objects->lock);
    }
    piu_condition_waiting(&objects->condition);
    if (argument & 1)
        piu_condition_notify(&objects->condition, 2);
    else
        piu_condition_notify_all(&objects->condition);
    condition_check(&objects->condition);
    if (argument & 2)
        piu_condition_done(&objects->condition);
}

static void use_barrier(unsigned argument)
{
    unsigned index;

    piu_barrier_wait(&objects->barrier, &index, PIU_NOW);
    if (argument & 8 && piu_barrier_meet(&objects->barrier, &index, PIU_NOW) == PIU_LAST)
        piu_barrier_release(&objects->barrier);
    piu_barrier_waiting(&objects->barrier);
    piu_barrier_is_broken(&objects->barrier);
    if (argument & 1)
        piu_barrier_reset(&objects->barrier);
    if (argument & 2)
        piu_barrier_abort(&objects->barrier);
    if (argument & 4)
        piu_barrier_done(&objects->barrier);
}

static void use_event(unsigned argument)
{
    struct piu_waitable list[] = {{.event = &objects->event},
                                  {.queue = queue_of(argument)}};

    piu_event_wait(&objects->event, PIU_NOW);
    piu_event_set(&objects->event);
    piu_event_clear(&objects->event);
    piu_wait_any(list, 2, PIU_NOW);
}

/* ---- Queues ---------------------------------------------------------------------------------- */

static void put_small(unsigned argument)
{
    for (unsigned i = 0; i <= argument / QUEUES % 8; i++)
        piu_queue_put(queue_of(argument), bytes, SMALL + i, PIU_NOW);
}

static void put_large(unsigned argument)
{
    piu_queue_put(queue_of(argument), bytes, LARGE, PIU_NOW);
}

static void get_some(unsigned argument)
{
    for (unsigned i = 0; i <= argument / QUEUES % 8; i++) {
        size_t size = sizeof(bytes);

        piu_queue_get(queue_of(argument), bytes, &size, PIU_NOW);
    }
}

static void get_new(unsigned argument)
{
    size_t size;
    void *got;

    if (piu_queue_get_new(queue_of(argument), &got, &size, PIU_NOW) >= 0)
        free(got);
}

static void take_and_drop(unsigned argument)
{
    size_t size;
    void *got;

    if (piu_queue_take(queue_of(argument), &got, &size, PIU_NOW) >= 0 && argument & 8)
        piu_queue_drop(queue_of(argument), got);
}

static void reserve(unsigned argument)
{
    struct piu_queue *q = queue_of(argument);
    void *message;

    if (piu_queue_reserve(q, argument & 16 ? LARGE : SMALL, &message, PIU_NOW) < 0)
        return;
    if (argument & 8)
        piu_queue_commit(q, message);
    else
        piu_queue_abort(q, message);
}

static void many(unsigned argument)
{
    struct piu_queue *q = queue_of(argument);
    size_t count = 0;

    piu_queue_put_many(q, bytes, SMALL, argument & 8 ? 64 : 3, &count, PIU_NOW);
    piu_queue_get_many(q, bytes, SMALL, argument & 16 ? 64 : 3, &count, PIU_NOW);
    piu_queue_put_many(q, bytes, LARGE, 1, &count, PIU_NOW);
    piu_queue_get_many(q, bytes, LARGE, 2, &count, PIU_NOW);
}

static void tasks(unsigned argument)
{
    piu_queue_task_done(queue_of(argument));
    piu_queue_join(queue_of(argument), PIU_NOW);
}

static void putters(unsigned argument)
{
    piu_queue_putter(queues[1]);
    if (argument & 1)
        piu_queue_putter_done(queues[1]);
    queue_has_ended(queues[1]);
}

static void look_at_queue(unsigned argument)
{
    struct piu_queue *q = queue_of(argument);

    piu_queue_qsize(q);
    queue_check(q);
    piu_queue_fd(q);
    if (argument & 8)
        piu_queue_shutdown(q);
}

static void free_a_queue(unsigned argument)
{
    piu_queue_free(queue_of(argument));
}

/* ---- The pool: what nursery and workers do but for running code ------------------------------- */

static void claim_and_finish(unsigned argument)
{
    unsigned place = argument % WORKERS;
    struct job *j = pool_pick(pool, who, place);
    uint64_t chunk;

    for (unsigned i = 0; j && i <= argument / 4 % 4; i++) {
        if (!job_claim(j, place, argument & 2, &pool->workers[place].chunk, &chunk))
            break;
        atomic_store(&pool->workers[place].job, arena_offset(j));
        job_finish_chunk(j, place, chunk, CHUNK_DONE);
        job_try_end(j);
    }
}

static void claim_and_die(unsigned argument)
{
    struct piu_death death = {.exitcode = -9};
    unsigned place = argument % WORKERS;
    struct job *j = pool_pick(pool, who, place);
    uint64_t chunk;

    if (j)
        job_claim(j, place, false, &pool->workers[place].chunk, &chunk);
    pool_lock(pool, who);
    pool_bury(pool, place, &death, argument & 2);
    pool_unlock(pool);
}

static void look_at_jobs(unsigned argument)
{
    struct job *j = job_at(arena_offset(jobs[argument % 3]));

    if (!j)
        return;
    job_items_done(j);
    job_has_work(j);
    piu_report_free(report_of(j));
    if (argument & 8)
        job_end_with(j, -ECANCELED);
}

static void (*const operations[])(unsigned argument) = {
    sweep,         look_at_members, claim_a_slot,
    allocate,      free_a_block,    check_heap,
    name_things,   hold_things,     drop_a_hold,
    use_lock,      use_rwlock,      use_semaphore,
    use_condition, use_barrier,     use_event,
    put_small,     put_large,       get_some,
    get_new,       take_and_drop,   reserve,
    many,          tasks,           putters,
    look_at_queue, free_a_queue,    claim_and_finish,
    claim_and_die, look_at_jobs,
};

unsigned operation_count(void)
{
    return (unsigned)array_size(operations);
}

void operation_do(unsigned number, unsigned argument)
{
    if (member_who(&who) == 0)
        operations[number % array_size(operations)](argument);
}
