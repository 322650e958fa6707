/* The pool's list of jobs. */
#include "task/pool.h"

#include "os/fd.h"
#include "os/futex.h"
#include "shm/heap.h"
#include "task/claim.h"

#include <limits.h>

struct job_walk job_walk_from(const _Atomic uint64_t *word)
{
    return (struct job_walk){word, heap_blocks_most()};
}

struct job *job_walk_next(struct job_walk *walk)
{
    struct job *j = walk->left ? job_at(atomic_load(walk->at)) : NULL;

    if (!j)
        return NULL;
    walk->left--;
    walk->at = &j->next;
    return j;
}

/* P1: from `first` and the jobs' own words, the rest. */
static void list_repair(struct pool_shared *p)
{
    struct job_walk walk = job_walk_from(&p->first);
    struct job *last = NULL;

    for (struct job *j; (j = job_walk_next(&walk)); last = j)
        atomic_store(&j->prev, last ? arena_offset(last) : 0);
    atomic_store(&p->last, last ? arena_offset(last) : 0);
    atomic_store(&p->pick, atomic_load(&p->first));
}

void pool_lock(struct pool_shared *p, uint64_t who)
{
    if (owner_enter(&p->list_lock, who) == OWNER_DIED)
        list_repair(p);
}

void pool_unlock(struct pool_shared *p)
{
    owner_leave(&p->list_lock);
}

void pool_append(struct pool_shared *p, struct job *j)
{
    struct job *last = job_at(atomic_load(&p->last));

    atomic_store_explicit(&j->next, 0, memory_order_relaxed);
    atomic_store_explicit(&j->prev, arena_offset(last), memory_order_relaxed);
    j->number = last ? last->number + 1 : 1;
    atomic_store_explicit(last ? &last->next : &p->first, arena_offset(j),
                          memory_order_release);
    atomic_store_explicit(&p->last, arena_offset(j), memory_order_release);
    pool_move_pick(p);
    if (!atomic_load_explicit(&p->pick, memory_order_relaxed))
        atomic_store_explicit(&p->pick, arena_offset(j), memory_order_release);
}

void pool_move_pick(struct pool_shared *p)
{
    uint64_t old = atomic_load_explicit(&p->pick, memory_order_relaxed);
    struct job_walk walk = job_walk_from(&p->pick);
    const struct job *j;

    do
        j = job_walk_next(&walk);
    while (j && atomic_load_explicit(&j->state, memory_order_relaxed) == JOB_ENDED);
    if (arena_offset(j) != old)
        atomic_store_explicit(&p->pick, arena_offset(j), memory_order_release);
}

/* What the worker will read of it: all lines at once, while it makes its name known. */
static void job_prefetch(uint64_t offset)
{
    const unsigned char *j;

    if (offset >= arena.range)
        return; /* somebody wrote over it */
    j = arena.base + offset;
    for (unsigned line = 0; line < offsetof(struct job, next); line += 64)
        __builtin_prefetch(j + line);
    for (unsigned line = 0; line < 192; line += 64)
        __builtin_prefetch(j + sizeof(struct job) + line);
}

/*
 * P3, without the lock.  seq_cst: either who frees it sees the name, or we see that `pick` has
 * gone on.  (If it went and came back, as another job in the same place, the name is as good.)
 * Killed here, the name is PICKING, and nothing was begun.
 */
static struct job *pick_first(struct pool_shared *p, struct worker *w)
{
    uint64_t pick = atomic_load_explicit(&p->pick, memory_order_acquire);
    struct job *j;

    if (!pick)
        return NULL;
    job_prefetch(pick);
    atomic_store(&w->job, pick | WORKER_PICKING);
    if (atomic_load(&p->pick) == pick) {
        j = job_at(pick);
        if (j && job_has_work(j)) {
            atomic_store_explicit(&w->job, pick, memory_order_release);
            return j;
        }
    }
    atomic_store_explicit(&w->job, 0, memory_order_release);
    return NULL;
}

