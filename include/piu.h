/*
 * piu: processes, locks, queues and pools over shared memory, for Linux.
 *
 * Result   an int r < 0 is -errno: you did not get it, and nothing changed;
 *          r == 0: you got it;  r > 0: you got it, with news (enum piu_news) to be read.
 *          Counts and codes of yours come back through pointers, never as r; they are
 *          written only if you got it, save where it is said.  The three functions that
 *          give a descriptor (sentinel, fd) return it, >= 0.
 *          A pointer is NULL when you did not get it, and errno says why.
 * Time     relative nanoseconds; <= 0 is PIU_NOW, a sum that overflows is PIU_FOREVER.
 *          Out of time is -ETIMEDOUT.  A signal handler that ran while the caller slept
 *          ends the wait with -EINTR; only calls that have changed nothing return it.  One
 *          that was installed with SA_RESTART (as signal() does) may not end it.
 * Alone    PIU_FOREVER ends with -EDEADLK when the calling thread is the last one that
 *          could end the wait: all other members have ended, no child is on its way to
 *          join, its process has no other thread and no signal handler.  Nothing has
 *          changed then.  It comes some 100 ms after the last other one has ended, and not
 *          at all if there may be members that piu cannot know of: if any member of the
 *          family has called fork() by itself (or piu_family_text(), or PIU_EXEC), anyone
 *          may still come, and the wait goes on.  A child of _Fork() or of a bare clone()
 *          counts from its first call on.  A wait with a timeout ends with the timeout.
 * Memory   A family is one process and all that it starts.  A shared address means the
 *          same byte in the whole family; all other memory is private, copied by fork.
 *          An object made by *_new lives until *_free, called by any member, for the
 *          whole family. *_free accepts NULL and returns NULL.  Use after free is -ESTALE
 *          where it can be told.
 * Who      Any thread of any process of the family may call, also after the program's own
 *          fork() (not between vfork() and exec).  Signal handlers may not call, save
 *          piu_strerror().  A child that was forked while another thread was inside piu
 *          may call: the library keeps no lock in private memory.
 * Death    SIGKILL, _exit(), exec and every other end without return from run(), exit()
 *          or return from main(): the member *died*, and what it owned passes on, as each
 *          object says below.  Otherwise it *left*.
 * Errors   of every call: -EINVAL for a NULL or senseless argument, -EFAULT for an
 *          address that must be shared and is not, -ENOMEM.  The first call of a process
 *          makes it a member, and may fail with -ENOMEM, -EMFILE, -ENOSPC (16,383 members
 *          live), -ENOSYS (a seccomp filter forbids pidfd_open), -EADDRINUSE, -EPROTO or
 *          -EXDEV (an exec'ed child; see piu_process_start). -EBADMSG: the shared memory of this object was written
 *          over by somebody.
 * Names    noun_verb, with Python's verbs and keywords: pool = Pool(processes=8) is
 *          pool = piu_pool_new(.processes = 8).
 */
#ifndef PIU_H
#define PIU_H

