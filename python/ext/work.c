/* A worker of a pool: takes tasks, does them, sends what they give.  See tasks.h. */
#include "errors.h"
#include "tasks.h"
#include "wait.h"

#include <unistd.h>

#define SLICE PIU_MSEC(50)
#define LARGE ((size_t)8 << 20) /* bytes */

struct task {
    void *message;
    size_t size;
};

/* The function of the task before: most often this one's, too. */
struct worker {
    struct tasks_object *tasks;
    struct seat *seat;
    unsigned slot;
    pid_t pid;
    bool patient;
    PyObject *failed, *unsent; /* borrowed */
    PyObject *function, *name; /* what its pickle gave, and the pickle; NULL at first */
};

/* ---- Taking ------------------------------------------------------------------------------------ */

static int call_event(void *argument, int64_t timeout)
{
    return piu_event_wait(argument, timeout);
}

static bool has_news(const struct tasks_object *s)
{
    return piu_queue_qsize(tasks_of(s)) > 0 || atomic_load(&board_of(s)->shut);
}

/* 0: look again.  -EINTR: a handler raised. */
static int fall_asleep(struct worker *w)
{
    int64_t since = wait_clock();
    int r = 0;

    piu_event_clear(&w->seat->bell);
    atomic_store_explicit(&w->seat->state, SEAT_ASLEEP, memory_order_relaxed);
    /* for the fence in workers_wake() of wake.c (T5) */
    atomic_thread_fence(memory_order_seq_cst);
    if (!has_news(w->tasks))
        r = wait_in_slices(call_event, &w->seat->bell, SLICE);
    atomic_store_explicit(&w->seat->state, SEAT_LOOKING, memory_order_relaxed);
    spin_learn(&w->patient, since);
    return r == -EINTR ? r : 0;
}

/* -EINTR: has a handler raised?  The exception is set then, here or by who waited. */
static bool goes_on(int r)
{
    return r == -ETIMEDOUT ||
           (r == -EINTR && !PyErr_Occurred() && PyErr_CheckSignals() == 0);
}

/* As piu_queue_take(); waits for ever. */
static int take_next(struct worker *w, struct task *t)
{
    struct piu_queue *q = tasks_of(w->tasks);
    int r = piu_queue_take(q, &t->message, &t->size, PIU_NOW);

    if (r != -ETIMEDOUT && r != -EINTR)
        return r;
    atomic_store_explicit(&w->seat->state, SEAT_LOOKING, memory_order_relaxed);
    do {
        r = queue_spin(q, &board_of(w->tasks)->shut, &w->patient) ? 0 : fall_asleep(w);
        if (r == 0)
            r = piu_queue_take(q, &t->message, &t->size, PIU_NOW);
    } while (goes_on(r));
    atomic_store_explicit(&w->seat->state, SEAT_BUSY, memory_order_relaxed);
    if (r >= 0 && piu_queue_qsize(q) > 0)
        workers_wake(w->tasks); /* who put the others saw this one looking */
    return r;
}

static int was_sent(struct worker *w, int r)
{
    if (r < 0)
        error_raise(POOL, r);
    else
        pool_wake(w->tasks);
    return r < 0 ? -1 : 0;
}

static int send_object(struct worker *w, uint64_t number, enum result_kind kind,
                       PyObject *object)
{
    struct result_head head = {.number = number, .kind = kind, .slot = w->slot};
    struct message m;

    if (message_make(w->tasks->shared.state, &m, object) < 0)
        return -1;
    return was_sent(w, parts_put(results_of(w->tasks), &head, sizeof(head), &m));
}

/* The message, and the counts of what is in it. */
static void task_drop(struct worker *w, struct task *t, const struct task_head *head)
{
    size_t front = sizeof(*head) + head->function, size = 0;
    const unsigned char *bytes = t->message;

    if (front <= t->size)
        size = t->size - front;
    message_release(tasks_of(w->tasks), t->message, bytes + t->size - size, size);
}

