#include "pickled.h"

#define PROTOCOL_5 5

void pickled_done(struct pickled *p)
{
    for (size_t i = 0; i < p->count; i++)
        PyBuffer_Release(&p->views[i]);
    PyMem_Free(p->views);
    if (p->pickle.obj)
        PyBuffer_Release(&p->pickle);
    Py_XDECREF(p->buffers);
    Py_XDECREF(p->file);
    carrier_done(&p->carrier);
}

/*
 * What ForkingPickler's picklers have: copyreg's, and what it has registered.  That class itself
 * makes them in Python.
 */
static int pickler_set_reducers(struct module_state *s, PyObject *pickler)
{
    PyObject *extra = PyObject_GetAttrString(s->forking_pickler, "_extra_reducers");
    PyObject *table = extra ? PyDict_Copy(s->copyreg_reducers) : NULL;
    int r = -1;

    if (table && PyDict_Update(table, extra) == 0)
        r = PyObject_SetAttrString(pickler, "dispatch_table", table);
    Py_XDECREF(table);
    Py_XDECREF(extra);
    return r;
}

/* Pickle `object` into p->file; with `append`, its buffers are given to that. */
static int pickle_into_file(struct module_state *s, struct pickled *p, PyObject *object,
                            PyObject *append)
{
    PyObject *pickler = NULL, *done = NULL;

    p->file = PyObject_CallNoArgs(s->bytes_io);
    if (p->file)
        pickler = append ? PyObject_CallFunction(s->pickler, "OiOO", p->file, PROTOCOL_5,
                                                 Py_True, append)
                         : PyObject_CallFunctionObjArgs(s->pickler, p->file, NULL);
    if (pickler && pickler_set_reducers(s, pickler) == 0)
        done = PyObject_CallMethod(pickler, "dump", "(O)", object); /* also of a tuple */
    Py_XDECREF(pickler);
    Py_XDECREF(done);
    return done ? 0 : -1;
}

/* The same, of objects among which may be piu's. */
static int pickled_run(struct module_state *s, struct pickled *p, PyObject *object,
                       PyObject *append)
{
    int r;

    carrier_open(&p->carrier);
    r = pickle_into_file(s, p, object, append);
    carrier_close(&p->carrier);
    return r;
}

static int pickled_look(struct pickled *p)
{
    PyObject *view = PyObject_CallMethod(p->file, "getbuffer", NULL);
    int r = view ? PyObject_GetBuffer(view, &p->pickle, PyBUF_SIMPLE) : -1;

    Py_XDECREF(view);
    return r;
}

/*
 * 1: all can be sent.  0: one is read-only, or has gaps.  By protocol 5 it would arrive read-only,
 * while by the protocol that the stdlib uses a numpy array is always writable where it arrives.
 */
static int pickled_views(struct pickled *p)
{
    size_t count = (size_t)PyList_GET_SIZE(p->buffers);

    p->views = PyMem_Calloc(count + 1, sizeof(*p->views));
    if (!p->views) {
        PyErr_NoMemory();
        return -1;
    }
    for (; p->count < count; p->count++) {
        PyObject *buffer = PyList_GET_ITEM(p->buffers, (Py_ssize_t)p->count);
        Py_buffer *view = &p->views[p->count];

        if (PyObject_GetBuffer(buffer, view, PyBUF_FULL_RO) < 0)
            return -1;
        if (view->readonly || !PyBuffer_IsContiguous(view, 'A')) {
            PyBuffer_Release(view);
            return 0;
        }
    }
    return 1;
}

int pickled_make(struct module_state *s, struct pickled *p, PyObject *object)
{
    PyObject *append;
    int r = -1;

    *p = (struct pickled){0};
    p->buffers = PyList_New(0);
    append = p->buffers ? PyObject_GetAttrString(p->buffers, "append") : NULL;
    if (append && pickled_run(s, p, object, append) == 0)
        r = pickled_views(p);
    Py_XDECREF(append);
    if (r == 0) {
        carrier_land(&p->carrier);
        pickled_done(p);
        *p = (struct pickled){0};
        r = pickled_run(s, p, object, NULL);
    }
    if (r < 0 || pickled_look(p) < 0) {
        carrier_land(&p->carrier);
        pickled_done(p);
        return -1;
    }
    return 0;
}

int pickled_make_alone(struct module_state *s, struct pickled *p, PyObject *object)
{
    *p = (struct pickled){0};
    if (pickle_into_file(s, p, object, NULL) == 0 && pickled_look(p) == 0)
        return 0;
    pickled_done(p);
    return -1;
}

int pickled_functions_add(PyObject *module)
{
    struct module_state *s = state_of_module(module);
    PyObject *protocol = NULL;

    if (module_import("pickle", "DEFAULT_PROTOCOL", &protocol) < 0)
        return -1;
    s->pickle_protocol = (int)PyLong_AsLong(protocol);
    Py_DECREF(protocol);
    if (PyErr_Occurred() || module_import("pickle", "dumps", &s->pickle) < 0 ||
        module_import("pickle", "Pickler", &s->pickler) < 0 ||
        module_import("io", "BytesIO", &s->bytes_io) < 0 ||
        module_import("copyreg", "dispatch_table", &s->copyreg_reducers) < 0)
        return -1;
    return module_import("multiprocessing.reduction", "ForkingPickler",
                         &s->forking_pickler);
}
