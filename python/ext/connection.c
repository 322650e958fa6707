/*
 * _Connection: the stdlib's, whose sending and receiving is in C.  Its names, its repr and its
 * ends are the stdlib's own: piu/_connection.py.
 */
#include "pickled.h"
#include "plain.h"
#include "stream.h"
#include "wait.h"

#define SMALL 4096u /* bytes: what a pipe takes whole */

struct connection {
    PyObject_HEAD struct module_state *state;
    struct stream stream;
    bool readable, writable;
};

static struct connection *connection_of(PyObject *self)
{
    return (struct connection *)self;
}

static int check_end(const struct connection *c, bool is_allowed, const char *otherwise)
{
    bool is_closed = c->stream.handle < 0;

    if (!is_closed && is_allowed)
        return 0;
    PyErr_SetString(PyExc_OSError, is_closed ? "handle is closed" : otherwise);
    return -1;
}

static int check_readable(PyObject *self)
{
    const struct connection *c = connection_of(self);

    return check_end(c, c->readable, "connection is write-only");
}

static int check_writable(PyObject *self)
{
    const struct connection *c = connection_of(self);

    return check_end(c, c->writable, "connection is read-only");
}

static int check(bool is_right, PyObject *type, const char *otherwise)
{
    if (is_right)
        return 0;
    PyErr_SetString(type, otherwise);
    return -1;
}

static PyObject *done(int r)
{
    if (r < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* ---- Sending ---------------------------------------------------------------------------------- */

static PyObject *connection_send_bytes(PyObject *self, PyObject *arguments,
                                       PyObject *keywords)
{
    static char *names[] = {"buf", "offset", "size", NULL};
    PyObject *object, *given = Py_None;
    Py_ssize_t offset = 0, size;
    Py_buffer view;
    int r = -1;

    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "O|nO:send_bytes", names,
                                     &object, &offset, &given) ||
        check_writable(self) < 0 || PyObject_GetBuffer(object, &view, PyBUF_SIMPLE) < 0)
        return NULL;
    size = given == Py_None ? view.len - offset
                            : PyNumber_AsSsize_t(given, PyExc_OverflowError);
    if (!PyErr_Occurred() &&
        check(offset >= 0, PyExc_ValueError, "offset is negative") == 0 &&
        check(offset <= view.len, PyExc_ValueError, "buffer length < offset") == 0 &&
        check(size >= 0, PyExc_ValueError, "size is negative") == 0 &&
        check(size <= view.len - offset, PyExc_ValueError,
              "buffer length < offset + size") == 0)
        r = stream_write(&connection_of(self)->stream, (char *)view.buf + offset,
                         (size_t)size);
    PyBuffer_Release(&view);
    return done(r);
}

/* By pickle's function, which makes its own pickler, in C. */
static int send_held(struct connection *c, PyObject *object)
{
    PyObject *bytes = PyObject_CallOneArg(c->state->pickle, object);
    int r = -1;

    if (bytes)
        r = stream_write(&c->stream, PyBytes_AS_STRING(bytes),
                         (size_t)PyBytes_GET_SIZE(bytes));
    Py_XDECREF(bytes);
    return r;
}

/* By a pickler with what has been registered. */
static int send_pickled(struct connection *c, PyObject *object)
{
    struct pickled p;
    int r;

    if (pickled_make_alone(c->state, &p, object) < 0)
        return -1;
    r = stream_write(&c->stream, p.pickle.buf, (size_t)p.pickle.len);
    pickled_done(&p);
    return r;
}

static PyObject *connection_send(PyObject *self, PyObject *object)
{
    struct connection *c = connection_of(self);
    unsigned char plain[PLAIN_ROOM];
    size_t size;

    if (check_writable(self) < 0)
        return NULL;
    size = plain_pickle(object, c->state->pickle_protocol, plain);
    if (size > 0)
        return done(stream_write(&c->stream, plain, size));
    return done(plain_holds(object) ? send_held(c, object) : send_pickled(c, object));
}

/* ---- Receiving -------------------------------------------------------------------------------- */

/* A message: in `small` as long as it is not larger. */
struct arrival {
    uint64_t size;
    unsigned char small[SMALL];
};