/*
 * The next one to be run: 1; 0: there are no more; -1.  AGAIN is told on the way, before the
 * message is dropped: killed between, it comes again, and is told again (T4).
 */
static int take_first(struct worker *w, struct task *t)
{
    int r;

    while ((r = take_next(w, t)) == PIU_REDELIVERED &&
           t->size >= sizeof(struct task_head)) {
        struct task_head head;

        memcpy(&head, t->message, sizeof(head));
        if (send_object(w, head.number, RESULT_AGAIN, Py_None) < 0)
            return -1;
        task_drop(w, t, &head);
    }
    if (r == -EPIPE)
        return 0;
    if (r >= 0 && t->size < sizeof(struct task_head))
        r = -EBADMSG;
    if (r < 0)
        error_raise(POOL, r);
    return r < 0 ? -1 : 1;
}

/* ---- Running ------------------------------------------------------------------------------------- */

/* Borrowed: what these bytes, a pickled global, stand for. */
static PyObject *function_of(struct worker *w, const unsigned char *bytes, size_t size)
{
    if (w->name && (size_t)PyBytes_GET_SIZE(w->name) == size &&
        memcmp(PyBytes_AS_STRING(w->name), bytes, size) == 0)
        return w->function;
    Py_CLEAR(w->name);
    Py_CLEAR(w->function);
    w->name = PyBytes_FromStringAndSize((const char *)bytes, (Py_ssize_t)size);
    if (w->name)
        w->function = PyObject_CallOneArg(w->tasks->shared.state->unpickle, w->name);
    if (!w->function)
        Py_CLEAR(w->name);
    return w->function;
}

static PyObject *star_call(PyObject *function, PyObject *item)
{
    PyObject *arguments = PySequence_Tuple(item), *result;

    result = arguments ? PyObject_CallObject(function, arguments) : NULL;
    Py_XDECREF(arguments);
    return result;
}

/* Its items are NULL at first: until it is whole the function cannot find it by gc.get_objects(). */
static PyObject *results_new(Py_ssize_t count)
{
    PyObject *results = PyList_New(count);

    if (results)
        PyObject_GC_UnTrack(results);
    return results;
}

static PyObject *results_whole(PyObject *results)
{
    if (results)
        PyObject_GC_Track(results);
    return results;
}

static PyObject *map_call(PyObject *function, PyObject *items, bool star)
{
    Py_ssize_t count = PyTuple_GET_SIZE(items);
    PyObject *results = results_new(count);

    for (Py_ssize_t i = 0; results && i < count; i++) {
        PyObject *item = PyTuple_GET_ITEM(items, i);
        PyObject *result =
            star ? star_call(function, item) : PyObject_CallOneArg(function, item);

        if (result)
            PyList_SET_ITEM(results, i, result);
        else
            Py_CLEAR(results);
    }
    return results_whole(results);
}

static PyObject *map_numbers(PyObject *function, const struct numbers *n)
{
    Py_ssize_t count = (Py_ssize_t)n->head.count;
    PyObject *results = results_new(count);

    for (Py_ssize_t i = 0; results && i < count; i++) {
        PyObject *item = numbers_item(n, i);
        PyObject *result = item ? PyObject_CallOneArg(function, item) : NULL;

        Py_XDECREF(item);
        if (result)
            PyList_SET_ITEM(results, i, result);
        else
            Py_CLEAR(results);
    }
    return results_whole(results);
}

static PyObject *task_call(uint32_t kind, PyObject *function, PyObject *arguments,
                           PyObject *keywords)
{
    if (!PyTuple_Check(arguments)) /* as f(*arguments) has it */
        return kind == TASK_CALL ? star_call(function, arguments) : NULL;
    if (kind == TASK_CALL)
        return PyObject_Call(function, arguments, keywords);
    return map_call(function, arguments, kind == TASK_STARMAP);
}

