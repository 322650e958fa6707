/* What a job carries about its chunks that did not simply go well (J4). */
#ifndef PIU_TASK_NOTE_H
#define PIU_TASK_NOTE_H

#include "task/job.h"

struct loss_note { /* all begin with `next` */
    _Atomic uint64_t next;
    struct piu_loss loss;
};

struct failure_note {
    _Atomic uint64_t next;
    struct piu_failure failure;
};

struct resume_note { /* an AGAIN chunk begins here */
    _Atomic uint64_t next;
    uint64_t chunk, item;
    uint64_t after;    /* the death (member id) that it comes from */
    uint32_t attempts; /* so far */
};

int job_add_failure(struct job *j, uint64_t first, uint64_t last, int code);
int job_add_loss(struct job *j, const struct piu_loss *loss);
/* A try that ended with its worker, and is followed by another. */
int job_add_try(struct job *j, const struct piu_loss *loss);
/* 0 also where this death has left one already: who buried it before was killed. */
int job_add_resume(struct job *j, uint64_t chunk, uint64_t item, uint32_t attempts,
                   uint64_t after);
/* Where an AGAIN chunk begins, and how often it was tried; NULL: at its first item, never. */
const struct resume_note *job_resume_of(const struct job *j, uint64_t chunk);
void job_free_notes(struct job *j);
void job_take_notes(struct job *j); /* they become the caller's, see job_take() */

#endif
