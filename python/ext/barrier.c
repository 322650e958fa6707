/* Barrier: parties that wait for each other.  Default timeouts are Python's part. */
#include "errors.h"
#include "handle.h"
#include "wait.h"

#define WHAT "Barrier"

static struct piu_barrier *barrier_of(PyObject *self)
{
    return ((struct shared_object *)self)->hold.object;
}

/* ---- Methods ------------------------------------------------------------------------------ */

/*
 * Not in slices: out of time breaks a barrier.  The core itself sleeps in slices; a signal that
 * comes while it sleeps ends the wait.
 */
static int wait_whole(struct piu_barrier *b, bool acts, unsigned *ret_index,
                      int64_t timeout)
{
    int64_t deadline;
    int r;

    deadline = wait_clock() + (timeout < WAIT_LONGEST ? timeout : WAIT_LONGEST);
    do {
        int64_t left = deadline - wait_clock();

        Py_BEGIN_ALLOW_THREADS
        r = acts ? piu_barrier_meet(b, ret_index, left)
                 : piu_barrier_wait(b, ret_index, left);
        Py_END_ALLOW_THREADS
    } while (r == -EINTR && PyErr_CheckSignals() == 0);
    return r;
}

/*
 * The caller came last.  From here to the release no line of Python is run but the action's: what
 * else would raise there would leave the others waiting.
 */
static int act(struct piu_barrier *b, PyObject *action)
{
    PyObject *result = PyObject_CallNoArgs(action);

    if (!result)
        return -EINTR;
    Py_DECREF(result);
    return piu_barrier_release(b);
}

/* Why, as far as it is known: the core keeps no more than that it is broken. */
static PyObject *raise_broken(struct shared_object *self, int r)
{
    const char *why = "it was reset while this party waited";

    if (r == -ETIMEDOUT)
        why = "this party's timeout passed before all had come; reset() makes it whole";
    else if (piu_barrier_is_broken(self->hold.object))
        why = "a party died, ran out of time, failed in the action, or aborted it; "
              "reset() makes it whole";
    PyErr_SetString(self->state->broken_barrier_error, why);
    return NULL;
}

static PyObject *barrier_wait(PyObject *self, PyObject *arguments, PyObject *keywords)
{
    static char *names[] = {"timeout", "action", NULL};
    struct shared_object *s = (struct shared_object *)self;
    PyObject *timeout = NULL, *action = Py_None;
    bool acts;
    unsigned index = 0;
    int64_t ns;
    int r;

    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "|OO:wait", names, &timeout,
                                     &action) ||
        timeout_from(timeout, &ns) < 0)
        return NULL;
    acts = action != Py_None;
    r = wait_whole(barrier_of(self), acts, &index, ns);
    if (r == PIU_LAST)
        r = act(barrier_of(self), action);
    if (r == -EINTR && acts) /* raised by the action, or by a signal's handler */
        piu_barrier_abort(barrier_of(self));
    if (r == -ENOTRECOVERABLE || r == -ETIMEDOUT)
        return raise_broken(s, r);
    return r < 0 ? error_raise(WHAT, r) : PyLong_FromUnsignedLong(index);
}

static PyObject *none_or(int r)
{
    if (r < 0)
        return error_raise(WHAT, r);
    Py_RETURN_NONE;
}

static PyObject *barrier_reset(PyObject *self, PyObject *unused)
{
    (void)unused;
    return none_or(piu_barrier_reset(barrier_of(self)));
}

static PyObject *barrier_abort(PyObject *self, PyObject *unused)
{
    (void)unused;
    return none_or(piu_barrier_abort(barrier_of(self)));
}

static PyObject *barrier_from_handle(PyObject *type, PyObject *const *arguments,
                                     Py_ssize_t count)
{
    return shared_from_handle((PyTypeObject *)type, WHAT, arguments, count);
}

static PyObject *parties_get(PyObject *self, void *closure)
{
    (void)closure;
    return PyLong_FromUnsignedLong(piu_barrier_parties(barrier_of(self)));
}

static PyObject *n_waiting_get(PyObject *self, void *closure)
{
    struct piu_barrier *b = barrier_of(self);

    (void)closure;
    return PyLong_FromUnsignedLong(piu_barrier_is_broken(b) ? 0 : piu_barrier_waiting(b));
}

static PyObject *broken_get(PyObject *self, void *closure)
{
    (void)closure;
    return PyBool_FromLong(piu_barrier_is_broken(barrier_of(self)));
}

/* ---- The type ----------------------------------------------------------------------------- */

static PyObject *barrier_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
    (void)arguments;
    (void)keywords;
    return shared_new(type, WHAT, PIU_KIND_BARRIER, sizeof(struct piu_barrier));
}

static int barrier_init(PyObject *self, PyObject *arguments, PyObject *keywords)
{
    static char *names[] = {"parties", NULL};
    Py_ssize_t parties;
    int r;

    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "n:Barrier", names, &parties))
        return -1;
    if (parties > UINT32_MAX) {
        PyErr_SetString(PyExc_OverflowError, "too many parties");
        return -1;
    }
    r = piu_barrier_init(barrier_of(self), parties > 0 ? (unsigned)parties : 0);
    if (r == -EINVAL)
        PyErr_SetString(PyExc_ValueError, "parties must be > 0");
    else if (r < 0)
        error_raise(WHAT, r);
    return r < 0 ? -1 : 0;
}

static PyMethodDef methods[] = {
    ENTRY(
        "wait", barrier_wait, METH_VARARGS | METH_KEYWORDS,
        "wait(timeout=None, action=None): which of the parties this is, when all have come."),
    ENTRY("reset", barrier_reset, METH_NOARGS, "Empty and whole; who waits: broken."),
    ENTRY("abort", barrier_abort, METH_NOARGS, "Broken, for all."),
    ENTRY("__reduce__", shared_reduce, METH_NOARGS, NULL),
    ENTRY("_from_handle", barrier_from_handle, METH_FASTCALL | METH_CLASS, NULL),
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef members[] = {
    {"parties", parties_get, NULL, PyDoc_STR("How many it takes."), NULL},
    {"n_waiting", n_waiting_get, NULL, PyDoc_STR("How many wait now."), NULL},
    {"broken", broken_get, NULL, PyDoc_STR("Is it broken?"), NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot slots[] = {
    SLOT(Py_tp_doc, PyDoc_STR("Parties that wait for each other.")),
    SLOT(Py_tp_new, barrier_new),
    SLOT(Py_tp_init, barrier_init),
    SLOT(Py_tp_traverse, shared_traverse),
    SLOT(Py_tp_dealloc, shared_dealloc),
    SLOT(Py_tp_methods, methods),
    SLOT(Py_tp_getset, members),
    {0, NULL},
};

static PyType_Spec spec = {
    .name = "piu._piu.Barrier",
    .basicsize = sizeof(struct shared_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = slots,
};

int barrier_type_add(PyObject *module)
{
    return module_add_type(module, &spec, NULL);
}
