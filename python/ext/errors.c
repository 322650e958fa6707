#include "errors.h"

static PyObject *exception_of(int r)
{
    switch (r) {
    case -ENOMEM:
        return PyExc_MemoryError;
    case -ESTALE:
    case -EXDEV:
        return PyExc_ReferenceError;
    default:
        return PyExc_OSError; /* which chooses TimeoutError and its like by errno */
    }
}

PyObject *error_raise(const char *what, int r)
{
    PyObject *exception = exception_of(r), *arguments;

    if (PyErr_Occurred())
        return NULL;
    if (exception != PyExc_OSError)
        return PyErr_Format(exception, "%s: %s", what, piu_strerror(r));
    arguments =
        Py_BuildValue("(iN)", -r, PyUnicode_FromFormat("%s: %s", what, piu_strerror(r)));
    if (arguments)
        PyErr_SetObject(exception, arguments);
    Py_XDECREF(arguments);
    return NULL;
}

PyObject *error_not_spawning(PyObject *object)
{
    PyObject *name = PyType_GetName(Py_TYPE(object));

    if (name)
        PyErr_Format(
            PyExc_RuntimeError,
            "%U objects should only be shared between processes through inheritance",
            name);
    Py_XDECREF(name);
    return NULL;
}
