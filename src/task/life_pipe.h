/*
 * The life pipe of this process: made with its first bound child, its only write end is ours.
 * When we end, in whatever way, the kernel kills all who are bound to it.
 *
 * A child made by fork() closes both ends at once.  A child of _Fork() keeps them until it
 * makes a pipe of its own or ends: until then it keeps the bound children alive.
 */
#ifndef PIU_TASK_LIFE_PIPE_H
#define PIU_TASK_LIFE_PIPE_H

#include "os/base.h"

int life_pipe_open(int *ret_read_end); /* made at first use; stays ours */
/*
 * For one child, before the fork: what it will arm with fd_life_arm(), in its first moments,
 * and keep open.  The starter closes its copy behind the fork.
 */
int life_pipe_for_child(int *ret_fd);

#endif
