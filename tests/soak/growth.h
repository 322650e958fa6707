/* What the checker and the family have, looked at when a round is over: it must not grow. */
#ifndef SOAK_GROWTH_H
#define SOAK_GROWTH_H

#include "soak.h"

enum usage_kind { RESIDENT, HEAP, DESCRIPTORS, ARENA, BLOCKS, MEMBERS, USAGES };

struct usage {
    uint64_t of[USAGES];
};

/* Sweeps, so that what the dead had is not counted. */
struct usage usage_now(void);
/* Objects were made and freed in between: are there as many blocks and members as before? */
void usage_check(const struct usage *before, const struct usage *after);
/* At the end of each round. */
void growth_note(const struct usage *u);
/* When all are over: has it grown since the first quarter of them?  Prints what there is. */
void growth_check(void);

#endif
