/*
 * Pickles of plain objects: None, bool, int of 64 bits, float, short str of ASCII and bytes; the
 * same bytes as pickle's own, made and read without it.
 */
#ifndef PIU_EXT_PLAIN_H
#define PIU_EXT_PLAIN_H

#include "module.h"

#define PLAIN_MOST 1024u /* bytes of a str or of bytes */
#define PLAIN_ROOM (PLAIN_MOST + 32u)

/* Into PLAIN_ROOM bytes; the size, or 0: it is not plain. */
size_t plain_pickle(PyObject *object, int protocol, unsigned char *place);
/* A new object; NULL without an exception: pickle is to be asked. */
PyObject *plain_unpickle(const unsigned char *pickle, size_t size);
/*
 * Is it a few plain objects (of any length) in tuples, lists and dictionaries?  Nothing that has
 * been registered with copyreg or ForkingPickler is asked about these.
 */
bool plain_holds(PyObject *object);

#endif
