/* Memory: bytes in the arena, by the buffer protocol; where Value and Array have theirs. */
#include "errors.h"
#include "handle.h"

#define WHAT "Memory"

struct memory_object {
    struct shared_object shared;
    Py_ssize_t size;
};

static struct memory_object *memory_of(PyObject *self)
{
    return (struct memory_object *)self;
}

static PyObject *memory_size_check(Py_ssize_t size)
{
    return size < 0 ? PyErr_Format(PyExc_ValueError, "size %zd is negative", size)
                    : Py_None;
}

/* ---- Methods ------------------------------------------------------------------------------ */

static PyObject *memory_create_memoryview(PyObject *self, PyObject *unused)
{
    (void)unused;
    return PyMemoryView_FromObject(self);
}

/* The state: its size. */
static PyObject *memory_reduce(PyObject *self, PyObject *unused)
{
    PyObject *size = PyLong_FromSsize_t(memory_of(self)->size);

    (void)unused;
    return size ? shared_reduce(self, size) : NULL;
}

static PyObject *memory_from_handle(PyObject *type, PyObject *const *arguments,
                                    Py_ssize_t count)
{
    PyObject *self = shared_from_handle((PyTypeObject *)type, WHAT, arguments, count);

    if (!self)
        return NULL;
    memory_of(self)->size = PyLong_AsSsize_t(arguments[1]);
    if (PyErr_Occurred() || !memory_size_check(memory_of(self)->size))
        Py_CLEAR(self);
    return self;
}

static int memory_getbuffer(PyObject *self, Py_buffer *view, int flags)
{
    const struct memory_object *m = memory_of(self);

    return PyBuffer_FillInfo(view, self, m->shared.hold.object, m->size, 0, flags);
}

/* ---- The type ----------------------------------------------------------------------------- */

static PyObject *memory_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
    static char *names[] = {"size", NULL};
    Py_ssize_t size;
    PyObject *self;

    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "n:Memory", names, &size) ||
        !memory_size_check(size))
        return NULL;
    /* 0 bytes have an address, too */
    self = shared_new(type, WHAT, PIU_KIND_MEMORY, size ? (size_t)size : 1);
    if (self)
        memory_of(self)->size = size;
    return self;
}

static PyMethodDef methods[] = {
    ENTRY("create_memoryview", memory_create_memoryview, METH_NOARGS,
          "The bytes, as a memoryview."),
    ENTRY("__reduce__", memory_reduce, METH_NOARGS, NULL),
    ENTRY("_from_handle", memory_from_handle, METH_FASTCALL | METH_CLASS, NULL),
    {NULL, NULL, 0, NULL},
};

static PyType_Slot slots[] = {
    SLOT(Py_tp_doc, PyDoc_STR("Memory(size): zeroed bytes that the family shares.")),
    SLOT(Py_tp_new, memory_new),
    SLOT(Py_tp_traverse, shared_traverse),
    SLOT(Py_tp_dealloc, shared_dealloc),
    SLOT(Py_tp_methods, methods),
    SLOT(Py_bf_getbuffer, memory_getbuffer),
    {0, NULL},
};

static PyType_Spec spec = {
    .name = "piu._piu.Memory",
    .basicsize = sizeof(struct memory_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = slots,
};

int memory_type_add(PyObject *module)
{
    return module_add_type(module, &spec, NULL);
}
