/* Numbers without their objects: see numbers.h. */
#include "numbers.h"

enum { INTS = 'I', FLOATS = 'D', RANGE = 'R' };
enum {
    NARROW = sizeof(int32_t),
    WIDE = sizeof(int64_t)
}; /* the widths; a double's, too */

static_assert(sizeof(double) == WIDE, "floats are written as they lie in memory");

/* ---- Writing ----------------------------------------------------------------------------- */

static bool floats_pack(double *values, PyObject *const *items, Py_ssize_t count)
{
    for (Py_ssize_t i = 0; i < count; i++) {
        if (!PyFloat_CheckExact(items[i]))
            return false;
        values[i] = PyFloat_AS_DOUBLE(items[i]);
    }
    return true;
}

/* The width that all of them need; 0: one is no int, or a longer one. */
static unsigned char ints_pack(int64_t *values, PyObject *const *items, Py_ssize_t count)
{
    bool wide = false;

    for (Py_ssize_t i = 0; i < count; i++) {
        int overflow;

        if (!PyLong_CheckExact(items[i]))
            return 0;
        values[i] = PyLong_AsLongLongAndOverflow(items[i], &overflow);
        if (overflow != 0)
            return 0;
        wide |= values[i] != (int32_t)values[i];
    }
    return wide ? WIDE : NARROW;
}

/* In place: each goes to where it was, or before that. */
static void ints_narrow(unsigned char *values, Py_ssize_t count)
{
    for (Py_ssize_t i = 0; i < count; i++) {
        int64_t wide;
        int32_t narrow;

        memcpy(&wide, values + i * WIDE, sizeof(wide));
        narrow = (int32_t)wide;
        memcpy(values + i * NARROW, &narrow, sizeof(narrow));
    }
}

bool numbers_pack(struct numbers *n, PyObject *const *items, Py_ssize_t count)
{
    void *values;

    if (count == 0 || !(PyLong_CheckExact(items[0]) || PyFloat_CheckExact(items[0])))
        return false;
    values = PyMem_Malloc((size_t)count * WIDE);
    if (!values)
        return false;
    *n = (struct numbers){.own = values, .values = values};
    n->head.count = (uint64_t)count;
    if (PyFloat_CheckExact(items[0])) {
        n->head.format = FLOATS;
        n->head.width = floats_pack(values, items, count) ? WIDE : 0;
    } else {
        n->head.format = INTS;
        n->head.width = ints_pack(values, items, count);
        if (n->head.width == NARROW)
            ints_narrow(values, count);
    }
    n->size = (size_t)count * n->head.width;
    if (n->head.width == 0)
        numbers_done(n);
    return n->head.width != 0;
}

void numbers_range(struct numbers *n, int64_t first, int64_t step, Py_ssize_t count)
{
    *n = (struct numbers){.size = sizeof(n->space), .values = n->space};
    n->head.format = RANGE;
    n->head.width = WIDE;
    n->head.count = (uint64_t)count;
    memcpy(n->space, &first, sizeof(first));
    memcpy(n->space + WIDE, &step, sizeof(step));
}

void numbers_done(struct numbers *n)
{
    PyMem_Free(n->own);
    n->own = NULL;
}

void numbers_write(const struct numbers *n, unsigned char *place)
{
    memcpy(place, &n->head, sizeof(n->head));
    memcpy(place + sizeof(n->head), n->values, n->size);
}

/* ---- Reading ----------------------------------------------------------------------------- */

static bool is_sound(const struct numbers *n)
{
    uint64_t count = n->head.count, width = n->head.width;

    if (n->head.format == RANGE)
        return n->size == sizeof(n->space) && count <= PY_SSIZE_T_MAX;
    return (width == WIDE || (width == NARROW && n->head.format == INTS)) &&
           (n->head.format == INTS || n->head.format == FLOATS) && n->size % width == 0 &&
           n->size / width == count;
}

int numbers_read(struct numbers *n, const unsigned char *bytes, size_t size)
{
    if (size >= sizeof(n->head)) {
        *n = (struct numbers){.values = bytes + sizeof(n->head),
                              .size = size - sizeof(n->head)};
        memcpy(&n->head, bytes, sizeof(n->head));
        if (is_sound(n))
            return 0;
    }
    PyErr_SetString(PyExc_ValueError, "the message was written over: no numbers");
    return -1;
}

int numbers_keep(struct numbers *n)
{
    n->own = PyMem_Malloc(n->size);
    if (!n->own) {
        PyErr_NoMemory();
        return -1;
    }
    n->values = memcpy(n->own, n->values, n->size);
    return 0;
}

static int64_t word_at(const unsigned char *bytes)
{
    int64_t word;

    memcpy(&word, bytes, sizeof(word));
    return word;
}

PyObject *numbers_item(const struct numbers *n, Py_ssize_t i)
{
    if (n->head.format == RANGE) /* unsigned: what was written over may overflow */
        return PyLong_FromLongLong(
            (int64_t)((uint64_t)word_at(n->values) +
                      (uint64_t)i * (uint64_t)word_at(n->values + WIDE)));
    if (n->head.width == NARROW) {
        int32_t value;

        memcpy(&value, n->values + i * NARROW, sizeof(value));
        return PyLong_FromLong(value);
    }
    if (n->head.format == FLOATS) {
        double value;

        memcpy(&value, n->values + i * WIDE, sizeof(value));
        return PyFloat_FromDouble(value);
    }
    return PyLong_FromLongLong(word_at(n->values + i * WIDE));
}

PyObject *numbers_list(const struct numbers *n)
{
    Py_ssize_t count = (Py_ssize_t)n->head.count;
    PyObject *list = PyList_New(count);

    for (Py_ssize_t i = 0; list && i < count; i++) {
        PyObject *item = numbers_item(n, i);

        if (item)
            PyList_SET_ITEM(list, i, item);
        else
            Py_CLEAR(list);
    }
    return list;
}
