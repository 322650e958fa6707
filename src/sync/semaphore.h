/* The semaphore's inside, for tests. */
#ifndef PIU_SYNC_SEMAPHORE_H
#define PIU_SYNC_SEMAPHORE_H

#include "os/base.h"

#include <piu.h>

bool semaphore_check(const struct piu_semaphore *s); /* nobody is inside a call */
unsigned semaphore_debt(const struct piu_semaphore *s);

#endif
