#include "plain.h"

#include <endian.h>

#define DEPTH 4  /* containers in containers */
#define ITEMS 64 /* in all; of more pickle's own time hides what this saves */

/* pickle.py has their meaning. */
enum opcode {
    PROTO = 0x80,
    FRAME = 0x95,
    MEMOIZE = 0x94,
    STOP = '.',
    NONE = 'N',
    NEWTRUE = 0x88,
    NEWFALSE = 0x89,
    BININT = 'J',
    BININT1 = 'K',
    BININT2 = 'M',
    LONG1 = 0x8a,
    BINFLOAT = 'G',
    SHORT_BINUNICODE = 0x8c,
    BINUNICODE = 'X',
    SHORT_BINBYTES = 'C',
    BINBYTES = 'B',
};

#define PROTO_SIZE  2u
#define FRAME_SIZE  9u
#define FRAME_LEAST 4u /* bytes that are worth a frame */

/* ---- Pickling ----------------------------------------------------------------------------------- */

static unsigned char *put(unsigned char *at, const void *bytes, size_t size)
{
    memcpy(at, bytes, size);
    return at + size;
}

/* An opcode and a number of `size` bytes, the lowest first. */
static unsigned char *put_number(unsigned char *at, enum opcode opcode, uint64_t number,
                                 size_t size)
{
    uint64_t little = htole64(number);

    *at++ = (unsigned char)opcode;
    return put(at, &little, size);
}

/* As few bytes as hold its sign. */
static unsigned char *put_long(unsigned char *at, int64_t value)
{
    size_t size = sizeof(value);

    while (value >> (8 * size - 9) == 0 || value >> (8 * size - 9) == -1)
        size--;
    at = put_number(at, LONG1, size, 1);
    value = (int64_t)htole64((uint64_t)value);
    return put(at, &value, size);
}

static unsigned char *put_int(unsigned char *at, PyObject *object)
{
    int overflow;
    int64_t value = PyLong_AsLongLongAndOverflow(object, &overflow);

    if (overflow)
        return NULL;
    if (value >= 0 && value <= UINT8_MAX)
        return put_number(at, BININT1, (uint64_t)value, 1);
    if (value >= 0 && value <= UINT16_MAX)
        return put_number(at, BININT2, (uint64_t)value, 2);
    if (value >= INT32_MIN && value <= INT32_MAX)
        return put_number(at, BININT, (uint64_t)value, 4);
    return put_long(at, value);
}

static unsigned char *put_float(unsigned char *at, PyObject *object)
{
    double value = PyFloat_AS_DOUBLE(object);
    uint64_t big;

    memcpy(&big, &value, sizeof(big));
    big = htobe64(big);
    *at++ = BINFLOAT;
    return put(at, &big, sizeof(big));
}

static unsigned char *put_bytes(unsigned char *at, enum opcode opcode_short,
                                enum opcode opcode, const void *bytes, Py_ssize_t size)
{
    if (size > PLAIN_MOST)
        return NULL;
    at = size <= UINT8_MAX ? put_number(at, opcode_short, (uint64_t)size, 1)
                           : put_number(at, opcode, (uint64_t)size, 4);
    at = put(at, bytes, (size_t)size);
    *at++ = MEMOIZE;
    return at;
}

static unsigned char *put_object(unsigned char *at, PyObject *object)
{
    if (PyLong_CheckExact(object))
        return put_int(at, object);
    if (PyFloat_CheckExact(object))
        return put_float(at, object);
    if (PyUnicode_CheckExact(object))
        return PyUnicode_IS_COMPACT_ASCII(object)
                   ? put_bytes(at, SHORT_BINUNICODE, BINUNICODE, PyUnicode_DATA(object),
                               PyUnicode_GET_LENGTH(object))
                   : NULL;
    if (PyBytes_CheckExact(object))
        return put_bytes(at, SHORT_BINBYTES, BINBYTES, PyBytes_AS_STRING(object),
                         PyBytes_GET_SIZE(object));
    if (object != Py_None && !PyBool_Check(object))
        return NULL;
    *at = object == Py_None ? NONE : object == Py_True ? NEWTRUE : NEWFALSE;
    return at + 1;
}

size_t plain_pickle(PyObject *object, int protocol, unsigned char *place)
{
    unsigned char *begin = place + PROTO_SIZE + FRAME_SIZE;
    unsigned char *end = put_object(begin, object);
    size_t size;

    if (!end || protocol < 4)
        return 0;
    *end++ = STOP;
    size = (size_t)(end - begin);
    place[0] = PROTO;
    place[1] = (unsigned char)protocol;
    if (size < FRAME_LEAST) {
        memmove(place + PROTO_SIZE, begin, size);
        return PROTO_SIZE + size;
    }
    put_number(place + PROTO_SIZE, FRAME, size, 8);
    return PROTO_SIZE + FRAME_SIZE + size;
}

