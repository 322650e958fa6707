/* The arena: made by the first member, inherited by fork, found through PIU_FAMILY after exec. */
#include "shm/arena.h"

#include "os/clock.h"
#include "os/fd.h"
#include "os/machine.h"
#include "os/memfd.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define ARENA_ADDRESS   UINT64_C(0x200000000000)
#define ARENA_PLACES    16u
#define ARENA_RANGE     (UINT64_C(1) << 40)
#define ARENA_RANGE_MIN (UINT64_C(1) << 30)

static_assert(sizeof(struct arena_header) <= ARENA_MEMBERS,
              "shared layout: raise ARENA_STAMP");

struct arena arena = {.fd = -1};

static uint64_t pid_namespace(void)
{
    struct stat st;

    return stat("/proc/self/ns/pid", &st) == 0 ? (uint64_t)st.st_ino : 0;
}

bool arena_is_home(void)
{
    uint64_t here = pid_namespace(), home = arena_header()->pid_namespace;

    return here == home || here == 0 || home == 0; /* without /proc nobody can tell */
}

/* The same file?  A program may have closed our descriptor, and have another at its number. */
bool arena_is_behind(int fd)
{
    struct stat st;

    return fd >= 0 && fstat(fd, &st) == 0 && st.st_ino == arena.inode &&
           st.st_dev == arena.device;
}

int arena_back(uint64_t offset, uint64_t size)
{
    return arena_is_behind(arena.fd) ? memfd_allocate(arena.fd, offset, size) : -EBADF;
}

void arena_unback(uint64_t offset, uint64_t size)
{
    if (arena_is_behind(arena.fd))
        (void)memfd_punch(arena.fd, offset, size); /* else it stays, and serves again */
}

bool arena_witness_is_held(uint64_t index)
{
    return !arena_is_behind(arena.fd) || fd_witness_is_held(arena.fd, index);
}

/* TSan keeps the low addresses to itself: there the kernel chooses, and tests are threads. */
static int map_somewhere(int fd, uint64_t range, void **ret)
{
    int r = -EEXIST;

    for (unsigned place = 0; !PIU_TSAN && place < ARENA_PLACES && r == -EEXIST; place++) {
        void *address = (void *)(uintptr_t)(ARENA_ADDRESS + place * ARENA_RANGE);

        r = memfd_map(fd, range, address, ret);
    }
    /* also where addresses have fewer bits, as on some aarch64: good for forked members */
    return r < 0 ? memfd_map(fd, range, NULL, ret) : r;
}

static int map_largest(int fd, uint64_t *ret_range, void **ret)
{
    int r = -ENOMEM;

    /* RLIMIT_AS refuses a large range, though it costs nothing */
    for (uint64_t range = ARENA_RANGE; range >= ARENA_RANGE_MIN; range /= 2) {
        r = map_somewhere(fd, range, ret);
        if (r != -ENOMEM) {
            *ret_range = range;
            return r;
        }
    }
    return r;
}

/* Never 0.  Where the kernel gives no random bytes: the time, and where we are. */
static uint64_t number_unlike_others(const void *here)
{
    uint64_t number;

    if (getrandom(&number, sizeof(number), GRND_NONBLOCK) != sizeof(number))
        number = (uint64_t)clock_now() * 0x9e3779b97f4a7c15u ^ (uint64_t)getpid() << 32 ^
                 (uint64_t)(uintptr_t)here;
    return number | 1;
}

static void header_init(struct arena_header *h, uint64_t range)
{
    h->address = (uint64_t)(uintptr_t)h;
    h->range = range;
    h->pid_namespace = pid_namespace();
    h->family = number_unlike_others(h);
    h->stamp = ARENA_STAMP;
}

