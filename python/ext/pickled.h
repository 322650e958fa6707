/* An object as a pickle of protocol 5 and the buffers beside it. */
#ifndef PIU_EXT_PICKLED_H
#define PIU_EXT_PICKLED_H

#include "handle.h"

struct pickled {
    PyObject *file;    /* io.BytesIO: it holds the pickle */
    PyObject *buffers; /* a list of PickleBuffers: what goes beside the pickle */
    Py_buffer pickle;  /* of `file` */
    Py_buffer *views;  /* of `buffers`, in their order */
    size_t count;      /* views that are open */
    struct carrier carrier;
};

/* 0; -1 with an exception: what pickling raised, and nothing is left. */
int pickled_make(struct module_state *s, struct pickled *p, PyObject *object);
/* The same, without buffers beside it: the bytes that the stdlib would send.  No object of piu. */
int pickled_make_alone(struct module_state *s, struct pickled *p, PyObject *object);
void pickled_done(
    struct pickled *p); /* its handles are as they were: see struct carrier */

int pickled_functions_add(PyObject *module);

#endif
