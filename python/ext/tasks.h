/*
 * What a Pool and its workers share: two queues, and a board with a seat for each worker.
 *
 *    pool --submit--> tasks --take--> worker --finish--> results --collect--> pool
 *                                       |
 *                    seat[slot].begun = the number of the task that it has begun; 0: none
 *
 *    QUEUED --take--> TAKEN --begun--> STARTED --finish--> a result in the queue
 *       ^               |                  `--worker died--> its seat names it: lost
 *       |               `--worker died--> the message comes again: told to the pool as AGAIN
 *       `--------------- the pool submits it anew ----'
 *
 *    a task's message    struct task_head | function, pickled | its arguments (message.h)
 *    a result's          struct result_head | what it returned or raised (message.h)
 *    of numbers alone, in a map, arguments and results are without their objects (numbers.h)
 *
 * T1  a task is run only by who took its message for the first time (never PIU_REDELIVERED)
 * T2  `begun` names a task before its message is dropped, until its result is in
 * T3  so of a dead worker: what its seat names has begun, and has a result or has none; what it
 *     had only taken comes again.  Both may be so at once (killed between `begun` and drop): the
 *     pool believes the seat
 * T4  a number is used once a pool; a result or AGAIN for one that is not pending is old news.  The
 *     old number of a task ceases to be pending with the put under the new one, in one step
 * T5  who falls asleep says so (`asleep`, seat.state), then looks once more; who has news puts it,
 *     then looks who is asleep.  Workers look again every SLICE, whoever should have woken them
 * T6  a seat's state is its worker's to say; another one moves it from ASLEEP to LOOKING alone, in
 *     one step: whoever sees LOOKING sees a worker that will look at the queue
 * Crash: by T2 and T3, no task is run twice and none is forgotten.  By T5 a wake-up that is lost
 * with its sender costs a slice; the pool is woken by the death itself.
 */
#ifndef PIU_EXT_TASKS_H
#define PIU_EXT_TASKS_H

#include "message.h"
#include "numbers.h"

#include <stdatomic.h>

#define POOL "Pool" /* in messages */

enum task_kind {
    TASK_CALL,    /* arguments: the positional ones */
    TASK_MAP,     /* a tuple; the result is a list */
    TASK_STARMAP, /* the same, of tuples */
    /* flags */
    TASK_WHOLE = 4,  /* (function, arguments, keywords), as the function is no global */
    TASK_NUMBERS = 8 /* of TASK_MAP: numbers.h */
};

struct task_head {
    uint64_t number;
    uint32_t kind;
    uint32_t function; /* bytes */
};

enum result_kind {
    RESULT_DONE,
    RESULT_NUMBERS, /* done, and the list is of numbers alone: numbers.h */
    RESULT_FAILED,
    RESULT_AGAIN,
    /* made by the one that collects */
    RESULT_BROKEN,  /* it could not be unpickled; the exception */
    RESULT_COMPLETE /* the last one of these chunks */
};

struct result_head {
    uint64_t number; /* 0: of no task, but what the worker's initializer raised */
    uint32_t kind, slot;
};

enum seat_state { SEAT_BUSY, SEAT_LOOKING, SEAT_ASLEEP };

struct seat {
    struct piu_event bell;
    _Atomic uint64_t begun;
    _Atomic uint32_t state; /* enum seat_state */
};

struct board {
    alignas(64) _Atomic uint32_t asleep; /* the pool's process: ring its pipe */
    _Atomic uint32_t shut;               /* no more tasks will come */
    alignas(64) struct seat seats[];
};

struct tasks_object {
    struct shared_object shared; /* the queue of tasks */
    struct piu_hold results, board;
    unsigned slots;
    int bell;           /* the write end of the pool's pipe; -1 */
    int pipe, epoll;    /* the pool's own; -1 in workers */
    bool patient;       /* the last spin was in vain: the next is short */
    uint64_t *finished; /* by slot: results collected of its worker; NULL in workers */
    PyObject *kept;     /* a list: results that a handler's exception has cut off; NULL */
    unsigned cut_off;   /* how often that was, since one of them was read */
    unsigned cut_short; /* the same of chunks, since one was given */
};

static inline struct piu_queue *tasks_of(const struct tasks_object *self)
{
    return self->shared.hold.object;
}

static inline struct piu_queue *results_of(const struct tasks_object *self)
{
    return self->results.object;
}

static inline struct board *board_of(const struct tasks_object *self)
{
    return self->board.object;
}

static inline struct seat *seat_of(const struct tasks_object *self, unsigned slot)
{
    return &board_of(self)->seats[slot];
}

int slot_check(const struct tasks_object *self, unsigned slot); /* -1 with IndexError */

/*
 * One message: the head's bytes, then the object's.  0; -errno.  The message is done or dropped
 * in either case.
 */
int parts_put(struct piu_queue *q, const void *head, size_t size, struct message *m);
int numbers_put(struct piu_queue *q, const void *head, size_t size,
                const struct numbers *n);

/*
 * Where pickle's exception is not an Exception: may a signal's handler have raised it, so that the
 * object is to be tried again?  Handlers run in the main thread, and seldom twice in a row.
 */
bool may_be_of_handler(unsigned in_a_row);

/* Wakes a worker that sleeps, unless one is looking already. */
void workers_wake(const struct tasks_object *self);
/* The pool's process, where it sleeps. */
void pool_wake(const struct tasks_object *self);

/*
 * Polls for some us, with the GIL: whether the queue has a message.  `patient` is learned: where
 * the last spin was in vain the next is short, until a sleep was so short that a longer spin
 * would have been better (else two that wake each other never get back to spinning).
 */
bool queue_spin(const struct piu_queue *q, const _Atomic uint32_t *shut, bool *patient);
void spin_learn(bool *patient, int64_t asleep_since); /* by wait_clock() */

/* ---- Methods, by file -------------------------------------------------------------------- */

/* submit.c */
PyObject *tasks_submit(PyObject *self, PyObject *arguments);
PyObject *tasks_submit_chunks(PyObject *self, PyObject *arguments);
/* work.c */
PyObject *tasks_work(PyObject *self, PyObject *arguments);
PyObject *tasks_tell(PyObject *self, PyObject *arguments);
/* results.c */
PyObject *tasks_collect(PyObject *self, PyObject *const *arguments, Py_ssize_t count);
PyObject *tasks_arm(PyObject *self, PyObject *unused);
PyObject *tasks_lead(PyObject *self, PyObject *unused);
PyObject *tasks_sleep(PyObject *self, PyObject *timeout);
int chunks_type_add(PyObject *module);
/* chunks.c, for submit.c: the next one to be given, if there is one and the window lets: as long as
 * fewer than `least` are on the way, or few bytes; it was given, or cannot be (bytes < 0). */
bool chunks_next(PyObject *chunks, Py_ssize_t least, Py_ssize_t *ret_index);
void chunks_gave(PyObject *chunks, Py_ssize_t bytes);
Py_ssize_t chunks_size(PyObject *chunks, uint64_t *ret_first);
/* chunks.c, for results.c: is `number` one of these, and where?  Their result, stored. */
bool chunks_have(PyObject *chunks, uint64_t number, Py_ssize_t *ret_index);
int chunks_store(PyObject *chunks, Py_ssize_t index,
                 PyObject *value); /* 1: the last; -1 */
int chunks_store_numbers(PyObject *chunks, Py_ssize_t index, const struct numbers *n);

#endif
