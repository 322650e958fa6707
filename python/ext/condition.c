/* Condition: waiting for a notify, on a Lock or RLock of piu. */
#include "acquire.h"
#include "errors.h"

#define WHAT "Condition"

struct condition_object {
    struct shared_object shared;
    PyObject *lock; /* Lock or RLock; NULL before __init__ */
    bool recursive;
};

static struct condition_object *condition_of(PyObject *self)
{
    return (struct condition_object *)self;
}

static void *lock_memory(const struct condition_object *c)
{
    return ((const struct shared_object *)c->lock)->hold.object;
}

/* -1 with AssertionError: the calling thread does not hold it. */
static int assert_held(const struct condition_object *c, const char *message)
{
    bool held = c->lock && (c->recursive ? piu_rlock_count(lock_memory(c)) > 0
                                         : piu_lock_is_mine(lock_memory(c)));

    if (!held)
        PyErr_SetString(PyExc_AssertionError, message);
    return held ? 0 : -1;
}

/* As it was when the wait began: __init__() may bring another lock meanwhile. */
struct waiting {
    struct piu_condition *condition;
    void *lock;
    bool recursive;
    PyThreadState *thread;
};

/* Handlers run without the lock: they may wait for one who needs it. */
static int call_handlers(void *argument)
{
    struct waiting *w = argument;
    int r;

    if (gettid() != getpid()) /* Python runs them in the main thread alone */
        return 0;
    PyEval_RestoreThread(w->thread);
    r = PyErr_CheckSignals();
    w->thread = PyEval_SaveThread();
    return r;
}

static int wait_calling(struct waiting *w, int64_t timeout)
{
    int r;

    w->thread = PyEval_SaveThread();
    r = w->recursive ? piu_condition_wait_rlock_calling(w->condition, w->lock, timeout,
                                                        call_handlers, w)
                     : piu_condition_wait_calling(w->condition, w->lock, timeout,
                                                  call_handlers, w);
    PyEval_RestoreThread(w->thread);
    return r;
}

/* ---- Methods ------------------------------------------------------------------------------ */

static PyObject *condition_wait(PyObject *self, PyObject *arguments, PyObject *keywords)
{
    static char *names[] = {"timeout", NULL};
    struct condition_object *c = condition_of(self);
    PyObject *timeout = NULL, *lock;
    struct waiting w;
    int64_t ns;
    int r;

    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "|O:wait", names, &timeout) ||
        timeout_from(timeout, &ns) < 0 ||
        assert_held(c, "must acquire() condition before using wait()") < 0)
        return NULL;
    lock = Py_NewRef(c->lock);
    w = (struct waiting){c->shared.hold.object, lock_memory(c), c->recursive, NULL};
    r = wait_calling(&w, ns < WAIT_LONGEST ? ns : WAIT_LONGEST);
    if (PyErr_Occurred()) {
        ((struct lock_object *)lock)->owner_died += r > 0;
        r = -EINTR;
    }
    if (r > 0 && acquire_news((struct lock_object *)lock, "condition's lock", 0) < 0)
        r = -EINTR;
    Py_DECREF(lock);
    if (r < 0 && r != -ETIMEDOUT)
        return error_raise(WHAT, r);
    return PyBool_FromLong(r >= 0);
}

static PyObject *notify(struct condition_object *c, unsigned count)
{
    int r;

    if (assert_held(c, "lock is not owned") < 0)
        return NULL;
    r = piu_condition_notify(c->shared.hold.object, count);
    if (r < 0)
        return error_raise(WHAT, r);
    Py_RETURN_NONE;
}

static PyObject *condition_notify(PyObject *self, PyObject *arguments, PyObject *keywords)
{
    static char *names[] = {"n", NULL};
    Py_ssize_t count = 1;

    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "|n:notify", names, &count))
        return NULL;
    return notify(condition_of(self), count < 0            ? 0
                                      : count > UINT32_MAX ? UINT32_MAX
                                                           : (unsigned)count);
}

static PyObject *condition_notify_all(PyObject *self, PyObject *unused)
{
    (void)unused;
    return notify(condition_of(self), UINT32_MAX);
}

static PyObject *condition_waiting(PyObject *self, PyObject *unused)
{
    (void)unused;
    return PyLong_FromUnsignedLong(
        piu_condition_waiting(condition_of(self)->shared.hold.object));
}

/* What the lock says: `with condition:` is `with condition._lock:`. */
static PyObject *lock_call(PyObject *self, const char *method)
{
    struct condition_object *c = condition_of(self);

    if (c->lock)
        return PyObject_CallMethod(c->lock, method, NULL);
    PyErr_SetString(PyExc_ValueError, "Condition.__init__() was not called");
    return NULL;
}

