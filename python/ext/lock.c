/* Lock: one holder; any process may release it. */
#include "acquire.h"

static struct piu_lock *lock_of(PyObject *self)
{
    return ((struct shared_object *)self)->hold.object;
}

/* ---- As the core does it ------------------------------------------------------------ */

static int call_acquire(void *object, int64_t timeout)
{
    return piu_lock_acquire(object, timeout);
}

static int call_release(void *object)
{
    return piu_lock_release(object);
}

static pid_t call_owner(void *object)
{
    return piu_lock_owner(object);
}

static bool call_is_left(void *object)
{
    return piu_lock_is_locked(object) && piu_lock_owner(object) == 0;
}

static const struct acquire_calls calls = {
    .name = "Lock",
    .what = "lock",
    .acquire = call_acquire,
    .release = call_release,
    .enter = call_acquire,
    .leave = call_release,
    .owner = call_owner,
    .is_left = call_is_left,
    .when_left = "until some process calls release()",
    .refusal = -EPERM,
    .exception = &PyExc_ValueError,
    .text = "semaphore or lock released too many times",
};

/* ---- Methods -------------------------------------------------------------------------- */

static PyObject *lock_locked(PyObject *self, PyObject *unused)
{
    (void)unused;
    return PyBool_FromLong(piu_lock_is_locked(lock_of(self)));
}

static PyObject *lock_get_value(PyObject *self, PyObject *unused)
{
    (void)unused;
    return PyLong_FromLong(!piu_lock_is_locked(lock_of(self)));
}

static PyObject *lock_is_mine(PyObject *self, PyObject *unused)
{
    (void)unused;
    return PyBool_FromLong(piu_lock_is_mine(lock_of(self)));
}

static PyObject *lock_count(PyObject *self, PyObject *unused)
{
    (void)unused;
    return PyLong_FromLong(piu_lock_owner(lock_of(self)) == getpid());
}

static PyObject *lock_from_handle(PyObject *type, PyObject *const *arguments,
                                  Py_ssize_t count)
{
    return acquire_from_handle(type, &calls, arguments, count);
}

/* ---- The type ----------------------------------------------------------------------------- */

static PyObject *lock_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
    (void)arguments;
    (void)keywords;
    return acquire_new(type, &calls, PIU_KIND_MEMORY, sizeof(struct piu_lock));
}

static PyMethodDef methods[] = {
    ACQUIRE_METHODS("Release it, whoever holds it."),
    ENTRY("locked", lock_locked, METH_NOARGS, "Does anybody hold it?"),
    ENTRY("__reduce__", shared_reduce, METH_NOARGS, NULL),
    ENTRY("_from_handle", lock_from_handle, METH_FASTCALL | METH_CLASS, NULL),
    ENTRY("_get_value", lock_get_value, METH_NOARGS, NULL),
    ENTRY("_is_zero", lock_locked, METH_NOARGS, NULL),
    ENTRY("_is_mine", lock_is_mine, METH_NOARGS, NULL),
    ENTRY("_count", lock_count, METH_NOARGS, NULL),
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef members[] = {
    {"owner_died", owner_died_get, NULL,
     PyDoc_STR("How often its last holder had been killed when it was acquired."), NULL},
    SEMLOCK_MEMBERS,
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot slots[] = {
    SLOT(Py_tp_doc, PyDoc_STR("A lock that passes on when its holder is killed.")),
    SLOT(Py_tp_new, lock_new),
    SLOT(Py_tp_traverse, shared_traverse),
    SLOT(Py_tp_dealloc, shared_dealloc),
    SLOT(Py_tp_methods, methods),
    SLOT(Py_tp_getset, members),
    {0, NULL},
};

static PyType_Spec spec = {
    .name = "piu._piu.Lock",
    .basicsize = sizeof(struct lock_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = slots,
};

int lock_type_add(PyObject *module)
{
    return module_add_type(module, &spec, &state_of_module(module)->lock_type);
}
