/* put() has put when it returns; there is no feeder thread. */
#include "transfer.h"

#include "message.h"
#include "queue_base.h"
#include "wait.h"

#define LONG_PUT \
    ((size_t)256 << 10) /* bytes: making room for them takes longer than to wait */

/* ---- put ------------------------------------------------------------------------------------ */

struct call {
    struct piu_queue *q;
    void *bytes;
    size_t size;
};

static int call_put(void *argument, int64_t timeout)
{
    struct call *c = argument;

    return piu_queue_put(c->q, c->bytes, c->size, timeout);
}

static int call_reserve(void *argument, int64_t timeout)
{
    struct call *c = argument;

    return piu_queue_reserve(c->q, c->size, &c->bytes, timeout);
}

/* Into a block of its own, written in place: the one copy on this side. */
static int put_large(struct piu_queue *q, struct message *m, int64_t timeout)
{
    struct call c = {.q = q, .size = m->size};
    int r = m->size < LONG_PUT ? wait_at_queue(call_reserve, &c, timeout)
                               : wait_in_slices(call_reserve, &c, timeout);

    if (r < 0)
        return r;
    r = message_write(m, c.bytes) < 0 ? -EBADMSG : piu_queue_commit(q, c.bytes);
    if (r < 0)
        piu_queue_abort(q, c.bytes);
    return r;
}

/* An object that cannot be pickled: the hook of a subclass, or the exception. */
static PyObject *put_failed(PyObject *self, PyObject *object)
{
    struct module_state *s = ((struct shared_object *)self)->state;
    PyObject *type, *error, *trace, *done;

    if (!PyErr_ExceptionMatches(PyExc_Exception) ||
        !PyType_IsSubtype(Py_TYPE(self), s->queue_type))
        return NULL;
    PyErr_Fetch(&type, &error, &trace);
    PyErr_NormalizeException(&type, &error, &trace);
    if (trace)
        PyException_SetTraceback(error, trace);
    done = PyObject_CallMethod(self, "_put_failed", "(OO)", error, object);
    Py_XDECREF(type);
    Py_XDECREF(error);
    Py_XDECREF(trace);
    return done;
}

PyObject *queue_put_object(PyObject *self, PyObject *object, int64_t timeout)
{
    struct shared_object *shared = (struct shared_object *)self;
    struct piu_queue *q = queue_of(self);
    struct message m;
    int r;

    if (message_make(shared->state, &m, object) < 0)
        return put_failed(self, object);
    if (m.size <= MESSAGE_SMALL) {
        struct call c = {.q = q, .bytes = m.small, .size = m.size};

        r = wait_at_queue(call_put, &c, timeout);
    } else
        r = put_large(q, &m, timeout);
    if (r >= 0) {
        message_done(&m);
        Py_RETURN_NONE;
    }
    message_drop(&m);
    if (r != -ETIMEDOUT)
        return queue_raise(self, r);
    PyErr_SetNone(shared->state->queue_full);
    return NULL;
}

/* ---- get ------------------------------------------------------------------------------------ */

static int call_get(void *argument, int64_t timeout)
{
    struct call *c = argument;

    c->size = MESSAGE_SMALL;
    return piu_queue_get(c->q, c->bytes, &c->size, timeout);
}

/* -ETIMEDOUT: another getter was faster. */
static PyObject *get_large(PyObject *self, int *r)
{
    struct shared_object *shared = (struct shared_object *)self;
    PyObject *object;
    void *message;
    size_t size;

    *r = piu_queue_take(queue_of(self), &message, &size, PIU_NOW);
    if (*r < 0)
        return NULL;
    object = message_read(shared->state, message, size);
    message_release(queue_of(self), message, message, size);
    return object;
}

PyObject *queue_get_object(PyObject *self, int64_t timeout)
{
    struct shared_object *shared = (struct shared_object *)self;
    unsigned char small[MESSAGE_SMALL];
    struct call c = {.q = queue_of(self), .bytes = small};
    PyObject *object;
    int r;

    for (;;) {
        r = wait_at_queue(call_get, &c, timeout);
        if (r >= 0) {
            object = message_read(shared->state, small, c.size);
            message_land(small, c.size);
            return object;
        }
        if (r != -EMSGSIZE)
            break;
        object = get_large(self, &r);
        if (r >= 0)
            return object;
        if (r != -ETIMEDOUT)
            break;
    }
    if (r != -ETIMEDOUT)
        return queue_raise(self, r);
    PyErr_SetNone(shared->state->queue_empty);
    return NULL;
}
