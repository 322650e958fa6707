/*
 * Sleeping in slices: 20 ms at first, then longer up to 100 ms.  Nothing in src/sync/ depends
 * on a wake-up: whoever sleeps looks again after every slice, at its word and at the members
 * that matter, so a waker that was killed before the wake costs a slice and no more.
 *
 *     slices_begin(&s, who, object, timeout);
 *     slices_spin(&word, expected);
 *     while ((r = try()) == -EBUSY && (r = slices_sleep(&s, &word, expected)) == 0)
 *         ;
 *     slices_end(&s);
 *
 * Where it is known whose death would end the wait, the caller says so at each sleep (struct lives),
 * and the kernel wakes it: those who wait need not come to the end of a slice to see it.  They
 * do so behind a first slice of 1 ms: most sleeps are over by then, and one futex is cheaper.
 *
 * The last look comes after the time is up: a timeout of 0 looks once.  A wait without a timeout
 * asks after each slice of 100 ms whether anybody is left who could end it (shm/fate.h).
 */
#ifndef PIU_SYNC_SLICES_H
#define PIU_SYNC_SLICES_H

#include "os/futex.h"
#include "shm/member.h"

#define SLICE_FIRST INT64_C(20000000)
#define SLICE_LAST  INT64_C(100000000)

/* Members, found alive just now: more are not watched, and seen to end after a slice. */
#define LIVES_MAX (FUTEX_WATCH_MAX - 1)

struct lives {
    unsigned count;
    uint64_t ids[LIVES_MAX];
};

/* An id, or a who. */
static inline void lives_add(struct lives *l, uint64_t who)
{
    if (l->count < LIVES_MAX)
        l->ids[l->count++] = who & ID_MASK;
}

struct slices {
    uint64_t who;
    const void *object; /* for people; NULL: it is private */
    int64_t deadline;
    int64_t next; /* length of the next slice */
    int64_t
        doubt; /* likewise, while a member seems dead and its process is still there */
    bool told; /* people are */
    bool alone;
};

void slices_begin(struct slices *s, uint64_t who, const void *object, int64_t timeout);
void slices_begin_watching(struct slices *s, uint64_t who, const void *object,
                           int64_t timeout);
/* While *word == expected, a few us at most, and not at all on one CPU. */
void slices_spin(const _Atomic uint32_t *word, uint32_t expected);
/*
 * Sleep while *word == expected and all of them live (NULL: nobody known), a slice at most.
 *     0        look again        -ETIMEDOUT   the time was up before      -EINTR
 *     -EDEADLK nobody is left who could change it
 */
int slices_sleep(struct slices *s, const _Atomic uint32_t *word, uint32_t expected,
                 const struct lives *lives);
void slices_end(struct slices *s);

#endif
