/*
 * Runs: units in a row, for a large block or a span.
 *
 * B5  behind its head a run is written only by the member that its word names; whoever punches it
 *     has first made it so
 * B7  free units keep their memory, for the next block, up to 64 MB of them; what is freed beyond that
 *     gives its memory back.  header.kept counts them, as a hint: a death between a word and the
 *     count leaves it wrong by that run.  Who finds the heap lock of a dead one counts anew
 */
#ifndef PIU_SHM_RUN_H
#define PIU_SHM_RUN_H

#include "shm/held.h"
#include "shm/heap.h"

/* A block that somebody wants. */
struct wish {
    struct holder holder;
    uint64_t word; /* what the head, or the block's word, shall be */
    uint64_t into;
};

/* Units that a head with this word has; 0: no used one. */
static inline uint64_t run_length(uint64_t word)
{
    return word_kind(word) == KIND_USED || word_kind(word) == KIND_SPAN
               ? max_u64(word_units(word), 1)
               : 0;
}

/* The heap lock is held.  *ret_clean: never used, so all zero.  0 or -ENOMEM. */
int run_new(const struct wish *wish, uint64_t align, uint64_t *ret_unit, bool *ret_clean);
/* From `old`, used, to free, if nobody is faster.  Its memory is kept or given back (B7). */
bool run_free(const struct holder *h, void *block, _Atomic uint64_t *word, uint64_t old);

/* The heap lock is held: B7's count and hint anew. */
void runs_recount(void);

bool run_check(uint64_t unit, uint64_t length);

#endif
