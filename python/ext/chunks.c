/*
 * Chunks: the results of one map, as they come.  Task first + i has chunk i, which is items
 * [i * chunksize, (i + 1) * chunksize).
 */
#include "tasks.h"

#define WINDOW ((size_t)4 << 20) /* bytes */

struct chunks_object {
    PyObject_HEAD uint64_t first;
    Py_ssize_t count, left, chunksize;
    Py_ssize_t given;    /* to the workers: those before this one */
    size_t bytes;        /* of their messages */
    PyObject *values;    /* a list */
    unsigned char *seen; /* by chunk: its result was stored, or will not come */
};

static struct chunks_object *object_of(PyObject *self)
{
    return (struct chunks_object *)self;
}

bool chunks_have(PyObject *chunks, uint64_t number, Py_ssize_t *ret_index)
{
    struct chunks_object *c = object_of(chunks);

    *ret_index = (Py_ssize_t)(number - c->first);
    return number >= c->first && number - c->first < (uint64_t)c->count;
}

/*
 * The window: of a map whose messages are large few are on the way at a time.  Each is then written
 * where one has just been that was read: in pages that are there, and in the caches.
 */
bool chunks_next(PyObject *chunks, Py_ssize_t least, Py_ssize_t *ret_index)
{
    const struct chunks_object *c = object_of(chunks);
    Py_ssize_t away = c->given - (c->count - c->left); /* or, of a dead worker's, lost */

    *ret_index = c->given;
    return c->given < c->count && (c->given == 0 || away < least ||
                                   (size_t)away * (c->bytes / (size_t)c->given) < WINDOW);
}

void chunks_gave(PyObject *chunks, Py_ssize_t bytes)
{
    object_of(chunks)->given++;
    if (bytes > 0)
        object_of(chunks)->bytes += (size_t)bytes;
}

Py_ssize_t chunks_size(PyObject *chunks, uint64_t *ret_first)
{
    *ret_first = object_of(chunks)->first;
    return object_of(chunks)->chunksize;
}

static Py_ssize_t see(struct chunks_object *c, Py_ssize_t index)
{
    if (!c->seen[index]) {
        c->seen[index] = 1;
        c->left--;
    }
    return c->left;
}

int chunks_store(PyObject *chunks, Py_ssize_t index, PyObject *value)
{
    struct chunks_object *c = object_of(chunks);
    Py_ssize_t place = index * c->chunksize, size = PyList_GET_SIZE(value);

    if (c->seen[index])
        return 0;
    if (size > PyList_GET_SIZE(c->values) - place)
        size = PyList_GET_SIZE(c->values) - place;
    for (Py_ssize_t i = 0; i < size; i++) { /* nobody else has `value` */
        PyObject *none = PyList_GET_ITEM(c->values, place + i);

        PyList_SET_ITEM(c->values, place + i, PyList_GET_ITEM(value, i));
        PyList_SET_ITEM(value, i, none);
    }
    return see(c, index) == 0;
}

int chunks_store_numbers(PyObject *chunks, Py_ssize_t index, const struct numbers *n)
{
    struct chunks_object *c = object_of(chunks);
    Py_ssize_t place = index * c->chunksize, size = (Py_ssize_t)n->head.count;

    if (c->seen[index])
        return 0;
    if (size > PyList_GET_SIZE(c->values) - place)
        size = PyList_GET_SIZE(c->values) - place;
    for (Py_ssize_t i = 0; i < size; i++) {
        PyObject *item = numbers_item(n, i), *none;

        if (!item)
            return -1;
        none = PyList_GET_ITEM(c->values, place + i);
        PyList_SET_ITEM(c->values, place + i, item);
        Py_DECREF(none);
    }
    return see(c, index) == 0;
}

static int index_check(const struct chunks_object *c, Py_ssize_t index)
{
    if (index >= 0 && index < c->count)
        return 0;
    PyErr_Format(PyExc_IndexError, "there are %zd chunks, and no number %zd", c->count,
                 index);
    return -1;
}

