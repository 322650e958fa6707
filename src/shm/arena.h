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
 * Crash: a piece that was allocated and not yet committed is allocated again (no effect).
 */
#ifndef PIU_SHM_ARENA_H
#define PIU_SHM_ARENA_H

#include "os/base.h"

#define UNIT_SIZE      UINT64_C(16384)
#define ARENA_STAMP    UINT64_C(0x706975000002) /* raise with any change of shared layout */
#define ARENA_MEMBERS  UINT64_C(16384)              /* where the table of members begins */
#define MEMBER_SLOTS   16384u                       /* slot 0 is nobody */
#define MEMBER_SIZE    1024u
#define BLOCK_CLASSES  16

struct block_class {
    _Atomic uint32_t spans;  /* unit index of the newest span; 0: none */
    _Atomic uint32_t cursor; /* hint: a span that may have room */
};

struct arena_header {
    uint64_t stamp;
    uint64_t address;
    uint64_t range;
    uint64_t unit_table; /* offset */
    uint64_t heap;       /* offset */
    uint64_t units_max;
    uint64_t pid_namespace; /* inode; members of another one are refused */
    _Atomic uint32_t heavy_fences; /* a member could not register: see os/fence.h */

    alignas(64) _Atomic uint64_t heap_lock; /* an owner word */
    _Atomic uint64_t committed;             /* units */
    _Atomic uint64_t first_free;            /* hint: no free unit below */
    _Atomic uint64_t used_top;              /* units at and above were never handed out */

    alignas(64) _Atomic uint32_t members_committed; /* slots that have memory */
    _Atomic uint32_t member_cursor;                 /* hint */
    _Atomic uint32_t member_window;                 /* slots in use are below */

    alignas(64) _Atomic uint64_t process_number; /* for "Process-<n>" */
    _Atomic uint64_t pool_number;
    _Atomic uint64_t names; /* table of object names; 0 until first use */
    _Atomic uint64_t names_lock;

    alignas(64) struct block_class classes[BLOCK_CLASSES];
};

/* This process's view; the same in all members but for fd. */
struct arena {
    unsigned char *base; /* NULL: no family yet */
    uint64_t range;
    int fd;
};

extern struct arena arena;

static inline struct arena_header *arena_header(void)
{
    return (struct arena_header *)(void *)arena.base;
}

/* The family, made at first use.  0, -ENOMEM, -EMFILE, -EADDRINUSE, -EXDEV ... */
int arena_open(void);

/* For exec: PIU_FAMILY=<address>:<range>:<fd>:<stamp>:<claimed member id>, in hexadecimal. */
int arena_export(char *ret, size_t room, uint64_t member_id);
uint64_t arena_inherited_id(void); /* the claimed member id that came with exec; 0: none */

/* Memory for bytes [offset, offset + size) of the file; -ENOMEM. */
int arena_back(uint64_t offset, uint64_t size);

/* Is [p, p + size) inside the heap? */
bool arena_has(const void *p, size_t size);

/* Offsets are what shared structures store; 0 is none.  at() of a bad offset is NULL. */
static inline uint64_t arena_offset(const void *p)
{
    return p ? (uint64_t)((const unsigned char *)p - arena.base) : 0;
}

void *arena_at(uint64_t offset, size_t size);

/* For os/fence.h: all members can be fenced by others. */
static inline bool arena_fences_lightly(void)
{
    return !atomic_load_explicit(&arena_header()->heavy_fences, memory_order_relaxed);
}

#endif
