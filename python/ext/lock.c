/* Lock: one holder; any process may release it. */
#include "acquire.h"
#include "errors.h"

#define WHAT "Lock"

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

static bool call_is_left(void *object)
{
    return piu_lock_is_locked(object) && piu_lock_owner(object) == 0;
}

static const struct acquire_calls calls = {"lock", call_acquire, call_release,
                                           call_is_left};

/* ---- Methods -------------------------------------------------------------------------- */

static PyObject *lock_enter(PyObject *self, PyObject *unused)
{
    int r = piu_lock_acquire(lock_of(self), PIU_NOW);

    (void)unused;
    if (r == 0)
        Py_RETURN_TRUE;
    return r == -ETIMEDOUT ? acquire((struct lock_object *)self, &calls, PIU_FOREVER)
                           : acquire_result((struct lock_object *)self, &calls, r);
}

static PyObject *lock_acquire(PyObject *self, PyObject *const *arguments,
                              Py_ssize_t count, PyObject *names)
{
    int64_t timeout;

    if (count == 0 && !names)
        return lock_enter(self, NULL);
    if (acquire_timeout(arguments, count, names, &timeout) < 0)
        return NULL;
    return acquire((struct lock_object *)self, &calls, timeout);
}

/* METH_FASTCALL: the interpreter has a faster call for it than for METH_NOARGS. */
static PyObject *lock_release(PyObject *self, PyObject *const *arguments,
                              Py_ssize_t count)
{
    int r;

    (void)arguments;
    if (count > 0)
        return PyErr_Format(PyExc_TypeError, "release() takes no arguments (%zd given)",
                            count);
    r = piu_lock_release(lock_of(self));
    if (r == 0)
        Py_RETURN_NONE;
    if (r == -EPERM) {
        PyErr_SetString(PyExc_ValueError, "semaphore or lock released too many times");
        return NULL;
    }
    return error_raise(WHAT, r);
}

static PyObject *lock_exit(PyObject *self, PyObject *const *arguments, Py_ssize_t count)
{
    (void)arguments;
    (void)count;
    return lock_release(self, NULL, 0);
}

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

static PyObject *lock_reduce(PyObject *self, PyObject *unused)
{
    (void)unused;
    return shared_reduce(self, NULL);
}

static PyObject *lock_from_handle(PyObject *type, PyObject *const *arguments,
                                  Py_ssize_t count)
{
    return shared_from_handle((PyTypeObject *)type, WHAT, arguments, count);
}

/* ---- The type ----------------------------------------------------------------------------- */

static PyObject *lock_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
    (void)arguments;
    (void)keywords;
    return shared_new(type, WHAT, PIU_KIND_MEMORY, sizeof(struct piu_lock));
}

static PyMethodDef methods[] = {
    ENTRY("acquire", lock_acquire, METH_FASTCALL | METH_KEYWORDS,
          "acquire(block=True, timeout=None): True if it is held now."),
    ENTRY("release", lock_release, METH_FASTCALL, "Release it, whoever holds it."),
    ENTRY("locked", lock_locked, METH_NOARGS, "Does anybody hold it?"),
    ENTRY("__enter__", lock_enter, METH_NOARGS, "acquire()"),
    ENTRY("__exit__", lock_exit, METH_FASTCALL, "release()"),
    ENTRY("__reduce__", lock_reduce, METH_NOARGS, NULL),
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
