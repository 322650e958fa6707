/* The type, and what the pool asks and tells: see tasks.h. */
#include "tasks.h"

#include "errors.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <unistd.h>

#define SLOTS_MOST 65536u

int slot_check(const struct tasks_object *self, unsigned slot)
{
    if (slot < self->slots)
        return 0;
    PyErr_Format(PyExc_IndexError, "a pool of %u workers has no slot %u", self->slots,
                 slot);
    return -1;
}

/* ---- About workers ---------------------------------------------------------------------------- */

static PyObject *tasks_started(PyObject *self, PyObject *arguments)
{
    struct tasks_object *s = (struct tasks_object *)self;
    unsigned slot;

    if (!PyArg_ParseTuple(arguments, "I", &slot) || slot_check(s, slot) < 0)
        return NULL;
    return PyLong_FromUnsignedLongLong(atomic_load(&seat_of(s, slot)->begun));
}

static PyObject *tasks_finished(PyObject *self, PyObject *arguments)
{
    struct tasks_object *s = (struct tasks_object *)self;
    unsigned slot;

    if (!PyArg_ParseTuple(arguments, "I", &slot) || slot_check(s, slot) < 0)
        return NULL;
    return PyLong_FromUnsignedLongLong(s->finished ? s->finished[slot] : 0);
}

/* Its worker has ended, and the pool has seen to what it had begun. */
static PyObject *tasks_clear(PyObject *self, PyObject *arguments)
{
    struct tasks_object *s = (struct tasks_object *)self;
    unsigned slot;

    if (!PyArg_ParseTuple(arguments, "I", &slot) || slot_check(s, slot) < 0)
        return NULL;
    atomic_store(&seat_of(s, slot)->begun, 0);
    atomic_store(&seat_of(s, slot)->state, SEAT_BUSY); /* it is not looking any more */
    if (s->finished)
        s->finished[slot] = 0;
    if (piu_queue_qsize(tasks_of(s)))
        workers_wake(s);
    Py_RETURN_NONE;
}

static PyObject *tasks_shutdown(PyObject *self, PyObject *unused)
{
    struct tasks_object *s = (struct tasks_object *)self;
    int r = piu_queue_shutdown(tasks_of(s));

    (void)unused;
    if (r < 0)
        return error_raise(POOL, r);
    atomic_store(&board_of(s)->shut, 1);
    for (unsigned i = 0; i < s->slots; i++)
        piu_event_set(&seat_of(s, i)->bell);
    Py_RETURN_NONE;
}

/*
 * What a thread that sleeps in sleep() waits for has come in another way.  Rung also where nobody
 * says that he sleeps: who looked for it before, and is about to sleep, looks for results alone.
 */
static PyObject *tasks_ring(PyObject *self, PyObject *unused)
{
    ssize_t r = write(((struct tasks_object *)self)->bell, "", 1);

    (void)unused;
    (void)r; /* full: then it is readable */
    Py_RETURN_NONE;
}

static PyObject *tasks_qsize(PyObject *self, PyObject *unused)
{
    (void)unused;
    return PyLong_FromSize_t(piu_queue_qsize(tasks_of((struct tasks_object *)self)));
}

/* watch(fd), unwatch(fd): sleep() ends when it is readable.  fileno(): of both, for others. */
static PyObject *watch(PyObject *self, PyObject *number, int operation)
{
    struct tasks_object *s = (struct tasks_object *)self;
    long fd = PyLong_AsLong(number);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = (int)fd};

    if (fd == -1 && PyErr_Occurred())
        return NULL;
    if (epoll_ctl(s->epoll, operation, (int)fd, &event) < 0)
        return PyErr_SetFromErrno(PyExc_OSError);
    Py_RETURN_NONE;
}

static PyObject *tasks_watch(PyObject *self, PyObject *fd)
{
    return watch(self, fd, EPOLL_CTL_ADD);
}

static PyObject *tasks_unwatch(PyObject *self, PyObject *fd)
{
    return watch(self, fd, EPOLL_CTL_DEL);
}

static PyObject *tasks_fileno(PyObject *self, PyObject *unused)
{
    (void)unused;
    return PyLong_FromLong(((struct tasks_object *)self)->epoll);
}

