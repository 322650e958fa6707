/* The pool's side of results: collected many at once, without a line of Python for each. */
#include "errors.h"
#include "tasks.h"
#include "wait.h"

#include <sys/epoll.h>
#include <unistd.h>

#define AT_ONCE 4096 /* results; then the caller looks at other things, too */

/* ---- One result ------------------------------------------------------------------------------- */

static int inbox_add(PyObject *inbox, const struct result_head *head, unsigned kind,
                     PyObject *value)
{
    PyObject *entry = Py_BuildValue("(KIIO)", (unsigned long long)head->number, kind,
                                    head->slot, value);
    int r = entry ? PyList_Append(inbox, entry) : -1;

    Py_XDECREF(entry);
    return r;
}

/* Those whose task this is, of which the caller is given a reference; NULL: none. */
static PyObject *chunks_find(PyObject *jobs, uint64_t number, Py_ssize_t *index)
{
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(jobs); i++) {
        if (chunks_have(PyList_GET_ITEM(jobs, i), number, index))
            return Py_NewRef(PyList_GET_ITEM(jobs, i));
    }
    return NULL;
}

/* r > 0: the last of them has been stored.  Takes the reference. */
static int chunks_told(PyObject *inbox, const struct result_head *head, PyObject *chunks,
                       int r)
{
    if (r > 0)
        r = inbox_add(inbox, head, RESULT_COMPLETE, chunks);
    Py_DECREF(chunks);
    return r;
}

static int settle(PyObject *jobs, PyObject *inbox, const struct result_head *head,
                  PyObject *value)
{
    Py_ssize_t index;
    PyObject *chunks = head->kind == RESULT_DONE && PyList_CheckExact(value)
                           ? chunks_find(jobs, head->number, &index)
                           : NULL;

    if (!chunks)
        return inbox_add(inbox, head, head->kind, value);
    return chunks_told(inbox, head, chunks, chunks_store(chunks, index, value));
}

/* Of RESULT_NUMBERS. */
static int settle_numbers(PyObject *jobs, PyObject *inbox, const struct result_head *head,
                          const struct numbers *n)
{
    Py_ssize_t index;
    PyObject *chunks = chunks_find(jobs, head->number, &index), *value;
    int r;

    if (chunks)
        return chunks_told(inbox, head, chunks, chunks_store_numbers(chunks, index, n));
    value = numbers_list(n); /* of a task that has another number now */
    r = value ? inbox_add(inbox, head, RESULT_DONE, value) : -1;
    Py_XDECREF(value);
    return r;
}

/* It cannot be unpickled: an entry that says so. */
static int settle_broken(const struct tasks_object *s, PyObject *inbox,
                         const struct result_head *head)
{
    PyObject *type, *error, *trace;
    int r;

    if (may_be_of_handler(s->cut_off))
        return -1;
    PyErr_Fetch(&type, &error, &trace);
    PyErr_NormalizeException(&type, &error, &trace);
    r = inbox_add(inbox, head, RESULT_BROKEN, error);
    Py_XDECREF(type);
    Py_XDECREF(error);
    Py_XDECREF(trace);
    return r;
}

/*
 * -1 with an exception: this result is to be kept.  Only unpickling runs Python, and so a signal
 * handler; a result without a pickle is settled as one.
 */
static int take_in(struct tasks_object *s, PyObject *jobs, PyObject *inbox,
                   const unsigned char *bytes, size_t size)
{
    struct result_head head;
    PyObject *value = NULL;
    struct numbers n;
    int r;

    if (size < sizeof(head)) {
        error_raise(POOL, -EBADMSG);
        return -1;
    }
    memcpy(&head, bytes, sizeof(head));
    bytes += sizeof(head);
    size -= sizeof(head);
    if (head.kind == RESULT_NUMBERS)
        r = numbers_read(&n, bytes, size) < 0 ? settle_broken(s, inbox, &head)
                                              : settle_numbers(jobs, inbox, &head, &n);
    else if ((value = message_read(s->shared.state, bytes, size)))
        r = settle(jobs, inbox, &head, value);
    else
        r = settle_broken(s, inbox, &head);
    Py_XDECREF(value);
    if (r == 0 && s->finished && head.number != 0 && head.kind != RESULT_AGAIN &&
        head.slot < s->slots)
        s->finished[head.slot]++;
    return r;
}

/*
 * Its counts are given up when it is settled (M3), after it was read perhaps more than once.  There
 * may be others: who unpickles one may wait for another, in a callback or a handler.
 */
static void keep_object(struct tasks_object *s, PyObject *result)
{
    PyObject *type, *error, *trace;

    PyErr_Fetch(&type, &error, &trace);
    s->cut_off++;
    if (!s->kept)
        s->kept = PyList_New(0);
    if (!result || !s->kept || PyList_Append(s->kept, result) < 0)
        PyErr_WriteUnraisable(NULL); /* no memory: it is lost */
    PyErr_Restore(type, error, trace);
}

static void keep(struct tasks_object *s, const unsigned char *bytes, size_t size)
{
    PyObject *result = PyBytes_FromStringAndSize((const char *)bytes, (Py_ssize_t)size);

    keep_object(s, result);
    Py_XDECREF(result);
}

static bool has_kept(const struct tasks_object *s)
{
    return s->kept && PyList_GET_SIZE(s->kept) > 0;
}

/* M3: it is settled. */
static void result_land(const unsigned char *bytes, size_t size)
{
    message_land(bytes + sizeof(struct result_head), size - sizeof(struct result_head));
}