/* store(index, list): of a chunk whose task has another number now. */
static PyObject *chunks_method_store(PyObject *self, PyObject *arguments)
{
    PyObject *value;
    Py_ssize_t index;

    if (!PyArg_ParseTuple(arguments, "nO!", &index, &PyList_Type, &value) ||
        index_check(object_of(self), index) < 0 || chunks_store(self, index, value) < 0)
        return NULL;
    return PyLong_FromSsize_t(object_of(self)->left);
}

/* skip(index): it has failed.  How many are left. */
static PyObject *chunks_method_skip(PyObject *self, PyObject *arguments)
{
    Py_ssize_t index;

    if (!PyArg_ParseTuple(arguments, "n", &index) ||
        index_check(object_of(self), index) < 0)
        return NULL;
    return PyLong_FromSsize_t(see(object_of(self), index));
}

/* find(number): the index; None: not of these, or seen. */
static PyObject *chunks_method_find(PyObject *self, PyObject *arguments)
{
    unsigned long long number;
    Py_ssize_t index;

    if (!PyArg_ParseTuple(arguments, "K", &number))
        return NULL;
    if (!chunks_have(self, number, &index) || object_of(self)->seen[index])
        Py_RETURN_NONE;
    return PyLong_FromSsize_t(index);
}

static PyObject *chunks_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
    unsigned long long first;
    struct chunks_object *c;
    Py_ssize_t chunksize;
    PyObject *values;

    (void)keywords;
    if (!PyArg_ParseTuple(arguments, "KnO!:Chunks", &first, &chunksize, &PyList_Type,
                          &values))
        return NULL;
    if (chunksize < 1)
        return PyErr_Format(PyExc_ValueError, "a chunk of %zd", chunksize);
    c = object_of(type->tp_alloc(type, 0));
    if (!c)
        return NULL;
    c->first = first;
    c->chunksize = chunksize;
    c->values = Py_NewRef(values);
    c->count = c->left = (PyList_GET_SIZE(values) + chunksize - 1) / chunksize;
    c->seen = PyMem_Calloc((size_t)c->count + 1, 1);
    if (!c->seen) {
        Py_DECREF(c);
        return PyErr_NoMemory();
    }
    return (PyObject *)c;
}

static int chunks_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(object_of(self)->values);
    return 0;
}

static int chunks_clear(PyObject *self)
{
    Py_CLEAR(object_of(self)->values);
    return 0;
}

static void chunks_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);

    PyObject_GC_UnTrack(self);
    chunks_clear(self);
    PyMem_Free(object_of(self)->seen);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMemberDef members[] = {
    {"left", T_PYSSIZET, offsetof(struct chunks_object, left), READONLY, NULL},
    {"count", T_PYSSIZET, offsetof(struct chunks_object, count), READONLY, NULL},
    {"given", T_PYSSIZET, offsetof(struct chunks_object, given), READONLY, NULL},
    {"first", T_ULONGLONG, offsetof(struct chunks_object, first), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyMethodDef methods[] = {
    ENTRY("store", chunks_method_store, METH_VARARGS,
          "store(index, list): how many are left."),
    ENTRY("skip", chunks_method_skip, METH_VARARGS, "skip(index): how many are left."),
    ENTRY("find", chunks_method_find, METH_VARARGS,
          "find(number): the index; None: none that is awaited."),
    {NULL, NULL, 0, NULL},
};

static PyType_Slot slots_of_type[] = {
    SLOT(Py_tp_doc, PyDoc_STR("Chunks(first, chunksize, values): results of one map.")),
    SLOT(Py_tp_new, chunks_new),
    SLOT(Py_tp_traverse, chunks_traverse),
    SLOT(Py_tp_clear, chunks_clear),
    SLOT(Py_tp_dealloc, chunks_dealloc),
    SLOT(Py_tp_members, members),
    SLOT(Py_tp_methods, methods),
    {0, NULL},
};

static PyType_Spec spec = {
    .name = "piu._piu.Chunks",
    .basicsize = sizeof(struct chunks_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = slots_of_type,
};

int chunks_type_add(PyObject *module)
{
    return module_add_type(module, &spec, &state_of_module(module)->chunks_type);
}
