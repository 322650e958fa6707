/*
 * The kill harness: a page for each structure, tests/step/<structure>.c, says
 *
 *     state       what lies in shared memory before   set_up(), by the survivor
 *     peers       who else is about, asleep           each in a process of its own
 *     operation   what the victim does                killed after each of its instructions
 *     check       what the survivor finds, and does   with a time limit, which is a hang-guard
 *
 *     static void lock_use(void *state) ...
 *     static void lock_goes_on(void *state) ...
 *     KILL(lock, free, .size = sizeof(struct state), .operation = lock_use,
 *          .check = lock_goes_on);
 *
 * All CHECKs of test.h work in all of them; one that fails is a violation.  The state is in
 * the arena: before each kill the whole arena is put back to what it was after set_up().
 * With `fresh` each kill has a family of its own instead (the state is then shared memory
 * outside of it): for what a process keeps in private memory, children say.
 * With `other` it is a grid of two: B is stopped after its m-th instruction of `other`, A is
 * killed after its n-th of `operation`, B goes on to its end and is killed there.
 * With `then` there is a second victim, too: when A is dead, B is killed after its m-th of `then`.
 * With `inside` the check does it all, and one of the processes that piu itself starts meanwhile is
 * killed: the first that is what `inside` says; with `waits` only once victim_inside_opens().
 * With `twin` the structure is broken on purpose, and there must be a violation; `instead` names
 * broken programs for the processes that piu starts.
 */
#ifndef STEP_KILL_H
#define STEP_KILL_H

#include "test.h"
#include "victim.h"

#include <stdatomic.h>
#include <time.h>

#define KILL_PEERS 4

struct pool_shared;
struct zygote;

/* What runs in place of piu's own; NULL: its own does. */
struct instead {
    void (*nursery)(struct pool_shared *p);
    void (*worker)(struct pool_shared *p, unsigned place);
    void (*zygote)(struct zygote *z);
};

struct kill_case {
    const char *structure, *name;
    size_t size; /* of the state, zeroed */
    void (*set_up)(void *state);
    void (*peers[KILL_PEERS])(void *state);
    void (*prepare)(void *state); /* by the victim, before it can be killed */
    void (*operation)(void *state);
    void (*other_prepare)(void *state);
    void (*other)(void *state);
    void (*then)(void *state);
    void (*check)(void *state);
    enum role inside;
    bool waits;
    unsigned ways; /* of checking, see kill_now.way; 0: one */
    size_t most;   /* instructions, spread over all of a long way; 0: each */
    bool forks;    /* the victim does, or blocks signals */
    bool stranger; /* the victim is not a member before `prepare` */
    bool fresh;
    bool twin;
    struct instead instead;
    double weight; /* of its part in a budget */
    struct kill_case *next;
};

void kill_register(struct kill_case *c);

#define KILL(structure_, name_, ...)                                               \
    static struct kill_case case_##structure_##_##name_ = {                        \
        .structure = #structure_, .name = #name_, __VA_ARGS__};                    \
    __attribute__((constructor)) static void register_##structure_##_##name_(void) \
    {                                                                              \
        kill_register(&case_##structure_##_##name_);                               \
    }                                                                              \
    _Static_assert(true, "")

/* A broken twin: the name says how it is wrong. */
#define TWIN(structure_, name_, ...) KILL(structure_, name_, .twin = true, __VA_ARGS__)

/* What the check may want to know of this kill. */
struct kill_now {
    unsigned way;   /* 0 .. ways - 1 */
    bool ended;     /* the operation was done before the kill */
    enum death how; /* after DEATH_EXEC its process still runs */
};

extern struct kill_now kill_now;

/* In a peer: what it is there for has been done, or begins now and will sleep. */
void peer_is_ready(void);
/* In a peer that is to act when the victim sleeps in the kernel: returns then, or at its death. */
void peer_awaits_victim(void);
/* In the check: it has ended, with exit code 0. */
void peer_join(unsigned i);
pid_t peer_pid(unsigned i);
bool peer_rests(unsigned i); /* it sleeps, or has ended */
bool peer_has_ended(unsigned i);
void peer_kill(unsigned i);
void peer_stop(unsigned i);
void peer_continue(unsigned i);

/* In the check: what the victim had started ends by itself. */
void kill_orphans_end(void);
bool kill_has_orphans(void);

uint64_t kill_who(void); /* the caller, as member_who() says */

/* block_count() of now less that before set_up(). */
long kill_blocks(void);
unsigned kill_living(void); /* members */
void kill_all_end(void);    /* what was started: the survivor is alone then */

/* ---- Between the harness and its victims ------------------------------------------------- */

void kill_victim_is(pid_t pid);
/* The letter of /proc/PID/stat; Z too where there is no such process. */
char process_state(pid_t pid);
const char *kill_idle_program(void);

#endif
