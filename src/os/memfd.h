/* An anonymous shared file: no name, nothing to clean up, sealed against shrinking. */
#ifndef PIU_OS_MEMFD_H
#define PIU_OS_MEMFD_H

#include "os/base.h"

int memfd_new(const char *name, int *ret_fd); /* O_CLOEXEC; seals SHRINK and SEAL */

/*
 * Give the file real memory for [offset, offset + size), before anybody touches it.
 *     0, or -ENOMEM: no memory, over RLIMIT_FSIZE (asked first: no SIGXFSZ), or over what
 *     the machine or the memory cgroups still have.  -EINTR is retried inside.
 * A range that is allocated already stays as it is.  After an error, and in a crash, the
 * file may have grown and have some memory of the range.
 */
int memfd_allocate(int fd, uint64_t offset, uint64_t size);
int memfd_punch(int fd, uint64_t offset,
                uint64_t size); /* give memory back; reads zero */

/*
 * Map [0, size) of the file shared, read and write, NORESERVE, DONTDUMP, at `address`
 * (MAP_FIXED_NOREPLACE; 0: the kernel chooses).
 *     -EEXIST   something is there      -ENOMEM   RLIMIT_AS
 */
int memfd_map(int fd, uint64_t size, void *address, void **ret);

#endif