static int arrival_begin(struct arrival *a, struct connection *c)
{
    return stream_read_first(&c->stream, &a->size, a->small, SMALL);
}

static PyObject *arrival_bytes(struct arrival *a, struct connection *c)
{
    PyObject *bytes;

    if (a->size <= SMALL)
        return PyBytes_FromStringAndSize((char *)a->small, (Py_ssize_t)a->size);
    if (a->size > PY_SSIZE_T_MAX)
        return PyErr_NoMemory();
    bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)a->size);
    if (bytes && stream_read(&c->stream, PyBytes_AS_STRING(bytes), a->size) < 0)
        Py_CLEAR(bytes);
    return bytes;
}

static int arrival_into(struct arrival *a, struct connection *c, void *place)
{
    if (a->size > SMALL)
        return stream_read(&c->stream, place, a->size);
    memcpy(place, a->small, a->size);
    return 0;
}

static PyObject *connection_recv_bytes(PyObject *self, PyObject *arguments,
                                       PyObject *keywords)
{
    static char *names[] = {"maxlength", NULL};
    struct connection *c = connection_of(self);
    Py_ssize_t most = PY_SSIZE_T_MAX;
    PyObject *given = Py_None;
    struct arrival a;

    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "|O:recv_bytes", names,
                                     &given) ||
        check_readable(self) < 0)
        return NULL;
    if (given != Py_None)
        most = PyNumber_AsSsize_t(given, NULL); /* NULL: clipped */
    if (PyErr_Occurred() ||
        check(most >= 0, PyExc_ValueError, "negative maxlength") < 0 ||
        arrival_begin(&a, c) < 0)
        return NULL;
    if (given != Py_None && a.size > (uint64_t)most)
        return PyObject_CallMethod(self, "_bad_message_length", NULL);
    return arrival_bytes(&a, c);
}

static PyObject *raise_too_short(struct arrival *a, struct connection *c)
{
    PyObject *bytes = arrival_bytes(a, c);
    PyObject *error =
        bytes ? PyObject_GetAttrString(c->state->context, "BufferTooShort") : NULL;

    if (error)
        PyErr_SetObject(error, bytes);
    Py_XDECREF(error);
    Py_XDECREF(bytes);
    return NULL;
}

static PyObject *connection_recv_bytes_into(PyObject *self, PyObject *arguments,
                                            PyObject *keywords)
{
    static char *names[] = {"buf", "offset", NULL};
    struct connection *c = connection_of(self);
    Py_ssize_t offset = 0;
    PyObject *got = NULL;
    struct arrival a;
    Py_buffer view;

    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "w*|n:recv_bytes_into", names,
                                     &view, &offset))
        return NULL;
    if (check_readable(self) == 0 &&
        check(offset >= 0, PyExc_ValueError, "negative offset") == 0 &&
        check(offset <= view.len, PyExc_ValueError, "offset too large") == 0 &&
        arrival_begin(&a, c) == 0) {
        if (a.size > (uint64_t)(view.len - offset))
            raise_too_short(&a, c);
        else if (arrival_into(&a, c, (char *)view.buf + offset) == 0)
            got = PyLong_FromUnsignedLongLong(a.size);
    }
    PyBuffer_Release(&view);
    return got;
}

static PyObject *connection_recv(PyObject *self, PyObject *unused)
{
    struct connection *c = connection_of(self);
    PyObject *bytes, *object;
    struct arrival a;

    (void)unused;
    if (check_readable(self) < 0 || arrival_begin(&a, c) < 0)
        return NULL;
    object = a.size <= SMALL ? plain_unpickle(a.small, a.size) : NULL;
    if (object)
        return object;
    bytes = arrival_bytes(&a, c);
    if (!bytes)
        return NULL;
    object = PyObject_CallOneArg(c->state->unpickle, bytes);
    Py_DECREF(bytes);
    return object;
}

static PyObject *connection_poll(PyObject *self, PyObject *arguments, PyObject *keywords)
{
    static char *names[] = {"timeout", NULL};
    PyObject *given = NULL;
    int64_t timeout = PIU_NOW;
    int r;

    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "|O:poll", names, &given) ||
        check_readable(self) < 0 || (given && timeout_from(given, &timeout) < 0))
        return NULL;
    r = stream_poll(&connection_of(self)->stream, timeout);
    return r < 0 ? NULL : PyBool_FromLong(r);
}

