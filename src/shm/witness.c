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

/*
 * Those opened for children that are still to be forked: 1 + descriptor, 0: free.  With more at
 * once, as many threads fork, those beyond are not noted.
 */
#define AHEAD 256

static _Atomic int ahead[AHEAD];

static void ahead_change(int from, int to)
{
    for (unsigned i = 0; i < AHEAD; i++) {
        int old = from;

        if (atomic_load(&ahead[i]) == from &&
            atomic_compare_exchange_strong(&ahead[i], &old, to))
            return;
    }
}

int witness_open_ahead(int *ret_fd)
{
    int r = fd_witness_open(arena.fd, ret_fd);

    if (r == 0)
        ahead_change(0, *ret_fd + 1);
    return r;
}

void witness_close_ahead(int fd)
{
    ahead_change(fd + 1, 0);
    fd_close(fd);
}

void witnesses_close_but(int given)
{
    for (unsigned i = 0; i < AHEAD; i++) {
        int fd = atomic_load(&ahead[i]) - 1;

        if (fd < 0)
            continue;
        atomic_store(&ahead[i], 0);
        if (fd != given && arena_is_behind(fd))
            fd_close(fd);
    }
    witness_close();
}

int witness_take(uint64_t id, int given)
{
    int r = 0;

    witnesses_close_but(given);
    witness = given;
    if (witness < 0)
        r = fd_witness_open(arena.fd, &witness);
    return r < 0 ? r : fd_witness_lock(witness, witness_index(id));
}
