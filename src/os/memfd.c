#include "os/memfd.h"

#include "os/fd.h"
#include "os/machine.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 8U /* Linux 6.3 */
#endif

#define HEADROOM_SLACK (UINT64_C(4) << 20) /* counters of cgroups lag by as much */
#define HEADROOM_MIN   (UINT64_C(1) << 20) /* below, asking would cost more than it saves */
#define STEP_MIN       (UINT64_C(64) << 10)

static int memfd_open(const char *name)
{
    unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
    /* vm.memfd_noexec=2 refuses files that could be executed; before 6.3 it is EINVAL */
    int fd = memfd_create(name, flags | MFD_NOEXEC_SEAL);

    return fd < 0 && errno == EINVAL ? memfd_create(name, flags) : fd;
}

int memfd_new(const char *name, int *ret_fd)
{
    cleanup(fd_done) int fd = memfd_open(name);

    if (fd < 0 || fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_SEAL) < 0)
        return -errno;
    *ret_fd = take_fd(&fd);
    return 0;
}

/* Growing over RLIMIT_FSIZE would be SIGXFSZ.  Inside of the file the kernel does not ask. */
static bool file_limit_allows(int fd, uint64_t end)
{
    struct rlimit limit;
    struct stat file;

    if (getrlimit(RLIMIT_FSIZE, &limit) < 0 || limit.rlim_cur == RLIM_INFINITY ||
        end <= limit.rlim_cur)
        return true;
    return fstat(fd, &file) == 0 && (uint64_t)file.st_size >= end;
}

/* Over a memory limit the kernel would kill us, without an error: a page of a memfd, that a write brings in, has none to give. */
static bool memory_allows(uint64_t size)
{
    uint64_t need = size + HEADROOM_SLACK;

    if (size < HEADROOM_MIN)
        return true;
    return need <= machine_memory_available() && need <= machine_memory_headroom();
}

static int allocate_error(int error)
{
    return error == ENOSPC || error == EFBIG ? -ENOMEM : -error;
}

/*
 * A signal makes the kernel give back all of the piece it was at.  Under a fast timer only
 * smaller and smaller pieces come to an end.
 */
static int allocate_in_steps(int fd, uint64_t offset, uint64_t size)
{
    uint64_t step = size;

    while (size > 0) {
        uint64_t piece = min_u64(step, size);

        if (fallocate(fd, 0, (off_t)offset, (off_t)piece) == 0) {
            offset += piece;
            size -= piece;
        } else if (errno == EINTR) {
            step = max_u64(round_up(piece / 2, STEP_MIN), STEP_MIN);
        } else {
            return allocate_error(errno);
        }
    }
    return 0;
}

int memfd_allocate(int fd, uint64_t offset, uint64_t size)
{
    uint64_t end;

    if (__builtin_add_overflow(offset, size, &end) || end > INT64_MAX)
        return -ENOMEM;
    if (!file_limit_allows(fd, end) || !memory_allows(size))
        return -ENOMEM;
    return allocate_in_steps(fd, offset, size);
}

int memfd_punch(int fd, uint64_t offset, uint64_t size)
{
    int r;

    if (size == 0)
        return 0; /* fallocate would say EINVAL */
    do
        r = fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset,
                      (off_t)size);
    while (r < 0 && errno == EINTR);
    return r < 0 ? -errno : 0;
}

int memfd_map(int fd, uint64_t size, void *address, void **ret)
{
    int flags = MAP_SHARED | MAP_NORESERVE | (address ? MAP_FIXED_NOREPLACE : 0);
    void *memory = mmap(address, size, PROT_READ | PROT_WRITE, flags, fd, 0);

    if (memory == MAP_FAILED)
        return -errno;
    if (address && memory != address) { /* emulators take the flag for a hint */
        munmap(memory, size);
        return -EEXIST;
    }
    (void)madvise(memory, size, MADV_DONTDUMP); /* only makes core files smaller */
    *ret = memory;
    return 0;
}
