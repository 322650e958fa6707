/* Waiting at a queue: spin, yield, sleep in slices; each slice looks after the dead. */
#include "flow/wait.h"

#include "os/futex.h"
#include "os/machine.h"

#include <limits.h>
#include <sched.h>

#define SPIN_FIRST  (10 * 1000) /* ns; a wake-up costs 20 us and more */
#define SPIN_LEAST  1000
#define YIELDS      3
#define SLICE_FIRST (20 * MSEC)
#define SLICE_LAST  (100 * MSEC)
#define THOROUGH    8 /* every so many slices the kernel is asked about each member */

/* Learned by the thread: spins that failed make the next ones shorter. */
static _Thread_local int64_t spin_time = SPIN_FIRST;

int bell_sleep(struct bell *b, struct piu_queue *q, queue_looks *looks_ready, uint64_t who,
               int64_t slice)
{
    int r;

    /* a full fence, for the one in bell_ring(): either we see the news, or they see the word */
    atomic_exchange(&b->asleep, 1);
    atomic_thread_fence(memory_order_seq_cst);
    if (looks_ready(q) || atomic_load(&q->stamp) != QUEUE_STAMP)
        return 0;
    operation_waits(who, q);
    r = futex_wait(&b->asleep, 1, slice);
    operation_waits(who, NULL);
    /* others may sleep still, and the word may have been cleared for us */
    atomic_store(&b->asleep, 1);
    return r == -EINTR ? -EINTR : 0;
}

void bell_ring(struct bell *b)
{
#if !defined(__x86_64__)
    /* on x86 the lock's release, a read-modify-write, was the fence */
    atomic_thread_fence(memory_order_seq_cst);
#endif
    if (unlikely(atomic_load_explicit(&b->asleep, memory_order_relaxed)) &&
        atomic_exchange(&b->asleep, 0))
        futex_wake(&b->asleep, 1);
}

void bell_ring_all(struct bell *b)
{
    atomic_thread_fence(memory_order_seq_cst);
    if (atomic_exchange(&b->asleep, 0))
        futex_wake(&b->asleep, INT_MAX);
}

struct waiting waiting_begin(int64_t timeout)
{
    return (struct waiting){.timeout = timeout, .slice = SLICE_FIRST};
}

void waiting_end(struct waiting *w, struct piu_queue *q, struct bell *b, queue_looks *looks_ready)
{
    /* one that slept took a wake-up: if there is more, the next sleeper is to have it */
    if (unlikely(w->slept) && looks_ready(q))
        futex_wake(&b->asleep, 1);
}

static bool spin_until(struct piu_queue *q, queue_looks *looks_ready)
{
    int64_t end;

    if (machine_cpus_affine() < 2)
        return false;
    for (int i = 0; i < 64; i++) { /* the hot case needs no clock */
        if (looks_ready(q))
            return true;
        cpu_relax();
    }
    end = clock_now() + spin_time;
    do {
        for (int i = 0; i < 16; i++) {
            if (looks_ready(q)) {
                spin_time = min_timeout(spin_time * 2, SPIN_FIRST);
                return true;
            }
            cpu_relax();
        }
    } while (clock_now() < end);
    spin_time = spin_time / 2 > SPIN_LEAST ? spin_time / 2 : SPIN_LEAST;
    return false;
}

/* The other side may share our CPU. */
static bool yield_until(struct piu_queue *q, queue_looks *looks_ready)
{
    for (int i = 0; i < YIELDS; i++) {
        sched_yield();
        if (looks_ready(q))
            return true;
    }
    return false;
}

int wait_at(struct bell *b, struct piu_queue *q, queue_looks *looks_ready, uint64_t who,
            struct waiting *w)
{
    int64_t left;
    int r;

    if (w->timeout <= 0)
        return -ETIMEDOUT;
    if (!w->deadline)
        w->deadline = deadline_after(w->timeout);
    if (!w->slept && (spin_until(q, looks_ready) || yield_until(q, looks_ready)))
        return 0;
    left = deadline_left(w->deadline);
    if (left == 0)
        return -ETIMEDOUT;
    w->slept = true;
    r = bell_sleep(b, q, looks_ready, who, min_timeout(left, w->slice));
    if (r < 0)
        return r;
    if (!looks_ready(q)) {
        w->slice = min_timeout(w->slice * 2, SLICE_LAST);
        member_sweep_dead(++w->slices % THOROUGH == 0);
    }
    return 0;
}