struct job *pool_pick(struct pool_shared *p, uint64_t who, unsigned place)
{
    struct job *j = pick_first(p, &p->workers[place]);
    struct job_walk walk;

    if (likely(j) || !atomic_load_explicit(&p->pick, memory_order_relaxed))
        return j;
    pool_lock(p, who);
    walk = job_walk_from(&p->pick);
    while ((j = job_walk_next(&walk))) {
        /* before the look: what the look-ahead opens after it was read brings us back (P4) */
        bool all_may_begin = atomic_load(&j->limit) >= j->chunks;

        if (job_has_work(j)) {
            atomic_store(&p->workers[place].job, arena_offset(j)); /* P2, P3 */
            break;
        }
        /* those that only wait for their look-ahead are looked at again */
        if (all_may_begin && atomic_load(&p->pick) == arena_offset(j))
            atomic_store(&p->pick, atomic_load(&j->next));
    }
    pool_unlock(p);
    return j;
}

bool pool_is_named(struct pool_shared *p, const struct job *j)
{
    for (unsigned i = 0; i < p->places; i++) {
        if ((atomic_load(&p->workers[i].job) & ~WORKER_PICKING) == arena_offset(j))
            return true;
    }
    return false;
}

struct job *job_named(uint64_t name)
{
    return name & WORKER_PICKING ? NULL : job_at(name);
}

void pool_unlink(struct pool_shared *p, struct job *j)
{
    uint64_t next = atomic_load(&j->next), before = atomic_load(&j->prev);

    if (j->number == 0)
        return; /* its pool was freed, and another lies in its place */
    if (atomic_load(&p->pick) == arena_offset(j))
        atomic_store(&p->pick, next);
    if ((before && !job_at(before)) || (next && !job_at(next)))
        return; /* somebody wrote over the list */
    atomic_store(before ? &job_at(before)->next : &p->first, next);
    atomic_store(next ? &job_at(next)->prev : &p->last, before);
    j->number = 0;
}

void pool_wake(struct pool_shared *p, uint64_t wanted)
{
    atomic_fetch_add(&p->work, 1); /* a full fence too, for the one in worker.c */
    if (atomic_load(&p->sleepers))
        futex_wake(&p->work, (int)min_u64(wanted, INT_MAX));
}

void pool_look_again(struct pool_shared *p, struct job *j)
{
    struct job *pick = job_at(atomic_load(&p->pick));

    if (!j || (pick && pick->number <= j->number))
        return;
    atomic_store(&p->pick, arena_offset(j));
    pool_wake(p, p->places);
}

void pool_tell_end(struct pool_shared *p)
{
    if (atomic_load(&p->ended_wanted))
        fd_event_post(p->ended);
}

void pool_tell_unseen(struct piu_pool *pool)
{
    struct job_walk walk = job_walk_from(&pool->shared->first);
    struct job *j;
    uint64_t who;

    if (member_who(&who) < 0)
        return;
    pool_lock(pool->shared, who);
    do
        j = job_walk_next(&walk);
    while (j && (atomic_load(&j->state) != JOB_ENDED || atomic_load(&j->given_up) ||
                 atomic_load(&j->seen)));
    pool_unlock(pool->shared);
    if (j)
        fd_event_post(pool->ended);
}

void pool_end_all(struct pool_shared *p, int error)
{
    struct job_walk walk = job_walk_from(&p->first);

    for (struct job *j; (j = job_walk_next(&walk));)
        job_end_with(j, error);
    pool_tell_end(p);
}

void pool_break(struct pool_shared *p, uint64_t who)
{
    uint32_t state = atomic_load(&p->state);

    while (state < POOL_FINISHED &&
           !atomic_compare_exchange_weak(&p->state, &state, POOL_BROKEN))
        ;
    if (state >= POOL_FINISHED)
        return;
    pool_lock(p, who);
    pool_end_all(p, -ECHILD);
    pool_unlock(p);
}

void pool_poke(struct pool_shared *p)
{
    fd_event_post(p->poke);
}
