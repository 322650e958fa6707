#include "message.h"

#include "errors.h"

#define LONG_COPY  ((size_t)256 << 10) /* bytes; from here on others may have the GIL */
#define DEPTH      4                   /* tuples in tuples; deeper ones are pickled */
#define ITEMS      16                  /* of a tuple that is not pickled */
#define ALIGNMENT  64u                 /* of buffers, from the begin of the message */
#define PROTOCOL_5 5

struct pickled_head {
    unsigned char format, reserved[3];
    uint32_t handles;
    uint64_t buffers;
    uint64_t pickle; /* bytes */
};

static void copy(void *to, const void *from, size_t size)
{
    if (size < LONG_COPY)
        memcpy(to, from, size);
    else {
        Py_BEGIN_ALLOW_THREADS memcpy(to, from, size);
        Py_END_ALLOW_THREADS
    }
}

/* ---- Writing without pickle ------------------------------------------------------------- */

enum written {
    WRITTEN,
    WRITTEN_FULL /* no room for it */,
    WRITTEN_NOT /* needs pickle */
};

/* `at` counts on where there is no room: it says how many bytes are needed. */
struct writer {
    unsigned char *bytes;
    size_t at, room;
};

static void write_bytes(struct writer *w, const void *bytes, size_t size)
{
    if (size <= w->room && w->at <= w->room - size)
        copy(w->bytes + w->at, bytes, size);
    w->at += size;
}

static void write_head(struct writer *w, unsigned char format, const void *value,
                       size_t size)
{
    unsigned char head[16];

    head[0] = format;
    memcpy(head + 1, value, size);
    write_bytes(w, head, size + 1);
}

static bool write_int(struct writer *w, PyObject *object)
{
    int overflow;
    int64_t value = PyLong_AsLongLongAndOverflow(object, &overflow);

    if (overflow == 0)
        write_head(w, 'i', &value, sizeof(value));
    return overflow == 0;
}

static void write_float(struct writer *w, PyObject *object)
{
    double value = PyFloat_AS_DOUBLE(object);

    write_head(w, 'f', &value, sizeof(value));
}

static void write_data(struct writer *w, PyObject *object)
{
    uint64_t size = (uint64_t)PyBytes_GET_SIZE(object);

    write_head(w, 'b', &size, sizeof(size));
    write_bytes(w, PyBytes_AS_STRING(object), size);
}

static void write_text(struct writer *w, PyObject *object)
{
    uint64_t length = (uint64_t)PyUnicode_GET_LENGTH(object);
    unsigned char kind = (unsigned char)PyUnicode_KIND(object);
    unsigned char head[1 + sizeof(length)];

    head[0] = kind;
    memcpy(head + 1, &length, sizeof(length));
    write_head(w, 's', head, sizeof(head));
    write_bytes(w, PyUnicode_DATA(object), length * kind);
}

static bool write_object(struct writer *w, PyObject *object, int depth)
{
    if (PyLong_CheckExact(object))
        return write_int(w, object);
    if (PyUnicode_CheckExact(object))
        write_text(w, object);
    else if (PyBytes_CheckExact(object))
        write_data(w, object);
    else if (PyFloat_CheckExact(object))
        write_float(w, object);
    else if (object == Py_None)
        write_bytes(w, "N", 1);
    else if (object == Py_True || object == Py_False)
        write_bytes(w, object == Py_True ? "T" : "F", 1);
    else if (PyTuple_CheckExact(object) && PyTuple_GET_SIZE(object) <= ITEMS &&
             depth > 0) {
        unsigned char count = (unsigned char)PyTuple_GET_SIZE(object);

        write_head(w, 't', &count, 1);
        for (Py_ssize_t i = 0; i < count; i++) {
            if (!write_object(w, PyTuple_GET_ITEM(object, i), depth - 1))
                return false;
        }
    } else
        return false;
    return true;
}

/* ---- Pickling ---------------------------------------------------------------------------- */

