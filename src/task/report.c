/* Reports: what was lost and what failed, in the order of the items. */
#include "task/note.h"
#include "task/pool.h"

#include <stdlib.h>

struct piu_report {
    size_t losses, failures;
    struct piu_loss *loss;
    struct piu_failure *failure;
};

static size_t count_notes(uint64_t offset)
{
    size_t n = 0;

    while (offset) {
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

    return (x->first > y->first) - (x->first < y->first);
}

static int by_first_failure(const void *a, const void *b)
{
    const struct piu_failure *x = a, *y = b;

    return (x->first > y->first) - (x->first < y->first);
}

static void fill(struct piu_report *r, const struct job *j)
{
    uint64_t offset = atomic_load(&j->losses);

    for (size_t i = 0; i < r->losses; i++) {
        const struct loss_note *note = arena_at(offset, sizeof(*note));

        r->loss[i] = note->loss;
        offset = atomic_load(&note->next);
    }
    offset = atomic_load(&j->failures);
    for (size_t i = 0; i < r->failures; i++) {
        const struct failure_note *note = arena_at(offset, sizeof(*note));

        r->failure[i] = note->failure;
        offset = atomic_load(&note->next);
    }
    qsort(r->loss, r->losses, sizeof(*r->loss), by_first_loss);
    qsort(r->failure, r->failures, sizeof(*r->failure), by_first_failure);
}

struct piu_report *report_of(const struct job *j)
{
    struct piu_report *r = calloc(1, sizeof(*r));

    if (!r)
        return NULL;
    r->losses = count_notes(atomic_load(&j->losses));
    r->failures = count_notes(atomic_load(&j->failures));
    r->loss = calloc(r->losses + 1, sizeof(*r->loss));
    r->failure = calloc(r->failures + 1, sizeof(*r->failure));
    if (!r->loss || !r->failure)
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
    free(r->failure);
    free(r);
    return NULL;
}
