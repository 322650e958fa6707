#include "task/ticket.h"

#include "os/clock.h"
#include "task/claim.h"
#include "task/note.h"

#include <string.h>

static_assert(TICKETS == 256, "the low byte of a number");

/* ---- The table ----------------------------------------------------------------------------- */

void tickets_begin(struct tickets *t)
{
    memset((void *)t, 0, sizeof(*t));
    while (t->free_count < TICKETS) {
        t->free[t->free_count] = (uint8_t)t->free_count;
        t->free_count++;
    }
}

bool tickets_name(const struct tickets *t, const struct job *j)
{
    for (unsigned i = 0; i < TICKETS; i++) {
        if (atomic_load(&t->all[i].job) == arena_offset(j))
            return true;
    }
    return false;
}

struct ticket *ticket_new(struct tickets *t, struct job *j, uint64_t chunk)
{
    const struct resume_note *resume = job_resume_of(j, chunk);
    struct ticket *ticket;

    if (!t->free_count)
        return NULL;
    ticket = &t->all[t->free[--t->free_count]];
    ticket->number = ++t->count << 8 | (uint64_t)(ticket - t->all);
    ticket->chunk = chunk;
    ticket->first = resume ? resume->item : chunk_first(j, chunk);
    ticket->last = chunk_last(j, chunk);
    ticket->attempts = resume ? resume->attempts : 0;
    ticket->told = false;
    ticket->began = clock_now();
    atomic_store(&ticket->job, arena_offset(j));
    return ticket;
}

struct ticket *ticket_find(struct tickets *t, uint64_t number)
{
    struct ticket *ticket = &t->all[number % TICKETS];

    return ticket->number == number && atomic_load(&ticket->job) ? ticket : NULL;
}

/* release: what was done in the job is done (R3) */
void ticket_free(struct tickets *t, struct ticket *ticket)
{
    atomic_store_explicit(&ticket->job, 0, memory_order_release);
    t->free[t->free_count++] = (uint8_t)(ticket - t->all);
}

bool ticket_is_void(const struct ticket *ticket)
{
    const struct job *j = job_at(atomic_load(&ticket->job));

    return !j || atomic_load(&j->cancelled) || atomic_load(&j->state) == JOB_ENDED;
}

/* ---- What goes ---------------------------------------------------------------------------- */

static size_t bytes_of(const struct ticket *ticket, uint64_t array, uint64_t size)
{
    return array ? (ticket->last - ticket->first) * size : 0;
}

/* The ticket's items; NULL: no bytes go, or they are out of the arena. */
static void *items_at(const struct ticket *ticket, const struct job *j, uint64_t array,
                      uint64_t size)
{
    size_t bytes = bytes_of(ticket, array, size);
    unsigned char *items = arena.base + array + (ticket->first - j->first) * size;

    return bytes && arena_has(items, bytes) ? items : NULL;
}

/* The caller's own shared memory, and not a copy that begins with zeroes. */
static bool out_is_shared(struct job *j)
{
    return job_task(j)->out == (void *)(arena.base + j->out);
}

static int range_codes(const struct job *j, const struct piu_task *task,
                       struct range *ret)
{
    const struct code_address *run = code_says(j->code), *call = NULL;
    uint64_t code = 0;

    if (j->call_at > j->task_size - sizeof(code))
        return -EFAULT;
    if (j->call_at) {
        memcpy(&code, (const char *)task + j->call_at, sizeof(code));
        call = code_says(code);
    }
    if (!run || (j->call_at && !call))
        return -ENOEXEC;
    ret->run = *run;
    if (call)
        ret->call = *call;
    ret->call_at = j->call_at;
    return 0;
}

int ticket_range(const struct ticket *ticket, struct range *ret)
{
    struct job *j = job_at(atomic_load(&ticket->job));

    if (!j || j->task_size < sizeof(struct piu_task) ||
        !arena_has(job_task(j), j->task_size))
        return -EFAULT;
    *ret = (struct range){
        .ticket = ticket->number,
        .retries = ticket->attempts < j->retries ? j->retries - ticket->attempts : 0,
        .task = job_task(j),
        .task_size = j->task_size,
        .first = ticket->first,
        .last = ticket->last,
        .in = items_at(ticket, j, j->in, j->in_size),
        .in_bytes = bytes_of(ticket, j->in, j->in_size),
        .out_bytes = bytes_of(ticket, j->out, j->out_size)};
    if (out_is_shared(j))
        ret->out = items_at(ticket, j, j->out, j->out_size);
    if (ret->in_bytes && !ret->in)
        return -EFAULT;
    return range_codes(j, ret->task, ret);
}

/* ---- What comes back ---------------------------------------------------------------------- */

static bool is_within(const struct ticket *ticket, size_t first, size_t last)
{
    return first >= ticket->first && first < last && last <= ticket->last;
}

static bool losses_fit(const struct ticket *ticket, const struct piu_loss *loss,
                       size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (!is_within(ticket, loss[i].first, loss[i].last))
            return false;
    }
    return true;
}

