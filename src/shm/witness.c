/* The witness of this process, and whether another has one. */
#include "shm/witness.h"

#include "os/fd.h"

/*
 * Not in wiped memory: a forked child has it open and must close it, or its parent would seem to
 * live on after an exec.  A child of _Fork() does so when it joins.
 */
static int witness = -1;

static uint64_t witness_index(uint64_t id)
{
    return id_generation(id) * MEMBER_SLOTS + id_slot(id);
}

void witness_close(void)
{
    if (arena_is_behind(
            witness)) /* not when the program has closed it, and has another there */
        fd_close(witness);
    witness = -1;
}

bool witness_is(int fd)
{
    return fd == witness;
}

bool witness_is_held(uint64_t id)
{
    return arena_witness_is_held(witness_index(id));
}

int member_witness(int *ret_fd)
{
    return fd_witness_open(arena.fd, ret_fd);
}

int witness_take(uint64_t id, int given)
{
    int r = 0;

    witness_close();
    witness = given;
    if (witness < 0)
        r = member_witness(&witness);
    return r < 0 ? r : fd_witness_lock(witness, witness_index(id));
}