#ifdef __cplusplus
extern "C" {
#else
#include <stdalign.h>
#include <stdbool.h>
#endif
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#pragma GCC visibility push(default)

#define PIU_VERSION_MAJOR 0
#define PIU_VERSION_MINOR 1
#define PIU_VERSION_PATCH 0
#define PIU_VERSION       "0.1.0"

#define PIU_NOW     INT64_C(0)
#define PIU_FOREVER INT64_MAX
#define PIU_MSEC(n) ((int64_t)(n)*1000000)
#define PIU_SEC(n)  ((int64_t)(n)*1000000000)

enum piu_news {
    PIU_OWNER_DIED = 1, /* you hold it, its last holder was killed: repair, go on */
    PIU_REDELIVERED,    /* this message had been taken by one that died */
    PIU_LOSSES,         /* some work was lost with its workers: read the report */
    PIU_FAILED,         /* some run() gave a code of its own: read the report */
    PIU_LAST            /* all have come to the barrier; they wait for what you do now */
};

#define piu_container_of(p, type, member) \
    ((type *)(void *)((char *)(p)-offsetof(type, member)))
#define PIU_KEYWORDS(type, ...) \
    (&(struct type){.struct_size = sizeof(struct type), __VA_ARGS__})

/* ---- The library ------------------------------------------------------------ */

const char *piu_version(void); /* of the library that runs; PIU_VERSION is the header's */

/*
 * What -errno or news means, for people: "out of time", "its last holder died".  A
 * constant string.  Any thread, also signal handlers.
 */
const char *piu_strerror(int r);

/*
 * What the library has to say (it prints nothing itself): one line of at most 255 bytes, no
 * newline, in whichever thread met it.  It must not call piu.
 */
typedef void piu_log_function(void *argument, const char *line);

struct piu_init_keywords {
    size_t struct_size;
    bool zygote; /* start a small process now, for piu_process_start(.how = PIU_ZYGOTE) */
    piu_log_function *log; /* NULL: as before.  Forked children keep it */
    void *log_argument;
};

/*
 * Optional.  Where a zygote is wanted it is the first line of main(), while the process
 * is small and has one thread.  -EBUSY: this process has a zygote already.
 */
#define piu_init(...) piu_begin(PIU_KEYWORDS(piu_init_keywords, __VA_ARGS__))
int piu_begin(const struct piu_init_keywords *keywords);

/*
 * Give an object (anything at a shared address) a name of at most 31 bytes, for messages
 * and reports; NULL takes it away.  -ENAMETOOLONG.  piu_name_of: the name, or "" where
 * there is none, copied into `room` bytes.
 */
int piu_name(const void *object, const char *name);
const char *piu_name_of(const void *object, char *ret, size_t room);

/*
 * The calling process is about to end by its own will, by a way that does not call exit():
 * its _exit() counts as *left*.  A call of piu after that makes it a member again.
 */
void piu_leave(void);

/*
 * For children that something else than piu_process_start() starts by exec.  The text (at
 * most 128 bytes) and a copy of the descriptor, which stays piu's, are all they need:
 * piu_family_join(text, descriptor) before their first call of piu.
 *     -EBUSY   the process belongs to another family already    -EPROTO   another version
 *     -ENAMETOOLONG   `room` is less
 * It joins in fact with its next call, which may then say -EADDRINUSE or -EXDEV.  0 also if it
 * is of that family already.  On 0 the descriptor has become piu's.
 */
int piu_family_text(char *ret, size_t room, int *ret_fd);
int piu_family_join(const char *text, int fd);
/* A number that no other family has; 0: the caller could not become a member. */
uint64_t piu_family(void);

/* CPUs that this process may use: affinity and the cgroups' quota; at least 1. */
unsigned piu_cpu_count(void);

/* ---- Shared memory: Array, Value, RawArray ---------------------------------- */
/*
 * `count` elements of `size` bytes, zeroed, aligned to 64 bytes, for the whole family.
 * The memory is there (no SIGBUS later).  NULL: ENOMEM (also where count * size
 * overflows) or EINVAL (0 bytes).  Killed half way: nothing is allocated.
 */
void *piu_shared_new(size_t count, size_t size);
/* By any process of the family.  Always NULL; errno EINVAL: not an address of a block. */
void *piu_shared_free(void *shared);
bool piu_is_shared(const void *address);

/* ---- Handles: an object that lives as long as anybody holds it -------------------- */

struct piu_queue;

/* Plain bytes, to be sent in any way; of use in its own family only. */
struct piu_handle {
    uint64_t family, number, generation;
};

enum piu_kind { /* what else is to be given back at the end: what *_done does */
                PIU_KIND_MEMORY = 1,
                PIU_KIND_SEMAPHORE, /* the object begins with a struct piu_semaphore */
                PIU_KIND_CONDITION,
                PIU_KIND_BARRIER,
                PIU_KIND_QUEUE /* by piu_hold_queue() */
};

struct piu_hold {
    struct piu_handle handle;
    void *object;
    uint32_t entry; /* piu's */
};

/*
 * A hold is private, and the process's own; a child made by fork() has a copy of it, and what
 * it holds is held once more.  The object is freed when the last hold is dropped and no
 * message carries it.  What a member held that has ended, in any way, is given back.
 *     new     `size` bytes, zeroed, as piu_shared_new; -EINVAL: less than its kind needs
 *     queue   the queue, from now on
 *     take    of a handle.   -ESTALE: it is no more   -EXDEV: it is of another family
 *     drop    also makes hold->object NULL; -EINVAL: it was dropped, or is not this process's
 * Killed half way: held or not held, and then given back.
 */
int piu_hold_new(struct piu_hold *ret, enum piu_kind kind, size_t size);
int piu_hold_queue(struct piu_hold *ret, struct piu_queue *q);
int piu_hold_take(struct piu_hold *ret, const struct piu_handle *h);
int piu_hold_drop(struct piu_hold *hold);
/*
 * A message that carries the handle is about to be sent, has been read (after take), or was
 * not sent after all (land, too).  A sender that is killed between this and its put, and a
 * message that is never read, keep the object to the end of the family.
 */
int piu_handle_send(const struct piu_handle *h);
int piu_handle_land(const struct piu_handle *h);

/* ---- Process(target, args, name, daemon): use it, or embed it with a run() ---- */

struct piu_child;

struct piu_process {
    int (*run)(struct piu_process *self); /* in the child; the exit code, 0..255 */
    int (*target)(void *argument);        /* where run is NULL: target(argument) */
    void *argument;
    const char *name;        /* at most 31 bytes are kept; NULL: "Process-<n>" */
    bool daemon;             /* killed when its starter ends, in any way, busy or not */
    struct piu_child *child; /* piu's: NULL before start, after close and in children */
    uint64_t reserved[2];    /* 0 */
};

enum piu_start {
    PIU_FORK,   /* the child has a copy of everything */
    PIU_ZYGOTE, /* forked from the small process of piu_init(.zygote = true) */
    PIU_EXEC    /* another program, which joins the family with its first piu call */
};

struct piu_start_keywords {
    size_t struct_size;
    enum piu_start how;
    /* PIU_EXEC: argv[0] is looked up in PATH; the last is NULL */
    const char *const *argv;
};

/*
 * Start `p`; again only after close.  The exit code is what run() or target() returns,
 * modulo 256.  Standard output is flushed before the fork and at the child's end; atexit
 * handlers of the starter do not run in the child.
 *     -EBUSY     it is started already         -EAGAIN   RLIMIT_NPROC, or cgroup's pids.max
 *     -ENOTSUP   PIU_ZYGOTE without a zygote   -EFAULT   PIU_ZYGOTE: *p must lie in shared
 *     -ENOENT... PIU_EXEC: what exec said      memory (its name is copied)
 *     -ECHILD    the zygote was killed; another piu_init(.zygote = true) makes a new one
 *     -EMFILE    no descriptor is left         -ENOEXEC  PIU_ZYGOTE: it lacks the code
 * A child that is not a daemon is joined when its starter leaves by exit().  Killed half
 * way: no child, or a child that runs without its starter.  Where other threads take the last
 * descriptors between the fork and the end of this call, -EMFILE comes too late: the child was
 * killed, may have begun, and what it owned passes on.
 */
#define piu_process_start(...) \
    PIU_PROCESS_START(__VA_ARGS__, .struct_size = sizeof(struct piu_start_keywords))
#define PIU_PROCESS_START(p, ...) \
    piu_process_begin((p), &(struct piu_start_keywords){__VA_ARGS__})
int piu_process_begin(struct piu_process *p, const struct piu_start_keywords *keywords);

/*
 * The rest is the starter's: -ECHILD in any other process, -ESRCH before start and after
 * close (double start of a running one is -EBUSY, join of oneself -EDEADLK).
 */
int piu_process_join(struct piu_process *p, int64_t timeout); /* 0: it has ended */
bool piu_process_is_alive(struct piu_process *p);
int piu_process_exitcode(struct piu_process *p, int *ret); /* -<signal>; -EBUSY: alive */
/* A descriptor, readable at the end; stays piu's. */
int piu_process_sentinel(struct piu_process *p);
int piu_process_terminate(struct piu_process *p); /* SIGTERM; -ESRCH when it has ended */
int piu_process_kill(struct piu_process *p);      /* SIGKILL, never to a recycled pid */
/* -EBUSY while alive; then start works again */
int piu_process_close(struct piu_process *p);
/* 0 before start; in the child its own. */
pid_t piu_process_pid(const struct piu_process *p);

struct piu_death {
    char name[32];
    pid_t pid;
    int exitcode;         /* 0..255, or -<signal>; 255 where nobody can tell any more */
    bool left;            /* known to have ended by its own will: of run(), or exit() */
    bool oom;             /* SIGKILL, while the cgroup's count of OOM kills rose */
    uint64_t peak_memory; /* bytes resident; 0 where somebody else reaped it */
    int64_t cpu_time;     /* ns, user and system; -1 where somebody else reaped it */
    uint64_t reserved[4];
};

/* How a process that was started ended.  -EBUSY: it lives. */
int piu_process_report(struct piu_process *p, struct piu_death *ret);

/* ---- Lock(), RLock(): values to place in shared memory; all bytes zero is unlocked ---- */

struct piu_lock {
    alignas(64) uint64_t opaque[8];
};

struct piu_rlock {
    alignas(64) uint64_t opaque[8];
};

/*
 *     0                 held            -ETIMEDOUT   somebody else held it all the time
 *     PIU_OWNER_DIED    held; the last holder died: make what it guards sound again
 *     -EDEADLK          its holder left, or is the caller, and nobody can release it ("Alone")
 * As in Python a holder may leave, and another may release for it (the log says so to who
 * waits: "left by NAME").  The lock of a holder that died goes to the next acquirer
 * within 100 ms, mostly at once.  Threads of one process may also use one in private
 * memory.
 */
int piu_lock_acquire(struct piu_lock *l, int64_t timeout);
/*
 * By any member.  -EPERM: it is not locked.  Released by another after the holder's death
 * it is free, and the next acquirer gets it with PIU_OWNER_DIED all the same.
 */
int piu_lock_release(struct piu_lock *l);
pid_t piu_lock_owner(const struct piu_lock *l); /* 0: free; for people, stale at once */
/* Held by whomever, also by one that has ended; and by the calling thread. */
bool piu_lock_is_locked(const struct piu_lock *l);
bool piu_lock_is_mine(const struct piu_lock *l);

/*
 * The same thread may acquire again (-EOVERFLOW: 4 billion times); only the holding
 * thread releases (-EPERM).  PIU_OWNER_DIED: held once, however often the dead one held
 * it.
 */
int piu_rlock_acquire(struct piu_rlock *l, int64_t timeout);
int piu_rlock_release(struct piu_rlock *l);
pid_t piu_rlock_owner(const struct piu_rlock *l);
bool piu_rlock_is_locked(const struct piu_rlock *l);
/* By the calling thread; 0: not its own. */
unsigned piu_rlock_count(const struct piu_rlock *l);

/* ---- Semaphore(value), BoundedSemaphore(value): all bytes zero has value 0 ------ */

struct piu_semaphore {
    alignas(64) uint64_t opaque[16];
};

enum piu_semaphore_flags {
    /* release beyond the initial value is -EOVERFLOW; implies recovery */
    PIU_BOUNDED = 1,
    /* units come back when their holder died (never beyond the initial value) */
    PIU_RECOVER = 2
};

/*
 * At most INT32_MAX units (-EINVAL, as for a place that is not aligned; a release beyond:
 * -EOVERFLOW).  With flags: -EFAULT for a private address, and
 * - units of a member that died come back, at the next acquire that finds none or release by
 *   one who holds none: as many as it held, but never more than make, with what is there and
 *   what living members hold, the initial value;
 * - a release by a member that holds none counts for those that left, else for another holder;
 * - a late release for units that came back is taken as such: 0, and the value stays.
 */
int piu_semaphore_init(struct piu_semaphore *s, unsigned value, unsigned flags);
int piu_semaphore_acquire(struct piu_semaphore *s, int64_t timeout);
int piu_semaphore_release(struct piu_semaphore *s); /* by any member */
/*
 * The same as a pair, for a unit that the calling member has from one to the other: without
 * flags, too, it comes back if the member dies in between.  -EFAULT for a private address.
 */
int piu_semaphore_enter(struct piu_semaphore *s, int64_t timeout);
int piu_semaphore_exit(struct piu_semaphore *s);
unsigned piu_semaphore_value(const struct piu_semaphore *s);
/*
 * Who holds how many lies in a side table, made at the first acquire of a recovering
 * semaphore (-ENOMEM).  `done` gives it back; call it before the memory of `s` is freed,
 * and when nobody is inside a call.
 */
void piu_semaphore_done(struct piu_semaphore *s);

/* ---- Condition(lock): all bytes zero is valid -------------------------------------- */

struct piu_condition {
    alignas(64) uint64_t opaque[8];
};

/*
 * The calling thread holds the lock (-EPERM); it is released while waiting, and held
 * again on return, with -ETIMEDOUT, -EINTR and -EDEADLK too; -EINVAL, -EFAULT (the condition or
 * the lock is not shared) and -ENOMEM have not released it.
 *     0   notified      PIU_OWNER_DIED   notified or not (look!), and the lock's last holder died,
 *                       or left it locked when nobody else is there to release it
 * A recursive lock is released whole and comes back with its count.  A notify that a
 * waiter swallowed by dying, before it had the lock again, goes to the longest waiting
 * other one.
 */
int piu_condition_wait(struct piu_condition *c, struct piu_lock *l, int64_t timeout);
int piu_condition_wait_rlock(struct piu_condition *c, struct piu_rlock *l,
                             int64_t timeout);
/*
 * The same for a caller with work of its own, as Python's handlers of signals: between(argument) is
 * called without the lock after each signal and every 100 ms or sooner, and a notify that comes
 * meanwhile is kept.  Not 0 from it ends the wait: -ECANCELED, with the lock, and a notify that had
 * come goes to the next.  If it returns in a forked child, that gets -EPERM, without the lock.
 */
int piu_condition_wait_calling(struct piu_condition *c, struct piu_lock *l,
                               int64_t timeout, int (*between)(void *argument),
                               void *argument);
int piu_condition_wait_rlock_calling(struct piu_condition *c, struct piu_rlock *l,
                                     int64_t timeout, int (*between)(void *argument),
                                     void *argument);
/* Just the `count` that wait longest and live, or all; who comes later waits.  0 also if none. */
int piu_condition_notify(struct piu_condition *c, unsigned count);
int piu_condition_notify_all(struct piu_condition *c);
unsigned piu_condition_waiting(const struct piu_condition *c);
void piu_condition_done(struct piu_condition *c); /* gives its side table back */

/* ---- Event(): all bytes zero is valid, and not set ------------------------------- */

struct piu_event {
    alignas(64) uint64_t opaque[8];
};

/*
 * wait: 0 when it is set, -ETIMEDOUT, -EINTR, -EDEADLK (nobody is left who could set it).  Who
 * waits when it is set gets up, also if it is cleared at once.  A death changes nothing: anyone
 * may still set it.  Works in private memory too, for the threads of a process.
 */
int piu_event_set(struct piu_event *e);
int piu_event_clear(struct piu_event *e);
bool piu_event_is_set(const struct piu_event *e);
int piu_event_wait(struct piu_event *e, int64_t timeout);

/* ---- Barrier(parties) ------------------------------------------------------------- */

struct piu_barrier {
    alignas(64) uint64_t opaque[16];
};

/* -EINVAL: no parties, or a place that is not aligned. */
int piu_barrier_init(struct piu_barrier *b, unsigned parties);
/*
 * 0 when all parties have come; it can be used again at once.  *ret_index (may be NULL)
 * is 0 .. parties - 1, each once.
 *     -ENOTRECOVERABLE   broken: aborted, reset while waiting, a waiter's time was up, or a
 *                        member that had arrived died        -ETIMEDOUT  and now broken
 *     -EINTR   the caller has gone again, and the barrier is whole
 */
int piu_barrier_wait(struct piu_barrier *b, unsigned *ret_index, int64_t timeout);
/*
 * The same, but the last to come is told PIU_LAST while the others wait on: it does what is to be
 * done once, and then lets them go by release(), in the same thread.  If it ends before, the
 * barrier breaks.  Who comes meanwhile waits for them to go, and then for the next ones.  A timeout
 * is for all to come: nobody's time runs while one acts.
 *     -EDEADLK  also: the caller is the one that was told PIU_LAST
 *     -EINTR    while another acts the caller's place is kept: it calls again, or aborts
 * release(): -ENOTRECOVERABLE if it broke or was reset meanwhile.
 */
int piu_barrier_meet(struct piu_barrier *b, unsigned *ret_index, int64_t timeout);
int piu_barrier_release(struct piu_barrier *b);
int piu_barrier_reset(struct piu_barrier *b); /* empty and whole again; waiters: broken */
int piu_barrier_abort(struct piu_barrier *b);
unsigned piu_barrier_parties(const struct piu_barrier *b);
unsigned piu_barrier_waiting(const struct piu_barrier *b);
bool piu_barrier_is_broken(const struct piu_barrier *b);
void piu_barrier_done(struct piu_barrier *b);

/* ---- Read-write lock: all bytes zero is free; writers go first ---------------- */

struct piu_rwlock {
    alignas(64) uint64_t opaque[16];
};

/*
 * Readers any number at once, or one writer.  0, PIU_OWNER_DIED (below), -ETIMEDOUT, -EINTR,
 * -EDEADLK; -EOVERFLOW: a thread reads 2^32 - 1 times.
 */
int piu_rwlock_acquire_read(struct piu_rwlock *l, int64_t timeout);
int piu_rwlock_acquire_write(struct piu_rwlock *l, int64_t timeout);
/*
 * What the calling member holds; -EPERM: nothing.  A dead reader's hold goes away; after
 * a dead writer every acquirer is told PIU_OWNER_DIED until a writer has released.  One
 * that left counts as dead here, for nobody else may release.  A thread that reads may
 * read again (and releases as often) while a writer waits; one that reads must not ask to
 * write: it would wait for itself.
 */
int piu_rwlock_release(struct piu_rwlock *l);
void piu_rwlock_done(struct piu_rwlock *l);

/* ---- Queue(maxsize): whole messages, any number of putters and getters --------- */

struct piu_queue;

struct piu_queue_keywords {
    size_t struct_size;
    size_t maxsize; /* messages; 0: as many as memory allows */
    bool tasks;     /* count task_done(), for join */
    bool putters;   /* get ends with -EPIPE when all declared putters have ended */
};

#define piu_queue_new(...) piu_queue_create(PIU_KEYWORDS(piu_queue_keywords, __VA_ARGS__))
struct piu_queue *piu_queue_create(const struct piu_queue_keywords *keywords);
struct piu_queue *piu_queue_free(struct piu_queue *q); /* its messages too */

/*
 * Add one message of `size` bytes, copied; 0 bytes are a message too.
 *     0          it is in, whole          -ETIMEDOUT  no room in time (maxsize)
 *     -EPIPE     the queue is shut down   -EMSGSIZE   longer than memory can ever hold
 * Never waits for a getter, save for room in a queue with maxsize.  Killed half way: it
 * was never put.
 */
int piu_queue_put(struct piu_queue *q, const void *data, size_t size, int64_t timeout);

/*
 * Bring the oldest message.  *size is the room going in, the length coming out.
 *     0, PIU_REDELIVERED   it is yours       -ETIMEDOUT  none in time
 *     -EMSGSIZE            it is longer than the room: it stays, *size says its length
 *     -EPIPE               nothing is left, and the queue is shut down or its last declared
 *                          putter has ended
 * Killed before it was whole in `data`: another gets it.
 */
int piu_queue_get(struct piu_queue *q, void *data, size_t *size, int64_t timeout);
/* The same into memory from malloc(), which the caller frees; at least 1 byte. */
int piu_queue_get_new(struct piu_queue *q, void **ret, size_t *ret_size, int64_t timeout);

/*
 * Many at once, one commit: `size` bytes each, one behind the other.  put_many waits for
 * room for the first, then moves as many as fit without waiting; get_many waits for the
 * first, then takes what is there (all must have `size` bytes: a message of another
 * length ends the batch, and is -EMSGSIZE if it comes first).  *ret_count says how many
 * moved; get_many's PIU_REDELIVERED: a dead one had taken some of them.
 */
int piu_queue_put_many(struct piu_queue *q, const void *data, size_t size, size_t count,
                       size_t *ret_count, int64_t timeout);
int piu_queue_get_many(struct piu_queue *q, void *data, size_t size, size_t count,
                       size_t *ret_count, int64_t timeout);

/*
 * Move nothing: reserve, write in place, commit or abort; the order in the queue is that
 * of the commits.  And take, read (or write) in place, drop.  The memory is shared and
 * yours until then; only the member that reserved or took may pass it to commit, abort or
 * drop (-EINVAL).  What a member that ended had reserved is never seen; what a member
 * that died had taken comes again, with PIU_REDELIVERED.  A reservation takes a unit of
 * maxsize; commit after shutdown is -EPIPE, and the reservation is still to be aborted.
 */
int piu_queue_reserve(struct piu_queue *q, size_t size, void **ret, int64_t timeout);
int piu_queue_commit(struct piu_queue *q, void *message);
int piu_queue_abort(struct piu_queue *q, void *message);
int piu_queue_take(struct piu_queue *q, void **ret, size_t *ret_size, int64_t timeout);
int piu_queue_drop(struct piu_queue *q, void *message);

size_t piu_queue_qsize(const struct piu_queue *q); /* put and not got; exact when quiet */
int piu_queue_shutdown(struct piu_queue *q);       /* no more puts, from any process */

/*
 * A queue made with .tasks = true.  task_done: one message that was got is finished; any
 * member may say so (-EINVAL: more often than there were messages).  join: 0 when all
 * that was put is finished; PIU_LOSSES: the same, but of what members that died had got
 * some was not.
 */
int piu_queue_task_done(struct piu_queue *q);
int piu_queue_join(struct piu_queue *q, int64_t timeout);

/*
 * A queue made with .putters = true: the calling member will put, until it says that it
 * is done, or ends.  Getters are told -EPIPE once there was a putter and none is left.  A
 * child that shall put declares itself; until it has, its starter stays declared.  putter
 * of a queue made without it, and putter_done of a member that is no putter: -EINVAL.
 */
int piu_queue_putter(struct piu_queue *q);
int piu_queue_putter_done(struct piu_queue *q);

/*
 * A descriptor for poll, of the calling process, readable while the queue has messages
 * (or is shut down, or freed): it may be readable a moment longer.  Stays piu's.
 * -ENOTSUP: /proc is missing or refuses; -ENOSPC: 63 members have one.
 */
int piu_queue_fd(struct piu_queue *q);

/* ---- Waiting for any of several ------------------------------------------------- */

struct piu_waitable {            /* one of the three is set */
    struct piu_process *process; /* has ended */
    struct piu_queue *queue;     /* has a message, or would say -EPIPE */
    struct piu_event *event;     /* is set */
    bool ready;                  /* out */
};

/*
 * 0: some are ready, and marked;  -ETIMEDOUT, -EINTR, -EDEADLK: none;  -EINVAL: no entry, or one in
 * which not exactly one of the three is set;  -ESRCH, -ECHILD as the functions of
 * processes say.
 */
int piu_wait_any(struct piu_waitable *list, size_t count, int64_t timeout);

/* ---- Pool(processes, initializer, maxtasksperchild), AsyncResult ------------------ */

struct piu_pool;
struct piu_result;
struct piu_report;

struct piu_pool_keywords {
    size_t struct_size;
    unsigned processes;        /* 0: piu_cpu_count() */
    unsigned maxtasksperchild; /* chunks; 0: no limit */
    /* In each worker; not 0: the pool is broken, -ECHILD. */
    int (*initializer)(void *initarg);
    void *initarg;
    const char *name; /* of the workers: "<name>-<n>"; NULL: "Pool-<n>" */
};

/*
 * A pool belongs to the process that made it; in any other its calls are -ECHILD.  Its
 * workers are children of a small process (the nursery) that refills, ends what takes too
 * long and tries again, whatever this process does.  NULL: EAGAIN (RLIMIT_NPROC), ENOMEM,
 * EMFILE, EINVAL (more than 8192 processes), ECHILD (the initializer failed).
 */
#define piu_pool_new(...) piu_pool_create(PIU_KEYWORDS(piu_pool_keywords, __VA_ARGS__))
struct piu_pool *piu_pool_create(const struct piu_pool_keywords *keywords);
/*
 * Terminate, join, free.  Waits of other threads for its results end; no other thread may begin a
 * call with the pool once this has begun.
 */
struct piu_pool *piu_pool_free(struct piu_pool *pool);
int piu_pool_close(struct piu_pool *pool);     /* no more tasks: -ESHUTDOWN */
int piu_pool_terminate(struct piu_pool *pool); /* stop now; pending results: -ECANCELED */
/* -EBUSY unless closed or terminated */
int piu_pool_join(struct piu_pool *pool, int64_t timeout);
/* The pids of the workers that live now; up to `room` are written.  For people and tests. */
int piu_pool_workers(struct piu_pool *pool, pid_t *ret, size_t room, size_t *ret_count);
/*
 * A descriptor for poll: readable while there is a result that has ended, and its owner does not
 * know (by ready, wait, get or next) and has not freed it; now and then once more.  It stays piu's.
 */
int piu_pool_fd(struct piu_pool *pool);

/*
 * The work: embed it if run() needs arguments of its own.  run() gets a copy of the whole
 * struct (struct_size bytes) with in and out pointing to memory it can use, and returns 0
 * or a code of its own, 1..INT_MAX, found in the report.  Private arrays are copied (in
 * when submitted, out by get); arrays in shared memory are used where they are.
 */
struct piu_task {
    /* Items [first, last). */
    int (*run)(struct piu_task *self, size_t first, size_t last);
    size_t struct_size; /* of yours, with this one as its first member; 0: just this */
    size_t count;       /* items; apply is a map of count 1 */
    size_t chunk;       /* items per call of run(); 0: piu chooses */
    const void
        *in; /* of in_size bytes an item; a private pointer needs a size (-EFAULT) */
    size_t in_size;
    void *out;
    size_t out_size;
    int64_t timeout; /* ns a call of run() may take, then its worker is killed; 0: none */
    unsigned retries;     /* of a call whose worker died */
    uint64_t reserved[4]; /* 0, or -EINVAL */
};

/* In run(): items before `item` are done; if this worker dies now they are not lost. */
void piu_task_progress(struct piu_task *self, size_t item);

/*
 *     0            all is done           PIU_LOSSES   some items were lost with their workers
 *     PIU_FAILED   some run() said so (and none was lost)
 *     -ESHUTDOWN   the pool is closed    -ECHILD      broken: the initializer fails, idle
 *     -ECANCELED   cancelled             workers die without end, or none could be started
 *                                        for 5 s
 * *ret (may be NULL) is a report, to be freed, on 0 and on news.  A private `out` must
 * live until get or next has copied to it; items that were lost keep what the caller had
 * there. exit() in run() is a loss like any other end of a worker. map waits for ever;
 * Ctrl-C with a handler of the caller's: -EINTR, and the task is cancelled.
 */
int piu_pool_map(struct piu_pool *pool, struct piu_task *task, struct piu_report **ret);
struct piu_result *piu_pool_map_async(struct piu_pool *pool, struct piu_task *task);
/*
 * function(argument) in a worker, on a copy of the `size` bytes (shared memory: in
 * place); they are copied back.  `size` 0 with a private argument that is not NULL:
 * -EFAULT. PIU_FAILED: it returned something else than 0; piu_result_report of the async
 * form says what.
 */
int piu_pool_apply(struct piu_pool *pool, int (*function)(void *argument), void *argument,
                   size_t size);
struct piu_result *piu_pool_apply_async(struct piu_pool *pool,
                                        int (*function)(void *argument), void *argument,
                                        size_t size);

struct piu_imap_keywords {
    size_t struct_size;
    bool unordered;
    size_t lookahead; /* chunks that may be begun and not yet seen by next; 0: no limit */
};

#define piu_pool_imap(pool, ...) \
    PIU_POOL_IMAP(pool, __VA_ARGS__, .struct_size = sizeof(struct piu_imap_keywords))
#define PIU_POOL_IMAP(pool, task, ...) \
    piu_pool_iterate((pool), (task), &(struct piu_imap_keywords){__VA_ARGS__})
struct piu_result *piu_pool_iterate(struct piu_pool *pool, struct piu_task *task,
                                    const struct piu_imap_keywords *keywords);
/*
 * The next chunk, of a result made by imap: items [*first, *last), copied out.  0, or the
 * chunk's own PIU_LOSSES or PIU_FAILED; -ENODATA: that was all.
 * One thread at a time for each result.
 */
int piu_result_next(struct piu_result *r, size_t *ret_first, size_t *ret_last,
                    int64_t timeout);

/*
 * Any number of threads, of the process that submitted (-ECHILD in others).  -ETIMEDOUT, -EINTR: it
 * goes on.
 */
int piu_result_wait(struct piu_result *r, int64_t timeout); /* 0: ended, well or badly */
/* As piu_pool_map; copies out. */
int piu_result_get(struct piu_result *r, int64_t timeout);
bool piu_result_ready(const struct piu_result *r);
bool piu_result_successful(const struct piu_result *r); /* ready, and get would give 0 */
/* Items finished so far, lost ones too. */
size_t piu_result_done(const struct piu_result *r);
/* Begin nothing more, kill the workers that are in it: get says -ECANCELED. */
int piu_result_cancel(struct piu_result *r);
/* The report of an ended result (-EBUSY before); the caller frees it. */
int piu_result_report(struct piu_result *r, struct piu_report **ret);
struct piu_result *piu_result_free(struct piu_result *r); /* its task runs on */

struct piu_loss {       /* what a worker that died had begun and not finished */
    size_t first, last; /* items [first, last) */
    pid_t pid;
    int exitcode; /* -<signal>, or what it gave to exit() */
    bool oom;
    bool timed_out;    /* killed by timeout= */
    bool mended;       /* in piu_report_retries: a later try did not die of it */
    unsigned attempts; /* 1: the first try was the last */
    int64_t duration;  /* ns since the call of run() was begun */
    uint64_t reserved[2];
};

struct piu_failure { /* what run() returned, not 0 */
    size_t first, last;
    int code;
    uint64_t reserved[2];
};

size_t piu_report_losses(const struct piu_report *r, const struct piu_loss **ret);
/*
 * The tries that died and were followed by another (retries=), by item: `attempts` says which
 * one it was.  A task that ends with 0 may have some.
 */
size_t piu_report_retries(const struct piu_report *r, const struct piu_loss **ret);
size_t piu_report_failures(const struct piu_report *r, const struct piu_failure **ret);
struct piu_report *piu_report_free(struct piu_report *r);

/*
 * The short form: a function of one item over ordinary arrays.
 *
 *     static int square(int x) { return x * x; }
 *     int in[] = {1, 2, 3, 4, 5}, out[5];
 *     r = piu_map(pool, square, in, out);
 *
 * Count and sizes come from the arrays, the signature from the function: T f(T) for int,
 * unsigned, long, unsigned long, long long, unsigned long long, float and double; double
 * f(int) and double f(long); and void f(const void *in, void *out) for elements of any
 * type. An element type that does not fit, a pointer instead of an array, or an `out`
 * that is shorter than `in` does not compile.  Results as piu_pool_map.
 */
enum piu_signature {
    PIU_MAP_INT,
    PIU_MAP_UNSIGNED,
    PIU_MAP_LONG,
    PIU_MAP_ULONG,
    PIU_MAP_LLONG,
    PIU_MAP_ULLONG,
    PIU_MAP_FLOAT,
    PIU_MAP_DOUBLE,
    PIU_MAP_DOUBLE_OF_INT,
    PIU_MAP_DOUBLE_OF_LONG,
    PIU_MAP_BYTES
};

/* From here to piu_map() the macros are piu's own. */
#define PIU_SIGNATURE(function)                                          \
    _Generic((function), int (*)(int)                                    \
             : PIU_MAP_INT, unsigned (*)(unsigned)                       \
             : PIU_MAP_UNSIGNED, long (*)(long)                          \
             : PIU_MAP_LONG, unsigned long (*)(unsigned long)            \
             : PIU_MAP_ULONG, long long (*)(long long)                   \
             : PIU_MAP_LLONG, unsigned long long (*)(unsigned long long) \
             : PIU_MAP_ULLONG, float (*)(float)                          \
             : PIU_MAP_FLOAT, double (*)(double)                         \
             : PIU_MAP_DOUBLE, double (*)(int)                           \
             : PIU_MAP_DOUBLE_OF_INT, double (*)(long)                   \
             : PIU_MAP_DOUBLE_OF_LONG, void (*)(const void *, void *)    \
             : PIU_MAP_BYTES)

/* A number for the type that an array's elements have; -1 for those not in the list. */
#define PIU_ELEMENT(array)                                                            \
    _Generic(&(array)[0], int * : 0, const int * : 0, unsigned * : 1,                 \
             const unsigned * : 1, long * : 2, const long * : 2, unsigned long * : 3, \
             const unsigned long * : 3, long long * : 4, const long long * : 4,       \
             unsigned long long * : 5, const unsigned long long * : 5, float * : 6,   \
             const float * : 6, double * : 7, const double * : 7, default             \
             : -1)
#define PIU_TAKES(signature, element)                          \
    ((signature) == PIU_MAP_BYTES ||                           \
     (element) == ((signature) == PIU_MAP_DOUBLE_OF_INT    ? 0 \
                   : (signature) == PIU_MAP_DOUBLE_OF_LONG ? 2 \
                                                           : (int)(signature)))
#define PIU_GIVES(signature, element) \
    ((signature) == PIU_MAP_BYTES ||  \
     (element) == ((int)(signature) > (int)PIU_MAP_DOUBLE ? 7 : (int)(signature)))
#define PIU_IS_ARRAY(a) \
    (!__builtin_types_compatible_p(__typeof__(a), __typeof__(&(a)[0])))
#define PIU_LENGTH(a) (sizeof(a) / sizeof((a)[0]))

#define piu_map(pool, function, in, out)                                                 \
    ((void)sizeof(struct {                                                               \
         _Static_assert(PIU_IS_ARRAY(in) && PIU_IS_ARRAY(out), "piu_map: not an array"); \
         _Static_assert(PIU_LENGTH(out) >= PIU_LENGTH(in),                               \
                        "piu_map: `out` is too short");                                  \
         _Static_assert(PIU_TAKES(PIU_SIGNATURE(function), PIU_ELEMENT(in)),             \
                        "piu_map: the function takes another type than `in` has");       \
         _Static_assert(PIU_GIVES(PIU_SIGNATURE(function), PIU_ELEMENT(out)),            \
                        "piu_map: the function gives another type than `out` has");      \
         int unused;                                                                     \
     }),                                                                                 \
     piu_map_array((pool), PIU_SIGNATURE(function), (void (*)(void))(function), (in),    \
                   PIU_LENGTH(in), sizeof((in)[0]), (out), sizeof((out)[0])))

int piu_map_array(struct piu_pool *pool, enum piu_signature signature,
                  void (*function)(void), const void *in, size_t count, size_t in_size,
                  void *out, size_t out_size);

#pragma GCC visibility pop

#ifdef __cplusplus
}
#endif
#endif
