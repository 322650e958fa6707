/*
 * Queue, JoinableQueue.  Names, reprs and what others read besides is in piu/queues.py.
 */
#include "queue_base.h"
#include "transfer.h"
#include "wait.h"

#include <unistd.h>

static bool is_closed(struct queue_object *self)
{
    return self->closer && self->closer == getpid();
}

/* -1 with an exception: it is closed, in the words of the stdlib. */
static int check_open(PyObject *self)
{
    if (!is_closed(object_of(self)))
        return 0;
    PyErr_Format(PyExc_ValueError, "Queue %R is closed", self);
    return -1;
}

/* ---- Arguments: (obj,) block=True, timeout=None ------------------------------------------- */

static int argument_take(const char *function, const char *const *known, PyObject *name,
                         PyObject *value, PyObject **places)
{
    for (int i = 0; known[i]; i++) {
        if (PyUnicode_CompareWithASCIIString(name, known[i]) != 0)
            continue;
        if (places[i]) {
            PyErr_Format(PyExc_TypeError, "%s() got multiple values for argument '%U'",
                         function, name);
            return -1;
        }
        places[i] = value;
        return 0;
    }
    PyErr_Format(PyExc_TypeError, "%s() got an unexpected keyword argument '%U'",
                 function, name);
    return -1;
}

/* The last two of `known` are block and timeout; -1 with an exception. */
static int arguments_take(const char *function, const char *const *known, Py_ssize_t room,
                          PyObject *const *arguments, Py_ssize_t count, PyObject *names,
                          PyObject **places, int64_t *timeout)
{
    int block = 1;

    if (count > room) {
        PyErr_Format(PyExc_TypeError, "%s() takes at most %zd arguments (%zd given)",
                     function, room, count);
        return -1;
    }
    for (Py_ssize_t i = 0; i < count; i++)
        places[i] = arguments[i];
    for (Py_ssize_t i = 0; names && i < PyTuple_GET_SIZE(names); i++) {
        if (argument_take(function, known, PyTuple_GET_ITEM(names, i),
                          arguments[count + i], places) < 0)
            return -1;
    }
    if (places[room - 2] && (block = PyObject_IsTrue(places[room - 2])) < 0)
        return -1;
    if (!block) {
        *timeout = PIU_NOW;
        return 0;
    }
    return timeout_from(places[room - 1], timeout);
}

/* ---- put, get -------------------------------------------------------------------------------- */

static PyObject *queue_put(PyObject *self, PyObject *const *arguments, Py_ssize_t count,
                           PyObject *names)
{
    static const char *const known[] = {"obj", "block", "timeout", NULL};
    PyObject *places[3] = {NULL, NULL, NULL};
    int64_t timeout = PIU_FOREVER;

    if (check_open(self) < 0)
        return NULL;
    object_of(self)->has_put = true;
    if (count == 1 && !names)
        return queue_put_object(self, arguments[0], timeout);
    if (arguments_take("put", known, 3, arguments, count, names, places, &timeout) < 0)
        return NULL;
    if (!places[0])
        return PyErr_Format(PyExc_TypeError,
                            "put() missing 1 required positional argument: 'obj'");
    return queue_put_object(self, places[0], timeout);
}

static PyObject *queue_put_nowait(PyObject *self, PyObject *object)
{
    if (check_open(self) < 0)
        return NULL;
    object_of(self)->has_put = true;
    return queue_put_object(self, object, PIU_NOW);
}

static PyObject *queue_get(PyObject *self, PyObject *const *arguments, Py_ssize_t count,
                           PyObject *names)
{
    static const char *const known[] = {"block", "timeout", NULL};
    PyObject *places[2] = {NULL, NULL};
    int64_t timeout = PIU_FOREVER;

    if (check_open(self) < 0)
        return NULL;
    if ((count > 0 || names) &&
        arguments_take("get", known, 2, arguments, count, names, places, &timeout) < 0)
        return NULL;
    return queue_get_object(self, timeout);
}

static PyObject *queue_get_nowait(PyObject *self, PyObject *unused)
{
    (void)unused;
    return check_open(self) < 0 ? NULL : queue_get_object(self, PIU_NOW);
}

/* ---- Looking at it --------------------------------------------------------------------------- */

static PyObject *queue_qsize(PyObject *self, PyObject *unused)
{
    (void)unused;
    return PyLong_FromSize_t(piu_queue_qsize(queue_of(self)));
}

