/* Who got what and has not finished it: task_done, join; and who still will put. */
#include "flow/queue.h"
#include "flow/tally.h"
#include "flow/wait.h"

/* ---- With each get -------------------------------------------------------------------- */

int tasks_prepare(struct piu_queue *q, uint64_t id, int64_t change)
{
    struct tally_mark *mark = NULL;
    int r = 0;

    q->get.counting_index = 0;
    if (!q->counts_tasks)
        return 0;
    if (change > 0)
        r = tally_add(&q->get.got_by, id, true, &mark);
    else
        mark = tally_find(&q->get.got_by, id);
    if (r < 0 || !mark || (change < 0 && !atomic_load(&mark->count)))
        return r;
    q->get.count_before = atomic_load(&mark->count);
    q->get.count_after = q->get.count_before + (uint64_t)change;
    q->get.counting_index = tally_index(&q->get.got_by, mark);
    return 0;
}

void tasks_begin(struct piu_queue *q)
{
    if (unlikely(q->counts_tasks))
        atomic_store(&q->get.counting, q->get.counting_index);
}

static void count_set(struct piu_queue *q, uint64_t count)
{
    struct tally_mark *mark =
        tally_mark_at(&q->get.got_by, atomic_load(&q->get.counting));

    if (mark)
        atomic_store(&mark->count, count);
}

void tasks_apply(struct piu_queue *q)
{
    if (unlikely(q->counts_tasks))
        count_set(q, q->get.count_after);
}

void tasks_undo(struct piu_queue *q)
{
    if (unlikely(q->counts_tasks))
        count_set(q, q->get.count_before);
}

void tasks_end(struct piu_queue *q)
{
    if (unlikely(q->counts_tasks))
        atomic_store(&q->get.counting, 0);
}

static void finishing_apply(struct piu_queue *q)
{
    struct tally_mark *mark =
        tally_mark_at(&q->get.got_by, atomic_load(&q->get.finishing));

    if (mark)
        atomic_store(&mark->count, q->get.finishing_count);
    if (atomic_load(&q->get.finishing))
        atomic_store(&q->get.finished, q->get.finished_after);
    atomic_store(&q->get.finishing, 0);
}

void tasks_repair(struct piu_queue *q)
{
    finishing_apply(q);
}

/* ---- task_done and join ------------------------------------------------------------------ */

static uint64_t unfinished(struct piu_queue *q)
{
    return (queue_puts(q) - atomic_load(&q->get.finished)) & COUNT_MASK;
}

static bool all_finished(struct piu_queue *q)
{
    return unfinished(q) == 0;
}

/* Whose count goes down: the caller's, else anybody's (Python lets any process say it). */
static struct tally_mark *mark_to_lower(struct piu_queue *q, uint64_t id)
{
    struct tally *tally = tally_at(&q->get.got_by);
    struct tally_mark *own = tally_find(&q->get.got_by, id);

    if (own && atomic_load(&own->count))
        return own;
    for (uint32_t i = 0; tally && i < tally->capacity; i++) {
        if (atomic_load(&tally->marks[i].id) && atomic_load(&tally->marks[i].count))
            return &tally->marks[i];
    }
    return NULL;
}

static void finish(struct piu_queue *q, struct tally_mark *mark, uint64_t count)
{
    q->get.finishing_count = atomic_load(&mark->count) - count;
    q->get.finished_after = atomic_load(&q->get.finished) + count;
    atomic_store(&q->get.finishing, tally_index(&q->get.got_by, mark));
    finishing_apply(q);
}

int piu_queue_task_done(struct piu_queue *q)
{
    struct tally_mark *mark;
    uint64_t who;
    int r = queue_use(q, &who);

    if (r == 0 && !q->counts_tasks)
        r = -EINVAL;
    if (r == 0)
        r = get_enter(q, who);
    if (r < 0)
        return r;
    mark = mark_to_lower(q, who & ID_MASK);
    if (mark)
        finish(q, mark, 1);
    else
        r = -EINVAL;
    get_leave(q);
    if (r == 0 && all_finished(q))
        bell_ring_all(&q->joiners);
    return r;
}