/* R5 */
static bool outcome_fits(const struct ticket *ticket, const struct job *j,
                         const struct outcome *o)
{
    for (size_t i = 0; i < o->failures_count; i++) {
        if (!is_within(ticket, o->failures[i].first, o->failures[i].last))
            return false;
    }
    return o->out_bytes == bytes_of(ticket, j->out, j->out_size) &&
           losses_fit(ticket, o->losses, o->losses_count) &&
           losses_fit(ticket, o->tries, o->tries_count);
}

/* From `at` on: the end of what was lost there, or `at` again, and then where the next loss is. */
static uint64_t past_losses(const struct outcome *o, uint64_t at, uint64_t *ret_next)
{
    for (size_t i = 0; i < o->losses_count; i++) {
        if (o->losses[i].first <= at && at < o->losses[i].last)
            return o->losses[i].last;
        if (o->losses[i].first > at)
            *ret_next = min_u64(*ret_next, o->losses[i].first);
    }
    return at;
}

/* What was lost stays as it is at home. */
static void copy_back(const struct ticket *ticket, const struct job *j,
                      const struct outcome *o)
{
    unsigned char *to = items_at(ticket, j, j->out, j->out_size);
    const unsigned char *from = o->out;
    uint64_t at = ticket->first;

    while (to && from && at < ticket->last) {
        uint64_t next = ticket->last, past = past_losses(o, at, &next);
        uint64_t offset = (at - ticket->first) * j->out_size;

        if (past == at) {
            memcpy(to + offset, from + offset, (next - at) * j->out_size);
            past = next;
        }
        at = past;
    }
}

/* The state that the chunk would have at home: LOST where nothing was left to go on with. */
static enum chunk_state note_all(struct job *j, const struct ticket *ticket,
                                 const struct outcome *o)
{
    enum chunk_state how = o->failures_count ? CHUNK_FAILED : CHUNK_DONE;

    for (size_t i = 0; i < o->losses_count; i++) {
        struct piu_loss loss = o->losses[i];

        loss.attempts += ticket->attempts;
        job_add_loss(j, &loss);
        if (loss.last == ticket->last)
            how = CHUNK_LOST;
    }
    for (size_t i = 0; i < o->tries_count; i++) {
        struct piu_loss try = o->tries[i];

        try.attempts += ticket->attempts;
        job_add_try(j, &try);
    }
    for (size_t i = 0; i < o->failures_count; i++)
        job_add_failure(j, o->failures[i].first, o->failures[i].last,
                        o->failures[i].code);
    return how;
}

/* ---- Ends ----------------------------------------------------------------------------------- */

static void chunk_end(struct pool_shared *p, struct job *j, uint64_t chunk,
                      enum chunk_state how)
{
    job_finish_chunk(j, 0, chunk, how);
    if (job_try_end(j))
        pool_tell_end(p);
}

static struct piu_loss loss_of(const struct ticket *ticket, const struct piu_death *death)
{
    return (struct piu_loss){.first = ticket->first,
                             .last = ticket->last,
                             .pid = death->pid,
                             .exitcode = death->exitcode,
                             .oom = death->oom,
                             .attempts = ticket->attempts + 1,
                             .duration = clock_now() - ticket->began};
}

/* Nobody knows how far it was: all of it again, or lost. */
static void lose(struct pool_shared *p, uint64_t who, struct job *j,
                 const struct ticket *ticket, const struct piu_death *death)
{
    struct piu_loss loss = loss_of(ticket, death);

    if (ticket->attempts >= j->retries || job_add_try(j, &loss) < 0 ||
        job_add_resume(j, ticket->chunk, ticket->first, loss.attempts, 0) < 0) {
        job_add_loss(j, &loss);
        chunk_end(p, j, ticket->chunk, CHUNK_LOST);
        return;
    }
    atomic_store(&job_states(j)[ticket->chunk], CHUNK_AGAIN);
    job_look_at_all(j);
    pool_lock(p, who);
    pool_look_again(p, j);
    pool_unlock(p);
}

void ticket_end(struct pool_shared *p, uint64_t who, const struct ticket *ticket,
                const struct outcome *o)
{
    static const struct piu_death nobody;
    bool fits;
    struct job *j = job_at(atomic_load(&ticket->job));

    if (!j || ticket->chunk >= j->chunks || atomic_load(&j->state) == JOB_ENDED)
        return;
    if (o->how == RANGE_REFUSED) {
        job_end_with(j, o->error < 0 ? o->error : -EBADMSG);
        pool_tell_end(p);
        return;
    }
    fits = o->how == RANGE_FINISHED && outcome_fits(ticket, j, o);
    if (fits) {
        copy_back(ticket, j, o);
        chunk_end(p, j, ticket->chunk, note_all(j, ticket, o));
    } else if (ticket_is_void(ticket))
        chunk_end(p, j, ticket->chunk, CHUNK_LOST);
    else
        lose(p, who, j, ticket, o->how == RANGE_LOST ? &o->death : &nobody);
}
