/* Options structs: of callers that were built with an older or a newer piu.h. */
#ifndef PIU_OS_KEYWORDS_H
#define PIU_OS_KEYWORDS_H

#include "os/base.h"

#include <string.h>

/*
 * Copy `from`, whose first member is its own size, into a struct of `room` bytes.  What an
 * older caller does not have is zero; an option that only a newer one knows: -EINVAL.
 */
static inline int keywords_read(void *to, size_t room, const void *from)
{
    const unsigned char *bytes = from;
    size_t size;

    if (!from)
        return -EINVAL;
    memcpy(&size, from, sizeof(size));
    if (size < sizeof(size) || size > 65536)
        return -EINVAL;
    for (size_t i = room; i < size; i++) {
        if (bytes[i])
            return -EINVAL;
    }
    memset(to, 0, room);
    memcpy(to, from, size < room ? size : room);
    return 0;
}

#endif
