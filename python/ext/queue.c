/*
 * Queue, JoinableQueue, SimpleQueue.  put() has put when it returns, there is no feeder thread.
 * Names, reprs and what others read besides is in piu/queues.py.
 */
#include "errors.h"
#include "message.h"
#include "wait.h"

#include <limits.h>
#include <unistd.h>

#define WHAT "Queue"
#define LONG_PUT \
    ((size_t)256 << 10) /* bytes: making room for them takes longer than to wait */

struct queue_object {
    struct shared_object shared;
    size_t maxsize; /* 0: none */
    pid_t closer;   /* the process that closed it; 0: none.  A forked child may use it. */
    bool reader_closed, writer_closed; /* the ends, as connection objects know it */
};

static struct piu_queue *queue_of(PyObject *self)
{
    return ((struct shared_object *)self)->hold.object;
}

static struct queue_object *object_of(PyObject *self)
{
    return (struct queue_object *)self;
}

static bool is_closed(struct queue_object *self)
{
    return self->closer && self->closer == getpid();
}

static PyObject *raise_of(PyObject *self, int r)
{
    if (!queue_of(self)) {
        PyErr_SetString(PyExc_RuntimeError, "Queue.__init__() was not called");
        return NULL;
    }
    return error_raise(WHAT, r);
}

/* -1 with an exception: it is closed, in the words of the stdlib. */
static int check_open(PyObject *self)
{
    if (!is_closed(object_of(self)))
        return 0;
    PyErr_Format(PyExc_ValueError, "Queue %R is closed", self);
    return -1;
}

