/*
 * A getter that has caught up with the putter and looks at once makes each message wait for
 * two cache lines.  It waits a little, if that brings more than one message at a time: the
 * lag grows while it does, and shrinks to nothing where messages come one by one (a round
 * trip), to be tried again now and then, more seldom each time that it was in vain.
 */
#include "flow/wait.h"

#define LAG_MOST        1600u /* ns, about: counted in pauses */
#define LAG_TRY         400u
#define LAG_PAUSE       25u
#define TRY_AFTER_LEAST 64u /* times that it has caught up */
#define TRY_AFTER_MOST  4096u

/* The words are written without locks: threads may write over what others have learned. */

static bool count_down(struct get_side *get)
{
    uint32_t left = atomic_load_explicit(&get->lag_try_in, memory_order_relaxed);

    if (left)
        atomic_store_explicit(&get->lag_try_in, left - 1, memory_order_relaxed);
    return left == 0;
}

static void plan_try(struct get_side *get, bool was_in_vain)
{
    uint32_t after = atomic_load_explicit(&get->lag_try_after, memory_order_relaxed);

    after = was_in_vain && after ? after * 2 : TRY_AFTER_LEAST;
    if (after > TRY_AFTER_MOST)
        after = TRY_AFTER_MOST;
    atomic_store_explicit(&get->lag_try_after, after, memory_order_relaxed);
    atomic_store_explicit(&get->lag_try_in, after, memory_order_relaxed);
}

static uint64_t messages_meanwhile(const struct chunk *c, uint32_t lag)
{
    uint64_t before = atomic_load_explicit(&c->tail, memory_order_relaxed);

    for (uint32_t waited = 0; waited < lag; waited += LAG_PAUSE)
        cpu_relax();
    return count_of(atomic_load_explicit(&c->tail, memory_order_relaxed)) -
           count_of(before);
}

void getter_lags(struct piu_queue *q)
{
    const struct chunk *c =
        queue_chunk_head(atomic_load_explicit(&q->get_chunk, memory_order_relaxed));
    uint32_t lag = atomic_load_explicit(&q->get.lag, memory_order_relaxed);
    bool tries = lag == 0;
    uint64_t messages;

    if (!c || (tries && !count_down(&q->get)))
        return;
    if (tries || lag > LAG_MOST)
        lag = LAG_TRY;
    messages = messages_meanwhile(c, lag);
    if (messages >= 2)
        lag = lag * 2 < LAG_MOST ? lag * 2 : LAG_MOST;
    else if (tries)
        lag = 0;
    else if (messages == 0)
        lag = lag > LAG_PAUSE ? lag / 2 : 0;
    if (tries)
        plan_try(&q->get, lag == 0);
    atomic_store_explicit(&q->get.lag, lag, memory_order_relaxed);
}
