#include "acquire.h"

#include "errors.h"

#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define LEFT_AFTER  PIU_SEC(1)
#define HOLDER_SIZE 64
#define ENDS_WITHIN 20 /* ms */

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

/* As the interpreter's own locks take it: 0, 1; -1 with an exception. */
static int truth_of(PyObject *block)
{
#if PY_VERSION_HEX < 0x030c0000 /* acquire(0.5), meant as a timeout, does not wait for ever */
    long value = PyLong_AsLong(block);

    return value == -1 && PyErr_Occurred() ? -1 : value != 0;
#else
    return PyObject_IsTrue(block);
#endif
}

/* The arguments of acquire() as a timeout; -1 with an exception. */
static int timeout_of(PyObject *const *arguments, Py_ssize_t count, PyObject *names,
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
    if (block && (blocks = truth_of(block)) < 0)
        return -1;
    if (timeout_from(timeout, ret) < 0)
        return -1;
    if (!blocks)
        *ret = PIU_NOW;
    return 0;
}

/* ---- What is told of a holder ------------------------------------------------------- */

/* The core knows of an end that comes, a moment before the kernel tells it of the process. */
static bool has_ended(pid_t pid)
{
    int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    struct pollfd ends = {.fd = fd, .events = POLLIN};
    bool ended;

    if (fd < 0)
        return errno == ESRCH;
    Py_BEGIN_ALLOW_THREADS
    ended = poll(&ends, 1, ENDS_WITHIN) == 1;
    Py_END_ALLOW_THREADS
    close(fd);
    return ended;
}

/* Who it was and what ended it, as far as that can be told; one that lives was not the last. */
static void holder_text(pid_t pid, char *ret, size_t size)
{
    siginfo_t how = {0};

    if (pid == 0 || !has_ended(pid))
        snprintf(ret, size, "a process");
    else if (waitid(P_PID, (id_t)pid, &how, WEXITED | WNOHANG | WNOWAIT) < 0 ||
             how.si_pid == 0 || how.si_code == CLD_EXITED)
        /* another's child, or reaped, or ended by itself */
        snprintf(ret, size, "pid %d", (int)pid);
    else
        snprintf(ret, size, "pid %d (killed by signal %d)", (int)pid, how.si_status);
}

int acquire_news(struct lock_object *self, const char *what, pid_t owner)
{
    char holder[HOLDER_SIZE];

    self->owner_died++;
    holder_text(owner, holder, sizeof(holder));
    return PyErr_WarnFormat(
        self->shared.state->owner_died_warning, 1,
        "%s died while it held this %s, which is yours now: check what it guards, that may be "
        "half done (owner_died counts such deaths)",
        holder, what);
}

static int warn_left(struct lock_object *self, pid_t owner)
{
    char holder[HOLDER_SIZE];

    holder_text(owner, holder, sizeof(holder));
    return PyErr_WarnFormat(
        self->shared.state->lock_left_warning, 1,
        "%s ended without releasing this %s: acquire() waits %s (a `with` block would have "
        "released it)",
        holder, self->calls->what, self->calls->when_left);
}

/* ---- Acquire ------------------------------------------------------------------------ */

static void *object_of(const struct lock_object *self)
{
    return self->shared.hold.object;
}

/* That is told once to each that waits, after a second. */
static int wait_for_it(struct lock_object *self, wait_call *call, int64_t timeout,
                       pid_t *owner)
{
    const struct acquire_calls *calls = self->calls;
    int r;

    if (!calls->is_left || timeout <= LEFT_AFTER)
        return wait_spinning(call, object_of(self), timeout);
    r = wait_spinning(call, object_of(self), LEFT_AFTER);
    if (r != -ETIMEDOUT)
        return r;
    if (calls->is_left(object_of(self)) && warn_left(self, *owner) < 0)
        return -EINTR;
    *owner = calls->owner(object_of(self)); /* a second later it may be another one */
    return wait_in_slices(call, object_of(self),
                          timeout == PIU_FOREVER ? timeout : timeout - LEFT_AFTER);
}

/* True, False, or NULL with an exception: then it is not held. */
static PyObject *acquire(struct lock_object *self, wait_call *call, int64_t timeout)
{
    pid_t owner = self->calls->owner ? self->calls->owner(object_of(self)) : 0;
    int r = call(object_of(self), PIU_NOW);

    if (r == -ETIMEDOUT && timeout > 0)
        r = wait_for_it(self, call, timeout, &owner);
    if (r == 0)
        Py_RETURN_TRUE;
    if (r == -ETIMEDOUT)
        Py_RETURN_FALSE;
    if (r < 0)
        return error_raise(self->calls->name, r);
    if (acquire_news(self, self->calls->what, owner) < 0) {
        self->calls->release(object_of(self)); /* raised: not held */
        return NULL;
    }
    Py_RETURN_TRUE;
}

PyObject *acquire_method(PyObject *self, PyObject *const *arguments, Py_ssize_t count,
                         PyObject *names)
{
    struct lock_object *lock = (struct lock_object *)self;
    int64_t timeout = PIU_FOREVER;

    if ((count > 0 || names) && timeout_of(arguments, count, names, &timeout) < 0)
        return NULL;
    return acquire(lock, lock->calls->acquire, timeout);
}

PyObject *acquire_enter(PyObject *self, PyObject *unused)
{
    struct lock_object *lock = (struct lock_object *)self;

    (void)unused;
    return acquire(lock, lock->calls->enter, PIU_FOREVER);
}

/* ---- Release ------------------------------------------------------------------------ */

static PyObject *release_result(const struct lock_object *self, int r)
{
    if (r == 0)
        Py_RETURN_NONE;
    if (r != self->calls->refusal)
        return error_raise(self->calls->name, r);
    PyErr_SetString(*self->calls->exception, self->calls->text);
    return NULL;
}

PyObject *acquire_release(PyObject *self, PyObject *const *arguments, Py_ssize_t count)
{
    struct lock_object *lock = (struct lock_object *)self;

    (void)arguments;
    if (count > 0)
        return PyErr_Format(PyExc_TypeError, "release() takes no arguments (%zd given)",
                            count);
    return release_result(lock, lock->calls->release(object_of(lock)));
}

PyObject *acquire_exit(PyObject *self, PyObject *const *arguments, Py_ssize_t count)
{
    struct lock_object *lock = (struct lock_object *)self;

    (void)arguments;
    (void)count;
    return release_result(lock, lock->calls->leave(object_of(lock)));
}

/* ---- Making ------------------------------------------------------------------------- */

static PyObject *with_calls(PyObject *self, const struct acquire_calls *calls)
{
    if (self)
        ((struct lock_object *)self)->calls = calls;
    return self;
}

PyObject *acquire_new(PyTypeObject *type, const struct acquire_calls *calls,
                      enum piu_kind kind, size_t size)
{
    return with_calls(shared_new(type, calls->name, kind, size), calls);
}

PyObject *acquire_from_handle(PyObject *type, const struct acquire_calls *calls,
                              PyObject *const *arguments, Py_ssize_t count)
{
    return with_calls(
        shared_from_handle((PyTypeObject *)type, calls->name, arguments, count), calls);
}

/* ---- For getters -------------------------------------------------------------------- */

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
