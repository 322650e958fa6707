/* The arena: made by the first member, inherited by fork, found through PIU_FAMILY after exec. */
#include "shm/arena.h"

#include "os/fd.h"
#include "os/machine.h"
#include "os/memfd.h"

#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define ARENA_ADDRESS   UINT64_C(0x200000000000)
#define ARENA_PLACES    16u
#define ARENA_RANGE     (UINT64_C(1) << 40)
#define ARENA_RANGE_MIN (UINT64_C(1) << 30)

static_assert(sizeof(struct arena_header) <= ARENA_MEMBERS, "shared layout: raise ARENA_STAMP");

struct arena arena = {.fd = -1};

/* 0: nobody makes the arena; a pid: a thread of that process does; OPEN: it is there. */
static _Atomic int opening;
#define OPEN (-1)

static uint64_t pid_namespace(void)
{
    struct stat st;

    return stat("/proc/self/ns/pid", &st) == 0 ? (uint64_t)st.st_ino : 0;
}

int arena_back(uint64_t offset, uint64_t size)
{
    return memfd_allocate(arena.fd, offset, size);
}

/* TSan keeps the low addresses to itself: there the kernel chooses, and tests are threads. */
static int map_somewhere(int fd, uint64_t range, void **ret)
{
    if (PIU_TSAN)
        return memfd_map(fd, range, NULL, ret);
    for (unsigned place = 0; place < ARENA_PLACES; place++) {
        void *address = (void *)(uintptr_t)(ARENA_ADDRESS + place * ARENA_RANGE);
        int r = memfd_map(fd, range, address, ret);

        if (r != -EEXIST)
            return r;
    }
    return -EADDRINUSE;
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

static void header_init(struct arena_header *h, const struct arena *a)
{
    uint64_t units_max = a->range / UNIT_SIZE;

    h->address = (uint64_t)(uintptr_t)a->base;
    h->range = a->range;
    h->unit_table = ARENA_MEMBERS + (uint64_t)MEMBER_SLOTS * MEMBER_SIZE;
    h->heap = round_up(h->unit_table + units_max * sizeof(uint64_t), UNIT_SIZE * 4);
    h->units_max = (a->range - h->heap) / UNIT_SIZE;
    h->pid_namespace = pid_namespace();
    h->stamp = ARENA_STAMP;
}

static int arena_make(void)
{
    cleanup(fd_done) int fd = -1;
    struct arena made;
    void *base;
    int r;

    r = memfd_new("piu", &fd);
    if (r < 0)
        return r;
    r = memfd_allocate(fd, 0, 4096);
    if (r < 0)
        return r;
    r = map_largest(fd, &made.range, &base);
    if (r < 0)
        return r;
    made.base = base;
    made.fd = take_fd(&fd);
    header_init(base, &made);
    arena = made;
    return 0;
}

struct inheritance {
    uint64_t address, range, stamp, id;
    int fd;
};

static bool inheritance_read(struct inheritance *ret)
{
    const char *text = getenv("PIU_FAMILY");
    uint64_t fd;

    if (!text || sscanf(text, "%" SCNx64 ":%" SCNx64 ":%" SCNx64 ":%" SCNx64 ":%" SCNx64,
                        &ret->address, &ret->range, &fd, &ret->stamp, &ret->id) != 5)
        return false;
    ret->fd = (int)fd;
    return true;
}

static int arena_inherit(const struct inheritance *from)
{
    void *base;
    int r;

    if (from->stamp != ARENA_STAMP)
        return -EPROTO; /* another version of piu */
    r = memfd_map(from->fd, from->range, (void *)(uintptr_t)from->address, &base);
    if (r < 0)
        return r == -EEXIST ? -EADDRINUSE : r;
    if (((struct arena_header *)base)->stamp != ARENA_STAMP ||
        ((struct arena_header *)base)->pid_namespace != pid_namespace()) {
        munmap(base, from->range);
        return -EXDEV;
    }
    fd_set_inheritable(from->fd, false);
    arena = (struct arena){.base = base, .range = from->range, .fd = from->fd};
    return 0;
}

static int arena_open_once(void)
{
    struct inheritance from;

    /* a stale variable, from a program that was itself started so and then exec'ed us, is no
       error: its descriptor is closed, and a family of our own begins */
    if (inheritance_read(&from) && fcntl(from.fd, F_GETFD) >= 0)
        return arena_inherit(&from);
    return arena_make();
}

int arena_open(void)
{
    int me = (int)getpid();
    int state;

    /* acquire, for the release below: who sees OPEN sees the arena */
    while ((state = atomic_load_explicit(&opening, memory_order_acquire)) != OPEN) {
        int r;

        if (state == me) {
            sched_yield(); /* another thread makes it: some 100 us */
            continue;
        }
        /* 0, or the parent forked while its other thread was at it: ours to do */
        if (!atomic_compare_exchange_strong(&opening, &state, me))
            continue;
        r = arena_open_once();
        atomic_store_explicit(&opening, r < 0 ? 0 : OPEN, memory_order_release);
        if (r < 0)
            return r;
    }
    return 0;
}

int arena_export(char *ret, size_t room, uint64_t member_id)
{
    const struct arena_header *h = arena_header();
    int n = snprintf(ret, room,
                     "PIU_FAMILY=%" PRIx64 ":%" PRIx64 ":%x:%" PRIx64 ":%" PRIx64, h->address,
                     h->range, (unsigned)arena.fd, h->stamp, member_id);

    return n < 0 || (size_t)n >= room ? -ENAMETOOLONG : 0;
}

uint64_t arena_inherited_id(void)
{
    struct inheritance from;

    return inheritance_read(&from) ? from.id & UINT64_C(0x0000ffff7fffffff) : 0;
}

bool arena_has(const void *p, size_t size)
{
    uint64_t offset;

    if (!arena.base || (const unsigned char *)p < arena.base)
        return false;
    offset = arena_offset(p);
    return offset >= arena_header()->heap && offset < arena.range && size <= arena.range - offset;
}

void *arena_at(uint64_t offset, size_t size)
{
    void *p = arena.base + offset;

    return offset < arena.range && arena_has(p, size) ? p : NULL;
}
