/* Names of objects, for messages and reports: piu_name() and what the rest of piu does with it. */
#ifndef PIU_SHM_NAME_H
#define PIU_SHM_NAME_H

#include "os/base.h"

/*
 * The memory [start, start + size) is about to be freed: whatever had a name in there has none.
 * Costs one load while nobody in the family gives names.
 */
void name_forget(const void *start, size_t size);

#endif
