/*
 * What Queue and SimpleQueue have in common: a type, _piu._Queue, which both extend.  It is made,
 * sent, and has the two ends that piu/queues.py shows as connections.
 */
#ifndef PIU_EXT_QUEUE_BASE_H
#define PIU_EXT_QUEUE_BASE_H

#include "handle.h"

struct queue_object {
    struct shared_object shared;
    size_t maxsize; /* 0: none */
    pid_t closer;   /* the process that closed it; 0: none.  A forked child may use it. */
    bool reader_closed, writer_closed; /* the ends, as connection objects know it */
    bool has_put;                      /* here: then close() closes the reader, too */
};

static inline struct piu_queue *queue_of(PyObject *self)
{
    return ((struct shared_object *)self)->hold.object;
}

static inline struct queue_object *object_of(PyObject *self)
{
    return (struct queue_object *)self;
}

/* NULL with an exception: what `r` says, or that __init__() was not called. */
PyObject *queue_raise(PyObject *self, int r);

/* put and get at the ends: NULL with OSError where that end is closed here. */
PyObject *queue_send(PyObject *self, PyObject *object);
PyObject *queue_recv(PyObject *self, PyObject *unused);

#endif
