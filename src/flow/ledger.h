/*
 * What a member holds: its ledger.
 *
 *    a ledger's block   0              64
 *                       | next | made  | entries ...
 *    entry              0: never used   1 + number of a cell: held   63 set: free, 31..0 next
 *
 * A forked child gets one like its starter's (bequest.h).
 *
 * L1  a block with purpose BLOCK_LEDGER is zeroed behind its head, or holds entries
 */
#ifndef PIU_FLOW_LEDGER_H
#define PIU_FLOW_LEDGER_H

#include "flow/handle.h"

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

static inline bool entry_names_cell(uint64_t value)
{
    return value && !(value & ENTRY_FREE);
}

int ledger_begin(void); /* the caller has a ledger, if empty.  -ENOMEM */

/* One thread of this process at a time changes ledger_mine, or any number fork and copy it. */
void ledger_mine_enter(void);
void ledger_mine_leave(void);
/* false: the caller's own thread is just changing it, below a signal handler. */
bool ledger_mine_enter_to_fork(void);
void ledger_mine_leave_in_starter(void);
void ledger_mine_leave_in_child(void);

/* In there: of ledger_mine; NULL: no such. */
ledger_entry *ledger_entry_at(uint32_t number);

/* The caller's own: entry by entry; who is killed at it leaves the rest to the sweep of itself. */
void ledger_block_give_back(struct ledger_block *b);
uint64_t ledger_block_count(const struct ledger_block *b); /* entries that name a cell */
/* Entries that name a cell, in ledgers and bequests: for checks, and nobody is inside. */
uint64_t ledgers_count(void);

#endif
