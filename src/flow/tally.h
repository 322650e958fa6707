/*
 * A tally: a number for each member that has one, in a block that one word of a queue names.  Who
 * got how many and has not said task_done; who is a declared putter.
 *
 *    word --> | capacity | marks: id, count ...
 *
 * Changed by get.lock (got_by) or put.lock (putters).
 * Crash: a mark whose id was not stored yet is free.  A larger one is made aside, then the word
 * moves, and with it both blocks (B4).
 */
#ifndef PIU_FLOW_TALLY_H
#define PIU_FLOW_TALLY_H

#include "os/base.h"

struct tally {
    uint32_t capacity;
    uint32_t reserved;
    struct tally_mark {
        _Atomic uint64_t id; /* member; 0: free */
        _Atomic uint64_t count;
    } marks[];
};

struct tally *tally_at(_Atomic uint64_t *word); /* NULL: none, or written over */
struct tally_mark *tally_find(_Atomic uint64_t *word, uint64_t id);
/*
 * The member's mark; made if it has none, in place of one that has ended and, where the marks
 * count, has nothing to be counted any more.  0, -ENOMEM, -EBADMSG.
 */
int tally_add(_Atomic uint64_t *word, uint64_t id, bool counts, struct tally_mark **ret);

/* A mark by its number from 1 on, which stays when a larger tally takes its place; NULL: none. */
uint64_t tally_index(_Atomic uint64_t *word, const struct tally_mark *mark);
struct tally_mark *tally_mark_at(_Atomic uint64_t *word, uint64_t index);

#endif