/* The base comes last: who sees it sees all, and a child that was forked half way sees none. */
static int arena_set(void *base, uint64_t range, int fd)
{
    struct stat st;

    if (fstat(fd, &st) < 0)
        return -errno;
    arena.range = range;
    arena.unit_table = ARENA_MEMBERS + (uint64_t)MEMBER_SLOTS * MEMBER_SIZE;
    arena.heap =
        round_up(arena.unit_table + range / UNIT_SIZE * sizeof(uint64_t), UNIT_SIZE * 4);
    arena.units_max = (range - arena.heap) / UNIT_SIZE;
    atomic_store(&arena.end, (uint64_t)st.st_size);
    atomic_store(&arena.units, 0);
    atomic_store(&arena.slots, 0);
    arena.fd = fd;
    arena.inode = st.st_ino;
    arena.device = st.st_dev;
    __atomic_store_n(&arena.base, base, __ATOMIC_RELEASE);
    return 0;
}

static int arena_make(void)
{
    cleanup(fd_done) int fd = -1;
    uint64_t range = 0;
    void *base;
    int r;

    r = memfd_new("piu", &fd);
    if (r == 0)
        r = memfd_allocate(fd, 0, sizeof(struct arena_header));
    if (r == 0)
        r = map_largest(fd, &range, &base);
    if (r < 0)
        return r;
    header_init(base, range);
    r = arena_set(base, range, fd);
    if (r < 0)
        munmap(base, range);
    else
        take_fd(&fd);
    return r;
}

struct inheritance {
    uint64_t address, range, stamp, id;
    int fd;
};

static struct inheritance expected; /* stamp 0: none */

static bool inheritance_parse(const char *text, struct inheritance *ret)
{
    uint64_t fd;

    if (!text || sscanf(text, "%" SCNx64 ":%" SCNx64 ":%" SCNx64 ":%" SCNx64 ":%" SCNx64,
                        &ret->address, &ret->range, &fd, &ret->stamp, &ret->id) != 5)
        return false;
    ret->fd = (int)fd;
    return true;
}

static bool inheritance_read(struct inheritance *ret)
{
    if (expected.stamp == 0)
        return inheritance_parse(getenv("PIU_FAMILY"), ret);
    *ret = expected;
    return true;
}

static bool range_is_possible(uint64_t range)
{
    return range >= ARENA_RANGE_MIN && range <= ARENA_RANGE && !(range & (range - 1));
}

/*
 * Is it the file that is meant?  The variable may be stale (from a program that was started so
 * and then exec'ed us): then its descriptor is closed, or is anything at all.
 */
static bool inheritance_is_arena(const struct inheritance *from, struct arena_header *ret)
{
    int seals = fcntl(from->fd, F_GET_SEALS);

    return seals >= 0 && (seals & F_SEAL_SHRINK) &&
           pread(from->fd, ret, sizeof(*ret), 0) == (ssize_t)sizeof(*ret) &&
           ret->stamp >> 16 == ARENA_STAMP >> 16 && ret->address == from->address &&
           ret->range == from->range && range_is_possible(from->range);
}

static int arena_inherit(const struct inheritance *from, const struct arena_header *h)
{
    void *base;
    int r;

    if (h->stamp != ARENA_STAMP || from->stamp != ARENA_STAMP)
        return -EPROTO; /* another version of piu */
    r = memfd_map(from->fd, from->range, (void *)(uintptr_t)from->address, &base);
    if (r < 0)
        return r == -EEXIST ? -EADDRINUSE : r;
    fd_set_inheritable(from->fd, false);
    r = arena_set(base, from->range, from->fd);
    if (r < 0)
        munmap(base, from->range);
    else
        arena.inherited_id = from->id;
    return r;
}

/* Called by one thread at a time. */
int arena_open(void)
{
    struct inheritance from;
    struct arena_header header;

    if (arena.base)
        return 0;
    if (inheritance_read(&from) && inheritance_is_arena(&from, &header))
        return arena_inherit(&from, &header);
    return arena_make();
}

/* One descriptor of the arena is enough: the one in use, else the newest. */
static void descriptor_replace(int fd)
{
    int old = arena.base ? arena.fd : expected.stamp ? expected.fd : fd;

    if (old != fd)
        fd_close(arena.base ? fd : old);
}

