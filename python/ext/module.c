/* The module: its state, its functions, and the list of its types. */
#include "module.h"

#include "errors.h"
#include "handle.h"
#include "message.h"

#include <sys/wait.h>

struct module_state *state_of_module(PyObject *module)
{
    return PyModule_GetState(module);
}

struct module_state *state_of_type(PyTypeObject *type)
{
    PyObject *module = PyType_GetModuleByDef(type, &piu_module);

    return module ? state_of_module(module) : NULL;
}

int module_add_type(PyObject *module, PyType_Spec *spec, PyTypeObject **ret)
{
    PyObject *type = PyType_FromModuleAndSpec(module, spec, NULL);
    int r = type ? PyModule_AddType(module, (PyTypeObject *)type) : -1;

    if (r == 0 && ret)
        *ret = (PyTypeObject *)type;
    else
        Py_XDECREF(type);
    return r;
}

int module_add_subtype(PyObject *module, PyType_Spec *spec, PyTypeObject *base,
                       PyTypeObject **ret)
{
    PyObject *type = PyType_FromModuleAndSpec(module, spec, (PyObject *)base);
    int r = type ? PyModule_AddType(module, (PyTypeObject *)type) : -1;

    if (r == 0 && ret)
        *ret = (PyTypeObject *)Py_NewRef(type);
    Py_XDECREF(type);
    return r;
}

/* ---- Functions ------------------------------------------------------------------------ */

static PyObject *leave(PyObject *module, PyObject *unused)
{
    (void)module;
    (void)unused;
    piu_leave();
    Py_RETURN_NONE;
}

static PyObject *family(PyObject *module, PyObject *unused)
{
    char text[160];
    int fd, r = piu_family_text(text, sizeof(text), &fd);

    (void)module;
    (void)unused;
    return r < 0 ? error_raise("family", r) : Py_BuildValue("(si)", text, fd);
}

/*
 * False: this process has objects of a family of its own already, and can use these alone; that
 * matters only to who gets a handle, and then it is told so.
 */
static PyObject *join(PyObject *module, PyObject *arguments)
{
    const char *text;
    int fd, r;

    (void)module;
    if (!PyArg_ParseTuple(arguments, "si", &text, &fd))
        return NULL;
    r = piu_family_join(text, fd);
    return r < 0 && r != -EBUSY ? error_raise("family", r) : PyBool_FromLong(r == 0);
}

/*
 * waitpid(), whose news is noted in the same step: no signal's handler, which may raise, comes
 * between.  The child of a Popen may also be nobody's any more (ECHILD): then there is no news.
 */
static PyObject *reap(PyObject *module, PyObject *arguments)
{
    PyObject *popen, *code;
    int pid, flags, status, r;
    pid_t ended;

    (void)module;
    if (!PyArg_ParseTuple(arguments, "Oii", &popen, &pid, &flags))
        return NULL;
    do {
        Py_BEGIN_ALLOW_THREADS;
        ended = waitpid(pid, &status, flags);
        Py_END_ALLOW_THREADS;
        if (ended < 0 && errno == EINTR && PyErr_CheckSignals() < 0)
            return NULL;
    } while (ended < 0 && errno == EINTR);
    if (ended != pid)
        Py_RETURN_NONE;
    code = PyLong_FromLong(WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status));
    r = code ? PyObject_SetAttrString(popen, "returncode", code) : -1;
    Py_XDECREF(code);
    return r < 0 ? NULL : Py_NewRef(Py_None);
}

static PyMethodDef functions[] = {
    ENTRY("_leave", leave, METH_NOARGS, "This process ends by its own will."),
    ENTRY("_family", family, METH_NOARGS, "(text, descriptor): for _join() in a child."),
    ENTRY("_join", join, METH_VARARGS,
          "Be of the family of whoever started this process."),
    ENTRY("_reap", reap, METH_VARARGS,
          "(popen, pid, flags): popen.returncode, if that child has ended."),
    {NULL, NULL, 0, NULL},
};

/* ---- Making and ending ------------------------------------------------------------------ */

int module_import(const char *module, const char *name, PyObject **ret)
{
    PyObject *imported = PyImport_ImportModule(module);

    if (!imported || !name) {
        *ret = imported;
        return imported ? 0 : -1;
    }
    *ret = PyObject_GetAttrString(imported, name);
    Py_DECREF(imported);
    return *ret ? 0 : -1;
}

static int exception_add(PyObject *module, const char *name, const char *doc,
                         PyObject *base, PyObject **ret)
{
    char full[64];

    snprintf(full, sizeof(full), "piu.%s", name);
    *ret = PyErr_NewExceptionWithDoc(full, doc, base, NULL);
    return *ret ? PyModule_AddObjectRef(module, name, *ret) : -1;
}

