/*
 * Fates: whether a member lives, and what became of one that does not.  Whoever asks sweeps what
 * it finds ended, and frees the slot.
 */
#ifndef PIU_SHM_FATE_H
#define PIU_SHM_FATE_H

#include "os/base.h"

enum fate { FATE_ALIVE, FATE_LEFT, FATE_DIED };

/*
 * What became of a member.  Looks at the process itself if need be (some us), and sweeps
 * what it finds dead.  An id that nobody ever had counts as died.
 */
enum fate member_fate(uint64_t id);
/*
 * The same without the sweep: inside piu's critical sections, which the sweep may need to
 * enter itself.  The sweep is then due to whoever asks next.  One that left counts as alive
 * until its process has ended: a thread of it may be inside such a section.
 */
enum fate member_fate_unswept(uint64_t id);
/*
 * Find the dead and sweep them: what a waiter does who cannot know whose death would matter.
 * `thorough` asks the kernel about each member (1 us each), otherwise memory alone (20 ns).
 */
void member_sweep_dead(bool thorough);
/* The same from memory alone, some ns: false means "ask member_fate". */
bool member_seems_alive(uint64_t id);

/*
 * Is the caller the last one that could ever do anything in the family?  Then what it waits for
 * will not come.  That is so if
 *
 * F1  no other slot is LIVE, or LEFT by a process that still runs, but for those that do nothing
 *     unasked (member_set_idle)
 * F2  no slot is CLAIMED for a child that may still come
 * F3  no process may join that no slot tells of: no member has forked by itself, or handed on what
 *     a program needs to join, and no claimer was killed whose child nobody knows
 * F4  the calling thread is the only one of its process, and no signal handler can interrupt it
 *
 * false where one of them cannot be told.  Sweeps as member_sweep_dead(true), up to the first that
 * lives: some us while there is one, 50 us when not.  For waits without a timeout, in long slices;
 * who hears that it is alone looks once more for what it waits for: it may have come before.
 */
bool member_is_alone(void);

/* A slot that may be freed, is. */
void slot_tidy(uint32_t slot);
/* The same of a claim alone: it never sweeps, so who is no member yet may call it. */
void slot_tidy_claim(uint32_t slot);

#endif
