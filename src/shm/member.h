/*
 * The table of members: who is in the family, alive or not, and what became of those before.
 *
 *    life.h      a life: its word and its lock      fate.h       alive, left or died
 *    slot.h      the records of the table           history.h    those who had a slot before
 *    witness.h   whether a process has exec'ed      thread.h     numbers of threads
 *    join.c      the way in                         operation.h  what a thread is about
 *
 * M1  a record's plain fields are written only by the process whose pid is in a CLAIMED word
 * M2  a member id names a slot and a generation; generation and slot never come together twice
 * M3  a slot is FREE again only when its process has ended, or execs, and its sweep has after that
 * M4  left[] says for the last HISTORY generations which left; all others died
 * Crash: a sweeper that is killed leaves LEFT or DIED; the next one that looks does it all again.
 */
#ifndef PIU_SHM_MEMBER_H
#define PIU_SHM_MEMBER_H

#include "shm/arena.h"
#include "shm/fate.h"
#include "shm/operation.h"

#include <pthread.h>
#include <sys/types.h>

/*
 * A member id, as it stands in owner words (see owner.h):
 *
 *     63..48 thread   47..32 generation, high   31 waiters   30..17 slot   16..0 generation, low
 *
 * An id has thread and waiters 0.  A *who* is an id with the calling thread's number.
 */
#define ID_WAITERS (UINT64_C(1) << 31)
#define ID_MASK    UINT64_C(0x0000ffff7fffffff)
#define WHO_MASK   UINT64_C(0xffffffff7fffffff)
#define ID_OWNER \
    UINT32_C(0x7fffffff) /* slot and low generation: enough until the sweep */
#define NAME_SIZE     32
#define HISTORY_WORDS 4
#define HISTORY       145 /* generations that are remembered at least */
#define HELD_ENTRIES  24

static inline uint32_t id_slot(uint64_t id)
{
    return (uint32_t)(id >> 17) & (MEMBER_SLOTS - 1);
}

static inline uint64_t id_generation(uint64_t id)
{
    return (id & 0x1ffff) | (id >> 32 & 0xffff) << 17;
}

static inline uint64_t id_make(uint32_t slot, uint64_t generation)
{
    return (generation & 0x1ffff) | (uint64_t)slot << 17 |
           (generation >> 17 & 0xffff) << 32;
}

/* A block that a member is about to own, or owns: hints that never miss one (held.h). */
struct held {
    _Atomic uint64_t block; /* 63..48 thread, offset; 0: the entry is free */
    _Atomic uint64_t into;  /* offset of the word that receives its address; 0: none */
};

struct member {
    _Atomic uint64_t life;
    _Atomic uint64_t identity; /* see os/pidfd.h */
    uint64_t starter;          /* member id; 0: none */
    _Atomic uint32_t held_overflow;
    _Atomic uint32_t threads; /* that have called so far */
    _Atomic uint32_t cpu;     /* 1 + where it was when it last had to wait; 0: unknown */
    _Atomic uint32_t idle;    /* it does nothing unasked */
    _Atomic uint64_t
        child; /* generation and pid, as in a life word: for whom it was claimed */
    char name[NAME_SIZE];
    _Atomic uint64_t exitcode; /* 63..9 generation   8 it is known   7..0 exit code */
    alignas(64)
        pthread_mutex_t life_lock; /* robust, held while alive: the kernel's own news */
    alignas(64) _Atomic uint64_t left[HISTORY_WORDS];
    alignas(64) struct operation operations[OPERATIONS];
    alignas(64) _Atomic uint64_t held_lock; /* an owner word: one thread at a time */
    struct held held[HELD_ENTRIES];
};
static_assert(sizeof(struct member) <= MEMBER_SIZE, "shared layout: raise ARENA_STAMP");

/* What the process knows of itself: zero after fork, so a child is nobody until it joins. */
#define THREADS_MAX 65536u

struct self {
    _Atomic uint64_t id;
    _Atomic uint32_t joining;
    _Atomic uint32_t thread_cursor;
    _Atomic uint64_t threads[THREADS_MAX / 64]; /* numbers that are in use, by bit */
};

struct member_thread {
    uint64_t id; /* of the process when `who` was made */
    uint64_t who;
};

extern struct self *member_self; /* never NULL */

static inline uint64_t member_self_id(void)
{
    return atomic_load(&member_self->id);
}

extern _Thread_local struct member_thread member_thread
    __attribute__((tls_model("initial-exec")));