/* What is in the message, read and dropped: (arguments), or (function, arguments, keywords). */
static PyObject *task_read(struct worker *w, struct task *t, struct task_head *head,
                           PyObject **function)
{
    const unsigned char *bytes = t->message;
    PyObject *object = NULL;

    if (head->kind & TASK_WHOLE) {
        Py_CLEAR(w->function);
        Py_CLEAR(w->name);
    }
    if (head->function > t->size - sizeof(*head))
        PyErr_SetString(PyExc_ValueError, "the task was written over");
    else if ((head->kind & TASK_WHOLE) ||
             (*function = function_of(w, bytes + sizeof(*head), head->function)))
        object =
            message_read(w->tasks->shared.state, bytes + sizeof(*head) + head->function,
                         t->size - sizeof(*head) - head->function);
    task_drop(w, t, head);
    return object;
}

/* Of TASK_NUMBERS.  The message is dropped before the function is called. */
static PyObject *task_run_numbers(struct worker *w, struct task *t,
                                  const struct task_head *head)
{
    size_t front = sizeof(*head) + head->function;
    const unsigned char *bytes = t->message;
    PyObject *function = NULL, *result = NULL;
    struct numbers n = {0};
    int r = -1;

    if (front > t->size)
        PyErr_SetString(PyExc_ValueError, "the task was written over");
    else if (numbers_read(&n, bytes + front, t->size - front) == 0 &&
             numbers_keep(&n) == 0 &&
             (function = function_of(w, bytes + sizeof(*head), head->function)))
        r = 0;
    task_drop(w, t, head);
    if (r == 0)
        result = map_numbers(function, &n);
    numbers_done(&n);
    return result;
}

static PyObject *task_run(struct worker *w, struct task *t, struct task_head *head)
{
    PyObject *function = NULL, *keywords = NULL, *arguments, *object, *result = NULL;

    if (head->kind & TASK_NUMBERS)
        return task_run_numbers(w, t, head);
    object = task_read(w, t, head, &function);
    if (!object)
        return NULL;
    arguments = object;
    if (!(head->kind & TASK_WHOLE) ||
        PyArg_ParseTuple(object, "OOO", &function, &arguments, &keywords))
        result = task_call(head->kind & ~(uint32_t)TASK_WHOLE, function, arguments,
                           keywords && PyDict_Check(keywords) ? keywords : NULL);
    Py_DECREF(object);
    if (!result && !PyErr_Occurred())
        PyErr_SetString(PyExc_ValueError, "the task was written over");
    return result;
}

/* New reference: the exception that is set, which is an Exception; NULL: it is not. */
static PyObject *exception_take(void)
{
    PyObject *type, *error, *trace;

    if (!PyErr_ExceptionMatches(PyExc_Exception))
        return NULL;
    PyErr_Fetch(&type, &error, &trace);
    PyErr_NormalizeException(&type, &error, &trace);
    if (trace)
        PyException_SetTraceback(error, trace);
    Py_XDECREF(type);
    Py_XDECREF(trace);
    return error;
}

/* failed(exception, the function's name is a helper's) -> what is sent for it */
static int send_failure(struct worker *w, uint64_t number)
{
    PyObject *error = exception_take(), *sent;
    int r = -1;

    if (!error)
        return -1;
    sent = PyObject_CallFunctionObjArgs(w->failed, error,
                                        w->function ? w->function : Py_None, NULL);
    if (sent)
        r = send_object(w, number, RESULT_FAILED, sent);
    if (r < 0) {
        PyObject *why = PyErr_Occurred() ? exception_take() : NULL, *unsent = NULL;

        if (why)
            unsent = PyObject_CallFunctionObjArgs(w->unsent, why, error, NULL);
        if (unsent)
            r = send_object(w, number, RESULT_FAILED, unsent);
        Py_XDECREF(why);
        Py_XDECREF(unsent);
    }
    Py_DECREF(error);
    Py_XDECREF(sent);
    return r;
}

