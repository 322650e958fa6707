/* Reports: what was lost and what failed, in the order of the items. */
#include "shm/heap.h"
#include "task/note.h"
#include "task/pool.h"

#include <stdlib.h>

struct piu_report {
    size_t losses, retries, failures;
    struct piu_loss *loss, *retry;
    struct piu_failure *failure;
};

static size_t count_notes(uint64_t offset)
{
    uint64_t most = heap_blocks_most();
    size_t n = 0;

    while (offset && n < most) {
        const struct loss_note *note = arena_at(offset, sizeof(note->next));

        if (!note)
            break;
        n++;
        offset = atomic_load(&note->next);
    }
    return n;
}

static int by_first_loss(const void *a, const void *b)
{
    const struct piu_loss *x = a, *y = b;

    if (x->first != y->first)
        return x->first > y->first ? 1 : -1;
    return (x->attempts > y->attempts) - (x->attempts < y->attempts);
}

static int by_first_failure(const void *a, const void *b)
{
    const struct piu_failure *x = a, *y = b;

    return (x->first > y->first) - (x->first < y->first);
}

/* How many there are now: somebody may have written over the list since they were counted. */
static size_t fill_losses(struct piu_loss *ret, size_t count, uint64_t offset)
{
    const struct loss_note *note;
    size_t n = 0;

    while (n < count && (note = arena_at(offset, sizeof(*note)))) {
        ret[n++] = note->loss;
        offset = atomic_load(&note->next);
    }
    qsort(ret, n, sizeof(*ret), by_first_loss);
    return n;
}

static size_t fill_failures(struct piu_failure *ret, size_t count, uint64_t offset)
{
    const struct failure_note *note;
    size_t n = 0;

    while (n < count && (note = arena_at(offset, sizeof(*note)))) {
        ret[n++] = note->failure;
        offset = atomic_load(&note->next);
    }
    qsort(ret, n, sizeof(*ret), by_first_failure);
    return n;
}

/* Both in order of the items. */
static void mark_mended(struct piu_report *r)
{
    size_t at = 0;

    for (size_t i = 0; i < r->retries; i++) {
        while (at < r->losses && r->loss[at].last <= r->retry[i].first)
            at++;
        r->retry[i].mended = at == r->losses || r->loss[at].first >= r->retry[i].last;
    }
}

static void fill(struct piu_report *r, const struct job *j)
{
    r->losses = fill_losses(r->loss, r->losses, atomic_load(&j->losses));
    r->retries = fill_losses(r->retry, r->retries, atomic_load(&j->tries));
    r->failures = fill_failures(r->failure, r->failures, atomic_load(&j->failures));
    if (!atomic_load(&j->error) && !atomic_load(&j->cancelled))
        mark_mended(r);
}

struct piu_report *report_of(const struct job *j)
{
    struct piu_report *r = calloc(1, sizeof(*r));

    if (!r)
        return NULL;
    r->losses = count_notes(atomic_load(&j->losses));
    r->retries = count_notes(atomic_load(&j->tries));
    r->failures = count_notes(atomic_load(&j->failures));
    r->loss = calloc(r->losses + 1, sizeof(*r->loss));
    r->retry = calloc(r->retries + 1, sizeof(*r->retry));
    r->failure = calloc(r->failures + 1, sizeof(*r->failure));
    if (!r->loss || !r->retry || !r->failure)
        return piu_report_free(r);
    fill(r, j);
    return r;
}

int piu_result_report(struct piu_result *r, struct piu_report **ret)
{
    if (!r || !ret)
        return -EINVAL;
    if (!piu_result_ready(r))
        return -EBUSY;
    *ret = report_of(r->job);
    return *ret ? 0 : -ENOMEM;
}

size_t piu_report_losses(const struct piu_report *r, const struct piu_loss **ret)
{
    if (ret)
        *ret = r ? r->loss : NULL;
    return r ? r->losses : 0;
}

size_t piu_report_retries(const struct piu_report *r, const struct piu_loss **ret)
{
    if (ret)
        *ret = r ? r->retry : NULL;
    return r ? r->retries : 0;
}

size_t piu_report_failures(const struct piu_report *r, const struct piu_failure **ret)
{
    if (ret)
        *ret = r ? r->failure : NULL;
    return r ? r->failures : 0;
}

struct piu_report *piu_report_free(struct piu_report *r)
{
    if (!r)
        return NULL;
    free(r->loss);
    free(r->retry);
    free(r->failure);
    free(r);
    return NULL;
}
