/*
 * The arena: one memfd, mapped once by every member at one address, in its whole range.
 *
 *    0          16 KB        16 KB + 16 MB    + range / 2048
 *    | header   | members    | unit table     | heap: units of 16 KB          ...   range |
 *
 * Its parts get real memory (fallocate) in pieces, before anybody is told of them; nobody
 * ever maps again, so older members see new pieces.  The file has no name.
 *
 * A1  [0, committed) units of the heap, and their words in the unit table, have memory
 * A2  committed only grows, under the heap lock
 * A3  stamp, address, range are set before the arena is published, and stay
 * A4  where the parts begin follows from the range, and each member knows it by itself; how far
 *     they have memory, the header says and the file's size confirms.  So a number that somebody
 *     wrote over leads nobody out of the file (SIGBUS), and nobody's own record out of sight
 * Crash: a piece that was allocated and not yet committed is allocated again (no effect).
 */
#ifndef PIU_SHM_ARENA_H
#define PIU_SHM_ARENA_H

#include "os/base.h"

#define UNIT_SIZE     UINT64_C(16384)
#define ARENA_STAMP   UINT64_C(0x70697500000d) /* raise with any change of shared layout */
#define ARENA_MEMBERS UINT64_C(16384)          /* where the table of members begins */
#define MEMBER_SLOTS  16384u                   /* slot 0 is nobody */
#define MEMBER_SIZE   1024u
#define BLOCK_CLASSES 16

struct block_class {
    _Atomic uint32_t spans;  /* unit index of the newest span; 0: none */
    _Atomic uint32_t cursor; /* hint: a span that may have room */
};

struct arena_header {
    uint64_t stamp;
    uint64_t address;
    uint64_t range;
    uint64_t pid_namespace;        /* inode; members of another one are refused */
    uint64_t family;               /* a number that no other family has */
    _Atomic uint32_t heavy_fences; /* a member could not register: see os/fence.h */
    _Atomic uint32_t strays;       /* processes may come that no slot tells of: fate.h */

    alignas(64) _Atomic uint64_t committed; /* units; read by all, often */

    alignas(64) _Atomic uint64_t heap_lock; /* an owner word */
    _Atomic uint64_t first_free;            /* hint: no free unit below */
    _Atomic uint64_t first_kept;            /* hint: no free unit with memory below */
    _Atomic uint64_t used_top;              /* units at and above were never handed out */
    _Atomic int64_t kept;                   /* hint: free units that have memory (B7) */

    alignas(64) _Atomic uint32_t members_committed; /* slots that have memory */
    _Atomic uint32_t member_cursor;                 /* hint */
    _Atomic uint32_t member_window;                 /* slots in use are below */
    _Atomic uint64_t claims;                        /* of slots, so far */

    alignas(64) _Atomic uint64_t process_number; /* for "Process-<n>" */
    _Atomic uint64_t pool_number;
    _Atomic uint64_t names; /* table of object names; 0 until first use */
    _Atomic uint64_t names_lock;
    _Atomic uint64_t handles; /* table of handles; 0 until first use */
    _Atomic uint64_t handles_lock;

    alignas(64) struct block_class classes[BLOCK_CLASSES];
};

/* This process's view; the same in all members but for fd. */
struct arena {
    unsigned char *base; /* NULL: no family yet */
    uint64_t range;
    uint64_t unit_table, heap; /* offsets */
    uint64_t units_max;
    /* Seen so far; none of them shrinks, whatever the header says later (A2, A4). */
    _Atomic uint64_t end; /* of the file */
    _Atomic uint64_t units;
    _Atomic uint32_t slots;
    uint64_t inode, device; /* of the file: is it still the one behind fd? */
    uint64_t inherited_id;  /* claimed member id that came with exec; 0: none */
    int fd;
};

extern struct arena arena;

static inline struct arena_header *arena_header(void)
{
    return (struct arena_header *)(void *)arena.base;
}

