/*
 * Bequests: how a forked child gets a ledger like its starter's.
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
 * L2  a bequest that is the family's is in the list; `next` and the list change in the gate
 */
#ifndef PIU_FLOW_BEQUEST_H
#define PIU_FLOW_BEQUEST_H

#include "flow/ledger.h"
#include "os/clock.h"

#define BEQUEST_LASTS     (60 * SEC)
#define EXIT_DISINHERITED 127

/* Those that nobody came for in time. */
void bequests_give_back(void);
uint64_t bequests_count(void); /* entries that name a cell: for checks */

#endif
