/*
 * Numbers of a chunk, as bare values: all ints of 64 bits, or all floats.
 *
 *    struct numbers_head | values
 *
 *    I   `count` ints of `width` bytes, 4 or 8
 *    D   `count` floats of 8 bytes
 *    R   two ints of 8 bytes: the first, and the step to the next; `count` of them
 *
 * N1  no value behind the message is read, whatever its count says
 * N2  the format is not that of a message with handles (message.h): there is none to be landed
 */
#ifndef PIU_EXT_NUMBERS_H
#define PIU_EXT_NUMBERS_H

#include "module.h"

struct numbers_head {
    unsigned char format, width, reserved[6];
    uint64_t count;
};

struct numbers {
    struct numbers_head head;
    const unsigned char *values;
    size_t size;             /* of the values, in bytes */
    unsigned char *own;      /* values, to be freed; NULL: they are another's */
    unsigned char space[16]; /* values of a range */
};

/* False: one is another thing than the others, or no memory; without an exception. */
bool numbers_pack(struct numbers *n, PyObject *const *items, Py_ssize_t count);
void numbers_range(struct numbers *n, int64_t first, int64_t step, Py_ssize_t count);
void numbers_done(struct numbers *n);

static inline size_t numbers_size(const struct numbers *n)
{
    return sizeof(n->head) + n->size;
}

void numbers_write(const struct numbers *n, unsigned char *place);

/* N1: what numbers_write() has written, where it lies; -1 with ValueError. */
int numbers_read(struct numbers *n, const unsigned char *bytes, size_t size);
/* From here on `n` does not need those bytes; -1 with MemoryError. */
int numbers_keep(struct numbers *n);

/* New references. */
PyObject *numbers_item(const struct numbers *n, Py_ssize_t i);
PyObject *numbers_list(const struct numbers *n);

#endif
