/*
 * Whether a process consists of its calling thread alone, and nothing can make it do anything
 * else: asked of /proc/self/status.
 */
#ifndef PIU_OS_SOLO_H
#define PIU_OS_SOLO_H

#include "os/base.h"

/*
 * The caller is the only thread of its process, and no signal has a handler that could interrupt
 * it.  Handlers of faults (SIGSEGV and the like) run for what the thread itself does, and do not
 * count; nor do the two that glibc has for threads.  false also where it cannot be told.
 */
bool solo_is_sure(void);

#endif