/*
 * The family, made at first use, by one thread of a process at a time (member_join()).
 *     -EMFILE   -ENOMEM   -EADDRINUSE   the inherited one's place is taken here
 *     -EPROTO   the inherited one is of another version of piu
 */
int arena_open(void);
bool arena_is_home(
    void); /* the caller is in the pid namespace that the family began in */

/*
 * For exec: PIU_FAMILY=<address>:<range>:<fd>:<stamp>:<claimed member id>, in hexadecimal.  Who has
 * it may hand it on to others before it joins: from now on there may be strays.
 */
int arena_export(char *ret, size_t room, uint64_t member_id);
uint64_t arena_inherited_id(void);
/*
 * Found in another way than in the environment: the family that arena_open() is to inherit.
 * -EBUSY: there is one already, another; -EPROTO; -EINVAL: that is no arena.
 */
int arena_expect(const char *text, int fd);

/*
 * Memory for bytes [offset, offset + size) of the file.  -ENOMEM; -EBADF: the program has closed
 * the arena's descriptor.  And the other way, if possible.
 */
int arena_back(uint64_t offset, uint64_t size);
void arena_unback(uint64_t offset, uint64_t size);
bool arena_is_behind(int fd); /* the file behind `fd` is the arena */
bool arena_witness_is_held(
    uint64_t index); /* true where it cannot be told; see os/fd.h */

/* The slow way of arena_reaches(): asks the kernel for the size of the file. */
bool arena_look(uint64_t end);

/*
 * Does the file have all bytes below this offset?  What was found in shared memory is asked here
 * before it is followed.  Where the program has closed the descriptor nobody can tell: true.
 */
static inline bool arena_reaches(uint64_t end)
{
    /* relaxed: the number carries nothing but itself */
    return likely(end <= atomic_load_explicit(&arena.end, memory_order_relaxed)) ||
           arena_look(end);
}

/* The slow ways of the two below. */
uint64_t arena_confirm_units(uint64_t said);
uint32_t arena_confirm_slots(uint32_t said);

/* Units of the heap that have memory (A1). */
static inline uint64_t arena_units(void)
{
    /* acquire, for the release in heap_grow(): those units have memory */
    uint64_t said =
        atomic_load_explicit(&arena_header()->committed, memory_order_acquire);

    return likely(said == atomic_load_explicit(&arena.units, memory_order_relaxed))
               ? said
               : arena_confirm_units(said);
}

/* Records of members that have memory are below. */
static inline uint32_t arena_slots(void)
{
    /* acquire, for the release in slots_back() */
    uint32_t said =
        atomic_load_explicit(&arena_header()->members_committed, memory_order_acquire);

    return likely(said == atomic_load_explicit(&arena.slots, memory_order_relaxed))
               ? said
               : arena_confirm_slots(said);
}

/* Is [p, p + size) inside the heap, where it has memory?  Anybody, also before joining. */
bool arena_has(const void *p, size_t size);

/* Offsets are what shared structures store; 0 is none. */
static inline uint64_t arena_offset(const void *p)
{
    return p ? (uint64_t)((const unsigned char *)p - arena.base) : 0;
}

/*
 * What lies at an offset that was found in shared memory: `size` bytes of the heap, aligned to
 * 64 as all blocks are.  NULL: nothing can.
 */
void *arena_at(uint64_t offset, size_t size);
/* The same inside a block, or with more alignment. */
void *arena_within(uint64_t offset, size_t size, size_t alignment);

/* Processes may exist, now or later, that join although no slot was claimed for them. */
static inline void arena_note_strays(void)
{
    atomic_store(&arena_header()->strays, 1);
}

/* For os/fence.h: all members can be fenced by others. */
static inline bool arena_fences_lightly(void)
{
    return !atomic_load_explicit(&arena_header()->heavy_fences, memory_order_relaxed);
}

#endif
