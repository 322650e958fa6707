#include "handle.h"

#include "errors.h"

/* ---- Holds -------------------------------------------------------------------------- */

int handle_new(struct piu_hold *ret, const char *what, enum piu_kind kind, size_t size)
{
    int r = piu_hold_new(ret, kind, size);

    if (r < 0)
        error_raise(what, r);
    return r < 0 ? -1 : 0;
}

int handle_of_queue(struct piu_hold *ret, const char *what, struct piu_queue *q)
{
    int r = piu_hold_queue(ret, q);

    if (r < 0) {
        piu_queue_free(q);
        error_raise(what, r);
    }
    return r < 0 ? -1 : 0;
}

void handle_done(struct piu_hold *hold)
{
    if (hold->object)
        piu_hold_drop(hold);
}

int handle_from_bytes(struct piu_hold *ret, const char *what, PyObject *bytes)
{
    struct piu_handle h;
    int r = -EINVAL;

    if (PyBytes_Check(bytes) && PyBytes_GET_SIZE(bytes) == sizeof(h)) {
        memcpy(&h, PyBytes_AS_STRING(bytes), sizeof(h));
        r = piu_hold_take(ret, &h);
    }
    if (r == -EXDEV)
        PyErr_Format(
            PyExc_ReferenceError,
            "%s: it is of another family: this process made objects of piu before "
            "it was told of its starter's, and can use those alone; let it unpickle what "
            "it is sent before it makes any",
            what);
    else if (r < 0)
        error_raise(what, r);
    return r < 0 ? -1 : 0;
}

/* ---- Carriers ------------------------------------------------------------------------ */

/* One call stack, one chain: it belongs to the thread and to no interpreter. */
static _Thread_local struct carrier *carrier_now;

void carrier_open(struct carrier *c)
{
    *c = (struct carrier){.outer = carrier_now};
    carrier_now = c;
}

void carrier_close(struct carrier *c)
{
    carrier_now = c->outer;
}

void handles_land(const struct piu_handle *handles, size_t count)
{
    for (size_t i = 0; i < count; i++)
        piu_handle_land(&handles[i]);
}

void carrier_land(struct carrier *c)
{
    handles_land(c->handles, c->count);
    c->count = 0;
}

void carrier_done(struct carrier *c)
{
    PyMem_Free(c->handles);
    c->handles = NULL;
}

static int carrier_add(struct carrier *c, const struct piu_handle *h)
{
    int r;

    if (c->count == c->room) {
        size_t room = c->room ? c->room * 2 : 8;
        struct piu_handle *more = PyMem_Realloc(c->handles, room * sizeof(*more));

        if (!more) {
            PyErr_NoMemory();
            return -1;
        }
        c->handles = more;
        c->room = room;
    }
    r = piu_handle_send(h);
    if (r < 0) {
        error_raise("pickling", r);
        return -1;
    }
    c->handles[c->count++] = *h;
    return 0;
}

/* ---- Pickling ------------------------------------------------------------------------- */

/* New reference; None: no process is being started by this thread. */
static PyObject *popen_now(struct module_state *state)
{
    return PyObject_CallMethod(state->context, "get_spawning_popen", NULL);
}

bool handle_may_travel(struct module_state *state)
{
    PyObject *popen;
    bool spawning;

    if (carrier_now)
        return true;
    popen = popen_now(state);
    spawning = popen && popen != Py_None;
    Py_XDECREF(popen);
    PyErr_Clear();
    return spawning;
}

/*
 * P3.  The first of a Popen also brings the family: the descriptor goes to the child once,
 * however many objects there are.  New reference, to be unpickled before the handle.
 */
static PyObject *popen_keep(PyObject *popen, PyObject *self)
{
    PyObject *module = PyImport_ImportModule("piu._start"), *family;

    if (!module)
        return NULL;
    family = PyObject_CallMethod(module, "keep", "OO", popen, self);
    Py_DECREF(module);
    return family;
}

