/*
 * The children that this process has started and not closed, for its exit: as in Python daemons
 * are ended then, and the others awaited.
 */
#ifndef PIU_TASK_CHILDREN_H
#define PIU_TASK_CHILDREN_H

#include "task/process.h"

/* By their starter; any thread. */
void children_add(struct piu_child *c);
void children_remove(const struct piu_child *c);

#endif
