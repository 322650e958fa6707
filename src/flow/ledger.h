/*
 * What a member holds: its ledger, and how a forked child gets one like it.
 *
 *    a ledger's block   0              64
 *                       | next | made  | entries ...
 *    entry              0: never used   1 + number of a cell: held   63 set: free, 31..0 next
 *
 *    starter, before fork()   makes a bequest: a copy of its ledger, all held once more, which
 *                             is the family's and stands in the table's list
 *    child, after fork()      becomes a member, takes the block for its own, out of the list
 *
 * So a child holds what its starter held, from its first instruction on, and under the same
 * numbers, also if the starter ends meanwhile (a double fork).  A child that is killed in its
 * first instructions leaves its bequest in the list: who forks, or sweeps, BEQUEST_LASTS later
 * gives back what it names.  A child that wakes up only then ends (EXIT_DISINHERITED).  A child of
 * _Fork() or vfork() gets none, and may not use what its starter held.
 *
 * L1  a block with purpose BLOCK_LEDGER is zeroed behind its head, or holds entries
 * L2  a bequest that is the family's is in the list; `next` and the list change in the gate
 */
#ifndef PIU_FLOW_LEDGER_H
#define PIU_FLOW_LEDGER_H

#include "flow/handle.h"
#include "os/clock.h"

#define BEQUEST_LASTS     (60 * SEC)
#define EXIT_DISINHERITED 127

struct ledger_block {
    _Atomic uint64_t next; /* of a bequest */
    _Atomic int64_t made;  /* clock_now(); INT64_MAX: it is never given back */
    alignas(64) ledger_entry entries[];
};
static_assert(offsetof(struct ledger_block, entries) == 64,
              "shared layout: raise ARENA_STAMP");

/*
 * Private, and copied by fork together with the Python objects, or whatever it is, that know the
 * numbers of their entries.  `pid` says whose it is: a child of _Fork() has nobody's.  Seen by
 * others only where they put back a whole arena (tests/fuzz/).
 */
struct ledger {
    pid_t pid;
    uint32_t count; /* entries that have memory */
    uint32_t free;  /* the first of a list through the entries; NO_ENTRY: none */
    uint64_t held;
    uint64_t parts[HANDLE_PARTS]; /* offsets of their first entries */
};

extern struct ledger ledger_mine;

int ledger_begin(void); /* the caller has a ledger, if empty.  -ENOMEM */
/* Entries that name a cell, in ledgers and bequests: for checks, and nobody is inside. */
uint64_t ledgers_count(void);

#endif
