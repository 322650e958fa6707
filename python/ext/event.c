/* Event: a flag that can be waited for. */
#include "errors.h"
#include "handle.h"
#include "wait.h"

#define WHAT "Event"

static struct piu_event *event_of(PyObject *self)
{
    return ((struct shared_object *)self)->hold.object;
}

static int call_wait(void *object, int64_t timeout)
{
    return piu_event_wait(object, timeout);
}

/* ---- Methods ------------------------------------------------------------------------------ */

static PyObject *event_is_set(PyObject *self, PyObject *unused)
{
    (void)unused;
    return PyBool_FromLong(piu_event_is_set(event_of(self)));
}

static PyObject *none_or(int r)
{
    if (r < 0)
        return error_raise(WHAT, r);
    Py_RETURN_NONE;
}

static PyObject *event_set(PyObject *self, PyObject *unused)
{
    (void)unused;
    return none_or(piu_event_set(event_of(self)));
}

static PyObject *event_clear(PyObject *self, PyObject *unused)
{
    (void)unused;
    return none_or(piu_event_clear(event_of(self)));
}

static PyObject *event_wait(PyObject *self, PyObject *arguments, PyObject *keywords)
{
    static char *names[] = {"timeout", NULL};
    PyObject *timeout = NULL;
    int64_t ns;
    int r;

    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "|O:wait", names, &timeout) ||
        timeout_from(timeout, &ns) < 0)
        return NULL;
    r = wait_spinning(call_wait, event_of(self), ns);
    if (r < 0 && r != -ETIMEDOUT)
        return error_raise(WHAT, r);
    return PyBool_FromLong(r >= 0);
}

static PyObject *event_from_handle(PyObject *type, PyObject *const *arguments,
                                   Py_ssize_t count)
{
    return shared_from_handle((PyTypeObject *)type, WHAT, arguments, count);
}

/* ---- The type ----------------------------------------------------------------------------- */

static PyObject *event_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
    (void)arguments;
    (void)keywords;
    return shared_new(type, WHAT, PIU_KIND_MEMORY, sizeof(struct piu_event));
}

static PyMethodDef methods[] = {
    ENTRY("is_set", event_is_set, METH_NOARGS, "Is it set?"),
    ENTRY("set", event_set, METH_NOARGS, "Set it, and wake all that wait."),
    ENTRY("clear", event_clear, METH_NOARGS, "It is not set any more."),
    ENTRY("wait", event_wait, METH_VARARGS | METH_KEYWORDS,
          "wait(timeout=None): True if it was set in time."),
    ENTRY("__reduce__", shared_reduce, METH_NOARGS, NULL),
    ENTRY("_from_handle", event_from_handle, METH_FASTCALL | METH_CLASS, NULL),
    {NULL, NULL, 0, NULL},
};

static PyType_Slot slots[] = {
    SLOT(Py_tp_doc, PyDoc_STR("A flag that can be waited for.")),
    SLOT(Py_tp_new, event_new),
    SLOT(Py_tp_traverse, shared_traverse),
    SLOT(Py_tp_dealloc, shared_dealloc),
    SLOT(Py_tp_methods, methods),
    {0, NULL},
};

static PyType_Spec spec = {
    .name = "piu._piu.Event",
    .basicsize = sizeof(struct shared_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = slots,
};

int event_type_add(PyObject *module)
{
    return module_add_type(module, &spec, NULL);
}