static size_t align(size_t at)
{
    return (at + ALIGNMENT - 1) & ~(size_t)(ALIGNMENT - 1);
}

static void pickle_free(struct message_pickle *p)
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
static int pickle_run(struct module_state *s, struct message_pickle *p, PyObject *object,
                      PyObject *append)
{
    PyObject *pickler = NULL, *done = NULL;

    p->file = PyObject_CallNoArgs(s->bytes_io);
    if (p->file)
        pickler = append ? PyObject_CallFunction(s->pickler, "OiOO", p->file, PROTOCOL_5,
                                                 Py_True, append)
                         : PyObject_CallFunctionObjArgs(s->pickler, p->file, NULL);
    carrier_open(&p->carrier);
    if (pickler && pickler_set_reducers(s, pickler) == 0)
        done = PyObject_CallMethod(pickler, "dump", "(O)", object); /* also of a tuple */
    carrier_close(&p->carrier);
    Py_XDECREF(pickler);
    Py_XDECREF(done);
    return done ? 0 : -1;
}

/*
 * 1: all can be sent.  0: one is read-only, or has gaps.  By protocol 5 it would arrive read-only,
 * while by the protocol that the stdlib uses a numpy array is always writable where it arrives.
 */
static int pickle_views(struct message_pickle *p)
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

static int pickle_make(struct module_state *s, struct message_pickle *p, PyObject *object)
{
    PyObject *append, *view;
    int r = -1;

    *p = (struct message_pickle){0};
    p->buffers = PyList_New(0);
    append = p->buffers ? PyObject_GetAttrString(p->buffers, "append") : NULL;
    if (append && pickle_run(s, p, object, append) == 0)
        r = pickle_views(p);
    Py_XDECREF(append);
    if (r == 0) {
        carrier_land(&p->carrier);
        pickle_free(p);
        *p = (struct message_pickle){0};
        r = pickle_run(s, p, object, NULL);
    }
    view = r >= 0 ? PyObject_CallMethod(p->file, "getbuffer", NULL) : NULL;
    r = view ? PyObject_GetBuffer(view, &p->pickle, PyBUF_SIMPLE) : -1;
    Py_XDECREF(view);
    if (r < 0) {
        carrier_land(&p->carrier);
        pickle_free(p);
    }
    return r;
}

static void write_pickle(struct writer *w, struct message_pickle *p)
{
    struct pickled_head head = {.format = 'p',
                                .handles = (uint32_t)p->carrier.count,
                                .buffers = p->count,
                                .pickle = (uint64_t)p->pickle.len};

    write_bytes(w, &head, sizeof(head));
    if (head.handles)
        write_bytes(w, p->carrier.handles, head.handles * sizeof(struct piu_handle));
    for (size_t i = 0; i < p->count; i++) {
        uint64_t size = (uint64_t)p->views[i].len;

        write_bytes(w, &size, sizeof(size));
    }
    write_bytes(w, p->pickle.buf, head.pickle);
    for (size_t i = 0; i < p->count; i++) {
        for (size_t gap = align(w->at) - w->at; gap > 0; gap--)
            write_bytes(w, "", 1);
        write_bytes(w, p->views[i].buf, (size_t)p->views[i].len);
    }
}

/* ---- Making a message ---------------------------------------------------------------------- */

static bool write_message(struct writer *w, struct message *m)
{
    if (!m->pickle)
        return write_object(w, m->object, DEPTH);
    write_pickle(w, m->pickle);
    return true;
}

int message_make(struct module_state *state, struct message *m, PyObject *object)
{
    struct writer w = {.bytes = m->small, .room = MESSAGE_SMALL};

    m->object = object;
    m->pickle = NULL;
    if (!write_object(&w, object, DEPTH)) {
        if (pickle_make(state, &m->space, object) < 0)
            return -1;
        m->pickle = &m->space;
        w.at = 0;
        write_pickle(&w, m->pickle);
    }
    m->size = w.at;
    return 0;
}