static PyObject *condition_enter(PyObject *self, PyObject *unused)
{
    (void)unused;
    return lock_call(self, "__enter__");
}

static PyObject *condition_exit(PyObject *self, PyObject *const *arguments,
                                Py_ssize_t count)
{
    (void)arguments;
    (void)count;
    return lock_call(self, "__exit__");
}

static PyObject *lock_method(PyObject *self, const char *name)
{
    struct condition_object *c = condition_of(self);

    return c->lock ? PyObject_GetAttrString(c->lock, name) : lock_call(self, name);
}

static PyObject *condition_acquire_get(PyObject *self, void *closure)
{
    (void)closure;
    return lock_method(self, "acquire");
}

static PyObject *condition_release_get(PyObject *self, void *closure)
{
    (void)closure;
    return lock_method(self, "release");
}

/* ---- The type ----------------------------------------------------------------------------- */

static PyObject *condition_new(PyTypeObject *type, PyObject *arguments,
                               PyObject *keywords)
{
    (void)arguments;
    (void)keywords;
    return shared_new(type, WHAT, PIU_KIND_CONDITION, sizeof(struct piu_condition));
}

static int lock_set(struct condition_object *c, PyObject *lock)
{
    const struct module_state *state = c->shared.state;
    bool recursive = PyObject_TypeCheck(lock, state->rlock_type);

    if (!recursive && !PyObject_TypeCheck(lock, state->lock_type)) {
        PyErr_SetString(PyExc_TypeError, "the lock must be a Lock or RLock of piu");
        return -1;
    }
    Py_XSETREF(c->lock, Py_NewRef(lock));
    c->recursive = recursive;
    return 0;
}

static int condition_init(PyObject *self, PyObject *arguments, PyObject *keywords)
{
    static char *names[] = {"lock", NULL};
    PyObject *lock;

    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "O:Condition", names, &lock))
        return -1;
    return lock_set(condition_of(self), lock);
}

static PyObject *condition_reduce(PyObject *self, PyObject *unused)
{
    (void)unused;
    return shared_reduce(self, Py_XNewRef(condition_of(self)->lock));
}

static PyObject *condition_from_handle(PyObject *type, PyObject *const *arguments,
                                       Py_ssize_t count)
{
    PyObject *self = shared_from_handle((PyTypeObject *)type, WHAT, arguments, count);

    if (self && lock_set(condition_of(self), arguments[1]) < 0)
        Py_CLEAR(self);
    return self;
}

static int condition_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(condition_of(self)->lock);
    return shared_traverse(self, visit, arg);
}

static void condition_dealloc(PyObject *self)
{
    PyObject_GC_UnTrack(self);
    Py_CLEAR(condition_of(self)->lock);
    shared_dealloc(self);
}

static PyMethodDef methods[] = {
    ENTRY("wait", condition_wait, METH_VARARGS | METH_KEYWORDS,
          "wait(timeout=None): True if it was notified in time."),
    ENTRY("notify", condition_notify, METH_VARARGS | METH_KEYWORDS,
          "notify(n=1): wake those n that wait longest."),
    ENTRY("notify_all", condition_notify_all, METH_NOARGS, "Wake all that wait."),
    ENTRY("__enter__", condition_enter, METH_NOARGS, "acquire()"),
    ENTRY("__exit__", condition_exit, METH_FASTCALL, "release()"),
    ENTRY("__reduce__", condition_reduce, METH_NOARGS, NULL),
    ENTRY("_from_handle", condition_from_handle, METH_FASTCALL | METH_CLASS, NULL),
    ENTRY("_waiting", condition_waiting, METH_NOARGS, NULL),
    {NULL, NULL, 0, NULL},
};

static PyMemberDef fields[] = {
    {"_lock", T_OBJECT, offsetof(struct condition_object, lock), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyGetSetDef members[] = {
    {"acquire", condition_acquire_get, NULL, PyDoc_STR("The lock's acquire()."), NULL},
    {"release", condition_release_get, NULL, PyDoc_STR("The lock's release()."), NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot slots[] = {
    SLOT(Py_tp_doc, PyDoc_STR("Waiting for a notify, with a lock.")),
    SLOT(Py_tp_new, condition_new),
    SLOT(Py_tp_init, condition_init),
    SLOT(Py_tp_traverse, condition_traverse),
    SLOT(Py_tp_dealloc, condition_dealloc),
    SLOT(Py_tp_methods, methods),
    SLOT(Py_tp_members, fields),
    SLOT(Py_tp_getset, members),
    {0, NULL},
};

static PyType_Spec spec = {
    .name = "piu._piu.Condition",
    .basicsize = sizeof(struct condition_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = slots,
};

int condition_type_add(PyObject *module)
{
    return module_add_type(module, &spec, NULL);
}
