/*
 * The soak: many processes use everything at once, and are killed at random.
 *
 *    checker   starts all others, kills them, and judges        main.c cast.c
 *    actors    processes, each in a role of a subject           a page for each subject
 *    ledger    what all of them say, in plain shared memory of the checker's, none of piu's
 *
 *    round     fresh objects | burst, calm, burst, calm ... | all end | everything is counted
 *    burst     kills at random moments
 *    calm      nobody is killed until each actor has come through two operations more, for which
 *              it has a second: so no later death can wake by chance whom an earlier one forgot
 *
 * The checker is the eldest of the family, but asks piu for nothing while a round is on: deaths
 * are noticed and swept by the survivors alone.
 */
#ifndef SOAK_H
#define SOAK_H

#include <piu.h>

#include <errno.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WAIT_LIMIT   INT64_C(1000000000) /* ns a wait may last beyond a victim's own end */
#define ACTORS_MAX   64
#define POOL_WORKERS 2

struct actor;

/* What some of the actors of a subject do. */
struct role {
    const char *name;
    unsigned count;
    void (*play)(struct actor *a); /* until a->stop */
    void (*died)(
        struct actor *a); /* in the checker: what was in its hands?  May be NULL. */
    bool last; /* stopped when the others have ended: they wait for what it does */
};

#define SUBJECT_ROLES 3

/* The functions may be NULL; the checker calls them while no actor lives, save for `close`. */
struct subject {
    const char *name;
    void (*set_up)(void);
    void (*close)(void); /* again and again, while those who are `last` end */
    void (*check)(void); /* is all as it must be?  Frees it. */
    struct role roles[SUBJECT_ROLES];
};

extern const struct subject queue_subject, lock_subject, rwlock_subject,
    semaphore_subject, condition_subject, event_subject, barrier_subject, process_subject,
    pool_subject;

struct actor {
    alignas(128) const struct role *role;
    unsigned number;                /* in its role */
    _Atomic pid_t pid;              /* 0: it does not run */
    unsigned life;                  /* 1: the first of this number in its round */
    uint64_t random;                /* state of its random_below() */
    _Atomic bool stop;              /* it is to end, with exit code 0 */
    _Atomic bool doomed;            /* about to be killed, or dead and not yet followed */
    _Atomic(const char *) doing;    /* the call that it is in; NULL: in none */
    _Atomic int64_t since, stalled; /* clock and ledger->stalled when it began that */
    _Atomic uint64_t done;          /* calls that have ended, in all lives */
    int64_t longest;                /* ns, of them */
    const char *longest_in;
    _Atomic int64_t late,
        late_stalled; /* one that took too long, for the checker: as above */
    const char *late_in;
    long descriptors[2], heap[2];        /* at its beginning and at its end */
    _Atomic pid_t workers[POOL_WORKERS]; /* of its pool */
};

#define VIOLATIONS_KEPT 20

struct ledger {
    uint64_t seed;
    int64_t begin;
    int64_t limit; /* ns that a wait may last */
    unsigned rounds, bursts;
    const char *step; /* what the checker is at */
    _Atomic int64_t
        waits_from; /* waits that began before count from then: partners had gone */
    _Atomic int64_t teardown; /* ns, of the victim that took longest to end */
    _Atomic int64_t
        forking; /* clock since when the keeper tries to fork; 0: it does not */
    _Atomic int64_t stalled; /* ns in which the machine ran nobody, or others */
    _Atomic unsigned violations;
    _Atomic unsigned broken_pools;
    unsigned actor_count;
    struct actor actors[ACTORS_MAX];
};

extern struct ledger *ledger;
extern struct actor *self; /* NULL in the checker */

/* Zeroed, shared with later children, none of piu's. */
void *plain_shared_new(size_t size);
int64_t clock_ns(void);
uint64_t random_below(uint64_t *state, uint64_t limit);
/* In an actor: once in `many`. */
bool now_and_then(unsigned many);

/* A call of piu, recorded: ACT("get", piu_queue_get(...)). */
#define ACT(what, call)                       \
    __extension__({                           \
        act_begin(what);                      \
        __typeof__(call) act_result = (call); \
        act_end();                            \
        act_result;                           \
    })

void act_begin(const char *what);
void act_end(void);
/* In the checker: is the actor in a call for too long, or was it?  That is said. */
bool act_is_overdue(struct actor *a);
/* `ns` of the checker's own time in which it should have come along, and did not. */
void machine_was_late(int64_t ns);

/* Said at once, with who and when; the run fails. */
void violation(const char *format, ...) __attribute__((format(printf, 1, 2)));
void violation_of(const struct actor *a, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Something two words of which must change together: who sees half a change was misled. */
struct guarded {
    volatile uint64_t first, second;
};

/* `r`: what the acquire said. */
void guarded_change(struct guarded *g, int r);
void guarded_look(const struct guarded *g, int r);

#endif
