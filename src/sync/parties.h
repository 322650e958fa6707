/*
 * The barrier's inside: the parties that are at it.  All but parties_list(), parties_have_dead() and
 * what only reads is called inside the gate.
 */
#ifndef PIU_SYNC_PARTIES_H
#define PIU_SYNC_PARTIES_H

#include "shm/owner.h"
#include "sync/roll.h"
#include "sync/slices.h"

#include <piu.h>

/*
 *    0      8         16       24        28                              128
 *    | gate | arrived | ending | parties | turn | zero                   |
 *
 *    turn      31..1 generation   0 broken            (a futex: all waiters sleep on it)
 *    ending    63..32 how the generation ends (a state)   31..0 the next turn; 0: it does not
 *
 * Who arrived is an entry of the roll: who, value (its index), state.
 *
 *    not there --itself--> ARRIVED --the last to come--> PASSED --itself--> not there
 *         |                   |`--time up, abort, reset, a death--> BROKEN --itself--> not there
 *         |                   `--itself: a signal--> not there
 *         `--itself, the last--> ACTS, and then as those who have ARRIVED, released by itself
 *    a member that died:   ARRIVED or ACTS: the barrier breaks;   else its entry is taken out
 *
 * B1  the entries that are ARRIVED or ACTS are those of the generation that `turn` says; their
 *     indices are different, and there are less than `parties`, or `parties` while one ACTS
 * B2  entries are put, and states and `turn` change, inside the gate only
 * B3  a generation ends in steps: `ending` is stored, then the states, then `turn`, then `ending`
 *     is 0 again; whoever finds it not 0 does the steps again
 * B4  the result of a wait lies in its own entry, so that a slow one may leave while the next
 *     generations come and pass
 * B5  while one ACTS nobody else arrives: who comes then waits for another `turn`.  Who goes by a
 *     signal leaves its entry, and finds it when it comes again.  Nobody's time runs
 * Crash: in the gate, the next one in ends what was begun (B3); arrived, see above.
 */
struct barrier {
    alignas(64) owner_word gate;
    roll_word arrived;
    _Atomic uint64_t ending;
    uint32_t parties;
    _Atomic uint32_t turn;
    uint64_t reserved[12];
};
static_assert(sizeof(struct barrier) == sizeof(struct piu_barrier), "the public size");

enum arrival { ARRIVED = 1, PASSED, BROKEN, ACTS };

#define TURN_BROKEN     1u
#define TURN_GENERATION 2u

static inline uint32_t state_of(const struct roll_entry *e)
{
    /* acquire, for the release in ending_finish(): what the others did before is seen */
    return atomic_load_explicit(&e->state, memory_order_acquire);
}

static inline uint32_t turn_of(const struct barrier *b)
{
    return atomic_load_explicit(&b->turn, memory_order_relaxed);
}

static inline bool is_broken(const struct barrier *b)
{
    return turn_of(b) & TURN_BROKEN;
}

/* In the generation that `turn` says (B1). */
static inline bool is_here(const struct roll_entry *e)
{
    uint32_t state = state_of(e);

    return state == ARRIVED || state == ACTS;
}

/* The turn as it is; to be given to leave(). */
uint32_t parties_enter(struct barrier *b, uint64_t who);
void parties_leave(struct barrier *b, uint32_t turn);

/* All that are here: `how` is what they are told.  broken: nobody passes from now on. */
void parties_end(struct barrier *b, enum arrival how, bool broken);

unsigned parties_count(const struct barrier *b);
bool parties_act(const struct barrier *b); /* one of them does */
bool parties_have_dead(const struct barrier *b);
void parties_break_if_dead(struct barrier *b);
void parties_list(const struct barrier *b, struct lives *ret);

/* For one that comes: its index, and a place.  -ENOMEM */
unsigned parties_index(const struct barrier *b);
int parties_vacant(struct barrier *b, struct roll_entry **ret);

#endif