/* ---- What the stdlib's methods read and set ----------------------------------------------------- */

static PyObject *connection_handle(PyObject *self, void *closure)
{
    int handle = connection_of(self)->stream.handle;

    (void)closure;
    if (handle < 0)
        Py_RETURN_NONE;
    return PyLong_FromLong(handle);
}

static int connection_set_handle(PyObject *self, PyObject *value, void *closure)
{
    struct stream *s = &connection_of(self)->stream;
    long handle = value && value != Py_None ? PyLong_AsLong(value) : -1;

    (void)closure;
    if (PyErr_Occurred() ||
        check(handle <= INT_MAX, PyExc_OverflowError, "no descriptor") < 0)
        return -1;
    *s = (struct stream){.handle = (int)handle};
    return 0;
}

static bool *end_of(PyObject *self, void *closure)
{
    return (bool *)((char *)self + (uintptr_t)closure);
}

static PyObject *connection_end(PyObject *self, void *closure)
{
    return PyBool_FromLong(*end_of(self, closure));
}

static int connection_set_end(PyObject *self, PyObject *value, void *closure)
{
    int is = value ? PyObject_IsTrue(value) : 0;

    if (is >= 0)
        *end_of(self, closure) = is;
    return is < 0 ? -1 : 0;
}

/* ---- The type ----------------------------------------------------------------------------------- */

static PyObject *connection_new(PyTypeObject *type, PyObject *arguments,
                                PyObject *keywords)
{
    struct module_state *state = state_of_type(type);
    PyObject *self = state ? type->tp_alloc(type, 0) : NULL;

    (void)arguments;
    (void)keywords;
    if (self) {
        connection_of(self)->state = state;
        connection_of(self)->stream.handle = -1;
    }
    return self;
}

static void connection_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);

    PyObject_GC_UnTrack(self);
    type->tp_free(self);
    Py_DECREF(type);
}

#define KEYWORDS (METH_VARARGS | METH_KEYWORDS)

static PyMethodDef methods[] = {
    ENTRY("send", connection_send, METH_O, "Send a (picklable) object"),
    ENTRY("recv", connection_recv, METH_NOARGS, "Receive a (picklable) object"),
    ENTRY("send_bytes", connection_send_bytes, KEYWORDS,
          "send_bytes(buf, offset=0, size=None): send the bytes of a bytes-like object"),
    ENTRY("recv_bytes", connection_recv_bytes, KEYWORDS,
          "recv_bytes(maxlength=None): receive a bytes object"),
    ENTRY("recv_bytes_into", connection_recv_bytes_into, KEYWORDS,
          "recv_bytes_into(buf, offset=0): receive into it; the number of bytes"),
    ENTRY("poll", connection_poll, KEYWORDS,
          "poll(timeout=0.0): whether there is any input available to be read"),
    {NULL, NULL, 0, NULL},
};

#define END(field) ((void *)offsetof(struct connection, field))

static PyGetSetDef members[] = {
    {"_handle", connection_handle, connection_set_handle, NULL, NULL},
    {"_readable", connection_end, connection_set_end, NULL, END(readable)},
    {"_writable", connection_end, connection_set_end, NULL, END(writable)},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot slots[] = {
    SLOT(Py_tp_doc, PyDoc_STR("An end of a pipe.")),
    SLOT(Py_tp_new, connection_new),
    SLOT(Py_tp_traverse, shared_traverse),
    SLOT(Py_tp_dealloc, connection_dealloc),
    SLOT(Py_tp_methods, methods),
    SLOT(Py_tp_getset, members),
    {0, NULL},
};

static PyType_Spec spec = {.name = "piu._piu._Connection",
                           .basicsize = sizeof(struct connection),
                           .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE |
                                    Py_TPFLAGS_HAVE_GC,
                           .slots = slots};

int connection_type_add(PyObject *module)
{
    return module_add_type(module, &spec, NULL);
}