/* A mark whose member died: its id; 0: none.  Without locks, for member_fate() sweeps (Q6). */
static uint64_t find_dead(_Atomic uint64_t *word)
{
    struct tally *tally = tally_at(word);

    for (uint32_t i = 0; tally && i < tally->capacity; i++) {
        uint64_t id = atomic_load(&tally->marks[i].id);

        if (id && atomic_load(&tally->marks[i].count) && !member_seems_alive(id) &&
            member_fate(id) == FATE_DIED)
            return id;
    }
    return 0;
}

/* Whoever was killed inside has counted by half, and perhaps nobody but joiners comes any more. */
static int repair_counts(struct piu_queue *q, uint64_t who)
{
    int r;

    if (!atomic_load(&q->get.finishing) && !atomic_load(&q->get.counting))
        return 0;
    r = get_enter(q, who); /* behind a living one, who does it himself */
    if (r == 0)
        get_leave(q);
    return r;
}

/* What the dead had got and not finished counts as finished, with news. */
static int lose_dead(struct piu_queue *q, uint64_t who)
{
    uint64_t id;
    int repaired = repair_counts(q, who);

    if (repaired < 0)
        return repaired;
    while ((id = find_dead(&q->get.got_by))) {
        struct tally_mark *mark;
        int r = get_enter(q, who);

        if (r < 0)
            return r;
        mark = tally_find(&q->get.got_by, id);
        if (mark && atomic_load(&mark->count)) {
            atomic_store(&q->get.lost, 1);
            finish(q, mark, atomic_load(&mark->count));
        }
        if (mark)
            atomic_store(&mark->id, 0);
        get_leave(q);
    }
    return 0;
}

int piu_queue_join(struct piu_queue *q, int64_t timeout)
{
    struct waiting w = waiting_begin(timeout);
    uint64_t who = 0;
    int r = queue_use(q, &who);

    if (r == 0 && !q->counts_tasks)
        r = -EINVAL;
    if (r < 0)
        return r;
    while (r == 0 && !all_finished(q)) {
        if ((r = lose_dead(q, who)) < 0 || all_finished(q))
            break;
        r = wait_at(&q->joiners, q, all_finished, who, &w);
        if (r == 0)
            r = queue_use(q, &who); /* freed meanwhile: -ESTALE */
    }
    waiting_end(&w, q, &q->joiners, all_finished);
    if (r < 0)
        return r;
    return atomic_exchange(&q->get.lost, 0) ? PIU_LOSSES : 0;
}

/* ---- Declared putters ------------------------------------------------------------------- */

int piu_queue_putter(struct piu_queue *q)
{
    struct tally_mark *mark;
    uint64_t who;
    int r = queue_use(q, &who);

    if (r == 0 && !q->declares_putters)
        r = -EINVAL;
    if (r == 0)
        r = put_enter(q, who);
    if (r < 0)
        return r;
    r = tally_add(&q->put.putters, who & ID_MASK, false, &mark);
    if (r == 0) {
        atomic_store(&mark->count, 1);
        atomic_store(&q->had_putter, 1);
    }
    put_leave(q);
    return r;
}

int piu_queue_putter_done(struct piu_queue *q)
{
    struct tally_mark *mark;
    uint64_t who;
    int r = queue_use(q, &who);

    if (r == 0)
        r = put_enter(q, who);
    if (r < 0)
        return r;
    mark = tally_find(&q->put.putters, who & ID_MASK);
    if (mark) {
        queue_tell_pollers(q); /* it may have been the last */
        atomic_store(&mark->id, 0);
    }
    put_leave(q);
    bell_ring_all(&q->getters);
    return mark ? 0 : -EINVAL;
}

/* Is a declared putter alive?  Without locks: a tally that was replaced meanwhile tells nothing. */
static bool has_putters(struct piu_queue *q)
{
    for (;;) {
        uint64_t offset = atomic_load(&q->put.putters);
        struct tally *tally = tally_at(&q->put.putters);

        for (uint32_t i = 0; tally && i < tally->capacity; i++) {
            uint64_t id = atomic_load(&tally->marks[i].id);

            if (id && (member_seems_alive(id) || member_fate_unswept(id) == FATE_ALIVE))
                return true;
        }
        if (atomic_load(&q->put.putters) == offset)
            return false;
    }
}

/* Asked by getters that found nothing, so often that memory must be enough for most. */
bool queue_has_ended(struct piu_queue *q)
{
    if (atomic_load(&q->shut))
        return true;
    return q->declares_putters && atomic_load(&q->had_putter) && !has_putters(q);
}