/* ---- Unpickling --------------------------------------------------------------------------------- */

static uint64_t number_at(const unsigned char *at, size_t size)
{
    uint64_t little = 0;

    memcpy(&little, at, size);
    return le64toh(little);
}

static PyObject *float_at(const unsigned char *at)
{
    uint64_t big;
    double value;

    memcpy(&big, at, sizeof(big));
    big = be64toh(big);
    memcpy(&value, &big, sizeof(value));
    return PyFloat_FromDouble(value);
}

/* A number of `size` bytes, and that many bytes with MEMOIZE behind them, are all there is. */
static bool is_whole(const unsigned char *at, size_t left, size_t size)
{
    return left > size && number_at(at, size) == left - size - 1 &&
           at[left - 1] == MEMOIZE;
}

/* `at` is behind the opcode, `left` bytes before STOP. */
static PyObject *object_at(unsigned char opcode, const unsigned char *at, size_t left)
{
    size_t size = opcode == BINUNICODE || opcode == BINBYTES ? 4 : 1;

    switch (opcode) {
    case NONE:
        return left == 0 ? Py_NewRef(Py_None) : NULL;
    case NEWTRUE:
        return left == 0 ? Py_NewRef(Py_True) : NULL;
    case NEWFALSE:
        return left == 0 ? Py_NewRef(Py_False) : NULL;
    case BININT1:
        return left == 1 ? PyLong_FromLong(*at) : NULL;
    case BININT2:
        return left == 2 ? PyLong_FromLong((long)number_at(at, 2)) : NULL;
    case BININT:
        return left == 4 ? PyLong_FromLong((int32_t)number_at(at, 4)) : NULL;
    case BINFLOAT:
        return left == 8 ? float_at(at) : NULL;
    case SHORT_BINUNICODE:
    case BINUNICODE:
        return is_whole(at, left, size)
                   ? PyUnicode_DecodeUTF8((const char *)at + size,
                                          (Py_ssize_t)(left - size - 1), "surrogatepass")
                   : NULL;
    case SHORT_BINBYTES:
    case BINBYTES:
        return is_whole(at, left, size)
                   ? PyBytes_FromStringAndSize((const char *)at + size,
                                               (Py_ssize_t)(left - size - 1))
                   : NULL;
    default:
        return NULL;
    }
}

PyObject *plain_unpickle(const unsigned char *pickle, size_t size)
{
    const unsigned char *at = pickle + PROTO_SIZE, *end = pickle + size;
    PyObject *object;

    if (size < PROTO_SIZE + 2 || pickle[0] != PROTO || pickle[1] > 5 || end[-1] != STOP)
        return NULL;
    if (*at == FRAME) {
        if (size < PROTO_SIZE + FRAME_SIZE + 2 ||
            number_at(at + 1, 8) != size - PROTO_SIZE - FRAME_SIZE)
            return NULL;
        at += FRAME_SIZE;
    }
    object = object_at(*at, at + 1, (size_t)(end - at) - 2);
    if (!object)
        PyErr_Clear(); /* what pickle says of it is to be heard */
    return object;
}

/* ---- What pickle would not ask about -------------------------------------------------------------- */

static bool holds(PyObject *object, int depth, int *left);

static bool holds_pairs(PyObject *dictionary, int depth, int *left)
{
    PyObject *key, *value;
    Py_ssize_t at = 0;

    while (PyDict_Next(dictionary, &at, &key, &value)) {
        if (!holds(key, depth, left) || !holds(value, depth, left))
            return false;
    }
    return true;
}

static bool holds_items(PyObject *sequence, int depth, int *left)
{
    PyObject **items = PySequence_Fast_ITEMS(sequence);
    Py_ssize_t count = PySequence_Fast_GET_SIZE(sequence);

    for (Py_ssize_t i = 0; i < count; i++) {
        if (!holds(items[i], depth, left))
            return false;
    }
    return true;
}

static bool holds(PyObject *object, int depth, int *left)
{
    if (--*left < 0)
        return false;
    if (PyLong_CheckExact(object) || PyFloat_CheckExact(object) ||
        PyUnicode_CheckExact(object) || PyBytes_CheckExact(object) || object == Py_None ||
        PyBool_Check(object))
        return true;
    if (depth == 0)
        return false;
    if (PyDict_CheckExact(object))
        return holds_pairs(object, depth - 1, left);
    return (PyTuple_CheckExact(object) || PyList_CheckExact(object)) &&
           holds_items(object, depth - 1, left);
}

bool plain_holds(PyObject *object)
{
    int left = ITEMS;

    return holds(object, DEPTH, &left);
}
