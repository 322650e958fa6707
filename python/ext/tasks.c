/*
 * Tasks: what a Pool and its workers share.  Two queues, and a word a worker.
 *
 *    pool --submit--> tasks --take--> worker --finish--> results --collect--> pool
 *                                       |
 *                    records[slot] = the number of the task that it has begun; 0: none
 *
 *    QUEUED --take--> TAKEN --record--> STARTED --finish--> a result in the queue
 *       ^               |                  `--worker died--> its record names it: lost
 *       |               `--worker died--> the message comes again: told to the pool as AGAIN
 *       `--------------- the pool submits it anew ----'
 *
 * T1  a task is run only by who took its message for the first time (never PIU_REDELIVERED)
 * T2  records[slot] names a task before its message is dropped, until its result is in
 * T3  so of a dead worker: what its record names has begun, and has a result or has none; what it
 *     had only taken comes again.  Both may be so at once (killed between record and drop): the
 *     pool believes the record
 * T4  a number is used once a pool; a result or AGAIN for one that is not pending is old news
 * Crash: by T2 and T3, no task is run twice and none is forgotten.
 */
#include "errors.h"
#include "handle.h"
#include "wait.h"

#include <stdatomic.h>

#define WHAT       "Pool"
#define SLOTS_MOST 65536u

enum result_kind { RESULT_DONE, RESULT_AGAIN };

struct task_head {
    uint64_t number;
};

struct result_head {
    uint64_t number;
    uint32_t kind, slot;
};

struct tasks_object {
    struct shared_object shared; /* the queue of tasks */
    struct piu_hold results, records;
    unsigned slots;
};

static struct piu_queue *tasks_of(const struct tasks_object *self)
{
    return self->shared.hold.object;
}

static _Atomic uint64_t *record_of(const struct tasks_object *self, unsigned slot)
{
    return (_Atomic uint64_t *)self->records.object + slot;
}

static int slot_check(const struct tasks_object *self, unsigned slot)
{
    if (slot < self->slots)
        return 0;
    PyErr_Format(PyExc_IndexError, "a pool of %u workers has no slot %u", self->slots,
                 slot);
    return -1;
}

/* ---- The pool's side ------------------------------------------------------------------ */

/* One message: a head, and the bytes behind it, copied once. */
static int put_parts(struct piu_queue *q, const void *head, size_t head_size,
                     const Py_buffer *body)
{
    size_t size = head_size + (size_t)body->len;
    void *place;
    int r = piu_queue_reserve(q, size, &place, PIU_FOREVER);

    if (r < 0)
        return r;
    memcpy(place, head, head_size);
    memcpy((char *)place + head_size, body->buf, (size_t)body->len);
    r = piu_queue_commit(q, place);
    if (r < 0)
        piu_queue_abort(q, place);
    return r;
}

static PyObject *none_or(int r)
{
    if (r < 0)
        return error_raise(WHAT, r);
    Py_RETURN_NONE;
}

static PyObject *tasks_submit(PyObject *self, PyObject *arguments)
{
    struct task_head head = {0};
    unsigned long long number;
    Py_buffer body;
    int r;

    if (!PyArg_ParseTuple(arguments, "Ky*", &number, &body))
        return NULL;
    head.number = number;
    r = put_parts(tasks_of((struct tasks_object *)self), &head, sizeof(head), &body);
    PyBuffer_Release(&body);
    return none_or(r);
}

struct taking {
    struct piu_queue *queue;
    void *message;
    size_t size;
};

static int call_take(void *argument, int64_t timeout)
{
    struct taking *t = argument;

    return piu_queue_take(t->queue, &t->message, &t->size, timeout);
}

/*
 * The result is in `list` before the message is dropped, and no bytecode runs between: an
 * exception of a signal handler cannot lose it.
 */
static int collect_into(PyObject *list, const struct taking *t)
{
    const struct result_head *head = t->message;
    PyObject *result;
    int r;

    if (t->size < sizeof(*head))
        return error_raise(WHAT, -EBADMSG) ? 0 : -1;
    result =
        Py_BuildValue("(KIIy#)", (unsigned long long)head->number, head->kind, head->slot,
                      (const char *)(head + 1), (Py_ssize_t)(t->size - sizeof(*head)));
    r = result ? PyList_Append(list, result) : -1;
    Py_XDECREF(result);
    return r;
}

