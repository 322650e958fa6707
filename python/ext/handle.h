/*
 * What a Python object of piu stands for: an object in the arena, by a hold (piu.h, "Handles").
 *
 *    Python object --hold--> object in the arena <--hold-- Python object of another process
 *                                  ^
 *                                  `-- a message in flight carries it (struct carrier)
 *
 * P1  a Python object has a hold from its making to its dealloc; a forked child has one, too
 * P2  what is pickled is the handle (24 bytes); who unpickles takes a hold of its own, or gets
 *     ReferenceError
 * P3  while a process is started the pickled object is kept alive by the stdlib's Popen object:
 *     until the child has ended, whatever becomes of the child
 * P4  in a message the handles are listed beside the pickle: the receiver lands them when it has
 *     unpickled, well or badly, and the message cannot come again (M3 of message.h); whoever
 *     throws the message away lands them, too
 */
#ifndef PIU_EXT_HANDLE_H
#define PIU_EXT_HANDLE_H

#include "module.h"

/* A new object, zeroed; -1 with an exception. `what` names the type, for the message. */
int handle_new(struct piu_hold *ret, const char *what, enum piu_kind kind, size_t size);
/* Of a queue that was just made; the queue is freed if this fails. */
int handle_of_queue(struct piu_hold *ret, const char *what, struct piu_queue *q);
void handle_done(struct piu_hold *hold); /* NULL object: nothing */

/*
 * For tp_new and __init__ of unpickled objects.  `bytes` as handle_pickle() made them: takes a
 * hold; -1 with ReferenceError.
 */
int handle_from_bytes(struct piu_hold *ret, const char *what, PyObject *bytes);

/*
 * The result of __reduce__: rebuild(type(self), handle, state) with any `state` (a new
 * reference, taken over; NULL: None).  Unpickled by type._from_handle(handle, state), a class
 * method of each type.  RuntimeError unless a process is being started or a carrier is open.
 */
PyObject *handle_reduce(struct module_state *state, PyObject *self,
                        const struct piu_hold *hold, PyObject *extra);
/* For types with a __getstate__: (family, handle).  The same exception. */
PyObject *handle_state(struct module_state *state, PyObject *self,
                       const struct piu_hold *hold);
/* Is pickling allowed now, in this thread? */
bool handle_may_travel(struct module_state *state);

/*
 * A message that is being pickled by piu's own queue, pool or Pipe.  While it is open objects
 * of piu may be pickled in this thread, and are listed in it, each sent (piu_handle_send).
 *
 *     struct carrier c;
 *     carrier_open(&c);
 *     bytes = ... pickle ...;
 *     carrier_close(&c);
 *     put count and handles, then the bytes; if that failed, or pickling: carrier_land(&c)
 *     carrier_done(&c);
 *
 * The receiver unpickles (needs nothing open), drops the message, and then lands what it lists.
 */
struct carrier {
    struct carrier *outer; /* of this thread */
    struct piu_handle *handles;
    size_t count, room;
};

void carrier_open(struct carrier *c);
void carrier_close(struct carrier *c);
void carrier_land(struct carrier *c);
void carrier_done(struct carrier *c);
void handles_land(const struct piu_handle *handles, size_t count);

int handle_functions_add(PyObject *module);

/* ---- A Python object that stands for one in the arena ---------------------------------- */

/* First in the object struct of each such type; `object` is set from tp_new to dealloc. */
struct shared_object {
    PyObject_HEAD struct module_state *state;
    struct piu_hold hold;
};

/* For tp_new: makes the object, zeroed.  The type's own fields are zero. */
PyObject *shared_new(PyTypeObject *type, const char *what, enum piu_kind kind,
                     size_t size);
/* For tp_new of types that get their hold later: by handle_new(), handle_from_bytes() ... */
PyObject *shared_alloc(PyTypeObject *type);
/* For _from_handle(handle, extra), which is METH_FASTCALL | METH_CLASS. */
PyObject *shared_from_handle(PyTypeObject *type, const char *what,
                             PyObject *const *arguments, Py_ssize_t count);
int shared_traverse(PyObject *self, visitproc visit, void *arg);
void shared_dealloc(PyObject *self); /* of types without references of their own */
/* handle_reduce(); with METH_NOARGS it is a __reduce__ without a state. */
PyObject *shared_reduce(PyObject *self, PyObject *extra);

#endif
