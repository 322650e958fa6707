/* Who got what and has not finished it: task_done, join; and who still will put. */
#include "flow/queue.h"
#include "flow/wait.h"

#define ROLL_FIRST 14u /* marks: a block of 256 bytes */
#define ROLL_LAST  (2 * MEMBER_SLOTS)

/* ---- The roll: by get.lock (got_by) or put.lock (putters) ------------------------- */

static struct queue_roll *roll_at(_Atomic uint64_t *word)
{
    struct queue_roll *roll = arena_at(atomic_load(word), sizeof(*roll));

    return roll && roll->capacity >= ROLL_FIRST && roll->capacity <= ROLL_LAST &&
                   arena_has(roll->marks, roll->capacity * sizeof(roll->marks[0]))
               ? roll
               : NULL;
}

/* A larger one in its place: made aside, then the word moves, and with it both blocks (B4). */
static int roll_grow(_Atomic uint64_t *word)
{
    struct queue_roll *old = roll_at(word);
    uint32_t capacity = old ? old->capacity * 2 : ROLL_FIRST;
    struct queue_roll *roll;
    void *block;
    int r = capacity > ROLL_LAST
                ? -ENOMEM
                : block_new(sizeof(*roll) + capacity * sizeof(roll->marks[0]),
                            BLOCK_SCRATCH, word, &block);

    if (r < 0)
        return r;
    roll = block;
    roll->capacity = capacity;
    for (uint32_t i = 0; i < capacity; i++) {
        bool had = old && i < old->capacity;

        atomic_store(&roll->marks[i].id, had ? atomic_load(&old->marks[i].id) : 0);
        atomic_store(&roll->marks[i].count, had ? atomic_load(&old->marks[i].count) : 0);
    }
    if (old && block_take(old, BLOCK_SCRATCH, word) < 0) {
        block_free(roll);
        return -EBADMSG;
    }
    atomic_store(word, arena_offset(roll));
    block_give(roll);
    if (old)
        block_free(old);
    return 0;
}

static struct queue_mark *roll_find(_Atomic uint64_t *word, uint64_t id)
{
    struct queue_roll *roll = roll_at(word);

    for (uint32_t i = 0; roll && i < roll->capacity; i++) {
        if (atomic_load(&roll->marks[i].id) == id)
            return &roll->marks[i];
    }
    return NULL;
}

/* A free one; else that of a member that has ended and means nothing more. */
static struct queue_mark *roll_free_mark(_Atomic uint64_t *word, bool counts)
{
    struct queue_mark *mark = roll_find(word, 0);
    struct queue_roll *roll = roll_at(word);

    for (uint32_t i = 0; roll && i < roll->capacity && !mark; i++) {
        struct queue_mark *m = &roll->marks[i];

        if ((!counts || !atomic_load(&m->count)) &&
            member_fate_unswept(atomic_load(&m->id)) != FATE_ALIVE)
            mark = m;
    }
    return mark;
}

/* The member's mark; made if it has none. */
static int roll_mark(_Atomic uint64_t *word, uint64_t id, bool counts,
                     struct queue_mark **ret)
{
    struct queue_mark *mark = roll_find(word, id);
    int r = 0;

    while (!mark) {
        mark = roll_free_mark(word, counts);
        if (mark) {
            atomic_store(&mark->id, 0);
            atomic_store(&mark->count, 0);
            atomic_store(&mark->id, id);
        } else if ((r = roll_grow(word)) < 0) {
            return r;
        }
    }
    *ret = mark;
    return 0;
}

static uint64_t mark_index(_Atomic uint64_t *word, const struct queue_mark *mark)
{
    return 1 + (uint64_t)(mark - roll_at(word)->marks);
}

static struct queue_mark *mark_at(_Atomic uint64_t *word, uint64_t index)
{
    struct queue_roll *roll = roll_at(word);

    return roll && index && index <= roll->capacity ? &roll->marks[index - 1] : NULL;
}

/* ---- With each get -------------------------------------------------------------------- */

