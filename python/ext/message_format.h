/* The bytes of a message (message.h), for who writes them and who reads them. */
#ifndef PIU_EXT_MESSAGE_FORMAT_H
#define PIU_EXT_MESSAGE_FORMAT_H

#include "module.h"

#define MESSAGE_DEPTH     4   /* tuples in tuples; deeper ones are pickled */
#define MESSAGE_ITEMS     16  /* of a tuple that is not pickled; of numbers: any */
#define MESSAGE_ALIGNMENT 64u /* of buffers, from the begin of the message */
#define LONG_COPY         ((size_t)256 << 10) /* bytes; from here on others may have the GIL */

struct pickled_head {
    unsigned char format, reserved[3];
    uint32_t handles;
    uint64_t buffers;
    uint64_t pickle; /* bytes */
};

/* From the begin of the message: where a buffer may lie. */
static inline size_t message_align(size_t at)
{
    return (at + MESSAGE_ALIGNMENT - 1) & ~(size_t)(MESSAGE_ALIGNMENT - 1);
}

static inline void message_copy(void *to, const void *from, size_t size)
{
    if (size < LONG_COPY)
        memcpy(to, from, size);
    else {
        Py_BEGIN_ALLOW_THREADS
        memcpy(to, from, size);
        Py_END_ALLOW_THREADS
    }
}

#endif
