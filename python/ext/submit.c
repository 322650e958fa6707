/* Submission, and putting, which workers do, too.  See tasks.h. */
#include "errors.h"
#include "tasks.h"

#include <unistd.h>

#define HANDLERS 2
#define LONG_PUT ((size_t)256 << 10) /* bytes; from here on others may have the GIL */
#define SIGNALS  1024                /* submissions between two looks at signals */

/* ---- Putting ------------------------------------------------------------------------------ */

static int put_small(struct piu_queue *q, const void *head, size_t size,
                     const struct message *m)
{
    unsigned char bytes[MESSAGE_SMALL];

    memcpy(bytes, head, size);
    memcpy(bytes + size, m->small, m->size);
    return piu_queue_put(q, bytes, size + m->size, PIU_FOREVER);
}

static int reserve(struct piu_queue *q, size_t size, void **place)
{
    int r;

    if (size < LONG_PUT)
        return piu_queue_reserve(q, size, place, PIU_FOREVER);
    Py_BEGIN_ALLOW_THREADS
    r = piu_queue_reserve(q, size, place, PIU_FOREVER);
    Py_END_ALLOW_THREADS
    return r;
}

static int put_large(struct piu_queue *q, const void *head, size_t size,
                     struct message *m)
{
    void *place;
    int r = reserve(q, size + m->size, &place);

    if (r < 0)
        return r;
    memcpy(place, head, size);
    if (m->size <= MESSAGE_SMALL)
        memcpy((unsigned char *)place + size, m->small, m->size);
    else
        r = message_write(m, (unsigned char *)place + size) < 0 ? -EBADMSG : 0;
    if (r == 0)
        r = piu_queue_commit(q, place);
    if (r < 0)
        piu_queue_abort(q, place);
    return r;
}

int parts_put(struct piu_queue *q, const void *head, size_t size, struct message *m)
{
    int r = size + m->size <= MESSAGE_SMALL ? put_small(q, head, size, m)
                                            : put_large(q, head, size, m);

    if (r < 0)
        message_drop(m);
    else
        message_done(m);
    return r;
}

int numbers_put(struct piu_queue *q, const void *head, size_t size,
                const struct numbers *n)
{
    unsigned char small[MESSAGE_SMALL], *bytes = small;
    size_t all = size + numbers_size(n);
    void *place = NULL;
    int r;

    if (all > sizeof(small)) {
        r = reserve(q, all, &place);
        if (r < 0)
            return r;
        bytes = place;
    }
    memcpy(bytes, head, size);
    numbers_write(n, bytes + size);
    if (!place)
        return piu_queue_put(q, small, all, PIU_FOREVER);
    r = piu_queue_commit(q, place);
    if (r < 0)
        piu_queue_abort(q, place);
    return r;
}

/* ---- Submission ------------------------------------------------------------------------------ */

/* The head and the function, which for one map are the same for all its tasks. */
struct front {
    struct task_head head;
    unsigned char function[MESSAGE_SMALL - sizeof(struct task_head)];
};

static int front_make(struct front *front, unsigned kind, const char *function,
                      Py_ssize_t size)
{
    if ((size_t)size > sizeof(front->function)) {
        PyErr_SetString(PyExc_ValueError, "the name of the function is too long");
        return -1;
    }
    front->head.kind = kind;
    front->head.function = (uint32_t)size;
    memcpy(front->function, function, (size_t)size);
    return 0;
}

static size_t front_size(const struct front *front)
{
    return sizeof(front->head) + front->head.function;
}

/* Its size in bytes; -1 with an exception. */
static Py_ssize_t was_put(struct tasks_object *s, int r, size_t size)
{
    if (r < 0)
        error_raise(POOL, r);
    else
        workers_wake(s);
    return r < 0 ? -1 : (Py_ssize_t)size;
}

static Py_ssize_t front_put(struct tasks_object *s, struct front *front, uint64_t number,
                            PyObject *object)
{
    size_t size = front_size(front);
    struct message m;

    if (message_make(s->shared.state, &m, object) < 0)
        return -1;
    front->head.number = number;
    return was_put(s, parts_put(tasks_of(s), front, size, &m), size + m.size);
}

static Py_ssize_t front_put_numbers(struct tasks_object *s, struct front *front,
                                    uint64_t number, const struct numbers *n)
{
    size_t size = front_size(front);
    struct front with = *front; /* the others of the map may be objects */

    with.head.number = number;
    with.head.kind |= TASK_NUMBERS;
    return was_put(s, numbers_put(tasks_of(s), &with, size, n), size + numbers_size(n));
}

static void set_discard(PyObject *set, PyObject *item)
{
    PyObject *type, *error, *trace;

    PyErr_Fetch(&type, &error, &trace);
    if (PySet_Discard(set, item) < 0)
        PyErr_Clear();
    PyErr_Restore(type, error, trace);
}

/*
 * submit(number, kind, function, arguments[, moved, old]): `moved`, a set, has the int `old` just
 * if the task was put, where an exception of a signal handler comes, too (T4).
 */
