/* SimpleQueue. */
#include "queue_base.h"

static PyObject *simple_close(PyObject *self, PyObject *unused)
{
    (void)unused;
    object_of(self)->reader_closed = object_of(self)->writer_closed = true;
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    ENTRY("put", queue_send, METH_O, "put(obj): it is in when this returns."),
    ENTRY("get", queue_recv, METH_NOARGS, "get(): the oldest object."),
    ENTRY("close", simple_close, METH_NOARGS, "This process uses it no more."),
    {NULL, NULL, 0, NULL},
};

static PyType_Slot slots[] = {
    SLOT(Py_tp_doc, PyDoc_STR("A queue with put(), get(), empty() and close() alone.")),
    SLOT(Py_tp_traverse, shared_traverse),
    SLOT(Py_tp_dealloc, shared_dealloc),
    SLOT(Py_tp_methods, methods),
    {0, NULL},
};

static PyType_Spec spec = {.name = "piu._piu.SimpleQueue",
                           .basicsize = sizeof(struct queue_object),
                           .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE |
                                    Py_TPFLAGS_HAVE_GC,
                           .slots = slots};

int simple_queue_type_add(PyObject *module)
{
    return module_add_subtype(module, &spec, state_of_module(module)->queue_base_type,
                              NULL);
}
