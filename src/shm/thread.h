/*
 * Threads: each that calls has a number, given in turn, and again only when its thread has ended:
 * two with the same one would share a recursive lock.
 */
#ifndef PIU_SHM_THREAD_H
#define PIU_SHM_THREAD_H

#include "shm/member.h"

void thread_begin(uint64_t id); /* the calling thread is one of that member */

#endif