PyObject *tasks_submit(PyObject *self, PyObject *arguments)
{
    PyObject *object, *moved = NULL, *old = NULL;
    unsigned long long number;
    const char *function;
    struct front front;
    Py_ssize_t size, r;
    unsigned kind;

    if (!PyArg_ParseTuple(arguments, "KIy#O|O!O!", &number, &kind, &function, &size,
                          &object, &PySet_Type, &moved, &PyLong_Type, &old) ||
        front_make(&front, kind, function, size) < 0 ||
        (old && PySet_Add(moved, old) < 0))
        return NULL;
    r = front_put((struct tasks_object *)self, &front, number, object);
    if (r < 0 && old)
        set_discard(moved, old);
    if (r < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* What a map is over: a list, or a range whose ints are of 64 bits. */
struct items {
    PyObject *object;
    Py_ssize_t chunksize;
    int64_t first, step; /* of the range */
};

static bool attribute_as_word(PyObject *object, const char *name, int64_t *ret)
{
    PyObject *value = PyObject_GetAttrString(object, name);

    *ret = value ? PyLong_AsLongLong(value) : -1;
    Py_XDECREF(value);
    return !PyErr_Occurred();
}

static int items_init(struct items *items)
{
    PyObject *object = items->object;

    if (PyRange_Check(object) && (!attribute_as_word(object, "start", &items->first) ||
                                  !attribute_as_word(object, "step", &items->step)))
        return -1;
    if (!PyRange_Check(object) && !PyList_Check(object)) {
        PyErr_SetString(PyExc_TypeError, "a map is over a list or a range");
        return -1;
    }
    return 0;
}

/* False: they are not numbers alone. */
static bool chunk_numbers(const struct items *items, Py_ssize_t begin, Py_ssize_t size,
                          struct numbers *n)
{
    if (PyList_Check(items->object))
        return numbers_pack(n, PySequence_Fast_ITEMS(items->object) + begin, size);
    /* unsigned: the product may be more than the distance of two ints of 64 bits */
    numbers_range(
        n, (int64_t)((uint64_t)items->first + (uint64_t)begin * (uint64_t)items->step),
        items->step, size);
    return true;
}

/* New reference: a tuple; with a function that travels `whole`. */
static PyObject *chunk_object(const struct items *items, Py_ssize_t begin,
                              Py_ssize_t size, PyObject *whole)
{
    PyObject *slice = PySequence_GetSlice(items->object, begin, begin + size);
    PyObject *chunk = slice ? PySequence_Tuple(slice) : NULL;

    Py_XDECREF(slice);
    return chunk && whole ? Py_BuildValue("(ON{})", whole, chunk) : chunk;
}

/* Its size in bytes; -1 with an exception. */
static Py_ssize_t chunk_put(struct tasks_object *s, struct front *front, uint64_t number,
                            const struct items *items, Py_ssize_t begin, PyObject *whole)
{
    Py_ssize_t size = PyObject_Size(items->object) - begin, r;
    struct numbers n;
    PyObject *chunk;

    if (size > items->chunksize)
        size = items->chunksize;
    if (size < 0)
        size = 0; /* more chunks than the items have */
    if (front->head.kind == TASK_MAP && chunk_numbers(items, begin, size, &n)) {
        r = front_put_numbers(s, front, number, &n);
        numbers_done(&n);
        return r;
    }
    chunk = chunk_object(items, begin, size, whole);
    r = chunk ? front_put(s, front, number, chunk) : -1;
    Py_XDECREF(chunk);
    return r;
}

bool may_be_of_handler(unsigned in_a_row)
{
    return !PyErr_ExceptionMatches(PyExc_Exception) && getpid() == gettid() &&
           in_a_row < HANDLERS;
}

static PyObject *chunk_refused(Py_ssize_t i)
{
    PyObject *type, *error, *trace;

    PyErr_Fetch(&type, &error, &trace);
    PyErr_NormalizeException(&type, &error, &trace);
    Py_XDECREF(type);
    Py_XDECREF(trace);
    return Py_BuildValue("(nN)", i, error);
}

/*
 * submit_chunks(chunks, kind, function, items, whole, least): those that are not given yet, as far
 * as the window lets.  None; (i, exception): chunk i cannot be sent, and passes for given.
 */
PyObject *tasks_submit_chunks(PyObject *self, PyObject *arguments)
{
    struct tasks_object *s = (struct tasks_object *)self;
    struct items items = {0};
    const char *function;
    PyObject *chunks, *whole;
    struct front front;
    Py_ssize_t size, least, i;
    unsigned kind;
    uint64_t first;

    if (!PyArg_ParseTuple(arguments, "O!Iy#OOn", s->shared.state->chunks_type, &chunks,
                          &kind, &function, &size, &items.object, &whole, &least) ||
        front_make(&front, kind, function, size) < 0 || items_init(&items) < 0)
        return NULL;
    items.chunksize = chunks_size(chunks, &first);
    while (chunks_next(chunks, least, &i)) {
        size = chunk_put(s, &front, first + (uint64_t)i, &items, i * items.chunksize,
                         kind & TASK_WHOLE ? whole : NULL);
        if (size < 0 && may_be_of_handler(s->cut_short)) {
            s->cut_short++;
            return NULL;
        }
        s->cut_short = 0;
        chunks_gave(chunks, size);
        if (size < 0)
            return chunk_refused(i);
        if (i % SIGNALS == SIGNALS - 1 && PyErr_CheckSignals() < 0)
            return NULL;
    }
    Py_RETURN_NONE;
}
