/* What becomes of a dead worker's part in its job. */
#include "os/clock.h"
#include "task/claim.h"
#include "task/note.h"
#include "task/pool.h"

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

/* The items that the dead worker is suspected to have died of. */
struct suspect {
    uint64_t first, after;
    uint32_t attempts; /* before this one */
};

/* Where it says how far it was, that is one item. */
static struct suspect suspect_of(struct job *j, const struct worker *w, uint64_t chunk,
                                 const struct resume_note *resume)
{
    uint64_t said = atomic_load(&w->progress);
    struct suspect s = {.first = resume ? resume->item : chunk_first(j, chunk),
                        .after = chunk_last(j, chunk),
                        .attempts = resume ? resume->attempts : 0};

    if (said > s.first && said <= s.after) {
        /* items that were not reached are not to be blamed on those before them */
        s.attempts = said - 1 == s.first ? s.attempts : 0;
        s.first = said - 1;
        s.after = said;
    }
    return s;
}

/* All of it again, if it may be: AGAIN, and the try is on record. */
static bool try_again(struct job *j, const struct worker *w, uint64_t chunk,
                      const struct suspect *s, const struct piu_loss *loss)
{
    return s->attempts < j->retries && job_add_try(j, loss) == 0 &&
           job_add_resume(j, chunk, s->first, s->attempts + 1, atomic_load(&w->id)) == 0;
}

/* The suspect items are lost; true: those behind them go on. */
static bool lose(struct job *j, const struct worker *w, uint64_t chunk,
                 const struct suspect *s, struct piu_loss *loss)
{
    uint64_t last = chunk_last(j, chunk);

    job_add_loss(j, loss);
    if (s->after == last)
        return false;
    if (job_add_resume(j, chunk, s->after, 0, atomic_load(&w->id)) == 0)
        return true;
    loss->first = s->after;
    loss->last = last;
    job_add_loss(j, loss);
    return false;
}

/*
 * The chunk was STARTED by the dead worker.  Notes come before the state, and are not made
 * twice: who did this before us may have been killed in the middle.
 */
static void chunk_bury(struct job *j, struct worker *w, uint64_t chunk,
                       const struct piu_death *death, bool timed_out)
{
    _Atomic uint16_t *state = &job_states(j)[chunk];
    const struct resume_note *resume = job_resume_of(j, chunk);
    struct suspect s = suspect_of(j, w, chunk, resume);
    struct piu_loss loss = loss_of(w, death, timed_out, s.attempts + 1);
    bool again = resume && resume->after == atomic_load(&w->id);

    loss.first = s.first;
    loss.last = s.after;
    if (!again && !atomic_load(&j->cancelled))
        again = try_again(j, w, chunk, &s, &loss) || lose(j, w, chunk, &s, &loss);
    if (!again)
        atomic_fetch_add(&j->gone_items, chunk_last(j, chunk) - chunk_first(j, chunk));
    atomic_store(state, again ? CHUNK_AGAIN : CHUNK_LOST);
    if (!again && j->iterated)
        job_note_finished(j, chunk);
}

/* As before its birth.  One by one, for others look at it meanwhile; `id` tells whose it was. */
static void record_clear(struct worker *w)
{
    atomic_store(&w->job, 0);
    atomic_store(&w->chunk, 0);
    atomic_store(&w->progress, 0);
    atomic_store(&w->began, 0);
    atomic_store(&w->began_job, 0);
    atomic_store(&w->pid, 0);
    atomic_store(&w->phase, WORKER_NONE);
}

void pool_bury(struct pool_shared *p, unsigned place, const struct piu_death *death,
               bool timed_out)
{
    struct worker *w = &p->workers[place];
    struct job *j = job_named(atomic_load(&w->job));

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
    record_clear(w);
    pool_look_again(p, j);
    pool_wake(p, p->places); /* also for a wake-up that it had got and not followed */
}
