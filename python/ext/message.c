/* Messages of objects. */
#include "message.h"

#include "message_format.h"

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
        message_copy(w->bytes + w->at, bytes, size);
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

/* A head of 4 or 8 bytes, which the compiler knows: most of what is written is one. */
static inline void write_word(struct writer *w, unsigned char format, const void *word,
                              size_t size)
{
    if (w->at + 1 + size <= w->room) {
        w->bytes[w->at] = format;
        memcpy(w->bytes + w->at + 1, word, size);
    }
    w->at += 1 + size;
}

static inline bool write_int(struct writer *w, PyObject *object)
{
    int overflow;
    int64_t value = PyLong_AsLongLongAndOverflow(object, &overflow);
    int32_t small = (int32_t)value;

    if (overflow != 0)
        return false;
    if (small == value)
        write_word(w, 'j', &small, sizeof(small));
    else
        write_word(w, 'i', &value, sizeof(value));
    return true;
}

/* None, True, False, an int of 64 bits, a float. */
static inline bool write_number(struct writer *w, PyObject *object)
{
    if (PyLong_CheckExact(object))
        return write_int(w, object);
    if (PyFloat_CheckExact(object)) {
        double value = PyFloat_AS_DOUBLE(object);

        write_word(w, 'f', &value, sizeof(value));
    } else if (object == Py_None)
        write_bytes(w, "N", 1);
    else if (object == Py_True || object == Py_False)
        write_bytes(w, object == Py_True ? "T" : "F", 1);
    else
        return false;
    return true;
}

static void write_data(struct writer *w, PyObject *object)
{
    uint64_t size = (uint64_t)PyBytes_GET_SIZE(object);

    write_word(w, 'b', &size, sizeof(size));
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

static bool write_object(struct writer *w, PyObject *object, int depth);

/* Long ones of numbers alone: what is in one twice, pickle sends once. */
static bool write_items(struct writer *w, unsigned char format, PyObject *sequence,
                        int depth)
{
    PyObject **items = PySequence_Fast_ITEMS(sequence);
    uint64_t count = (uint64_t)PySequence_Fast_GET_SIZE(sequence);
    uint64_t i = 0;

    write_word(w, format, &count, sizeof(count));
    if (count > MESSAGE_ITEMS) {
        while (i < count && write_number(w, items[i]))
            i++;
    } else {
        while (i < count && write_object(w, items[i], depth - 1))
            i++;
    }
    return i == count;
}

static bool is_text(PyObject *object)
{
#if PY_VERSION_HEX < 0x030c0000 /* one that C made the old way may have no kind yet */
    if (PyUnicode_CheckExact(object) && !PyUnicode_IS_READY(object))
        return false;
#endif
    return PyUnicode_CheckExact(object);
}

static bool write_object(struct writer *w, PyObject *object, int depth)
{
    if (write_number(w, object))
        return true;
    if (is_text(object))
        write_text(w, object);
    else if (PyBytes_CheckExact(object))
        write_data(w, object);
    else if (PyTuple_CheckExact(object) && depth > 0)
        return write_items(w, 't', object, depth);
    else if (PyList_CheckExact(object) && depth == MESSAGE_DEPTH)
        return write_items(w, 'l', object, depth);
    else
        return false;
    return true;
}

static void write_pickle(struct writer *w, struct pickled *p)
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
        for (size_t gap = message_align(w->at) - w->at; gap > 0; gap--)
            write_bytes(w, "", 1);
        write_bytes(w, p->views[i].buf, (size_t)p->views[i].len);
    }
}

/* ---- Making a message ---------------------------------------------------------------------- */

static bool write_message(struct writer *w, struct message *m)
{
    if (!m->pickle)
        return write_object(w, m->object, MESSAGE_DEPTH);
    write_pickle(w, m->pickle);
    return true;
}

int message_make(struct module_state *state, struct message *m, PyObject *object)
{
    struct writer w = {.bytes = m->small, .room = MESSAGE_SMALL};

    m->object = object;
    m->copy = NULL;
    m->pickle = NULL;
    if (!write_object(&w, object, MESSAGE_DEPTH)) {
        if (pickled_make(state, &m->space, object) < 0)
            return -1;
        m->pickle = &m->space;
        w.at = 0;
        write_pickle(&w, m->pickle);
    } else if (w.at > MESSAGE_SMALL && PyList_CheckExact(object)) {
        m->object = m->copy = PyList_GetSlice(object, 0, PyList_GET_SIZE(object));
        if (!m->copy)
            return -1;
    }
    m->size = w.at;
    return 0;
}

int message_write(struct message *m, unsigned char *place)
{
    struct writer w = {.bytes = place, .room = m->size};

    /* a tuple's items cannot change, nor can those of a list that nobody else has, nor a
     * buffer's length while it is looked at */
    return write_message(&w, m) && w.at == m->size ? 0 : -1;
}

void message_done(struct message *m)
{
    if (m->pickle)
        pickled_done(m->pickle);
    m->pickle = NULL;
    Py_CLEAR(m->copy);
}

void message_drop(struct message *m)
{
    if (m->pickle)
        carrier_land(&m->pickle->carrier);
    message_done(m);
}