/* As send_object(); 1: it is not the list of a map, or not of numbers alone. */
static int send_numbers(struct worker *w, const struct task_head *task, PyObject *result)
{
    struct result_head head = {
        .number = task->number, .kind = RESULT_NUMBERS, .slot = w->slot};
    struct numbers n;
    int r;

    if ((task->kind & ~(uint32_t)(TASK_WHOLE | TASK_NUMBERS)) == TASK_CALL ||
        !PyList_CheckExact(result) ||
        !numbers_pack(&n, PySequence_Fast_ITEMS(result), PyList_GET_SIZE(result)))
        return 1;
    r = numbers_put(results_of(w->tasks), &head, sizeof(head), &n);
    numbers_done(&n);
    return was_sent(w, r);
}

/* unsent(exception, result) -> the MaybeEncodingError that is sent for it */
static int send_result(struct worker *w, const struct task_head *task, PyObject *result)
{
    uint64_t number = task->number;
    PyObject *why, *unsent;
    int r = send_numbers(w, task, result);

    if (r > 0)
        r = send_object(w, number, RESULT_DONE, result);

    if (r == 0)
        return 0;
    why = exception_take();
    unsent = why ? PyObject_CallFunctionObjArgs(w->unsent, why, result, NULL) : NULL;
    r = unsent ? send_object(w, number, RESULT_FAILED, unsent) : -1;
    Py_XDECREF(why);
    Py_XDECREF(unsent);
    return r;
}

/* 1: done; 0: there are no more; -1: an exception that ends the worker. */
static int work_once(struct worker *w)
{
    struct task_head head;
    PyObject *result;
    struct task t;
    int r = take_first(w, &t);

    if (r <= 0)
        return r;
    memcpy(&head, t.message, sizeof(head));
    atomic_store(&w->seat->begun, head.number); /* T2 */
    result = task_run(w, &t, &head);
    if (getpid() != w->pid) { /* a child that the task has forked: its parent is the worker */
        if (result)
            PyErr_SetNone(PyExc_SystemExit);
        Py_XDECREF(result);
        return -1;
    }
    r = result ? send_result(w, &head, result) : send_failure(w, head.number);
    Py_XDECREF(result);
    if (r == 0)
        atomic_store(&w->seat->begun, 0);
    return r < 0 ? -1 : 1;
}

/*
 * glibc maps blocks from a threshold on, and gives the end of its heap back from twice that; the
 * threshold follows the largest mapped block that was freed.  From here on it is LARGE: else what
 * is taken and given for each task, arrays say, would be pages that the kernel clears anew.
 */
static void keep_pages(void)
{
    void *volatile block = malloc(LARGE);

    free(block);
}

PyObject *tasks_work(PyObject *self, PyObject *arguments)
{
    struct worker w = {.tasks = (struct tasks_object *)self, .pid = getpid()};
    unsigned long long most;
    int r = 1;

    if (!PyArg_ParseTuple(arguments, "IKOO", &w.slot, &most, &w.failed, &w.unsent) ||
        slot_check(w.tasks, w.slot) < 0)
        return NULL;
    w.seat = seat_of(w.tasks, w.slot);
    keep_pages();
    for (unsigned long long done = 0; r > 0 && (most == 0 || done < most); done++)
        r = work_once(&w);
    Py_XDECREF(w.function);
    Py_XDECREF(w.name);
    if (r < 0)
        return NULL;
    Py_RETURN_NONE;
}

PyObject *tasks_tell(PyObject *self, PyObject *arguments)
{
    struct worker w = {.tasks = (struct tasks_object *)self};
    PyObject *error;

    if (!PyArg_ParseTuple(arguments, "IO", &w.slot, &error) ||
        slot_check(w.tasks, w.slot) < 0 || send_object(&w, 0, RESULT_FAILED, error) < 0)
        return NULL;
    Py_RETURN_NONE;
}
