/*
 * A double for engines of other hosts: a forked process with a pool of its own, and between it and
 * us a socket through which all goes by value.  Linked into a test, each pool has it.
 *
 *    remote.c --give--> engine.c --frames--> place.c: range_begin(), piu_pool, range_outcome()
 *             <-next---          <--frames--
 */
#ifndef PIPE_PIPE_H
#define PIPE_PIPE_H

#include "frame.h"
#include "task/engine.h"
#include "task/pool.h"

#define WINDOW_MOST 128u

extern const struct engine_kind pipe_engine;

/* What goes before the bytes. */
struct wire_range {
    alignas(64) struct code_address run;
    struct code_address call;
    uint32_t call_at, retries;
    uint64_t first, last;
    uint64_t task_size, in_bytes, out_bytes;
    uint32_t has_in, has_out;
};

struct wire_outcome {
    alignas(64) int32_t how;
    int32_t error;
    uint64_t losses_count, tries_count, failures_count, out_bytes;
};

struct wire_hello {
    uint64_t pool; /* offset of its shared part, for its workers' pids */
};

/* What the next outcomes that a place sends have wrong.  In memory that it shares. */
enum mischief {
    MISCHIEF_NONE,
    MISCHIEF_SIZE,   /* a frame of 2^60 bytes */
    MISCHIEF_COUNT,  /* more losses than bytes for them */
    MISCHIEF_TICKET, /* one that nobody gave */
    MISCHIEF_ITEMS,  /* a loss of items that it was not given */
    MISCHIEF_SHORT,  /* fewer bytes than the items have */
    MISCHIEF_KIND    /* a frame that no place sends */
};
extern _Atomic int *pipe_mischief;

pid_t pipe_place(void); /* the one that this process started last */
_Noreturn void place_main(int socket, const struct piu_pool_keywords *keywords);

#endif