static int check_end(bool closed)
{
    if (!closed)
        return 0;
    PyErr_SetString(PyExc_OSError, "handle is closed");
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

/* ---- put ------------------------------------------------------------------------------------ */

struct call {
    struct piu_queue *q;
    void *bytes;
    size_t size;
};

static int call_put(void *argument, int64_t timeout)
{
    struct call *c = argument;

    return piu_queue_put(c->q, c->bytes, c->size, timeout);
}

static int call_reserve(void *argument, int64_t timeout)
{
    struct call *c = argument;

    return piu_queue_reserve(c->q, c->size, &c->bytes, timeout);
}

/* Into a block of its own, written in place: the one copy on this side. */
static int put_large(struct piu_queue *q, struct message *m, int64_t timeout)
{
    struct call c = {.q = q, .size = m->size};
    int r = m->size < LONG_PUT ? wait_spinning(call_reserve, &c, timeout)
                               : wait_in_slices(call_reserve, &c, timeout);

    if (r < 0)
        return r;
    r = message_write(m, c.bytes) < 0 ? -EBADMSG : piu_queue_commit(q, c.bytes);
    if (r < 0)
        piu_queue_abort(q, c.bytes);
    return r;
}

/* An object that cannot be pickled: the hook of a subclass, or the exception. */
static PyObject *put_failed(PyObject *self, PyObject *object)
{
    struct module_state *s = ((struct shared_object *)self)->state;
    PyObject *type, *error, *trace, *done;

    if (!PyErr_ExceptionMatches(PyExc_Exception) ||
        !PyType_IsSubtype(Py_TYPE(self), s->queue_type))
        return NULL;
    PyErr_Fetch(&type, &error, &trace);
    PyErr_NormalizeException(&type, &error, &trace);
    if (trace)
        PyException_SetTraceback(error, trace);
    done = PyObject_CallMethod(self, "_put_failed", "(OO)", error, object);
    Py_XDECREF(type);
    Py_XDECREF(error);
    Py_XDECREF(trace);
    return done;
}

static PyObject *put(PyObject *self, PyObject *object, int64_t timeout)
{
    struct shared_object *shared = (struct shared_object *)self;
    struct piu_queue *q = queue_of(self);
    struct message m;
    int r;

    if (message_make(shared->state, &m, object) < 0)
        return put_failed(self, object);
    if (m.size <= MESSAGE_SMALL) {
        struct call c = {.q = q, .bytes = m.small, .size = m.size};

        r = wait_spinning(call_put, &c, timeout);
    } else
        r = put_large(q, &m, timeout);
    if (r >= 0) {
        message_done(&m);
        Py_RETURN_NONE;
    }
    message_drop(&m);
    if (r != -ETIMEDOUT)
        return raise_of(self, r);
    PyErr_SetNone(shared->state->queue_full);
    return NULL;
}

static PyObject *queue_put(PyObject *self, PyObject *const *arguments, Py_ssize_t count,
                           PyObject *names)
{
    static const char *const known[] = {"obj", "block", "timeout", NULL};
    PyObject *places[3] = {NULL, NULL, NULL};
    int64_t timeout = PIU_FOREVER;

    if (check_open(self) < 0)
        return NULL;
    if (count == 1 && !names)
        return put(self, arguments[0], timeout);
    if (arguments_take("put", known, 3, arguments, count, names, places, &timeout) < 0)
        return NULL;
    if (!places[0])
        return PyErr_Format(PyExc_TypeError,
                            "put() missing 1 required positional argument: 'obj'");
    return put(self, places[0], timeout);
}

static PyObject *queue_put_nowait(PyObject *self, PyObject *object)
{
    return check_open(self) < 0 ? NULL : put(self, object, PIU_NOW);
}

/* ---- get ------------------------------------------------------------------------------------ */

static int call_get(void *argument, int64_t timeout)
{
    struct call *c = argument;

    c->size = MESSAGE_SMALL;
    return piu_queue_get(c->q, c->bytes, &c->size, timeout);
}

/* -ETIMEDOUT: another getter was faster. */
static PyObject *get_large(PyObject *self, int *r)
{
    struct shared_object *shared = (struct shared_object *)self;
    PyObject *object;
    void *message;
    size_t size;

    *r = piu_queue_take(queue_of(self), &message, &size, PIU_NOW);
    if (*r < 0)
        return NULL;
    object = message_read(shared->state, message, size);
    piu_queue_drop(queue_of(self), message);
    return object;
}

static PyObject *get(PyObject *self, int64_t timeout)
{
    struct shared_object *shared = (struct shared_object *)self;
    unsigned char small[MESSAGE_SMALL];
    struct call c = {.q = queue_of(self), .bytes = small};
    int r;

    for (;;) {
        r = wait_spinning(call_get, &c, timeout);
        if (r >= 0)
            return message_read(shared->state, small, c.size);
        if (r != -EMSGSIZE)
            break;
        PyObject *object = get_large(self, &r);
        if (r >= 0)
            return object;
        if (r != -ETIMEDOUT)
            break;
    }
    if (r != -ETIMEDOUT)
        return raise_of(self, r);
    PyErr_SetNone(shared->state->queue_empty);
    return NULL;
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
    return get(self, timeout);
}

static PyObject *queue_get_nowait(PyObject *self, PyObject *unused)
{
    (void)unused;
    return check_open(self) < 0 ? NULL : get(self, PIU_NOW);
}

/* ---- Looking at it --------------------------------------------------------------------------- */

static PyObject *queue_qsize(PyObject *self, PyObject *unused)
{
    (void)unused;
    return PyLong_FromSize_t(piu_queue_qsize(queue_of(self)));
}

static PyObject *queue_empty(PyObject *self, PyObject *unused)
{
    (void)unused;
    if (check_end(object_of(self)->reader_closed) < 0)
        return NULL;
    return PyBool_FromLong(piu_queue_qsize(queue_of(self)) == 0);
}

static PyObject *queue_full(PyObject *self, PyObject *unused)
{
    size_t maxsize = object_of(self)->maxsize;

    (void)unused;
    return PyBool_FromLong(maxsize && piu_queue_qsize(queue_of(self)) >= maxsize);
}

static PyObject *queue_close(PyObject *self, PyObject *unused)
{
    (void)unused;
    object_of(self)->closer = getpid();
    Py_RETURN_NONE;
}

/* ---- Its ends, for piu/queues.py ---------------------------------------------------------------- */

static PyObject *queue_fileno(PyObject *self, PyObject *unused)
{
    int fd = piu_queue_fd(queue_of(self));

    (void)unused;
    return fd < 0 ? raise_of(self, fd) : PyLong_FromLong(fd);
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
        return raise_of(self, r);
    return PyBool_FromLong(r >= 0);
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
        return raise_of(self, r);
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
        return raise_of(self, r);
    Py_RETURN_NONE;
}

/* ---- SimpleQueue ---------------------------------------------------------------------------------------- */

static PyObject *simple_put(PyObject *self, PyObject *object)
{
    return check_end(object_of(self)->writer_closed) < 0 ? NULL
                                                         : put(self, object, PIU_FOREVER);
}

static PyObject *simple_get(PyObject *self, PyObject *unused)
{
    (void)unused;
    return check_end(object_of(self)->reader_closed) < 0 ? NULL : get(self, PIU_FOREVER);
}

static PyObject *simple_close(PyObject *self, PyObject *unused)
{
    (void)unused;
    object_of(self)->reader_closed = object_of(self)->writer_closed = true;
    Py_RETURN_NONE;
}

/* ---- The types ------------------------------------------------------------------------------------------- */

/* What the three have in common: they have one layout. */
#define SHARED_METHODS                                                      \
    ENTRY("empty", queue_empty, METH_NOARGS, "Is nothing in it?"),          \
        ENTRY("_make", queue_make, METH_VARARGS, "_make(maxsize, tasks)"),  \
        ENTRY("_state", queue_state, METH_NOARGS, "(family, handle)"),      \
        ENTRY("_take", queue_take, METH_VARARGS, "_take(maxsize, handle)"), \
        ENTRY("_fileno", queue_fileno, METH_NOARGS, NULL),                  \
        ENTRY("_poll_for", queue_poll, METH_O, NULL),                       \
        ENTRY("_send", simple_put, METH_O, NULL),                           \
        ENTRY("_recv", simple_get, METH_NOARGS, NULL)

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
    SHARED_METHODS,
    {NULL, NULL, 0, NULL},
};

