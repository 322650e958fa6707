/* Objects of messages; no length in them is believed (M1). */
#include "message.h"

#include "buffer.h"
#include "message_format.h"

#define ARRAY_BEGINS ((size_t)256) /* bytes of a pickle */

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
static inline const unsigned char *read_bytes(struct reader *r, uint64_t size)
{
    const unsigned char *at = r->at;

    if (size > (uint64_t)(r->end - at)) {
        read_wrong();
        return NULL;
    }
    r->at += size;
    return at;
}

static inline bool read_value(struct reader *r, void *value, size_t size)
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

static PyObject *read_small_int(struct reader *r)
{
    int32_t value;

    return read_value(r, &value, sizeof(value)) ? PyLong_FromLong(value) : NULL;
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
        message_copy(PyBytes_AS_STRING(object), bytes, size);
    return object;
}

/* Of 4 bytes each, which in a str are not looked at again. */
static bool are_characters(const unsigned char *units, uint64_t length)
{
    uint32_t most = 0;

    for (uint64_t i = 0; i < length; i++) {
        uint32_t unit;

        memcpy(&unit, units + i * sizeof(unit), sizeof(unit));
        most = unit > most ? unit : most;
    }
    return most <= 0x10ffff;
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
    if (units && kind == 4 && !are_characters(units, length))
        return read_wrong();
    return units ? PyUnicode_FromKindAndData(kind, units, (Py_ssize_t)length) : NULL;
}

static PyObject *read_object(struct reader *r, int depth);

/* M1: each object is a byte at least. */
static bool read_count(struct reader *r, Py_ssize_t *ret)
{
    uint64_t count;

    if (!read_value(r, &count, sizeof(count)))
        return false;
    if (count > (uint64_t)(r->end - r->at)) {
        read_wrong();
        return false;
    }
    *ret = (Py_ssize_t)count;
    return true;
}

static PyObject *read_tuple(struct reader *r, int depth)
{
    PyObject *tuple;
    Py_ssize_t count;

    if (!read_count(r, &count))
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

static PyObject *read_list(struct reader *r, int depth)
{
    PyObject *list;
    Py_ssize_t count;

    if (!read_count(r, &count))
        return NULL;
    if (depth < MESSAGE_DEPTH)
        return read_wrong();
    list = PyList_New(count);
    for (Py_ssize_t i = 0; list && i < count; i++) {
        PyObject *item = read_object(r, depth - 1);

        if (item)
            PyList_SET_ITEM(list, i, item);
        else
            Py_CLEAR(list);
    }
    return list;
}

static PyObject *read_object(struct reader *r, int depth)
{
    const unsigned char *format = read_bytes(r, 1);

    if (!format)
        return NULL;
    switch (*format) {
    case 'j':
        return read_small_int(r);
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
    case 'l':
        return read_list(r, depth);
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

/*
 * Are the buffers an array's?  numpy's pickles begin with the name of its function, also where the
 * array is in a list or a dict; what has it in an object of a class begins with that class.
 */
static bool is_of_arrays(const unsigned char *pickle, size_t size)
{
    static const char function[] = "_frombuffer";

    return memmem(pickle, size < ARRAY_BEGINS ? size : ARRAY_BEGINS, function,
                  sizeof(function) - 1) != NULL;
}

/* M2: copies, which can be written to. */
static PyObject *read_buffers(struct module_state *s, struct reader *r,
                              const unsigned char *sizes, uint64_t count, bool of_arrays)
{
    PyObject *list = PyList_New(0);

    for (uint64_t i = 0; list && i < count; i++) {
        const unsigned char *bytes = NULL;
        PyObject *buffer = NULL;
        char *place = NULL;
        uint64_t size;

        memcpy(&size, sizes + i * sizeof(size), sizeof(size));
        if (read_bytes(r, message_align((size_t)(r->at - r->begin)) -
                              (size_t)(r->at - r->begin)))
            bytes = read_bytes(r, size);
        if (bytes)
            buffer = buffer_new(s, size, of_arrays, &place);
        if (buffer)
            message_copy(place, bytes, size);
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
    const unsigned char *sizes = NULL, *pickle = NULL;
    PyObject *buffers = NULL, *object = NULL;
    struct pickled_head head;
    uint64_t room;

    if (!read_value(r, &head, sizeof(head)))
        return NULL;
    room = (uint64_t)(r->end - r->at);
    if (head.buffers > room / sizeof(uint64_t))
        return read_wrong();
    if (read_bytes(r, head.handles * (uint64_t)sizeof(struct piu_handle)))
        sizes = read_bytes(r, head.buffers * sizeof(uint64_t));
    if (sizes)
        pickle = read_bytes(r, head.pickle);
    if (pickle)
        buffers =
            read_buffers(s, r, sizes, head.buffers, is_of_arrays(pickle, head.pickle));
    if (buffers)
        object = unpickle(s, pickle, head.pickle, buffers);
    Py_XDECREF(buffers);
    return object;
}

PyObject *message_read(struct module_state *state, const unsigned char *bytes,
                       size_t size)
{
    struct reader r = {.begin = bytes, .at = bytes, .end = bytes + size};

    return size > 0 && *bytes == 'p' ? read_pickle(state, &r)
                                     : read_object(&r, MESSAGE_DEPTH);
}

/* ---- Landing -------------------------------------------------------------------------------- */

/* M1: how many are listed, and where; 0: none, or they do not fit. */
static size_t handles_of(const unsigned char *bytes, size_t size,
                         const unsigned char **ret)
{
    struct pickled_head head;

    if (size < sizeof(head) || *bytes != 'p')
        return 0;
    memcpy(&head, bytes, sizeof(head));
    *ret = bytes + sizeof(head);
    return head.handles <= (size - sizeof(head)) / sizeof(struct piu_handle)
               ? head.handles
               : 0;
}

void message_land(const unsigned char *bytes, size_t size)
{
    const unsigned char *handles = NULL;
    size_t count = handles_of(bytes, size, &handles);

    for (size_t i = 0; i < count; i++) {
        struct piu_handle h;

        memcpy(&h, handles + i * sizeof(h), sizeof(h));
        handles_land(&h, 1);
    }
}

void message_release(struct piu_queue *q, void *message, const unsigned char *bytes,
                     size_t size)
{
    const unsigned char *handles = NULL;
    size_t count = handles_of(bytes, size, &handles);
    struct piu_handle *copy = NULL;

    if (count > 0)
        copy = PyMem_Malloc(count * sizeof(*copy)); /* NULL: as if it were never read */
    if (copy)
        memcpy(copy, handles, count * sizeof(*copy));
    if (piu_queue_drop(q, message) >= 0 && copy)
        handles_land(copy, count);
    PyMem_Free(copy);
}

int message_functions_add(PyObject *module)
{
    struct module_state *s = state_of_module(module);

    if (pickled_functions_add(module) < 0 ||
        module_import("pickle", "loads", &s->unpickle) < 0)
        return -1;
    s->unpickle_names = Py_BuildValue("(s)", "buffers");
    return s->unpickle_names ? 0 : -1;
}
