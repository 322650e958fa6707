/* The pool's list of jobs, and what becomes of a dead worker's part in them. */
#include "task/pool.h"

#include "os/clock.h"
#include "os/fd.h"
#include "os/futex.h"

#include <limits.h>

/* P1: from `first` and the jobs' own words, the rest. */
static void list_repair(struct pool_shared *p)
{
    struct job *j = job_at(atomic_load(&p->first));
    struct job *last = NULL;

    for (uint64_t bound = arena.range / 64; j && bound; bound--) {
        atomic_store(&j->prev, last ? arena_offset(last) : 0);
        last = j;
        j = job_at(atomic_load(&j->next));
    }
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

    atomic_store(&j->next, 0);
    atomic_store(&j->prev, last ? arena_offset(last) : 0);
    j->number = last ? last->number + 1 : 1;
    atomic_store(last ? &last->next : &p->first, arena_offset(j));
    atomic_store(&p->last, arena_offset(j));
    if (!atomic_load(&p->pick))
        atomic_store(&p->pick, arena_offset(j));
}

struct job *pool_next_job(struct pool_shared *p, struct job *j)
{
    return job_at(atomic_load(j ? &j->next : &p->first));
}

struct job *pool_pick(struct pool_shared *p, uint64_t who, unsigned place)
{
    struct job *j;

    if (!atomic_load_explicit(&p->pick, memory_order_relaxed))
        return NULL;
    pool_lock(p, who);
    for (j = job_at(atomic_load(&p->pick)); j; j = job_at(atomic_load(&j->next))) {
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
        if (atomic_load(&p->workers[i].job) == arena_offset(j))
            return true;
    }
    return false;
}

void pool_unlink(struct pool_shared *p, struct job *j)
{
    uint64_t next = atomic_load(&j->next), before = atomic_load(&j->prev);

    if (j->number == 0)
        return; /* its pool was freed, and another lies in its place */
    if (atomic_load(&p->pick) == arena_offset(j))
        atomic_store(&p->pick, next);
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

void pool_end_all(struct pool_shared *p, int error)
{
    for (struct job *j = pool_next_job(p, NULL); j; j = pool_next_job(p, j))
        job_end_with(j, error);
    pool_tell_end(p);
}

void pool_poke(struct pool_shared *p)
{
    fd_event_post(p->poke);
}

/* ---- The dead ------------------------------------------------------------------------ */

static struct piu_loss loss_of(const struct worker *w, const struct piu_death *death,
                               bool timed_out, uint32_t attempts)
{
    int64_t began =
        atomic_load(&w->began) ? atomic_load(&w->began) : atomic_load(&w->began_job);

    return (struct piu_loss){.pid = death->pid,
                             .exitcode = death->exitcode,
                             .oom = death->oom,
                             .timed_out = timed_out,
                             .attempts = attempts,
                             .duration = clock_now() - began};
}

/* The chunk was STARTED by the dead worker.  Where it says how far it was, only one item is suspect. */
static void chunk_bury(struct job *j, struct worker *w, uint64_t chunk,
                       const struct piu_death *death, bool timed_out)
{
    _Atomic uint16_t *state = &job_states(j)[chunk];
    uint64_t said = atomic_load(&w->progress), last = chunk_last(j, chunk), first,
             after = last;
    uint32_t attempts;
    struct piu_loss loss;
    bool again;

    job_resume_of(j, chunk, &first, &attempts);
    if (said > first && said <= last) {
        /* items that were not reached are not to be blamed on those before them */
        attempts = said - 1 == first ? attempts : 0;
        first = said - 1;
        after = first + 1;
    }
    loss = loss_of(w, death, timed_out, attempts + 1);
    if (!atomic_load(&j->cancelled) && attempts < j->retries &&
        job_add_resume(j, chunk, first, attempts + 1) == 0) {
        atomic_store(state, CHUNK_AGAIN);
        return;
    }
    loss.first = first;
    loss.last = after;
    again = after < last && !atomic_load(&j->cancelled) &&
            job_add_resume(j, chunk, after, 0) == 0;
    if (!again)
        loss.last = last;
    if (!atomic_load(&j->cancelled))
        job_add_loss(j, &loss);
    if (!again)
        atomic_fetch_add(&j->gone_items, last - chunk_first(j, chunk));
    atomic_store(state, again ? CHUNK_AGAIN : CHUNK_LOST);
    if (!again && j->iterated)
        job_note_finished(j, chunk);
}

void pool_bury(struct pool_shared *p, unsigned place, const struct piu_death *death,
               bool timed_out)
{
    struct worker *w = &p->workers[place];
    struct job *j = job_at(atomic_load(&w->job));

    if (j) {
        for (uint64_t chunk = 0; chunk < j->chunks; chunk++) {
            if (atomic_load(&job_states(j)[chunk]) == CHUNK_STARTED + place)
                chunk_bury(j, w, chunk, death, timed_out);
        }
        job_look_at_all(j); /* after the states, for who passed them meanwhile */
        if (j->iterated)
            job_note_news(j);
        if (job_try_end(j))
            pool_tell_end(p);
    }
    if (atomic_exchange(&w->asleep, 0))
        atomic_fetch_sub(&p->sleepers, 1);
    atomic_store(&w->job, 0);
    atomic_store(&w->progress, 0);
    atomic_store(&w->pid, 0);
    atomic_store(&w->phase, WORKER_NONE);
    pool_look_again(p, j);
    pool_wake(p, p->places); /* also for a wake-up that it had got and not followed */
}
