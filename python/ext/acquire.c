#include "acquire.h"

#include "errors.h"

#define LEFT_AFTER PIU_SEC(1)

static int argument_take(PyObject *name, PyObject *value, PyObject **block,
                         PyObject **timeout)
{
    PyObject **place = NULL;

    if (PyUnicode_CompareWithASCIIString(name, "block") == 0)
        place = block;
    else if (PyUnicode_CompareWithASCIIString(name, "timeout") == 0)
        place = timeout;
    if (!place)
        PyErr_Format(PyExc_TypeError, "'%U' is an invalid keyword argument for acquire()",
                     name);
    else if (*place)
        PyErr_Format(PyExc_TypeError,
                     "argument for acquire() given by name ('%U') and "
                     "position",
                     name);
    else {
        *place = value;
        return 0;
    }
    return -1;
}

int acquire_timeout(PyObject *const *arguments, Py_ssize_t count, PyObject *names,
                    int64_t *ret)
{
    PyObject *block = count > 0 ? arguments[0] : NULL;
    PyObject *timeout = count > 1 ? arguments[1] : NULL;
    int blocks = 1;

    if (count > 2) {
        PyErr_Format(PyExc_TypeError, "acquire() takes at most 2 arguments (%zd given)",
                     count);
        return -1;
    }
    for (Py_ssize_t i = 0; names && i < PyTuple_GET_SIZE(names); i++) {
        if (argument_take(PyTuple_GET_ITEM(names, i), arguments[count + i], &block,
                          &timeout) < 0)
            return -1;
    }
    if (block && (blocks = PyObject_IsTrue(block)) < 0)
        return -1;
    if (timeout_from(timeout, ret) < 0)
        return -1;
    if (!blocks)
        *ret = PIU_NOW;
    return 0;
}

int acquire_news(struct lock_object *self, const char *what)
{
    self->owner_died++;
    return PyErr_WarnFormat(
        self->shared.state->owner_died_warning, 1,
        "the last holder of this %s was killed: what it guards may be "
        "half done",
        what);
}

static int warn_left(struct lock_object *self, const char *what)
{
    return PyErr_WarnFormat(
        self->shared.state->lock_left_warning, 1,
        "the holder of this %s has ended without releasing it: it waits "
        "until somebody does",
        what);
}

/* It is told once to each that waits, after a second. */
static int wait_for_it(struct lock_object *self, const struct acquire_calls *calls,
                       int64_t timeout)
{
    void *object = self->shared.hold.object;
    int r;

    if (!calls->is_left || timeout <= LEFT_AFTER)
        return wait_spinning(calls->acquire, object, timeout);
    r = wait_spinning(calls->acquire, object, LEFT_AFTER);
    if (r != -ETIMEDOUT)
        return r;
    if (calls->is_left(object) && warn_left(self, calls->what) < 0)
        return -EINTR;
    return wait_in_slices(calls->acquire, object,
                          timeout == PIU_FOREVER ? timeout : timeout - LEFT_AFTER);
}

PyObject *acquire_result(struct lock_object *self, const struct acquire_calls *calls,
                         int r)
{
    if (r == 0)
        Py_RETURN_TRUE;
    if (r == -ETIMEDOUT)
        Py_RETURN_FALSE;
    if (r < 0)
        return error_raise(calls->what, r);
    if (acquire_news(self, calls->what) < 0) {
        calls->release(self->shared.hold.object); /* raised: not held */
        return NULL;
    }
    Py_RETURN_TRUE;
}

PyObject *acquire(struct lock_object *self, const struct acquire_calls *calls,
                  int64_t timeout)
{
    return acquire_result(self, calls, wait_for_it(self, calls, timeout));
}

PyObject *owner_died_get(PyObject *self, void *closure)
{
    (void)closure;
    return PyLong_FromUnsignedLongLong(((struct lock_object *)self)->owner_died);
}

PyObject *semlock_get(PyObject *self, void *closure)
{
    (void)closure;
    return Py_NewRef(self);
}