static PyObject *queue_full(PyObject *self, PyObject *unused)
{
    size_t maxsize = object_of(self)->maxsize;

    (void)unused;
    return PyBool_FromLong(maxsize && piu_queue_qsize(queue_of(self)) >= maxsize);
}

static PyObject *queue_close(PyObject *self, PyObject *unused)
{
    struct queue_object *o = object_of(self);

    (void)unused;
    o->closer = getpid();
    o->reader_closed |= o->has_put; /* as the stdlib's feeder does */
    Py_RETURN_NONE;
}

static PyObject *queue_limit(PyObject *self, void *closure)
{
    (void)closure;
    return PyLong_FromSize_t(object_of(self)->maxsize);
}

static PyObject *queue_closed(PyObject *self, void *closure)
{
    (void)closure;
    return PyBool_FromLong(is_closed(object_of(self)));
}

/* ---- task_done, join ---------------------------------------------------------------------------------- */

static PyObject *joinable_task_done(PyObject *self, PyObject *unused)
{
    int r = piu_queue_task_done(queue_of(self));

    (void)unused;
    if (r >= 0)
        Py_RETURN_NONE;
    if (r != -EINVAL || !queue_of(self))
        return queue_raise(self, r);
    PyErr_SetString(PyExc_ValueError, "task_done() called too many times");
    return NULL;
}

static int call_join(void *argument, int64_t timeout)
{
    return piu_queue_join(argument, timeout);
}

static PyObject *joinable_join(PyObject *self, PyObject *unused)
{
    int r = wait_spinning(call_join, queue_of(self), PIU_FOREVER);

    (void)unused;
    if (r < 0)
        return queue_raise(self, r);
    Py_RETURN_NONE;
}

/* ---- The types ------------------------------------------------------------------------------ */

static PyMethodDef methods[] = {
    ENTRY("put", queue_put, METH_FASTCALL | METH_KEYWORDS,
          "put(obj, block=True, timeout=None): it is in when this returns."),
    ENTRY("get", queue_get, METH_FASTCALL | METH_KEYWORDS,
          "get(block=True, timeout=None): the oldest object."),
    ENTRY("put_nowait", queue_put_nowait, METH_O, "put(obj, False)"),
    ENTRY("get_nowait", queue_get_nowait, METH_NOARGS, "get(False)"),
    ENTRY("qsize", queue_qsize, METH_NOARGS, "How many are put and not got."),
    ENTRY("full", queue_full, METH_NOARGS, "Are there maxsize in it?"),
    ENTRY("close", queue_close, METH_NOARGS, "This process uses it no more."),
    {NULL, NULL, 0, NULL},
};

static PyMethodDef joinable_methods[] = {
    ENTRY("task_done", joinable_task_done, METH_NOARGS,
          "One object that was got is done."),
    ENTRY("join", joinable_join, METH_NOARGS, "Wait until all that was put is done."),
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef getters[] = {
    {"_limit", queue_limit, NULL, PyDoc_STR("maxsize; 0: none"), NULL},
    {"_closed", queue_closed, NULL, PyDoc_STR("Did this process call close()?"), NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot slots[] = {
    SLOT(Py_tp_doc, PyDoc_STR("Objects from any process to any.")),
    SLOT(Py_tp_traverse, shared_traverse),
    SLOT(Py_tp_dealloc, shared_dealloc),
    SLOT(Py_tp_methods, methods),
    SLOT(Py_tp_getset, getters),
    {0, NULL},
};

static PyType_Slot joinable_slots[] = {
    SLOT(Py_tp_doc, PyDoc_STR("A queue that knows when all that was put is done.")),
    SLOT(Py_tp_traverse, shared_traverse),
    SLOT(Py_tp_dealloc, shared_dealloc),
    SLOT(Py_tp_methods, joinable_methods),
    {0, NULL},
};

#define FLAGS (Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC)

static PyType_Spec spec = {.name = "piu._piu.Queue",
                           .basicsize = sizeof(struct queue_object),
                           .flags = FLAGS,
                           .slots = slots};
static PyType_Spec joinable_spec = {.name = "piu._piu.JoinableQueue",
                                    .basicsize = sizeof(struct queue_object),
                                    .flags = FLAGS,
                                    .slots = joinable_slots};

int queue_type_add(PyObject *module)
{
    struct module_state *s = state_of_module(module);

    if (module_add_subtype(module, &spec, s->queue_base_type, &s->queue_type) < 0)
        return -1;
    return module_add_subtype(module, &joinable_spec, s->queue_type, NULL);
}