static PyObject *tasks_collect(PyObject *self, PyObject *arguments)
{
    struct tasks_object *s = (struct tasks_object *)self;
    struct taking t = {.queue = s->results.object};
    PyObject *list, *timeout = NULL;
    int64_t ns;
    int r;

    if (!PyArg_ParseTuple(arguments, "O!|O", &PyList_Type, &list, &timeout) ||
        timeout_from(timeout, &ns) < 0)
        return NULL;
    r = wait_spinning(call_take, &t, ns);
    if (r == -ETIMEDOUT)
        Py_RETURN_FALSE;
    if (r < 0)
        return error_raise(WHAT, r);
    r = collect_into(list, &t);
    piu_queue_drop(t.queue, t.message);
    return r < 0 ? NULL : Py_NewRef(Py_True);
}

static PyObject *tasks_started(PyObject *self, PyObject *arguments)
{
    struct tasks_object *s = (struct tasks_object *)self;
    unsigned slot;

    if (!PyArg_ParseTuple(arguments, "I", &slot) || slot_check(s, slot) < 0)
        return NULL;
    return PyLong_FromUnsignedLongLong(atomic_load(record_of(s, slot)));
}

/* Its worker has ended, and the pool has seen to what it had begun. */
static PyObject *tasks_clear(PyObject *self, PyObject *arguments)
{
    struct tasks_object *s = (struct tasks_object *)self;
    unsigned slot;

    if (!PyArg_ParseTuple(arguments, "I", &slot) || slot_check(s, slot) < 0)
        return NULL;
    atomic_store(record_of(s, slot), 0);
    Py_RETURN_NONE;
}

static PyObject *tasks_shutdown(PyObject *self, PyObject *unused)
{
    (void)unused;
    return none_or(piu_queue_shutdown(tasks_of((struct tasks_object *)self)));
}

static PyObject *tasks_qsize(PyObject *self, PyObject *unused)
{
    (void)unused;
    return PyLong_FromSize_t(piu_queue_qsize(tasks_of((struct tasks_object *)self)));
}

/* ---- The worker's side ---------------------------------------------------------------- */

static int result_put(const struct tasks_object *s, uint64_t number,
                      enum result_kind kind, unsigned slot, const Py_buffer *body)
{
    struct result_head head = {.number = number, .kind = kind, .slot = slot};

    return put_parts(s->results.object, &head, sizeof(head), body);
}

/* It is told before it is dropped: killed between, it comes again, and is told again (T4). */
static int tell_again(const struct tasks_object *s, unsigned slot, const struct taking *t)
{
    static const Py_buffer nothing = {.buf = (void *)(uintptr_t) "", .len = 0};
    const struct task_head *head = t->message;
    int r = result_put(s, head->number, RESULT_AGAIN, slot, &nothing);

    return r < 0 ? r : piu_queue_drop(t->queue, t->message);
}

/* The next one to be run; AGAIN is told on the way. */
static int take_first(const struct tasks_object *s, unsigned slot, struct taking *t)
{
    int r;

    while ((r = wait_spinning(call_take, t, PIU_FOREVER)) == PIU_REDELIVERED &&
           t->size >= sizeof(struct task_head)) {
        r = tell_again(s, slot, t);
        if (r < 0)
            return r;
    }
    return r >= 0 && t->size < sizeof(struct task_head) ? -EBADMSG : r;
}

static PyObject *tasks_take(PyObject *self, PyObject *arguments)
{
    struct tasks_object *s = (struct tasks_object *)self;
    struct taking t = {.queue = tasks_of(s)};
    const struct task_head *head;
    PyObject *task;
    unsigned slot;
    int r;

    if (!PyArg_ParseTuple(arguments, "I", &slot) || slot_check(s, slot) < 0)
        return NULL;
    r = take_first(s, slot, &t);
    if (r == -EPIPE)
        Py_RETURN_NONE;
    if (r < 0)
        return error_raise(WHAT, r);
    head = t.message;
    task = Py_BuildValue("(Ky#)", (unsigned long long)head->number,
                         (const char *)(head + 1), (Py_ssize_t)(t.size - sizeof(*head)));
    /* T2; also where there is no memory for it: the pool then has a loss, and not nothing */
    atomic_store(record_of(s, slot), head->number);
    piu_queue_drop(t.queue, t.message);
    return task;
}

static PyObject *tasks_finish(PyObject *self, PyObject *arguments)
{
    struct tasks_object *s = (struct tasks_object *)self;
    unsigned long long number;
    Py_buffer body;
    unsigned slot;
    int r;

    if (!PyArg_ParseTuple(arguments, "IKy*", &slot, &number, &body))
        return NULL;
    r = slot_check(s, slot) < 0 ? -EINVAL
                                : result_put(s, number, RESULT_DONE, slot, &body);
    PyBuffer_Release(&body);
    if (r == 0)
        atomic_store(record_of(s, slot), 0);
    return none_or(r);
}

/* ---- The type ----------------------------------------------------------------------------- */

