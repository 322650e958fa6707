/* acquire(block=True, timeout=None), with a dead owner's news: the same for all locks. */
#ifndef PIU_EXT_ACQUIRE_H
#define PIU_EXT_ACQUIRE_H

#include "handle.h"
#include "wait.h"

/* A lock, rlock or semaphore. */
struct lock_object {
    struct shared_object shared;
    unsigned long long owner_died; /* how often this object brought that news */
    unsigned initial;              /* of a semaphore */
    bool bounded, recover;
};

/* The arguments of acquire() as a timeout; -1 with an exception. */
int acquire_timeout(PyObject *const *arguments, Py_ssize_t count, PyObject *names,
                    int64_t *ret);

/* How a type acquires, releases; and whether its holder ended with it (left). */
struct acquire_calls {
    const char *what;
    wait_call *acquire;
    int (*release)(void *object);
    bool (*is_left)(void *object); /* NULL: nobody holds it alone */
};

/* True, False, or NULL with an exception: then it is not held. */
PyObject *acquire(struct lock_object *self, const struct acquire_calls *calls,
                  int64_t timeout);
/* The same for what a call of acquire has said. */
PyObject *acquire_result(struct lock_object *self, const struct acquire_calls *calls,
                         int r);
/* OWNER_DIED was the news: counts and warns.  -1: the warning is an error. */
int acquire_news(struct lock_object *self, const char *what);

/* For the getters of owner_died. */
PyObject *owner_died_get(PyObject *self, void *closure);
PyObject *semlock_get(PyObject *self, void *closure); /* _semlock: the object itself */

/* What stock code knows of a SemLock; see docs/design/private-names.md. */
#define SEMLOCK_MEMBERS                                                      \
    {                                                                        \
        "_semlock", semlock_get, NULL, PyDoc_STR("The object itself."), NULL \
    }

#endif
