/*
 * Descriptors that a thread opens for a child that it is still to fork.  A child that another
 * thread forks meanwhile has them too, and closes them: a copy of an end of a pipe or a socket
 * would keep its peer from hearing that it was closed.
 */
#ifndef PIU_TASK_AHEAD_H
#define PIU_TASK_AHEAD_H

#include "shm/member.h"

/* Between member_bar_forks(), behind which `fd` was opened, and member_unbar_forks(). */
void ahead_note(int fd);
/* In the starter, behind the fork; in the child it is only closed.  -1: nothing. */
void ahead_close(int fd);
void ahead_done(const int *fd); /* cleanup(): the same */

#endif
