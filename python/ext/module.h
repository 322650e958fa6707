/*
 * The module piu._piu: its state, and what every type file needs.
 *
 * A type file is one C type (lock.c is the shortest).  It takes the state at tp_new by
 * state_of_type(), and keeps it in the object as long as the type, and so the module, lives.
 */
#ifndef PIU_EXT_MODULE_H
#define PIU_EXT_MODULE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdbool.h>
#include <stddef.h>
#include <structmember.h>

#include <piu.h>

#include "buffer.h"

/* One for each module object: nothing of Python lies in static memory. */
struct module_state {
    /* Python's own */
    PyObject *broken_barrier_error; /* threading.BrokenBarrierError */
    PyObject *queue_empty;          /* queue.Empty */
    PyObject *queue_full;           /* queue.Full */
    PyObject *context;              /* the module multiprocessing.context */
    PyObject *process;              /* the module multiprocessing.process */
    PyObject *threading;            /* the module threading */
    PyObject *monotonic;            /* time.monotonic */
    PyObject *reduction;            /* the module multiprocessing.reduction */
    PyObject *pickler;              /* pickle.Pickler */
    PyObject *pickle;               /* pickle.dumps */
    int pickle_protocol;            /* its default */
    PyObject *unpickle;             /* pickle.loads */
    PyObject *unpickle_names;       /* ('buffers',) */
    PyObject *bytes_io;             /* io.BytesIO */
    PyObject *copyreg_reducers;     /* copyreg.dispatch_table */
    PyObject *forking_pickler;      /* multiprocessing.reduction.ForkingPickler */
    /* ours */
    PyObject *owner_died_warning;
    PyObject *lock_left_warning;
    PyObject *worker_lost;
    PyObject *rebuild; /* the function _rebuild() of this module */
    PyTypeObject *lock_type;
    PyTypeObject *rlock_type;
    PyTypeObject *queue_base_type;
    PyTypeObject *queue_type;
    PyTypeObject *piece_type;
    struct slabs slabs;
    PyTypeObject *chunks_type;
};

extern struct PyModuleDef piu_module;

struct module_state *state_of_module(PyObject *module);
struct module_state *state_of_type(PyTypeObject *type); /* NULL with an exception */

/* Each adds its type to the module; -1 with an exception.  A new type file is one more line. */
int lock_type_add(PyObject *module);
int rlock_type_add(PyObject *module);
int semaphore_type_add(PyObject *module);
int condition_type_add(PyObject *module);
int event_type_add(PyObject *module);
int buffer_type_add(PyObject *module);
int barrier_type_add(PyObject *module);
int memory_type_add(PyObject *module);
int queue_base_type_add(PyObject *module);
int queue_type_add(PyObject *module);
int simple_queue_type_add(PyObject *module);
int connection_type_add(PyObject *module);
int tasks_type_add(PyObject *module);

/* module.name into *ret (NULL: the module itself); -1 with an exception. */
int module_import(const char *module, const char *name, PyObject **ret);

/* The same for all: a type from its spec, under its own name; into *ret, too (NULL: no). */
int module_add_type(PyObject *module, PyType_Spec *spec, PyTypeObject **ret);
/* The same, of a type that extends another of ours. */
int module_add_subtype(PyObject *module, PyType_Spec *spec, PyTypeObject *base,
                       PyTypeObject **ret);

#define ENTRY(name, function, flags, doc)                                      \
    {                                                                          \
        name, (PyCFunction)(void (*)(void))(function), (flags), PyDoc_STR(doc) \
    }

/* A slot's value is data or a function; ISO C converts between the two by an integer only. */
#define SLOT(id, value)                \
    {                                  \
        id, (void *)(uintptr_t)(value) \
    }

#endif
