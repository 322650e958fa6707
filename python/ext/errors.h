/* Results of piu as Python's exceptions. */
#ifndef PIU_EXT_ERRORS_H
#define PIU_EXT_ERRORS_H

#include "module.h"

/*
 * Raise what r < 0 means, and return NULL:
 *     -ENOMEM          MemoryError        -ESTALE, -EXDEV  ReferenceError
 *     -ETIMEDOUT       TimeoutError       -EINTR           what the signal handler raised
 *     all others       OSError with errno, and the text of piu_strerror()
 * `what` is whom it happened to: "Lock".
 */
PyObject *error_raise(const char *what, int r);

/* As Python's own: "%s objects should only be shared between processes through inheritance". */
PyObject *error_not_spawning(PyObject *object);

#endif