int arena_expect(const char *text, int fd)
{
    struct inheritance from;
    struct arena_header header;

    if (!inheritance_parse(text, &from))
        return -EINVAL;
    from.fd = fd;
    from.id = 0;
    if (from.stamp != ARENA_STAMP)
        return -EPROTO;
    if (!inheritance_is_arena(&from, &header))
        return -EINVAL;
    if (arena.base && header.family != arena_header()->family)
        return -EBUSY;
    fd_set_inheritable(fd, false);
    descriptor_replace(fd);
    if (!arena.base)
        expected = from;
    return 0;
}

int arena_export(char *ret, size_t room, uint64_t member_id)
{
    const struct arena_header *h = arena_header();
    int n =
        snprintf(ret, room, "PIU_FAMILY=%" PRIx64 ":%" PRIx64 ":%x:%" PRIx64 ":%" PRIx64,
                 h->address, h->range, (unsigned)arena.fd, h->stamp, member_id);

    arena_note_strays();
    return n < 0 || (size_t)n >= room ? -ENAMETOOLONG : 0;
}

uint64_t arena_inherited_id(void)
{
    return arena.inherited_id & UINT64_C(0x0000ffff7fffffff);
}

noinline bool arena_look(uint64_t end)
{
    struct stat st;
    uint64_t size;

    if (end > arena.range)
        return false;
    if (!arena_is_behind(arena.fd) || fstat(arena.fd, &st) < 0)
        return true;
    size = (uint64_t)st.st_size;
    /* a slower thread may store less: then somebody asks once more */
    if (size > atomic_load_explicit(&arena.end, memory_order_relaxed))
        atomic_store_explicit(&arena.end, size, memory_order_relaxed);
    return end <= size;
}

/* How much of `size` bytes each, from `first` on, the file has; at most `count`. */
static uint64_t confirm(uint64_t first, uint64_t count, uint64_t size)
{
    uint64_t end;

    if (arena_reaches(first + count * size))
        return count;
    end = atomic_load_explicit(&arena.end, memory_order_relaxed);
    return end > first ? (end - first) / size : 0;
}

noinline uint64_t arena_confirm_units(uint64_t said)
{
    uint64_t seen = atomic_load_explicit(&arena.units, memory_order_relaxed);

    if (said > seen)
        said = confirm(arena.heap, min_u64(said, arena.units_max), UNIT_SIZE);
    if (said <= seen)
        return seen;
    atomic_store_explicit(&arena.units, said, memory_order_relaxed);
    return said;
}

noinline uint32_t arena_confirm_slots(uint32_t said)
{
    uint32_t seen = atomic_load_explicit(&arena.slots, memory_order_relaxed);

    if (said > seen)
        said = (uint32_t)confirm(ARENA_MEMBERS, min_u64(said, MEMBER_SLOTS), MEMBER_SIZE);
    if (said <= seen)
        return seen;
    atomic_store_explicit(&arena.slots, said, memory_order_relaxed);
    return said;
}

/* [offset, offset + size) lies in that part of the heap that has memory. */
static bool heap_has(uint64_t offset, size_t size)
{
    uint64_t end = arena.heap + arena_units() * UNIT_SIZE;

    return offset >= arena.heap && offset < end && size <= end - offset;
}

bool arena_has(const void *p, size_t size)
{
    /* acquire, for the release in arena_set(): anybody may ask, at any time */
    const unsigned char *base = __atomic_load_n(&arena.base, __ATOMIC_ACQUIRE);

    return base && (const unsigned char *)p >= base &&
           heap_has((uint64_t)((const unsigned char *)p - base), size);
}

void *arena_within(uint64_t offset, size_t size, size_t alignment)
{
    return arena.base && heap_has(offset, size) && offset % alignment == 0
               ? arena.base + offset
               : NULL;
}

void *arena_at(uint64_t offset, size_t size)
{
    return arena_within(offset, size, 64);
}
