/* Semaphore, and BoundedSemaphore by its arguments: units, which any process may release. */
#include "acquire.h"
#include "errors.h"

static struct piu_semaphore *semaphore_of(PyObject *self)
{
    return ((struct shared_object *)self)->hold.object;
}

/* ---- As the core does it ------------------------------------------------------------ */

static int call_acquire(void *object, int64_t timeout)
{
    return piu_semaphore_acquire(object, timeout);
}

static int call_release(void *object)
{
    return piu_semaphore_release(object);
}

static int call_enter(void *object, int64_t timeout)
{
    return piu_semaphore_enter(object, timeout);
}

static int call_exit(void *object)
{
    return piu_semaphore_exit(object);
}

static const struct acquire_calls calls = {
    .name = "Semaphore",
    .what = "semaphore",
    .acquire = call_acquire,
    .release = call_release,
    .enter = call_enter,
    .leave = call_exit,
    .refusal = -EOVERFLOW,
    .exception = &PyExc_ValueError,
    .text = "semaphore or lock released too many times",
};

/* ---- Methods -------------------------------------------------------------------------- */

static unsigned value_of(PyObject *self)
{
    return piu_semaphore_value(semaphore_of(self));
}

static PyObject *semaphore_get_value(PyObject *self, PyObject *unused)
{
    (void)unused;
    return PyLong_FromUnsignedLong(value_of(self));
}

static PyObject *semaphore_is_zero(PyObject *self, PyObject *unused)
{
    (void)unused;
    return PyBool_FromLong(value_of(self) == 0);
}

/* The state: what the constructor was told. */
static PyObject *semaphore_reduce(PyObject *self, PyObject *unused)
{
    struct lock_object *s = (struct lock_object *)self;
    PyObject *extra = Py_BuildValue("(Iii)", s->initial, s->bounded, s->recover);

    (void)unused;
    return extra ? shared_reduce(self, extra) : NULL;
}

static PyObject *semaphore_from_handle(PyObject *type, PyObject *const *arguments,
                                       Py_ssize_t count)
{
    PyObject *self = acquire_from_handle(type, &calls, arguments, count);
    struct lock_object *s = (struct lock_object *)self;
    int bounded, recover;

    if (!self)
        return NULL;
    if (!PyArg_ParseTuple(arguments[1], "Iii", &s->initial, &bounded, &recover)) {
        Py_DECREF(self);
        return NULL;
    }
    s->bounded = bounded;
    s->recover = recover;
    return self;
}

/* ---- The type ----------------------------------------------------------------------------- */

/* As sem_open() has it. */
static int value_check(int value)
{
    if (value >= 0)
        return 0;
    errno = EINVAL;
    PyErr_SetFromErrno(PyExc_OSError);
    return -1;
}

static PyObject *semaphore_new(PyTypeObject *type, PyObject *arguments,
                               PyObject *keywords)
{
    (void)arguments;
    (void)keywords;
    return acquire_new(type, &calls, PIU_KIND_SEMAPHORE, sizeof(struct piu_semaphore));
}

static int semaphore_init(PyObject *self, PyObject *arguments, PyObject *keywords)
{
    static char *names[] = {"value", "bounded", "recover", NULL};
    struct lock_object *s = (struct lock_object *)self;
    int value = 1, bounded = 0, recover = 0, r;

    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "|i$pp:Semaphore", names,
                                     &value, &bounded, &recover) ||
        value_check(value) < 0)
        return -1;
    s->initial = (unsigned)value;
    s->bounded = bounded;
    s->recover = recover;
    r = piu_semaphore_init(semaphore_of(self), s->initial,
                           bounded   ? PIU_BOUNDED
                           : recover ? PIU_RECOVER
                                     : 0);
    if (r < 0)
        error_raise(calls.name, r);
    return r < 0 ? -1 : 0;
}

static PyObject *maxvalue_get(PyObject *self, void *closure)
{
    const struct lock_object *s = (const struct lock_object *)self;

    (void)closure;
    return PyLong_FromUnsignedLong(s->bounded ? s->initial : INT32_MAX);
}

static PyMethodDef methods[] = {
    ACQUIRE_METHODS("Give a unit back, whoever took it."),
    ENTRY("get_value", semaphore_get_value, METH_NOARGS, "How many units are left."),
    ENTRY("__reduce__", semaphore_reduce, METH_NOARGS, NULL),
    ENTRY("_from_handle", semaphore_from_handle, METH_FASTCALL | METH_CLASS, NULL),
    ENTRY("_get_value", semaphore_get_value, METH_NOARGS, NULL),
    ENTRY("_is_zero", semaphore_is_zero, METH_NOARGS, NULL),
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef members[] = {
    {"owner_died", owner_died_get, NULL,
     PyDoc_STR("Always 0: units come back without news."), NULL},
    SEMLOCK_MEMBERS,
    {"maxvalue", maxvalue_get, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot slots[] = {
    SLOT(Py_tp_doc,
         PyDoc_STR("Units; those that a killed process had by `with` come back,"
                   " with bounded or recover all of them.")),
    SLOT(Py_tp_new, semaphore_new),
    SLOT(Py_tp_init, semaphore_init),
    SLOT(Py_tp_traverse, shared_traverse),
    SLOT(Py_tp_dealloc, shared_dealloc),
    SLOT(Py_tp_methods, methods),
    SLOT(Py_tp_getset, members),
    {0, NULL},
};

static PyType_Spec spec = {
    .name = "piu._piu.Semaphore",
    .basicsize = sizeof(struct lock_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = slots,
};

int semaphore_type_add(PyObject *module)
{
    return module_add_type(module, &spec, NULL);
}
