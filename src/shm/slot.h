/*
 * Slots: the records of the table of members, and how one is claimed.
 *
 * They get memory in pieces.  A window of slots is gone through in turn before one is used again,
 * so that generations of one slot do not follow each other fast; it widens when it is full.
 */
#ifndef PIU_SHM_SLOT_H
#define PIU_SHM_SLOT_H

#include "shm/life.h"

static inline struct member *slot_record(uint32_t slot)
{
    return (struct member *)(void *)(arena.base + ARENA_MEMBERS +
                                     (size_t)slot * MEMBER_SIZE);
}

struct member *slot_member(uint32_t slot); /* NULL: it has no memory, or is nobody's */

static inline uint32_t slots_end(void)
{
    return arena.base ? arena_slots() : 0;
}

/* LEFT, DIED, or a claim that nobody came to: FREE in the next generation; once. */
bool slot_free(struct member *m, uint64_t life);
/* For whom that claim was made, 0: not known (yet). */
pid_t slot_child(const struct member *m, uint64_t life);
/* CLAIMED by the starter -> CLAIMED by us, so that nobody takes the record while we fill it. */
bool slot_take_over(uint64_t id);

#endif
