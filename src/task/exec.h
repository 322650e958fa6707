/* Children that are other programs. */
#ifndef PIU_TASK_EXEC_H
#define PIU_TASK_EXEC_H

#include "task/child.h"

/*
 * vfork and execvpe: no copy of the starter's memory is made, whatever its size.  The program
 * finds the family in its environment, joins it with its first piu call under the claimed id,
 * and may never do so.  0, or why there is no child: what exec said, as child_fork().
 */
int exec_start(struct child *ret, const char *name, const char *const *argv, bool bound);

#endif
