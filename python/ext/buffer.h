/*
 * Memory for the buffers of what is received, arrays say: private, writable, and got from the
 * kernel in large pages.  Memory that nobody has touched comes page by page otherwise, which
 * takes ten times as long as to copy into it.
 *
 *    up to 256 KB     a bytearray
 *    up to 4 MB       for an array a memoryview of a piece of a slab; else a bytearray, as it
 *                     may be kept, and sent on, which a memoryview cannot be
 *    more             a bytearray for which large pages are asked for, as numpy does it
 *
 *    slab, 8 MB    | living | dead | living |  ...  used            |
 *
 * B1  a piece is in use while its object lives; it has the place of one that died last, while it
 *     is in the cache, or is cut at `used`
 * B2  without living pieces a slab is whole again: one is kept, others go back to the kernel
 * B3  of dead pieces beside living ones 32 MB are kept at most; more go back to the kernel
 */
#ifndef PIU_EXT_BUFFER_H
#define PIU_EXT_BUFFER_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdbool.h>
#include <stddef.h>

struct module_state;
struct slab;

struct slabs {
    struct slab *all, *open, *spare; /* `open` and `spare` are in `all`, too */
    size_t dead;                     /* bytes (B3) */
};

/*
 * A new object with the buffer protocol, and its bytes; NULL with an exception.  `of_array`:
 * nobody will see it but numpy, which makes an array over it.
 */
PyObject *buffer_new(struct module_state *s, size_t size, bool of_array,
                     char **ret_bytes);

#endif