static PyMethodDef joinable_methods[] = {
    ENTRY("task_done", joinable_task_done, METH_NOARGS,
          "One object that was got is done."),
    ENTRY("join", joinable_join, METH_NOARGS, "Wait until all that was put is done."),
    {NULL, NULL, 0, NULL},
};

static PyMethodDef simple_methods[] = {
    ENTRY("put", simple_put, METH_O, "put(obj): it is in when this returns."),
    ENTRY("get", simple_get, METH_NOARGS, "get(): the oldest object."),
    ENTRY("close", simple_close, METH_NOARGS, "This process uses it no more."),
    SHARED_METHODS,
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef getters[] = {
    {"_limit", queue_limit, NULL, PyDoc_STR("maxsize; 0: none"), NULL},
    {"_closed", queue_closed, NULL, PyDoc_STR("Did this process call close()?"), NULL},
    {NULL, NULL, NULL, NULL, NULL},
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
    SLOT(Py_tp_getset, getters),
    SLOT(Py_tp_members, ends),
    {0, NULL},
};

static PyType_Slot joinable_slots[] = {
    SLOT(Py_tp_doc, PyDoc_STR("A queue that knows when all that was put is done.")),
    SLOT(Py_tp_traverse, shared_traverse),
    SLOT(Py_tp_dealloc, shared_dealloc),
    SLOT(Py_tp_methods, joinable_methods),
    {0, NULL},
};

static PyType_Slot simple_slots[] = {
    SLOT(Py_tp_doc, PyDoc_STR("A queue with put(), get(), empty() and close() alone.")),
    SLOT(Py_tp_new, queue_new),
    SLOT(Py_tp_traverse, shared_traverse),
    SLOT(Py_tp_dealloc, shared_dealloc),
    SLOT(Py_tp_methods, simple_methods),
    SLOT(Py_tp_members, ends),
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
static PyType_Spec simple_spec = {.name = "piu._piu.SimpleQueue",
                                  .basicsize = sizeof(struct queue_object),
                                  .flags = FLAGS,
                                  .slots = simple_slots};

int queue_type_add(PyObject *module)
{
    struct module_state *s = state_of_module(module);

    if (module_add_type(module, &spec, &s->queue_type) < 0 ||
        module_add_subtype(module, &joinable_spec, s->queue_type) < 0)
        return -1;
    return module_add_type(module, &simple_spec, NULL);
}
