/* RLock: its holding thread may acquire it again, and alone releases it. */
#include "acquire.h"
#include "errors.h"

#define WHAT "RLock"

static struct piu_rlock *rlock_of(PyObject *self)
{
    return ((struct shared_object *)self)->hold.object;
}

/* ---- As the core does it ------------------------------------------------------------ */

static int call_acquire(void *object, int64_t timeout)
{
    return piu_rlock_acquire(object, timeout);
}

static int call_release(void *object)
{
    return piu_rlock_release(object);
}

static bool call_is_left(void *object)
{
    return piu_rlock_is_locked(object) && piu_rlock_owner(object) == 0;
}

static const struct acquire_calls calls = {"lock", call_acquire, call_release,
                                           call_is_left};

/* ---- Methods -------------------------------------------------------------------------- */

static PyObject *rlock_enter(PyObject *self, PyObject *unused)
{
    int r = piu_rlock_acquire(rlock_of(self), PIU_NOW);

    (void)unused;
    if (r == 0)
        Py_RETURN_TRUE;
    return r == -ETIMEDOUT ? acquire((struct lock_object *)self, &calls, PIU_FOREVER)
                           : acquire_result((struct lock_object *)self, &calls, r);
}

static PyObject *rlock_acquire(PyObject *self, PyObject *const *arguments,
                               Py_ssize_t count, PyObject *names)
{
    int64_t timeout;

    if (count == 0 && !names)
        return rlock_enter(self, NULL);
    if (acquire_timeout(arguments, count, names, &timeout) < 0)
        return NULL;
    return acquire((struct lock_object *)self, &calls, timeout);
}

/* METH_FASTCALL: the interpreter has a faster call for it than for METH_NOARGS. */
static PyObject *rlock_release(PyObject *self, PyObject *const *arguments,
                               Py_ssize_t count)
{
    int r;

    (void)arguments;
    if (count > 0)
        return PyErr_Format(PyExc_TypeError, "release() takes no arguments (%zd given)",
                            count);
    r = piu_rlock_release(rlock_of(self));
    if (r == 0)
        Py_RETURN_NONE;
    if (r == -EPERM) {
        PyErr_SetString(PyExc_AssertionError,
                        "attempt to release recursive lock not owned by thread");
        return NULL;
    }
    return error_raise(WHAT, r);
}

static PyObject *rlock_exit(PyObject *self, PyObject *const *arguments, Py_ssize_t count)
{
    (void)arguments;
    (void)count;
    return rlock_release(self, NULL, 0);
}

static PyObject *rlock_locked(PyObject *self, PyObject *unused)
{
    (void)unused;
    return PyBool_FromLong(piu_rlock_is_locked(rlock_of(self)));
}

static PyObject *rlock_get_value(PyObject *self, PyObject *unused)
{
    (void)unused;
    return PyLong_FromLong(!piu_rlock_is_locked(rlock_of(self)));
}

static PyObject *rlock_is_mine(PyObject *self, PyObject *unused)
{
    (void)unused;
    return PyBool_FromLong(piu_rlock_count(rlock_of(self)) > 0);
}

static PyObject *rlock_count(PyObject *self, PyObject *unused)
{
    unsigned count = piu_rlock_count(rlock_of(self));

    (void)unused;
    if (count == 0) /* of another thread: not 0 is all that we can tell */
        count = piu_rlock_owner(rlock_of(self)) == getpid();
    return PyLong_FromUnsignedLong(count);
}

static PyObject *rlock_reduce(PyObject *self, PyObject *unused)
{
    (void)unused;
    return shared_reduce(self, NULL);
}

static PyObject *rlock_from_handle(PyObject *type, PyObject *const *arguments,
                                   Py_ssize_t count)
{
    return shared_from_handle((PyTypeObject *)type, WHAT, arguments, count);
}

/* ---- The type ----------------------------------------------------------------------------- */

static PyObject *rlock_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
    (void)arguments;
    (void)keywords;
    return shared_new(type, WHAT, PIU_KIND_MEMORY, sizeof(struct piu_rlock));
}

static PyMethodDef methods[] = {
    ENTRY("acquire", rlock_acquire, METH_FASTCALL | METH_KEYWORDS,
          "acquire(block=True, timeout=None): True if it is held now."),
    ENTRY("release", rlock_release, METH_FASTCALL, "Release it once."),
    ENTRY("locked", rlock_locked, METH_NOARGS, "Does anybody hold it?"),
    ENTRY("__enter__", rlock_enter, METH_NOARGS, "acquire()"),
    ENTRY("__exit__", rlock_exit, METH_FASTCALL, "release()"),
    ENTRY("__reduce__", rlock_reduce, METH_NOARGS, NULL),
    ENTRY("_from_handle", rlock_from_handle, METH_FASTCALL | METH_CLASS, NULL),
    ENTRY("_get_value", rlock_get_value, METH_NOARGS, NULL),
    ENTRY("_is_zero", rlock_locked, METH_NOARGS, NULL),
    ENTRY("_is_mine", rlock_is_mine, METH_NOARGS, NULL),
    ENTRY("_count", rlock_count, METH_NOARGS, NULL),
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef members[] = {
    {"owner_died", owner_died_get, NULL,
     PyDoc_STR("How often its last holder had been killed when it was acquired."), NULL},
    SEMLOCK_MEMBERS,
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot slots[] = {
    SLOT(Py_tp_doc,
         PyDoc_STR("A recursive lock that passes on when its holder is killed.")),
    SLOT(Py_tp_new, rlock_new),
    SLOT(Py_tp_traverse, shared_traverse),
    SLOT(Py_tp_dealloc, shared_dealloc),
    SLOT(Py_tp_methods, methods),
    SLOT(Py_tp_getset, members),
    {0, NULL},
};

static PyType_Spec spec = {
    .name = "piu._piu.RLock",
    .basicsize = sizeof(struct lock_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = slots,
};

int rlock_type_add(PyObject *module)
{
    return module_add_type(module, &spec, &state_of_module(module)->rlock_type);
}
