/*
 * What hangs on a pool: given back by its owner or, when that one has ended without, by whoever
 * sweeps it.  Its block is the owner's, with the purpose BLOCK_POOL; all else is the family's:
 *
 *    piu_pool --shared_at--> pool_shared --first--> job -> job      each with its notes and arrays
 *       |  `--moving--> job        `--codes--> code -> code
 *       `--spares--> job -> job
 *
 * E1  a block is the family's only once a word here leads to it
 * E2  a job on its way into or out of the list is `moving`; it may stand in the list, or among the
 *     spares, as well
 * E3  nothing is freed while the nursery or a worker runs: the sweep asks again
 * Crash: who dissolves owns the pool's block.  The next one goes on, from what is still linked; a
 * note, an array or a code that was unlinked and not freed yet stays with the arena.
 */
#include "os/fd.h"
#include "shm/heap.h"
#include "task/pool.h"

#define SPARES_MOST 32u

/* ---- Spare blocks, under the lock --------------------------------------------------------- */

static struct job *spare_at(uint64_t offset)
{
    return arena_within(offset, JOB_SMALL, alignof(struct job));
}

uint64_t spare_take(struct piu_pool *pool)
{
    struct job *j = spare_at(pool->spares);

    if (!j)
        return 0;
    atomic_store_explicit(&pool->moving, arena_offset(j), memory_order_release);
    pool->spares = atomic_load_explicit(&j->next, memory_order_relaxed);
    atomic_store_explicit(&j->next, 0, memory_order_relaxed);
    pool->spares_count--;
    return arena_offset(j);
}

static void spare_keep(struct piu_pool *pool, struct job *j)
{
    job_clear(j);
    atomic_store_explicit(&j->next, pool->spares, memory_order_relaxed);
    atomic_signal_fence(memory_order_seq_cst);
    pool->spares = arena_offset(j);
    pool->spares_count++;
    atomic_store_explicit(&pool->moving, 0, memory_order_release);
}

void pool_drop_job(struct piu_pool *pool, struct job *j)
{
    bool small = j->small;

    job_strip(j);
    if (small && pool->spares_count < SPARES_MOST)
        spare_keep(pool, j);
    else
        block_free_from(&pool->moving);
}

/* ---- All of it ------------------------------------------------------------------------------ */

bool pool_workers_are_gone(struct pool_shared *p)
{
    for (unsigned i = 0; i < p->places; i++) {
        uint64_t id = atomic_load(&p->workers[i].id);

        if (atomic_load(&p->workers[i].pid) && id &&
            member_fate_unswept(id) == FATE_ALIVE)
            return false;
    }
    return true;
}

/* Also while it is being made. */
static struct pool_shared *shared_of(const struct piu_pool *pool)
{
    struct pool_shared *p =
        arena_within(atomic_load_explicit(&pool->shared_at, memory_order_relaxed),
                     sizeof(*p), alignof(struct pool_shared));

    return p && arena_has(p->workers, p->places * sizeof(p->workers[0])) ? p : NULL;
}

struct pool_shared *pool_shared_of(const struct piu_pool *pool)
{
    struct pool_shared *p = shared_of(pool);

    return p && p == pool->shared && p->places == pool->places && p->poke == pool->poke &&
                   p->ended == pool->ended
               ? p
               : NULL;
}

/* Results that are not freed yet keep their jobs, and end with the owner. */
static void end_moving(struct piu_pool *pool, bool swept)
{
    struct job *j = job_at(atomic_load(&pool->moving));

    if (j && !swept && !atomic_load(&j->given_up)) {
        j->number = 0;
        job_take(j);
        atomic_store(&pool->moving, 0);
        return;
    }
    if (j)
        job_strip(j);
    if (atomic_load(&pool->moving))
        block_free_from(&pool->moving);
    atomic_store(&pool->moving, 0);
}

static bool is_linked(const struct piu_pool *pool, const struct pool_shared *p,
                      uint64_t job)
{
    struct job_walk walk = job_walk_from(&p->first);
    uint64_t bound = heap_blocks_most();

    for (const struct job *j; (j = job_walk_next(&walk));) {
        if (arena_offset(j) == job)
            return true;
    }
    for (const struct job *j = spare_at(pool->spares); j && bound; bound--) {
        if (arena_offset(j) == job)
            return true;
        j = spare_at(atomic_load(&j->next));
    }
    return false;
}

/* Numbers grow along the list: where they do not, somebody wrote over it, and it leads back. */
static uint64_t next_to_end(const struct job *j)
{
    const struct job *next = job_at(atomic_load(&j->next));

    return next && next->number > j->number ? arena_offset(next) : 0;
}

static void end_jobs(struct piu_pool *pool, struct pool_shared *p, bool swept)
{
    struct job *j;

    if (is_linked(pool, p, atomic_load(&pool->moving)))
        atomic_store(&pool->moving, 0);
    end_moving(pool, swept);
    while ((j = job_at(atomic_load(&p->first)))) {
        atomic_store(&pool->moving, arena_offset(j));
        atomic_store(&p->first, next_to_end(j));
        end_moving(pool, swept);
    }
}

static void end_spares(struct piu_pool *pool)
{
    while (spare_take(pool))
        block_free_from(&pool->moving);
}

void pool_dissolve(struct piu_pool *pool, bool swept)
{
    struct pool_shared *p = shared_of(pool);

    pool->stamp = 0;
    if (p) {
        end_jobs(pool, p, swept);
        end_spares(pool);
        codes_free(&p->codes);
        p->stamp = 0;
        if (!swept) { /* else they were the owner's, and went with it */
            fd_close(pool->poke);
            fd_close(pool->ended);
        }
        block_free_from(&pool->shared_at);
    }
    block_free(pool);
}

/* ---- An owner that ended -------------------------------------------------------------------- */

/* E3.  Both are bound to the owner by the life pipe: it is a matter of ms. */
static bool is_in_use(struct piu_pool *pool)
{
    struct pool_shared *p = shared_of(pool);
    uint64_t nursery = pool->nursery.id;

    return p && ((nursery && member_fate_unswept(nursery) == FATE_ALIVE) ||
                 !pool_workers_are_gone(p));
}

static bool pool_orphan(void *block, uint64_t dead_id, bool died)
{
    (void)died;
    if (block_size(block) < sizeof(struct piu_pool)) {
        block_reap(block, dead_id); /* somebody wrote over its word */
        return true;
    }
    if (is_in_use(block))
        return false;
    if (block_inherit(block, dead_id, BLOCK_POOL) == 0) /* else another sweep has it */
        pool_dissolve(block, true);
    return true;
}

__attribute__((constructor)) static void orphans_register(void)
{
    block_on_orphan(BLOCK_POOL, pool_orphan);
}
