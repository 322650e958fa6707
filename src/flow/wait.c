/* Waiting at a queue: spin, yield, sleep in slices; each slice looks after the dead. */
#include "flow/wait.h"

#include "os/futex.h"

#include <limits.h>
#include <sched.h>

#define SPIN_MOST   (60 * INT64_C(1000)) /* ns; longer than two wake-ups take */
#define SPIN_LEAST  (5 * INT64_C(1000))  /* a shorter wait does not sleep */
#define SHORT_SLEEP (100 * INT64_C(1000))
#define LOOKS       32 /* a pause is 2 to 40 ns */
#define YIELDS      3
#define ROOM_MOST   128 /* messages */
#define SLICE_FIRST (20 * MSEC)
#define SLICE_LAST  (100 * MSEC)
#define THOROUGH    8 /* every so many slices the kernel is asked about each member */

/*
 * Learned by the thread: what came soon after it fell asleep would have come to a longer spin
 * (else two that wake each other never get back to spinning); after long sleeps it is short.
 */
static _Thread_local int64_t spin_time = SPIN_MOST;

static void learn(int64_t slept)
{
    if (slept < SHORT_SLEEP)
        spin_time = min_timeout(spin_time * 2, SPIN_MOST);
    else
        spin_time = spin_time / 2 > SPIN_LEAST ? spin_time / 2 : SPIN_LEAST;
}

int bell_sleep(struct bell *b, struct piu_queue *q, queue_looks *looks_ready,
               uint64_t who, int64_t slice)
{
    int r;

    /* for the fence in bell_ring(): either we see the news, or they see the word */
    atomic_store_explicit(&b->asleep, 1, memory_order_relaxed);
    fence_seldom(arena_fences_lightly());
    if (looks_ready(q) || atomic_load(&q->stamp) != QUEUE_STAMP)
        return 0;
    operation_waits(who, q);
    r = futex_wait(&b->asleep, 1, slice);
    operation_waits(who, NULL);
    /* others may sleep still, and the word may have been cleared for us */
    atomic_store(&b->asleep, 1);
    return r == -EINTR ? -EINTR : 0;
}

noinline void bell_wake(struct bell *b)
{
    if (atomic_exchange(&b->asleep, 0))
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

void waiting_end(struct waiting *w, struct piu_queue *q, struct bell *b,
                 queue_looks *looks_ready)
{
    /* one that slept took a wake-up: if there is more, the next sleeper is to have it */
    if (unlikely(w->slept) && looks_ready(q))
        futex_wake(&b->asleep, 1);
}

/* The hot case: no clock, and no look at the other side's line. */
static bool spin_briefly(struct piu_queue *q, queue_looks *looks_ready)
{
    for (int i = 0; i < LOOKS; i++) {
        if (looks_ready(q))
            return true;
        cpu_relax();
    }
    return false;
}

static bool spin_until(struct piu_queue *q, queue_looks *looks_ready, int64_t timeout)
{
    int64_t end = clock_now() + min_timeout(spin_time, timeout);

    do {
        if (spin_briefly(q, looks_ready))
            return true;
    } while (clock_now() < end);
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

static bool spin_before_sleep(struct bell *b, struct piu_queue *q,
                              queue_looks *looks_ready, uint64_t who, int64_t timeout)
{
    const _Atomic uint64_t *other = b == &q->getters ? &q->put.last : &q->get.last;

    return spin_briefly(q, looks_ready) ||
           (member_worth_spinning(who,
                                  atomic_load_explicit(other, memory_order_relaxed)) &&
            spin_until(q, looks_ready, timeout)) ||
           yield_until(q, looks_ready);
}

/* Who only ever asks, and never sleeps, looks after the dead as well: now and then. */
static noinline void look_now_and_then(void)
{
    static _Thread_local int64_t next;
    static _Thread_local unsigned looks;
    int64_t now = clock_now();

    if (now < next)
        return;
    next = now + SLICE_FIRST;
    member_sweep_dead(++looks % THOROUGH == 0);
}

static bool is_over_time(struct waiting *w)
{
    if (!w->deadline)
        w->deadline = deadline_after(w->timeout);
    return deadline_left(w->deadline) == 0;
}

int wait_at(struct bell *b, struct piu_queue *q, queue_looks *looks_ready, uint64_t who,
            struct waiting *w)
{
    int64_t began;
    int r;

    if (w->timeout <= 0) {
        look_now_and_then();
        return -ETIMEDOUT;
    }
    /* others may be faster again and again; the first time needs no clock */
    if (w->spun && is_over_time(w))
        return -ETIMEDOUT;
    if (!w->slept && spin_before_sleep(b, q, looks_ready, who, w->timeout)) {
        w->spun = true;
        return 0;
    }
    if (w->timeout <= SPIN_LEAST) {
        look_now_and_then();
        return -ETIMEDOUT;
    }
    if (is_over_time(w))
        return -ETIMEDOUT;
    if (w->alone)
        return -EDEADLK;
    w->slept = true;
    began = clock_now();
    r = bell_sleep(b, q, looks_ready, who,
                   min_timeout(deadline_left(w->deadline), w->slice));
    learn(clock_now() - began);
    if (r < 0)
        return r;
    if (!looks_ready(q)) {
        if (w->slice == SLICE_LAST && w->deadline == CLOCK_FOREVER)
            w->alone = member_is_alone(); /* look once more before you hear of it */
        w->slice = min_timeout(w->slice * 2, SLICE_LAST);
        member_sweep_dead(++w->slices % THOROUGH == 0);
    }
    return 0;
}

static uint64_t messages_out(struct piu_queue *q)
{
    return ((queue_puts(q) - queue_gets(q)) & COUNT_MASK) + atomic_load(&q->put.reserved);
}

/*
 * One unit is room enough, but a putter that takes each as it comes makes every message wait
 * for the getters' line.  So it lets some more come, as long as they come quickly: a getter
 * that takes none between two looks (some 100 ns) is not waited for.
 */
static void let_room_grow(struct piu_queue *q)
{
    uint64_t enough = q->maxsize - min_u64(q->maxsize / 8, ROOM_MOST);
    uint64_t before = UINT64_MAX, out = messages_out(q);

    while (out > enough && out < before) {
        for (int i = 0; i < LOOKS; i++)
            cpu_relax();
        before = out;
        out = messages_out(q);
    }
}

int wait_for_room(struct piu_queue *q, uint64_t who, struct waiting *w)
{
    int r = wait_at(&q->putters, q, queue_has_room, who, w);

    if (r == 0 && !w->slept)
        let_room_grow(q);
    return r;
}