int message_write(struct message *m, unsigned char *place)
{
    struct writer w = {.bytes = place, .room = m->size};

    /* a tuple's items cannot change, nor can a buffer's length while it is looked at */
    return write_message(&w, m) && w.at == m->size ? 0 : -1;
}

void message_done(struct message *m)
{
    if (m->pickle)
        pickle_free(m->pickle);
    m->pickle = NULL;
}

void message_drop(struct message *m)
{
    if (m->pickle)
        carrier_land(&m->pickle->carrier);
    message_done(m);
}

/* ---- Reading ------------------------------------------------------------------------------- */

struct reader {
    const unsigned char *begin, *at, *end;
};

static PyObject *read_wrong(void)
{
    PyErr_SetString(PyExc_ValueError,
                    "the message was written over: its lengths do not fit");
    return NULL;
}

/* M1: `size` bytes, or NULL. */
static const unsigned char *read_bytes(struct reader *r, uint64_t size)
{
    const unsigned char *at = r->at;

    if (size > (uint64_t)(r->end - at)) {
        read_wrong();
        return NULL;
    }
    r->at += size;
    return at;
}

static bool read_value(struct reader *r, void *value, size_t size)
{
    const unsigned char *at = read_bytes(r, size);

    if (at)
        memcpy(value, at, size);
    return at != NULL;
}

static PyObject *read_int(struct reader *r)
{
    int64_t value;

    return read_value(r, &value, sizeof(value)) ? PyLong_FromLongLong(value) : NULL;
}

static PyObject *read_float(struct reader *r)
{
    double value;

    return read_value(r, &value, sizeof(value)) ? PyFloat_FromDouble(value) : NULL;
}

static PyObject *read_data(struct reader *r)
{
    const unsigned char *bytes;
    PyObject *object;
    uint64_t size;

    if (!read_value(r, &size, sizeof(size)) || !(bytes = read_bytes(r, size)))
        return NULL;
    object = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)size);
    if (object)
        copy(PyBytes_AS_STRING(object), bytes, size);
    return object;
}

static PyObject *read_text(struct reader *r)
{
    const unsigned char *units;
    unsigned char kind;
    uint64_t length;

    if (!read_value(r, &kind, 1) || !read_value(r, &length, sizeof(length)))
        return NULL;
    if ((kind != 1 && kind != 2 && kind != 4) || length > PY_SSIZE_T_MAX / 4)
        return read_wrong();
    units = read_bytes(r, length * kind);
    return units ? PyUnicode_FromKindAndData(kind, units, (Py_ssize_t)length) : NULL;
}

static PyObject *read_object(struct reader *r, int depth);

static PyObject *read_tuple(struct reader *r, int depth)
{
    unsigned char count;
    PyObject *tuple;

    if (!read_value(r, &count, 1))
        return NULL;
    if (depth == 0)
        return read_wrong();
    tuple = PyTuple_New(count);
    for (Py_ssize_t i = 0; tuple && i < count; i++) {
        PyObject *item = read_object(r, depth - 1);

        if (item)
            PyTuple_SET_ITEM(tuple, i, item);
        else
            Py_CLEAR(tuple);
    }
    return tuple;
}

static PyObject *read_object(struct reader *r, int depth)
{
    const unsigned char *format = read_bytes(r, 1);

    if (!format)
        return NULL;
    switch (*format) {
    case 'i':
        return read_int(r);
    case 's':
        return read_text(r);
    case 'b':
        return read_data(r);
    case 'f':
        return read_float(r);
    case 't':
        return read_tuple(r, depth);
    case 'N':
        Py_RETURN_NONE;
    case 'T':
        Py_RETURN_TRUE;
    case 'F':
        Py_RETURN_FALSE;
    default:
        return read_wrong();
    }
}