static int state_fill(PyObject *module, struct module_state *s)
{
    if (module_import("threading", "BrokenBarrierError", &s->broken_barrier_error) < 0 ||
        module_import("queue", "Empty", &s->queue_empty) < 0 ||
        module_import("queue", "Full", &s->queue_full) < 0 ||
        module_import("multiprocessing.context", NULL, &s->context) < 0 ||
        module_import("multiprocessing.process", NULL, &s->process) < 0 ||
        module_import("threading", NULL, &s->threading) < 0 ||
        module_import("time", "monotonic", &s->monotonic) < 0)
        return -1;
    if (exception_add(
            module, "OwnerDiedWarning",
            "The last holder of a lock was killed: what it guards may be half done.",
            PyExc_RuntimeWarning, &s->owner_died_warning) < 0 ||
        exception_add(module, "LockLeftWarning",
                      "The holder of a lock has ended without releasing it.",
                      PyExc_RuntimeWarning, &s->lock_left_warning) < 0)
        return -1;
    return exception_add(module, "WorkerLost",
                         "The worker that did this task was killed before it was done.",
                         PyExc_RuntimeError, &s->worker_lost);
}

static int module_exec(PyObject *module)
{
    static int (*const add[])(PyObject * module) = {
        handle_functions_add, lock_type_add,         rlock_type_add,
        semaphore_type_add,   condition_type_add,    event_type_add,
        barrier_type_add,     message_functions_add, queue_base_type_add,
        queue_type_add,       simple_queue_type_add, tasks_type_add,
        memory_type_add,      connection_type_add,   buffer_type_add,
    };

    if (state_fill(module, state_of_module(module)) < 0)
        return -1;
    for (size_t i = 0; i < sizeof(add) / sizeof(add[0]); i++) {
        if (add[i](module) < 0)
            return -1;
    }
    return PyModule_AddStringConstant(module, "version", piu_version());
}

static int module_traverse(PyObject *module, visitproc visit, void *arg)
{
    struct module_state *s = state_of_module(module);

    Py_VISIT(s->broken_barrier_error);
    Py_VISIT(s->queue_empty);
    Py_VISIT(s->queue_full);
    Py_VISIT(s->context);
    Py_VISIT(s->process);
    Py_VISIT(s->threading);
    Py_VISIT(s->monotonic);
    Py_VISIT(s->reduction);
    Py_VISIT(s->pickler);
    Py_VISIT(s->pickle);
    Py_VISIT(s->unpickle);
    Py_VISIT(s->unpickle_names);
    Py_VISIT(s->bytes_io);
    Py_VISIT(s->copyreg_reducers);
    Py_VISIT(s->forking_pickler);
    Py_VISIT(s->owner_died_warning);
    Py_VISIT(s->lock_left_warning);
    Py_VISIT(s->worker_lost);
    Py_VISIT(s->rebuild);
    Py_VISIT(s->lock_type);
    Py_VISIT(s->rlock_type);
    Py_VISIT(s->queue_base_type);
    Py_VISIT(s->queue_type);
    Py_VISIT(s->piece_type);
    Py_VISIT(s->chunks_type);
    return 0;
}

static int module_clear(PyObject *module)
{
    struct module_state *s = state_of_module(module);

    Py_CLEAR(s->broken_barrier_error);
    Py_CLEAR(s->queue_empty);
    Py_CLEAR(s->queue_full);
    Py_CLEAR(s->context);
    Py_CLEAR(s->process);
    Py_CLEAR(s->threading);
    Py_CLEAR(s->monotonic);
    Py_CLEAR(s->reduction);
    Py_CLEAR(s->pickler);
    Py_CLEAR(s->pickle);
    Py_CLEAR(s->unpickle);
    Py_CLEAR(s->unpickle_names);
    Py_CLEAR(s->bytes_io);
    Py_CLEAR(s->copyreg_reducers);
    Py_CLEAR(s->forking_pickler);
    Py_CLEAR(s->owner_died_warning);
    Py_CLEAR(s->lock_left_warning);
    Py_CLEAR(s->worker_lost);
    Py_CLEAR(s->rebuild);
    Py_CLEAR(s->lock_type);
    Py_CLEAR(s->rlock_type);
    Py_CLEAR(s->queue_base_type);
    Py_CLEAR(s->queue_type);
    Py_CLEAR(s->piece_type);
    Py_CLEAR(s->chunks_type);
    return 0;
}

static void module_free(void *module)
{
    module_clear(module);
}

static PyModuleDef_Slot slots[] = {
    SLOT(Py_mod_exec, module_exec),
#if PY_VERSION_HEX >= 0x030c0000
    /* one process, one member, one ledger: an interpreter is none of them */
    {Py_mod_multiple_interpreters, Py_MOD_MULTIPLE_INTERPRETERS_NOT_SUPPORTED},
#endif
#if PY_VERSION_HEX >= 0x030d0000
    /* the objects' own fields (owner_died, a condition's lock) are written under it */
    {Py_mod_gil, Py_MOD_GIL_USED},
#endif
    {0, NULL},
};

struct PyModuleDef piu_module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "piu._piu",
    .m_doc = PyDoc_STR("piu's core, as types of Python."),
    .m_size = sizeof(struct module_state),
    .m_methods = functions,
    .m_slots = slots,
    .m_traverse = module_traverse,
    .m_clear = module_clear,
    .m_free = module_free,
};

PyMODINIT_FUNC PyInit__piu(void);

PyMODINIT_FUNC PyInit__piu(void)
{
    return PyModuleDef_Init(&piu_module);
}
