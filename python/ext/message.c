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
    else if (PyTuple_CheckExact(object) && PyTuple_GET_SIZE(object) <= MESSAGE_ITEMS &&
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
    m->pickle = NULL;
    if (!write_object(&w, object, MESSAGE_DEPTH)) {
        if (pickled_make(state, &m->space, object) < 0)
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
        pickled_done(m->pickle);
    m->pickle = NULL;
}

void message_drop(struct message *m)
{
    if (m->pickle)
        carrier_land(&m->pickle->carrier);
    message_done(m);
}
