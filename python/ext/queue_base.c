/* _Queue: what Queue and SimpleQueue extend. */
#include "queue_base.h"

#include "errors.h"
#include "transfer.h"
#include "wait.h"

#define WHAT "Queue"

PyObject *queue_raise(PyObject *self, int r)
{
    if (!queue_of(self)) {
        PyErr_SetString(PyExc_RuntimeError, "Queue.__init__() was not called");
        return NULL;
    }
    return error_raise(WHAT, r);
}

/* ---- Its ends ---------------------------------------------------------------- */

static PyObject *queue_fileno(PyObject *self, PyObject *unused)
{
    int fd = piu_queue_fd(queue_of(self));

    (void)unused;
    return fd < 0 ? queue_raise(self, fd) : PyLong_FromLong(fd);
}

static int call_poll(void *argument, int64_t timeout)
{
    struct piu_waitable one = {.queue = argument};

    return piu_wait_any(&one, 1, timeout);
}

static PyObject *queue_poll(PyObject *self, PyObject *timeout)
{
    int64_t ns;
    int r;

    if (timeout_from(timeout, &ns) < 0)
        return NULL;
    r = wait_spinning(call_poll, queue_of(self), ns);
    if (r < 0 && r != -ETIMEDOUT)
        return queue_raise(self, r);
    return PyBool_FromLong(r >= 0);
}

static int check_end(bool closed)
{
    if (!closed)
        return 0;
    PyErr_SetString(PyExc_OSError, "handle is closed");
    return -1;
}

PyObject *queue_send(PyObject *self, PyObject *object)
{
    return check_end(object_of(self)->writer_closed) < 0
               ? NULL
               : queue_put_object(self, object, PIU_FOREVER);
}

PyObject *queue_recv(PyObject *self, PyObject *unused)
{
    (void)unused;
    return check_end(object_of(self)->reader_closed) < 0
               ? NULL
               : queue_get_object(self, PIU_FOREVER);
}

static PyObject *queue_is_empty(PyObject *self, PyObject *unused)
{
    (void)unused;
    if (check_end(object_of(self)->reader_closed) < 0)
        return NULL;
    return PyBool_FromLong(piu_queue_qsize(queue_of(self)) == 0);
}

/* ---- Making, and being sent ------------------------------------------------------------------------ */

static PyObject *queue_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
    (void)arguments;
    (void)keywords;
    return shared_alloc(type);
}

static PyObject *queue_make(PyObject *self, PyObject *arguments)
{
    struct queue_object *o = object_of(self);
    Py_ssize_t maxsize;
    struct piu_queue *q;
    int tasks;

    if (!PyArg_ParseTuple(arguments, "np", &maxsize, &tasks))
        return NULL;
    if (queue_of(self))
        handle_done(&o->shared.hold); /* __init__() once more: another queue */
    o->maxsize = maxsize > 0 ? (size_t)maxsize : 0;
    q = piu_queue_new(.maxsize = o->maxsize, .tasks = tasks != 0);
    if (!q)
        return error_raise(WHAT, -errno);
    if (handle_of_queue(&o->shared.hold, WHAT, q) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *queue_state(PyObject *self, PyObject *unused)
{
    struct shared_object *shared = (struct shared_object *)self;

    (void)unused;
    return handle_state(shared->state, self, &shared->hold);
}

/* _take(maxsize, handle): of __setstate__. */
static PyObject *queue_take(PyObject *self, PyObject *arguments)
{
    struct queue_object *o = object_of(self);
    struct piu_hold hold;
    Py_ssize_t maxsize;
    PyObject *handle;

    if (!PyArg_ParseTuple(arguments, "nO", &maxsize, &handle) ||
        handle_from_bytes(&hold, WHAT, handle) < 0)
        return NULL;
    if (queue_of(self))
        handle_done(&o->shared.hold);
    o->shared.hold = hold;
    o->maxsize = maxsize > 0 ? (size_t)maxsize : 0;
    Py_RETURN_NONE;
}

/* ---- The type ------------------------------------------------------------------------------ */

static PyMethodDef methods[] = {
    ENTRY("empty", queue_is_empty, METH_NOARGS, "Is nothing in it?"),
    ENTRY("_make", queue_make, METH_VARARGS, "_make(maxsize, tasks)"),
    ENTRY("_state", queue_state, METH_NOARGS, "(family, handle)"),
    ENTRY("_take", queue_take, METH_VARARGS, "_take(maxsize, handle)"),
    ENTRY("_fileno", queue_fileno, METH_NOARGS, NULL),
    ENTRY("_poll_for", queue_poll, METH_O, NULL),
    ENTRY("_send", queue_send, METH_O, NULL),
    ENTRY("_recv", queue_recv, METH_NOARGS, NULL),
    {NULL, NULL, 0, NULL},
};

static PyMemberDef ends[] = {
    {"_reader_closed", T_BOOL, offsetof(struct queue_object, reader_closed), 0, NULL},
    {"_writer_closed", T_BOOL, offsetof(struct queue_object, writer_closed), 0, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot slots[] = {
    SLOT(Py_tp_doc, PyDoc_STR("Objects from any process to any.")),
    SLOT(Py_tp_new, queue_new),
    SLOT(Py_tp_traverse, shared_traverse),
    SLOT(Py_tp_dealloc, shared_dealloc),
    SLOT(Py_tp_methods, methods),
    SLOT(Py_tp_members, ends),
    {0, NULL},
};

static PyType_Spec spec = {.name = "piu._piu._Queue",
                           .basicsize = sizeof(struct queue_object),
                           .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE |
                                    Py_TPFLAGS_HAVE_GC,
                           .slots = slots};

int queue_base_type_add(PyObject *module)
{
    return module_add_type(module, &spec, &state_of_module(module)->queue_base_type);
}