static PyObject *tasks_reduce(PyObject *self, PyObject *unused)
{
    struct tasks_object *s = (struct tasks_object *)self;
    PyObject *extra = Py_BuildValue("(y#y#I)", (const char *)&s->results.handle,
                                    (Py_ssize_t)sizeof(struct piu_handle),
                                    (const char *)&s->records.handle,
                                    (Py_ssize_t)sizeof(struct piu_handle), s->slots);

    (void)unused;
    return extra ? shared_reduce(self, extra) : NULL;
}

static PyObject *tasks_from_handle(PyObject *type, PyObject *const *arguments,
                                   Py_ssize_t count)
{
    PyObject *self = shared_from_handle((PyTypeObject *)type, WHAT, arguments, count);
    struct tasks_object *s = (struct tasks_object *)self;
    PyObject *results, *records;

    if (self && (!PyArg_ParseTuple(arguments[1], "SSI", &results, &records, &s->slots) ||
                 handle_from_bytes(&s->results, WHAT, results) < 0 ||
                 handle_from_bytes(&s->records, WHAT, records) < 0))
        Py_CLEAR(self);
    return self;
}

static int queue_hold(struct piu_hold *ret)
{
    struct piu_queue *q = piu_queue_new();

    if (q)
        return handle_of_queue(ret, WHAT, q);
    error_raise(WHAT, -errno);
    return -1;
}

static int tasks_fill(struct tasks_object *s, unsigned slots)
{
    s->slots = slots;
    return queue_hold(&s->shared.hold) < 0 || queue_hold(&s->results) < 0
               ? -1
               : handle_new(&s->records, WHAT, PIU_KIND_MEMORY, slots * sizeof(uint64_t));
}

static PyObject *tasks_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
    struct module_state *state = state_of_type(type);
    PyObject *self;
    unsigned slots;

    (void)keywords;
    if (!state || !PyArg_ParseTuple(arguments, "I:Tasks", &slots))
        return NULL;
    if (slots == 0 || slots > SLOTS_MOST)
        return PyErr_Format(PyExc_ValueError, "a pool has 1 to %u workers, not %u",
                            SLOTS_MOST, slots);
    self = type->tp_alloc(type, 0);
    if (!self)
        return NULL;
    ((struct shared_object *)self)->state = state;
    if (tasks_fill((struct tasks_object *)self, slots) < 0)
        Py_CLEAR(self);
    return self;
}

static void tasks_dealloc(PyObject *self)
{
    handle_done(&((struct tasks_object *)self)->results);
    handle_done(&((struct tasks_object *)self)->records);
    shared_dealloc(self);
}

static PyMethodDef methods[] = {
    ENTRY("submit", tasks_submit, METH_VARARGS, "submit(number, bytes)"),
    ENTRY(
        "collect", tasks_collect, METH_VARARGS,
        "collect(list, timeout=None): appends (number, kind, slot, bytes); False: none."),
    ENTRY("started", tasks_started, METH_VARARGS,
          "started(slot): the task that its worker has begun; 0: none."),
    ENTRY("clear", tasks_clear, METH_VARARGS, "clear(slot): for another worker."),
    ENTRY("shutdown", tasks_shutdown, METH_NOARGS, "No more tasks: take() gives None."),
    ENTRY("qsize", tasks_qsize, METH_NOARGS, "Tasks that nobody has taken."),
    ENTRY("take", tasks_take, METH_VARARGS, "take(slot): (number, bytes), or None."),
    ENTRY("finish", tasks_finish, METH_VARARGS, "finish(slot, number, bytes)"),
    ENTRY("__reduce__", tasks_reduce, METH_NOARGS, NULL),
    ENTRY("_from_handle", tasks_from_handle, METH_FASTCALL | METH_CLASS, NULL),
    {NULL, NULL, 0, NULL},
};

static PyType_Slot slots_of_type[] = {
    SLOT(Py_tp_doc, PyDoc_STR("Tasks(slots): what a Pool and its workers share.")),
    SLOT(Py_tp_new, tasks_new),
    SLOT(Py_tp_traverse, shared_traverse),
    SLOT(Py_tp_dealloc, tasks_dealloc),
    SLOT(Py_tp_methods, methods),
    {0, NULL},
};

static PyType_Spec spec = {
    .name = "piu._piu.Tasks",
    .basicsize = sizeof(struct tasks_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = slots_of_type,
};

int tasks_type_add(PyObject *module)
{
    if (module_add_type(module, &spec, NULL) < 0 ||
        PyModule_AddIntConstant(module, "TASK_DONE", RESULT_DONE) < 0)
        return -1;
    return PyModule_AddIntConstant(module, "TASK_AGAIN", RESULT_AGAIN);
}
