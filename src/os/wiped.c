#include "os/wiped.h"

#include <sys/mman.h>

int wiped_new(size_t size, void **ret)
{
    void *memory =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (memory == MAP_FAILED)
        return -errno;
    if (madvise(memory, size, MADV_WIPEONFORK) < 0) { /* Linux 4.14 */
        int error = errno;

        munmap(memory, size);
        return -error;
    }
    *ret = memory;
    return 0;
}