int tasks_prepare(struct piu_queue *q, uint64_t id, int64_t change)
{
    struct queue_mark *mark = NULL;
    int r = 0;

    q->get.counting_index = 0;
    if (!q->counts_tasks)
        return 0;
    if (change > 0)
        r = roll_mark(&q->get.got_by, id, true, &mark);
    else
        mark = roll_find(&q->get.got_by, id);
    if (r < 0 || !mark || (change < 0 && !atomic_load(&mark->count)))
        return r;
    q->get.count_before = atomic_load(&mark->count);
    q->get.count_after = q->get.count_before + (uint64_t)change;
    q->get.counting_index = mark_index(&q->get.got_by, mark);
    return 0;
}

void tasks_begin(struct piu_queue *q)
{
    if (unlikely(q->counts_tasks))
        atomic_store(&q->get.counting, q->get.counting_index);
}

static void count_set(struct piu_queue *q, uint64_t count)
{
    struct queue_mark *mark = mark_at(&q->get.got_by, atomic_load(&q->get.counting));

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
    struct queue_mark *mark = mark_at(&q->get.got_by, atomic_load(&q->get.finishing));

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
static struct queue_mark *mark_to_lower(struct piu_queue *q, uint64_t id)
{
    struct queue_roll *roll = roll_at(&q->get.got_by);
    struct queue_mark *own = roll_find(&q->get.got_by, id);

    if (own && atomic_load(&own->count))
        return own;
    for (uint32_t i = 0; roll && i < roll->capacity; i++) {
        if (atomic_load(&roll->marks[i].id) && atomic_load(&roll->marks[i].count))
            return &roll->marks[i];
    }
    return NULL;
}

static void finish(struct piu_queue *q, struct queue_mark *mark, uint64_t count)
{
    q->get.finishing_count = atomic_load(&mark->count) - count;
    q->get.finished_after = atomic_load(&q->get.finished) + count;
    atomic_store(&q->get.finishing, mark_index(&q->get.got_by, mark));
    finishing_apply(q);
}

int piu_queue_task_done(struct piu_queue *q)
{
    struct queue_mark *mark;
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
    struct queue_roll *roll = roll_at(word);

    for (uint32_t i = 0; roll && i < roll->capacity; i++) {
        uint64_t id = atomic_load(&roll->marks[i].id);

        if (id && atomic_load(&roll->marks[i].count) && !member_seems_alive(id) &&
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
        struct queue_mark *mark;
        int r = get_enter(q, who);

        if (r < 0)
            return r;
        mark = roll_find(&q->get.got_by, id);
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
    struct queue_mark *mark;
    uint64_t who;
    int r = queue_use(q, &who);

    if (r == 0 && !q->declares_putters)
        r = -EINVAL;
    if (r == 0)
        r = put_enter(q, who);
    if (r < 0)
        return r;
    r = roll_mark(&q->put.putters, who & ID_MASK, false, &mark);
    if (r == 0) {
        atomic_store(&mark->count, 1);
        atomic_store(&q->had_putter, 1);
    }
    put_leave(q);
    return r;
}

int piu_queue_putter_done(struct piu_queue *q)
{
    struct queue_mark *mark;
    uint64_t who;
    int r = queue_use(q, &who);

    if (r == 0)
        r = put_enter(q, who);
    if (r < 0)
        return r;
    mark = roll_find(&q->put.putters, who & ID_MASK);
    if (mark) {
        queue_tell_pollers(q); /* it may have been the last */
        atomic_store(&mark->id, 0);
    }
    put_leave(q);
    bell_ring_all(&q->getters);
    return mark ? 0 : -EINVAL;
}

/* Is a declared putter alive?  Without locks: a roll that was replaced meanwhile tells nothing. */
static bool has_putters(struct piu_queue *q)
{
    for (;;) {
        uint64_t offset = atomic_load(&q->put.putters);
        struct queue_roll *roll = roll_at(&q->put.putters);

        for (uint32_t i = 0; roll && i < roll->capacity; i++) {
            uint64_t id = atomic_load(&roll->marks[i].id);

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