int member_join(void); /* the slow way of member_who() */

/*
 * Who is calling: > 0 words that fit an owner word.  The first call of a process makes it a
 * member.  0 or -errno (see piu.h, "Errors").
 */
static inline int member_who(uint64_t *ret)
{
    if (unlikely(!member_thread.id ||
                 member_thread.id !=
                     atomic_load_explicit(&member_self->id, memory_order_relaxed))) {
        int r = member_join();

        if (r < 0)
            return r;
    }
    *ret = member_thread.who;
    return 0;
}

/*
 * A call that needs `object` in shared memory: 0, -EINVAL: it is NULL, -EFAULT: it lies elsewhere,
 * or as member_who().
 */
static inline int member_uses(const void *object, size_t size, uint64_t *ret_who)
{
    int r = likely(object) ? member_who(ret_who) : -EINVAL;

    return unlikely(r < 0) ? r : likely(arena_has(object, size)) ? 0 : -EFAULT;
}

/*
 * One that only reads or writes `object`, wherever it lies: a program that was exec'ed finds
 * shared memory from its first call on, so it joins.  0, -EINVAL: it is NULL, or as member_who().
 */
static inline int member_looks(const void *object)
{
    uint64_t who;

    return unlikely(!object) ? -EINVAL : likely(arena.base) ? 0 : member_who(&who);
}

/* The same for a thread that has asked just now: it sweeps, say, or is in a lock. */
static inline uint64_t member_who_again(void)
{
    return member_thread.who;
}

struct member *member_of(uint64_t id); /* its slot's record; NULL: no such slot */

pid_t member_pid(uint64_t id); /* 0: it has ended */
/* "NAME" of a live or just ended member, for messages; always terminated. */
void member_name(uint64_t id, char ret[NAME_SIZE]);
/*
 * The word that the kernel changes when the member ends (or execs), for futex_wait_any; NULL:
 * none.  It wakes one sleeper: who wakes up so and finds the member dead wakes the others.
 */
const _Atomic uint32_t *member_life_futex(uint64_t id, uint32_t *ret_expected);

/*
 * By the member itself: where the thread that joined has ended, this one holds the word from
 * now on.  Without it all who wait for the member would have to ask for its life in short turns.
 */
void member_renew(uint64_t who);

/* A slot for a child to be: the starter's, until the child (which knows the id) joins. */
int member_claim(const char *name, uint64_t *ret_id);
void member_unclaim(uint64_t id); /* no child came of it */
/* The child has this pid: a claim whose child has ended is nobody's that could still come. */
void member_claim_child(uint64_t id, pid_t pid);
/* The caller only does what others ask it to: see member_is_alone(). */
void member_set_idle(void);
/*
 * No thread of this process forks between the two: what is opened there can be noted before a child
 * has a copy.  Short, and not below each other.
 */
struct forks_bar {
    bool barred;
    int cancel;
};
struct forks_bar member_bar_forks(void);
void member_unbar_forks(struct forks_bar bar);
/*
 * Before the fork: what the child needs and would be slow to make.  The starter closes its
 * descriptor behind the fork, by member_witness_close().
 */
int member_witness(int *ret_fd);
void member_witness_close(int fd); /* -1: nothing */
/* In the child, given that or -1; takes a new slot if the claim is gone. */
int member_join_as(uint64_t id, int given);
/*
 * Around a fork, for handlers of it that need the child to be a member: it is this one (0: any),
 * with this witness (-1: none), if it joins before it comes to member_join_as().  For the
 * calling thread and its child; (0, -1): no longer.
 */
void member_expect(uint64_t id, int given);
bool member_expects(void);
/* For when somebody else reaps the caller: what it is about to give to exit(). */
void member_note_exitcode(int exitcode);
int member_exitcode(uint64_t id, int *ret); /* -ENODATA: it did not say, or long ago */

void member_leave(void); /* by its own will: sweeps itself.  exit() does it. */

/*
 * Is it any use to spin until that member has done something?  Not with one CPU, nor if it
 * waited last on the one where we are.  The caller, who is about to wait, says where it is.
 */
bool member_worth_spinning(uint64_t who, uint64_t other);

/* Walk over all: live members' ids, from slot `*cursor` on; 0 at the end. */
uint64_t member_next(uint32_t *cursor);

/* Tests under TSan: this thread plays a member of its own, and later leaves or "dies". */
int member_play(const char *name);
void member_play_end(bool died);

#endif
