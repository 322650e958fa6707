/*
 * The history of a slot, left[]: four words, used in turn, each for 48 generations: a bit for each
 * that left.  Which 48, its upper 16 bits tell: so a sweeper that was stopped for long, and comes
 * back when the slot has had hundreds of others, can neither write nor read what is not its own.
 *
 *    63      48 47                  0
 *    | round   | left, by generation |     round = generation / (4 * 48)
 */
#ifndef PIU_SHM_HISTORY_H
#define PIU_SHM_HISTORY_H

#include "shm/member.h"

/* What is not noted died.  Who notes it twice notes the same. */
void history_note_left(struct member *m, uint64_t generation);
enum fate history_read(struct member *m, uint64_t generation);

#endif
