/* Objects into a queue and out of it. */
#ifndef PIU_EXT_TRANSFER_H
#define PIU_EXT_TRANSFER_H

#include "module.h"

/*
 * `self` is a queue_object; up to `timeout` ns, without the GIL where it has to wait.  None, or
 * the object; NULL with an exception: queue.Full, queue.Empty, of pickling or unpickling (the
 * object is gone then), of a signal's handler.
 */
PyObject *queue_put_object(PyObject *self, PyObject *object, int64_t timeout);
PyObject *queue_get_object(PyObject *self, int64_t timeout);

#endif
