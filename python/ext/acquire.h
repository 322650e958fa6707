/* acquire(block=True, timeout=None), with a dead owner's news: the same for all locks. */
#ifndef PIU_EXT_ACQUIRE_H
#define PIU_EXT_ACQUIRE_H

#include "handle.h"
#include "wait.h"

/* What differs between lock, rlock and semaphore. */
struct acquire_calls {
    const char *name; /* of the type */
    const char *what; /* in warnings */
    wait_call *acquire;
    int (*release)(void *object);
    /* by `with`: from one block and its end */
    wait_call *enter;
    int (*leave)(void *object);
    /* of what is held by one alone; else NULL */
    pid_t (*owner)(void *object);  /* 0: it is free, or nobody knows */
    bool (*is_left)(void *object); /* its holder left */
    const char *when_left;         /* how long acquire() waits then */
    /* what release() says where there is nothing to release, and the exception */
    int refusal;
    PyObject **exception;
    const char *text;
};

/* A lock, rlock or semaphore. */
struct lock_object {
    struct shared_object shared;
    const struct acquire_calls *calls;
    unsigned long long owner_died; /* how often this object brought that news */
    unsigned initial;              /* of a semaphore */
    bool bounded, recover;
};

/* For tp_new and _from_handle. */
PyObject *acquire_new(PyTypeObject *type, const struct acquire_calls *calls,
                      enum piu_kind kind, size_t size);
PyObject *acquire_from_handle(PyObject *type, const struct acquire_calls *calls,
                              PyObject *const *arguments, Py_ssize_t count);

/* ---- The methods ---- */

PyObject *acquire_method(PyObject *self, PyObject *const *arguments, Py_ssize_t count,
                         PyObject *names);
PyObject *acquire_release(PyObject *self, PyObject *const *arguments, Py_ssize_t count);
PyObject *acquire_enter(PyObject *self, PyObject *unused);
PyObject *acquire_exit(PyObject *self, PyObject *const *arguments, Py_ssize_t count);

/* release: METH_FASTCALL, the interpreter has a faster call for it than for METH_NOARGS. */
#define ACQUIRE_METHODS(release_doc)                                     \
    ENTRY("acquire", acquire_method, METH_FASTCALL | METH_KEYWORDS,      \
          "acquire(block=True, timeout=None): True if it is held now."), \
        ENTRY("release", acquire_release, METH_FASTCALL, release_doc),   \
        ENTRY("__enter__", acquire_enter, METH_NOARGS, "acquire()"),     \
        ENTRY("__exit__", acquire_exit, METH_FASTCALL, "release()")

/*
 * OWNER_DIED was the news: counts and warns.  `owner`: who was seen holding it before; 0: nobody
 * was.  -1: the warning is an error.
 */
int acquire_news(struct lock_object *self, const char *what, pid_t owner);

/* For the getters of owner_died. */
PyObject *owner_died_get(PyObject *self, void *closure);
PyObject *semlock_get(PyObject *self, void *closure); /* _semlock: the object itself */

/* What stock code knows of a SemLock; see docs/design/private-names.md. */
#define SEMLOCK_MEMBERS                                                      \
    {                                                                        \
        "_semlock", semlock_get, NULL, PyDoc_STR("The object itself."), NULL \
    }

#endif
