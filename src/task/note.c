/* Losses, failures, tries and resumes: each a block, in front of the job's list. */
#include "task/note.h"

#include "shm/heap.h"

/*
 * J4: the note is whole; the move of *list is its commit.  It is the family's before, for
 * others may push behind us: killed in between, 64 bytes stay with the arena.
 */
static void note_push(_Atomic uint64_t *list, _Atomic uint64_t *next, void *note)
{
    uint64_t old = atomic_load(list);

    block_give(note);
    do
        atomic_store(next, old);
    while (!atomic_compare_exchange_weak(list, &old, arena_offset(note)));
}

/* What cannot be told makes the job's result one that is not to be had. */
static int note_new(struct job *j, size_t size, void **ret)
{
    int32_t none = 0;
    int r = block_new(size, BLOCK_SCRATCH, NULL, ret);

    if (r < 0)
        atomic_compare_exchange_strong(&j->error, &none, r);
    return r;
}

int job_add_failure(struct job *j, uint64_t first, uint64_t last, int code)
{
    struct failure_note *note;
    void *block;
    int r = note_new(j, sizeof(*note), &block);

    if (r < 0)
        return r;
    note = block;
    note->failure = (struct piu_failure){.first = first, .last = last, .code = code};
    note_push(&j->failures, &note->next, note);
    return 0;
}

/*
 * Who buried it before us was killed before it had said so in the state.  Losses of nobody (an
 * engine's) are not buried: each is one.
 */
static bool is_noted(_Atomic uint64_t *list, const struct piu_loss *loss)
{
    uint64_t offset = atomic_load(list);
    const struct loss_note *newest = offset ? arena_at(offset, sizeof(*newest)) : NULL;

    return newest && loss->pid && newest->loss.first == loss->first &&
           newest->loss.pid == loss->pid;
}

static int loss_push(struct job *j, _Atomic uint64_t *list, const struct piu_loss *loss)
{
    struct loss_note *note;
    void *block;
    int r = note_new(j, sizeof(*note), &block);

    if (r < 0)
        return r;
    note = block;
    note->loss = *loss;
    note_push(list, &note->next, note);
    return 0;
}

int job_add_loss(struct job *j, const struct piu_loss *loss)
{
    if (is_noted(&j->losses, loss))
        return 0;
    atomic_fetch_add(&j->lost_items, loss->last - loss->first);
    return loss_push(j, &j->losses, loss);
}

int job_add_try(struct job *j, const struct piu_loss *loss)
{
    return is_noted(&j->tries, loss) ? 0 : loss_push(j, &j->tries, loss);
}

int job_add_resume(struct job *j, uint64_t chunk, uint64_t item, uint32_t attempts,
                   uint64_t after)
{
    struct resume_note *note;
    void *block;
    int r = block_new(sizeof(*note), BLOCK_SCRATCH, NULL, &block);

    if (r < 0)
        return r;
    note = block;
    note->chunk = chunk;
    note->item = item;
    note->attempts = attempts;
    note->after = after;
    note_push(&j->resumes, &note->next, note);
    return 0;
}

const struct resume_note *job_resume_of(const struct job *j, uint64_t chunk)
{
    /* acquire, for note_push(): who sees the note sees it whole */
    uint64_t offset = atomic_load_explicit(&j->resumes, memory_order_acquire);

    for (uint64_t bound = heap_blocks_most(); offset && bound; bound--) {
        const struct resume_note *note = arena_at(offset, sizeof(*note));

        if (!note || note->chunk == chunk) /* the newest stands first */
            return note;
        offset = atomic_load(&note->next);
    }
    return NULL;
}

static void notes_free(uint64_t offset)
{
    for (uint64_t bound = heap_blocks_most(); offset && bound; bound--) {
        struct loss_note *note = arena_at(offset, sizeof(note->next));

        if (!note)
            return;
        offset = atomic_load(&note->next);
        block_free(note);
    }
}

/* The list first: killed behind that, notes stay with the arena, and none is freed twice. */
static uint64_t notes_unlink(_Atomic uint64_t *list)
{
    return atomic_load_explicit(list, memory_order_relaxed) ? atomic_exchange(list, 0)
                                                            : 0;
}

void job_free_notes(struct job *j)
{
    uint64_t losses = notes_unlink(&j->losses), tries = notes_unlink(&j->tries);

    /* each comes with one of the two, and stands in a workers' line */
    if (losses || tries)
        notes_free(notes_unlink(&j->resumes));
    notes_free(losses);
    notes_free(notes_unlink(&j->failures));
    notes_free(tries);
}

static void notes_take(const _Atomic uint64_t *list)
{
    uint64_t offset = atomic_load(list);

    for (uint64_t bound = heap_blocks_most(); offset && bound; bound--) {
        struct loss_note *note = arena_at(offset, sizeof(note->next));

        if (!note)
            return;
        block_take(note, BLOCK_SCRATCH, NULL);
        offset = atomic_load(&note->next);
    }
}

void job_take_notes(struct job *j)
{
    notes_take(&j->losses);
    notes_take(&j->failures);
    notes_take(&j->tries);
    notes_take(&j->resumes);
}
