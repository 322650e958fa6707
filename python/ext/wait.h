/* Waiting as Python does: without the GIL, ended by signals, whose handlers may raise. */
#ifndef PIU_EXT_WAIT_H
#define PIU_EXT_WAIT_H

#include "module.h"

/*
 * A wait that Python means to be for ever: piu's own ends with an error when nobody else is left,
 * Python's goes on.
 */
#define WAIT_LONGEST (PIU_FOREVER / 2)

int64_t wait_clock(void); /* ns, of CLOCK_MONOTONIC */

/* A call of piu that waits up to `timeout` ns: 0 or news, -ETIMEDOUT, -EINTR, other errors. */
typedef int wait_call(void *argument, int64_t timeout);

/*
 * The call, with the GIL released, in slices where this is the main thread: the handler of a
 * signal that came just before the sleep is called after the slice.  -EINTR: a handler raised,
 * and its exception is set.  Else what the call said.
 */
int wait_in_slices(wait_call *call, void *argument, int64_t timeout);

/*
 * The same, but first tried and spun for a little with the GIL held: giving it up and getting
 * it back costs more than most waits last.
 */
int wait_spinning(wait_call *call, void *argument, int64_t timeout);

/*
 * The same at a queue, which spins by itself where the timeout is short, and better than by being
 * asked again: it looks without its locks, and lets some messages come before it takes the first.
 */
int wait_at_queue(wait_call *call, void *argument, int64_t timeout);

/*
 * Python's timeouts: None is for ever, a number is seconds, below 0 is 0 (as multiprocessing has
 * it).  0; -1 with an exception.
 */
int timeout_from(PyObject *object, int64_t *ret);

#endif
