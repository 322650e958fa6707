/* The arena as it was after set_up(), put back before each kill. */
#include "job.h"

#include "shm/arena.h"

#include <sys/mman.h>

/* Of each what is used. */
enum { HEADER_AND_MEMBERS, UNITS, HEAP, PARTS };

static struct {
    size_t sizes[PARTS];
    unsigned char *bytes; /* one behind the other */
} snapshot;

static unsigned char *part(size_t which, size_t *ret_size)
{
    struct arena_header *h = arena_header();
    size_t units = (size_t)atomic_load(&h->used_top);

    switch (which) {
    case HEADER_AND_MEMBERS:
        *ret_size = ARENA_MEMBERS + (size_t)h->members_committed * MEMBER_SIZE;
        return arena.base;
    case UNITS:
        *ret_size = units * sizeof(uint64_t);
        return arena.base + arena.unit_table;
    default:
        *ret_size = units * UNIT_SIZE;
        return arena.base + arena.heap;
    }
}

static size_t snapshot_size(void)
{
    size_t all = 0;

    for (size_t i = 0; i < PARTS; i++)
        all += snapshot.sizes[i];
    return all;
}

void snapshot_take(void)
{
    size_t all;
    unsigned char *to;

    for (size_t i = 0; i < PARTS; i++)
        part(i, &snapshot.sizes[i]);
    all = snapshot_size();
    to = snapshot.bytes =
        mmap(NULL, all, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(snapshot.bytes != MAP_FAILED);
    /* the survivor's alone: a fork does not copy what it has for it */
    CHECK_EQ(madvise(to, all, MADV_DONTFORK), 0);
    for (size_t i = 0; i < PARTS; i++) {
        size_t size;

        memcpy(to, part(i, &size), snapshot.sizes[i]);
        to += snapshot.sizes[i];
    }
}

/* Only what differs is written. */
static void pages_back(unsigned char *to, const unsigned char *from, size_t size)
{
    for (size_t i = 0; i < size; i += 4096) {
        size_t some = size - i < 4096 ? size - i : 4096;

        if (memcmp(to + i, from + i, some) != 0)
            memcpy(to + i, from + i, some);
    }
}

/* What has grown since reads zero again. */
void snapshot_restore(void)
{
    const unsigned char *from = snapshot.bytes + snapshot_size();

    for (size_t i = PARTS; i-- > 0;) { /* the header last: it says how much has grown */
        size_t kept = snapshot.sizes[i], grown;
        unsigned char *to = part(i, &grown);

        from -= kept;
        if (grown > kept)
            memset(to + kept, 0, grown - kept);
        pages_back(to, from, kept);
    }
}
