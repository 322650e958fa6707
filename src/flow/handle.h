/*
 * Handles: objects that live as long as a member holds them, or a message carries them.
 *
 *    arena header -> table   | gate | redo | parts ... |
 *                                            `-> part n: 64 << n cells
 *    cell     0             8       16       24      32     40
 *             | generation  | refs  | object | ender | kind | of queue |
 *
 *    free --handle_new--> held (refs > 0) --last drop--> ending (refs 0) --object 0--> free
 *
 *    ledger of a member: blocks that it owns (BLOCK_LEDGER), of a head and entries (ledger.h)
 *
 * H1  a cell is free if and only if its object is 0; cells and parts never become anything else
 * H2  refs = entries that name the cell, in all ledgers and bequests, + messages that carry it
 * H3  refs 0 and an object: it is ending; `ender` is the member that is at it, and has a ledger
 * H4  refs and an entry change together, in the gate, by the redo record
 * H5  an object that is not held yet (handle_new) looks like one that its maker is ending
 * H6  inside the gate nobody's fate is swept: the sweep enters it
 * Crash: the next one in the gate does again what `redo` says.  The ledger of a member that ended
 * goes to whoever sweeps, who gives back what it names; so does what that member was ending.  A
 * sender that is killed between handle_send() and the put's commit leaves the object to the end
 * of the family: too long a life is no harm, too short a one would be.
 */
#ifndef PIU_FLOW_HANDLE_H
#define PIU_FLOW_HANDLE_H

#include "shm/block.h"
#include "shm/owner.h"

#include <piu.h>

#define HANDLE_PARTS 20
#define PART_FIRST   64u /* cells, and entries, of part 0 */

struct cell {
    _Atomic uint64_t generation;
    _Atomic uint64_t refs;
    _Atomic uint64_t object; /* offset */
    _Atomic uint64_t ender;  /* member id */
    uint64_t kind;           /* enum piu_kind */
    uint64_t of_queue;       /* generation of the queue that the object is */
    uint64_t reserved[2];
};
static_assert(sizeof(struct cell) == 64, "shared layout: raise ARENA_STAMP");

struct handle_redo {
    _Atomic uint64_t armed;
    uint64_t cell;  /* offset */
    uint64_t refs;  /* what it has then */
    uint64_t entry; /* offset; 0: none */
    uint64_t value; /* what that has then */
};

struct handle_table {
    owner_word gate;
    struct handle_redo redo;
    _Atomic uint32_t cursor;   /* hint: where a free cell may be */
    _Atomic uint32_t count;    /* cells that have memory */
    _Atomic uint64_t bequests; /* offset of the newest, see ledger.h; in the gate */
    _Atomic uint64_t parts[HANDLE_PARTS];
};

typedef _Atomic uint64_t ledger_entry;

#define ENTRY_FREE (UINT64_C(1) << 63)

static inline uint64_t part_size(unsigned part)
{
    return (uint64_t)PART_FIRST << part;
}

/* Of the n-th cell or entry: in which part, and where there. */
static inline unsigned part_of(uint64_t n, uint64_t *ret_index)
{
    uint64_t scaled = n / PART_FIRST + 1;
    unsigned part = 63 - (unsigned)__builtin_clzll(scaled);

    *ret_index = n - ((uint64_t)PART_FIRST << part) + PART_FIRST;
    return part;
}

/*
 * The gate: entered, repaired.  NULL: errno says why (no member, no memory).  `ret_who` is who
 * leaves.
 */
struct handle_table *handles_enter(void);
void handles_leave(struct handle_table *t);
/* The calling thread is inside already: it forks in a signal handler. */
bool handles_are_entered_by(uint64_t who);

/* In the gate. */
struct cell *cell_at(struct handle_table *t, uint64_t number); /* NULL: no such */
/* 0, -ESTALE; -EXDEV: of another family. */
int cell_find(struct handle_table *t, const struct piu_handle *h, struct cell **ret);
/* refs + change, and *entry = value, as one.  true: nobody has it any more, the caller ends it. */
bool cell_count(struct handle_table *t, struct cell *c, int change, ledger_entry *entry,
                uint64_t value);
/* A new object, which looks as if the caller were ending it (H5). */
int cell_new(struct handle_table *t, enum piu_kind kind, size_t size,
             uint64_t *ret_number);
int cell_new_queue(struct handle_table *t, struct piu_queue *q, uint64_t *ret_number);

/* Outside the gate, by its ender. */
void cell_end(struct cell *c);
/* What `id`, a member that ended, was ending. */
void cells_end_of(uint64_t id);

/* Is it sound, and do the refs add up?  `messages`: that carry something.  Nobody is inside. */
bool handles_check(uint64_t messages);
uint64_t handles_in_use(void); /* cells with an object */

#endif