/* ---- Collecting ---------------------------------------------------------------------------------- */

/* As collect_one(). */
static int collect_kept(struct tasks_object *s, PyObject *jobs, PyObject *inbox)
{
    PyObject *kept;
    const unsigned char *bytes;
    size_t size;
    int r;

    if (!has_kept(s))
        return 0;
    kept = Py_NewRef(PyList_GET_ITEM(s->kept, 0));
    if (PyList_SetSlice(s->kept, 0, 1, NULL) < 0) { /* first: it is not taken twice */
        Py_DECREF(kept);
        return -1;
    }
    bytes = (const unsigned char *)PyBytes_AS_STRING(kept);
    size = (size_t)PyBytes_GET_SIZE(kept);
    r = take_in(s, jobs, inbox, bytes, size);
    if (r == 0) {
        s->cut_off = 0;
        result_land(bytes, size);
    } else {
        keep_object(s, kept);
    }
    Py_DECREF(kept);
    return r < 0 ? -1 : 1;
}

static int collect_large(struct tasks_object *s, PyObject *jobs, PyObject *inbox)
{
    void *message;
    size_t size;
    int r = piu_queue_take(results_of(s), &message, &size, PIU_NOW);

    if (r < 0)
        return r;
    r = take_in(s, jobs, inbox, message, size);
    if (r < 0) {
        keep(s, message, size);
        piu_queue_drop(results_of(s), message);
        return -1;
    }
    message_release(results_of(s), message,
                    (unsigned char *)message + sizeof(struct result_head),
                    size - sizeof(struct result_head));
    return 1;
}

/* 1: one was collected; 0: none is there; -1 with an exception. */
static int collect_one(struct tasks_object *s, PyObject *jobs, PyObject *inbox)
{
    unsigned char bytes[MESSAGE_SMALL];
    size_t size = sizeof(bytes);
    int r = piu_queue_get(results_of(s), bytes, &size, PIU_NOW);

    if (r >= 0) {
        r = take_in(s, jobs, inbox, bytes, size);
        if (r < 0)
            keep(s, bytes, size);
        else
            result_land(bytes, size);
        return r < 0 ? -1 : 1;
    }
    if (r == -EMSGSIZE)
        r = collect_large(s, jobs, inbox);
    if (r == -ETIMEDOUT || r == -EINTR)
        return 0;
    if (r < 0 && !PyErr_Occurred())
        error_raise(POOL, r);
    return r < 0 ? -1 : r;
}

PyObject *tasks_collect(PyObject *self, PyObject *const *arguments, Py_ssize_t count)
{
    struct tasks_object *s = (struct tasks_object *)self;
    long collected = 0;
    bool spin;
    int r;

    if (count != 3 || !PyList_CheckExact(arguments[0]) ||
        !PyList_CheckExact(arguments[1])) {
        PyErr_SetString(PyExc_TypeError, "collect() takes two lists and a bool");
        return NULL;
    }
    spin = arguments[2] == Py_True && !has_kept(s);
    while ((r = collect_kept(s, arguments[0], arguments[1])) > 0) {
    }
    if (spin)
        queue_spin(results_of(s), NULL, &s->patient);
    while (r >= 0 && collected < AT_ONCE) {
        r = collect_one(s, arguments[0], arguments[1]);
        if (r == 0)
            break;
        collected++;
    }
    return r < 0 ? NULL : PyLong_FromLong(collected);
}

/* ---- Sleeping -------------------------------------------------------------------------------------- */

static bool arm(struct tasks_object *s)
{
    atomic_store_explicit(&board_of(s)->asleep, 1, memory_order_relaxed);
    /* for the fence in pool_wake() of wake.c (T5) */
    atomic_thread_fence(memory_order_seq_cst);
    return has_kept(s) || piu_queue_qsize(results_of(s)) > 0;
}

PyObject *tasks_arm(PyObject *self, PyObject *unused)
{
    (void)unused;
    return PyBool_FromLong(arm((struct tasks_object *)self));
}

PyObject *tasks_lead(PyObject *self, PyObject *unused)
{
    (void)unused;
    atomic_store_explicit(&board_of((struct tasks_object *)self)->asleep, 0,
                          memory_order_relaxed);
    Py_RETURN_NONE;
}

/* True: something that is watched is readable. */
PyObject *tasks_sleep(PyObject *self, PyObject *timeout)
{
    struct tasks_object *s = (struct tasks_object *)self;
    double seconds = PyFloat_AsDouble(timeout);
    struct epoll_event events[8];
    int64_t since = wait_clock();
    bool watched = false;
    int count;

    if (seconds == -1 && PyErr_Occurred())
        return NULL;
    count = seconds <= 0 || arm(s) ? 0 : (int)(seconds * 1000) + 1;
    Py_BEGIN_ALLOW_THREADS
    count = epoll_wait(s->epoll, events, 8, count);
    Py_END_ALLOW_THREADS
    atomic_store_explicit(&board_of(s)->asleep, 0, memory_order_relaxed);
    if (count < 0 && errno != EINTR)
        return PyErr_SetFromErrno(PyExc_OSError);
    if (seconds > 0)
        spin_learn(&s->patient, since);
    for (int i = 0; i < count; i++) {
        char bytes[64];

        if (events[i].data.fd != s->pipe)
            watched = true;
        else if (read(s->pipe, bytes, sizeof(bytes)) < 0)
            continue; /* another thread was faster */
    }
    return PyErr_CheckSignals() < 0 ? NULL : PyBool_FromLong(watched);
}