/* M2: bytearrays, so that what is made of them can be written to. */
static PyObject *read_buffers(struct reader *r, const unsigned char *sizes,
                              uint64_t count)
{
    PyObject *list = PyList_New(0);

    for (uint64_t i = 0; list && i < count; i++) {
        const unsigned char *bytes = NULL;
        PyObject *buffer = NULL;
        uint64_t size;

        memcpy(&size, sizes + i * sizeof(size), sizeof(size));
        if (read_bytes(r, align((size_t)(r->at - r->begin)) - (size_t)(r->at - r->begin)))
            bytes = read_bytes(r, size);
        if (bytes)
            buffer = PyByteArray_FromStringAndSize(NULL, (Py_ssize_t)size);
        if (buffer)
            copy(PyByteArray_AS_STRING(buffer), bytes, size);
        if (!buffer || PyList_Append(list, buffer) < 0)
            Py_CLEAR(list);
        Py_XDECREF(buffer);
    }
    return list;
}

static PyObject *unpickle(struct module_state *s, const unsigned char *pickle,
                          size_t size, PyObject *buffers)
{
    PyObject *view =
        PyMemoryView_FromMemory((char *)(uintptr_t)pickle, (Py_ssize_t)size, PyBUF_READ);
    PyObject *arguments[] = {view, buffers}, *object, *released;
    PyObject *type, *value, *trace;

    if (!view)
        return NULL;
    object = PyObject_Vectorcall(s->unpickle, arguments, 1, s->unpickle_names);
    /* M2: whatever kept it finds it released, and not memory that has become another's */
    PyErr_Fetch(&type, &value, &trace);
    released = PyObject_CallMethod(view, "release", NULL);
    if (!released)
        PyErr_Clear();
    PyErr_Restore(type, value, trace);
    Py_XDECREF(released);
    Py_DECREF(view);
    return object;
}

static PyObject *read_pickle(struct module_state *s, struct reader *r)
{
    const unsigned char *handles = NULL, *sizes = NULL, *pickle = NULL;
    PyObject *buffers = NULL, *object = NULL;
    struct pickled_head head;
    uint64_t room;

    if (!read_value(r, &head, sizeof(head)))
        return NULL;
    room = (uint64_t)(r->end - r->at);
    if (head.buffers > room / sizeof(uint64_t))
        return read_wrong();
    handles = read_bytes(r, head.handles * (uint64_t)sizeof(struct piu_handle));
    if (handles)
        sizes = read_bytes(r, head.buffers * sizeof(uint64_t));
    if (sizes)
        pickle = read_bytes(r, head.pickle);
    if (pickle)
        buffers = read_buffers(r, sizes, head.buffers);
    if (buffers)
        object = unpickle(s, pickle, head.pickle, buffers);
    Py_XDECREF(buffers);
    for (uint32_t i = 0; handles && i < head.handles; i++) { /* M3 */
        struct piu_handle h;

        memcpy(&h, handles + i * sizeof(h), sizeof(h));
        handles_land(&h, 1);
    }
    return object;
}

PyObject *message_read(struct module_state *state, const unsigned char *bytes,
                       size_t size)
{
    struct reader r = {.begin = bytes, .at = bytes, .end = bytes + size};

    return size > 0 && *bytes == 'p' ? read_pickle(state, &r) : read_object(&r, DEPTH);
}

/* ---- The module ------------------------------------------------------------------------------ */

int message_functions_add(PyObject *module)
{
    struct module_state *s = state_of_module(module);

    if (module_import("pickle", "Pickler", &s->pickler) < 0 ||
        module_import("pickle", "loads", &s->unpickle) < 0 ||
        module_import("io", "BytesIO", &s->bytes_io) < 0 ||
        module_import("copyreg", "dispatch_table", &s->copyreg_reducers) < 0 ||
        module_import("multiprocessing.reduction", "ForkingPickler",
                      &s->forking_pickler) < 0)
        return -1;
    s->unpickle_names = Py_BuildValue("(s)", "buffers");
    return s->unpickle_names ? 0 : -1;
}
