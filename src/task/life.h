/*
 * The life pipe of this process: made with its first bound child, its only write end is ours.
 * When we end, in whatever way, the kernel kills all who are attached to a read end.
 *
 * A child made by fork() closes the write end at once.  A child of _Fork() keeps it until it
 * makes a pipe of its own or ends: until then it keeps the bound children alive.
 */
#ifndef PIU_TASK_LIFE_H
#define PIU_TASK_LIFE_H

#include "os/base.h"

int life_open(int *ret_read_end); /* made at first use; stays ours */

/*
 * In a forked child: be bound to the owner of the pipe behind `read_end`, for good; closes it.
 * `inheritable`: in a vfork child, and beyond exec, which closes it.
 *     -EPIPE   the owner has gone already
 */
int life_attach(int read_end, bool inheritable);

#endif
