/*
 * Remote: what a pool with an engine has in place of nursery and workers.  It plays the workers'
 * part in the user's process: claims chunks, gives them to the engine as ranges, and does to the
 * job what the outcome says.
 *
 *    jobs --pool_pick, job_claim--> ticket: job, chunk, items --give--> engine
 *         <--bytes, notes, state, end-------------------------<-next---
 *
 * R1  the job in the arena stays the truth: its chunks go FRESH, STARTED, DONE as under a worker's
 *     hands.  Here it is always worker 0, whose record names what is being claimed (P3, P5)
 * R2  a chunk that is STARTED has a ticket.  Its outcome, or the end of all places, ends both
 * R3  a job that a ticket names is not freed.  The ticket names it before the record stops to
 * R4  one thread at a time is `busy` with engine and tickets.  Who finds it busy and has something
 *     to say sets `wanted`: it is heard before that thread has gone
 * R5  what an outcome says is held against its ticket before any of it is used
 * R6  `busy` goes before list_lock, and nobody waits for `busy` under list_lock
 * R7  who uses it is counted `inside`, and it is freed when nobody is: waits of others end, and
 *     those who come then are turned away
 * Crash: all of it is the user's process's own, and goes with it.  A place: what it had is tried
 * again or lost, and when no place is left the engine is started again.
 */
#ifndef PIU_TASK_REMOTE_H
#define PIU_TASK_REMOTE_H

#include "task/engine.h"
#include "task/pool.h"

/* Does the pool's word for it lead to its own?  Checked before it is followed. */
bool remote_is_sound(const struct piu_pool *pool);
/* For a pool that has been made but for its workers: 0, or the engine's -errno. */
int remote_start(struct piu_pool *pool, const struct engine_kind *kind);
struct remote *remote_free(struct remote *m); /* after remote_stop() */

/* Does what can be done at once, unless another thread is at it.  Not in a forked child. */
void remote_look(struct piu_pool *pool);
/* The same with something new to do: if another thread is at it, that one is told. */
void remote_push(struct piu_pool *pool);
/*
 * A slice of waiting, at most `timeout` ns, while *word == value: one thread waits for the engine
 * and does what comes, others for that one.  0: look again; -EINTR.
 */
int remote_wait(struct piu_pool *pool, const _Atomic uint32_t *word, uint32_t value,
                int64_t timeout);
/* As the engine's stop(). */
int remote_stop(struct piu_pool *pool, bool now, int64_t timeout);

bool remote_names(const struct remote *m, const struct job *j); /* R3, under list_lock */
/*
 * Readable when a result has ended since the last look, or may have after the next.  For one thread
 * that then asks all its results: another that looks, too, takes its news.
 */
int remote_fd(const struct remote *m);
size_t remote_workers(struct piu_pool *pool, pid_t *ret, size_t room);

#endif