/* ---- Making and ending -------------------------------------------------------------------------- */

/* For spawn and forkserver: the bell is duplicated for the child. */
static PyObject *tasks_reduce(PyObject *self, PyObject *unused)
{
    struct tasks_object *s = (struct tasks_object *)self;
    PyObject *duplicate, *extra;

    (void)unused;
    if (!handle_may_travel(s->shared.state))
        return error_not_spawning(self);
    duplicate = PyObject_CallMethod(s->shared.state->reduction, "DupFd", "i", s->bell);
    if (!duplicate)
        return NULL;
    extra = Py_BuildValue("(y#y#IN)", (const char *)&s->results.handle,
                          (Py_ssize_t)sizeof(struct piu_handle),
                          (const char *)&s->board.handle,
                          (Py_ssize_t)sizeof(struct piu_handle), s->slots, duplicate);
    return extra ? shared_reduce(self, extra) : NULL;
}

static int bell_from(struct tasks_object *s, PyObject *duplicate)
{
    PyObject *number = PyObject_CallMethod(duplicate, "detach", NULL);
    long fd = number ? PyLong_AsLong(number) : -1;

    Py_XDECREF(number);
    s->bell = (int)fd;
    return fd < 0 ? -1 : 0;
}

static PyObject *tasks_from_handle(PyObject *type, PyObject *const *arguments,
                                   Py_ssize_t count)
{
    PyObject *self = shared_from_handle((PyTypeObject *)type, POOL, arguments, count);
    struct tasks_object *s = (struct tasks_object *)self;
    PyObject *results, *board, *duplicate;

    if (!self)
        return NULL;
    s->bell = s->pipe = s->epoll = -1;
    if (!PyArg_ParseTuple(arguments[1], "SSIO", &results, &board, &s->slots,
                          &duplicate) ||
        handle_from_bytes(&s->results, POOL, results) < 0 ||
        handle_from_bytes(&s->board, POOL, board) < 0 || bell_from(s, duplicate) < 0)
        Py_CLEAR(self);
    return self;
}

static int queue_hold(struct piu_hold *ret)
{
    struct piu_queue *q = piu_queue_new();

    if (q)
        return handle_of_queue(ret, POOL, q);
    error_raise(POOL, -errno);
    return -1;
}

static int descriptors_fill(struct tasks_object *s)
{
    struct epoll_event event = {.events = EPOLLIN};
    int ends[2];

    s->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (s->epoll >= 0 && pipe2(ends, O_CLOEXEC | O_NONBLOCK) == 0) {
        s->pipe = ends[0];
        s->bell = ends[1];
        event.data.fd = s->pipe;
        if (epoll_ctl(s->epoll, EPOLL_CTL_ADD, s->pipe, &event) == 0)
            return 0;
    }
    PyErr_SetFromErrno(PyExc_OSError);
    return -1;
}

static int tasks_fill(struct tasks_object *s, unsigned slots)
{
    s->slots = slots;
    s->finished = PyMem_Calloc(slots, sizeof(*s->finished));
    if (!s->finished) {
        PyErr_NoMemory();
        return -1;
    }
    return descriptors_fill(s) < 0 || queue_hold(&s->shared.hold) < 0 ||
                   queue_hold(&s->results) < 0
               ? -1
               : handle_new(&s->board, POOL, PIU_KIND_MEMORY,
                            sizeof(struct board) + slots * sizeof(struct seat));
}

static PyObject *tasks_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
    struct tasks_object *s;
    PyObject *self;
    unsigned slots;

    (void)keywords;
    if (!PyArg_ParseTuple(arguments, "I:Tasks", &slots))
        return NULL;
    if (slots == 0 || slots > SLOTS_MOST)
        return PyErr_Format(PyExc_ValueError, "a pool has 1 to %u workers, not %u",
                            SLOTS_MOST, slots);
    self = shared_alloc(type);
    if (!self)
        return NULL;
    s = (struct tasks_object *)self;
    s->bell = s->pipe = s->epoll = -1;
    if (tasks_fill(s, slots) < 0)
        Py_CLEAR(self);
    return self;
}