/* New reference: None, or the family for the child. */
static PyObject *travel(struct module_state *state, PyObject *self,
                        const struct piu_hold *hold)
{
    PyObject *popen, *family;

    if (carrier_now)
        return carrier_add(carrier_now, &hold->handle) < 0 ? NULL : Py_NewRef(Py_None);
    popen = popen_now(state);
    if (!popen)
        return NULL;
    family = popen == Py_None ? error_not_spawning(self) : popen_keep(popen, self);
    Py_DECREF(popen);
    return family;
}

PyObject *handle_reduce(struct module_state *state, PyObject *self,
                        const struct piu_hold *hold, PyObject *extra)
{
    PyObject *family = travel(state, self, hold);

    if (!extra)
        extra = Py_NewRef(Py_None);
    if (!family) {
        Py_DECREF(extra);
        return NULL;
    }
    return Py_BuildValue("O(NOy#N)", state->rebuild, family, (PyObject *)Py_TYPE(self),
                         (const char *)&hold->handle, (Py_ssize_t)sizeof(hold->handle),
                         extra);
}

PyObject *handle_state(struct module_state *state, PyObject *self,
                       const struct piu_hold *hold)
{
    PyObject *family = travel(state, self, hold);

    return family ? Py_BuildValue("(Ny#)", family, (const char *)&hold->handle,
                                  (Py_ssize_t)sizeof(hold->handle))
                  : NULL;
}

/* _rebuild(family, type, handle, extra): unpickling the family has joined it. */
static PyObject *rebuild(PyObject *module, PyObject *const *arguments, Py_ssize_t count)
{
    (void)module;
    if (count != 4) {
        PyErr_SetString(PyExc_TypeError, "_rebuild() takes 4 arguments");
        return NULL;
    }
    return PyObject_CallMethod(arguments[1], "_from_handle", "OO", arguments[2],
                               arguments[3]);
}

static PyMethodDef functions[] = {
    ENTRY("_rebuild", rebuild, METH_FASTCALL, "An unpickled object of piu."),
    {NULL, NULL, 0, NULL},
};

int handle_functions_add(PyObject *module)
{
    struct module_state *state = state_of_module(module);

    if (PyModule_AddFunctions(module, functions) < 0)
        return -1;
    state->rebuild = PyObject_GetAttrString(module, "_rebuild");
    return state->rebuild ? 0 : -1;
}

/* ---- Objects ------------------------------------------------------------------------------ */

PyObject *shared_alloc(PyTypeObject *type)
{
    struct module_state *state = state_of_type(type);
    PyObject *self = state ? type->tp_alloc(type, 0) : NULL;

    if (self)
        ((struct shared_object *)self)->state = state;
    return self;
}

PyObject *shared_new(PyTypeObject *type, const char *what, enum piu_kind kind,
                     size_t size)
{
    PyObject *self = shared_alloc(type);

    if (self && handle_new(&((struct shared_object *)self)->hold, what, kind, size) < 0)
        Py_CLEAR(self);
    return self;
}

PyObject *shared_from_handle(PyTypeObject *type, const char *what,
                             PyObject *const *arguments, Py_ssize_t count)
{
    PyObject *self;

    if (count != 2)
        return PyErr_Format(PyExc_TypeError,
                            "_from_handle() takes 2 arguments (%zd given)", count);
    self = shared_alloc(type);
    if (self &&
        handle_from_bytes(&((struct shared_object *)self)->hold, what, arguments[0]) < 0)
        Py_CLEAR(self);
    return self;
}

int shared_traverse(PyObject *self, visitproc visit, void *arg)
{
    (void)arg;
    Py_VISIT(Py_TYPE(self));
    return 0;
}

void shared_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);

    PyObject_GC_UnTrack(self);
    handle_done(&((struct shared_object *)self)->hold);
    type->tp_free(self);
    Py_DECREF(type);
}

PyObject *shared_reduce(PyObject *self, PyObject *extra)
{
    struct shared_object *shared = (struct shared_object *)self;

    return handle_reduce(shared->state, self, &shared->hold, extra);
}