static void tasks_dealloc(PyObject *self)
{
    struct tasks_object *s = (struct tasks_object *)self;
    const int fds[] = {s->bell, s->pipe, s->epoll};

    for (int i = 0; i < 3; i++) {
        if (fds[i] >= 0)
            close(fds[i]);
    }
    handle_done(&s->results);
    handle_done(&s->board);
    PyMem_Free(s->finished);
    Py_CLEAR(s->kept);
    shared_dealloc(self);
}

/* CPUs that this process may use: affinity and the cgroups' quota. */
static PyObject *cpu_count(PyObject *module, PyObject *unused)
{
    (void)module;
    (void)unused;
    return PyLong_FromUnsignedLong(piu_cpu_count());
}

static PyMethodDef functions[] = {
    ENTRY("_cpu_count", cpu_count, METH_NOARGS,
          "CPUs that this process may use: affinity and the cgroups' quota."),
    {NULL, NULL, 0, NULL},
};

static PyMethodDef methods[] = {
    ENTRY("submit", tasks_submit, METH_VARARGS,
          "submit(number, kind, function, arguments[, moved, old])"),
    ENTRY("submit_chunks", tasks_submit_chunks, METH_VARARGS,
          "submit_chunks(chunks, kind, function, items, whole, least)"),
    ENTRY("collect", tasks_collect, METH_FASTCALL,
          "collect(list of Chunks, inbox, spin): results that are there, or come soon."),
    ENTRY("arm", tasks_arm, METH_NOARGS,
          "Workers ring from now on.  True: there are results already."),
    ENTRY("lead", tasks_lead, METH_NOARGS, "The caller collects: workers need not ring."),
    ENTRY("sleep", tasks_sleep, METH_O,
          "sleep(timeout): until a result is there, or what is watched is readable."),
    ENTRY("ring", tasks_ring, METH_NOARGS, "Ends sleep()."),
    ENTRY("watch", tasks_watch, METH_O, "watch(fd): sleep() ends when it is readable."),
    ENTRY("unwatch", tasks_unwatch, METH_O, NULL),
    ENTRY("fileno", tasks_fileno, METH_NOARGS, "Readable when sleep() would end."),
    ENTRY("started", tasks_started, METH_VARARGS,
          "started(slot): the task that its worker has begun; 0: none."),
    ENTRY("finished", tasks_finished, METH_VARARGS,
          "finished(slot): tasks of its worker whose results were collected."),
    ENTRY("clear", tasks_clear, METH_VARARGS, "clear(slot): for another worker."),
    ENTRY("shutdown", tasks_shutdown, METH_NOARGS, "No more tasks: workers end."),
    ENTRY("qsize", tasks_qsize, METH_NOARGS, "Tasks that nobody has taken."),
    ENTRY("work", tasks_work, METH_VARARGS,
          "work(slot, most, failed, unsent): do tasks, at most so many (0: no limit)."),
    ENTRY("tell", tasks_tell, METH_VARARGS,
          "tell(slot, exception): why its worker cannot begin; collected with number 0."),
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
    static const struct {
        const char *name;
        int value;
    } constants[] = {
        {"TASK_CALL", TASK_CALL},       {"TASK_MAP", TASK_MAP},
        {"TASK_STARMAP", TASK_STARMAP}, {"TASK_WHOLE", TASK_WHOLE},
        {"DONE", RESULT_DONE},          {"FAILED", RESULT_FAILED},
        {"AGAIN", RESULT_AGAIN},        {"BROKEN", RESULT_BROKEN},
        {"COMPLETE", RESULT_COMPLETE},
    };
    struct module_state *s = state_of_module(module);

    for (size_t i = 0; i < sizeof(constants) / sizeof(constants[0]); i++) {
        if (PyModule_AddIntConstant(module, constants[i].name, constants[i].value) < 0)
            return -1;
    }
    return module_import("multiprocessing.reduction", NULL, &s->reduction) < 0 ||
                   PyModule_AddFunctions(module, functions) < 0 ||
                   chunks_type_add(module) < 0
               ? -1
               : module_add_type(module, &spec, NULL);
}
