/* Messages in blocks of their own: reserve, commit, abort, drop. */
#include "flow/queue.h"
#include "flow/wait.h"

int message_new(struct piu_queue *q, size_t size, struct message **ret)
{
    struct message *m;
    void *block;
    int r;

    if (size > arena.range - sizeof(*m))
        return -EMSGSIZE;
    r = block_new(sizeof(*m) + size, BLOCK_SCRATCH, NULL, &block);
    if (r < 0)
        return r;
    m = block;
    *m = (struct message){
        .queue = arena_offset(q), .generation = q->generation, .size = size};
    *ret = m;
    return 0;
}

struct piu_queue *message_queue(const struct message *m)
{
    struct piu_queue *q = arena_within(m->queue, sizeof(*q), alignof(struct piu_queue));
    uint64_t who;

    return q && block_is(q) && queue_use(q, &who) == 0 && q->generation == m->generation
               ? q
               : NULL;
}

/* ---- Units of maxsize ------------------------------------------------------------- */

/*
 * put.lock is held.  A block becomes a reservation, or is one no longer, when its purpose
 * changes; `reserved` follows, and reserving names the block in between.
 */
static void reserving_begin(struct piu_queue *q, struct message *m, uint64_t after)
{
    q->put.reserved_after = after;
    atomic_store(&q->put.reserving, arena_offset(m));
}

static void reserving_end(struct piu_queue *q)
{
    atomic_store(&q->put.reserved, q->put.reserved_after);
    atomic_store(&q->put.reserving, 0);
}

static bool is_reservation(struct piu_queue *q, const struct message *m)
{
    return block_purpose(m) == BLOCK_RESERVED && m->queue == arena_offset(q) &&
           m->generation == q->generation;
}

void reservation_repair(struct piu_queue *q)
{
    struct message *m = arena_at(atomic_load(&q->put.reserving), sizeof(*m));
    bool began = q->put.reserved_after > atomic_load(&q->put.reserved);

    if (m && is_reservation(q, m) == began)
        atomic_store(&q->put.reserved, q->put.reserved_after);
    atomic_store(&q->put.reserving, 0);
}

static int unit_take(struct piu_queue *q, uint64_t who, struct message *m)
{
    int r = put_enter(q, who);

    if (r < 0)
        return r;
    if (atomic_load(&q->shut))
        r = -EPIPE;
    else if (!queue_has_room(q))
        r = -EAGAIN;
    else {
        reserving_begin(q, m, atomic_load(&q->put.reserved) + 1);
        block_set_purpose(m, BLOCK_RESERVED);
        reserving_end(q);
    }
    put_leave(q);
    return r;
}

/* put.lock is held.  It is no reservation any more, and the caller's to free. */
static bool reservation_end(struct piu_queue *q, struct message *m, uint64_t owner,
                            bool mine)
{
    bool got = true;

    if (!is_reservation(q, m) || block_owner(m) != (owner & ID_OWNER))
        return false;
    reserving_begin(q, m, atomic_load(&q->put.reserved) - 1);
    if (mine)
        block_set_purpose(m, BLOCK_SCRATCH);
    else
        got = block_inherit(m, owner, BLOCK_SCRATCH) == 0;
    reserving_end(q);
    return got;
}

/* Left or died: it is never seen. */
static bool reserved_orphan(void *block, uint64_t dead_id, bool died)
{
    struct message *m = block;
    struct piu_queue *q = message_queue(m);
    bool got = false;

    (void)died;
    if (q && put_enter(q, member_who_again()) == 0) {
        got = reservation_end(q, m, dead_id, false);
        put_leave(q);
        bell_ring(&q->putters);
    }
    if (got)
        block_free(block);
    else
        block_reap(block, dead_id); /* its queue is gone; or another sweep has done it */
    return true;
}

__attribute__((constructor)) static void orphans_register(void)
{
    block_on_orphan(BLOCK_RESERVED, reserved_orphan);
}

/* ---- The calls ----------------------------------------------------------------------- */

int piu_queue_reserve(struct piu_queue *q, size_t size, void **ret, int64_t timeout)
{
    struct waiting w = waiting_begin(timeout);
    struct message *m;
    uint64_t who;
    int r = ret ? queue_use(q, &who) : -EINVAL;

    if (r == 0)
        r = message_new(q, size, &m);
    if (r < 0)
        return r;
    do
        r = unit_take(q, who, m);
    while (r == -EAGAIN && (r = wait_for_room(q, who, &w)) == 0);
    waiting_end(&w, q, &q->putters, queue_has_room);
    if (r < 0) {
        block_free(m);
        return r;
    }
    *ret = m->bytes;
    return 0;
}

/* The caller's message of this queue with that purpose; NULL: it is not. */
static struct message *message_of(struct piu_queue *q, void *bytes,
                                  enum block_purpose purpose)
{
    struct message *m;

    if (!arena_has((unsigned char *)bytes - sizeof(*m), sizeof(*m)) ||
        (uintptr_t)bytes % 64)
        return NULL;
    m = container_of(bytes, struct message, bytes);
    return block_is_mine(m, purpose) && m->queue == arena_offset(q) &&
                   m->generation == q->generation
               ? m
               : NULL;
}

int piu_queue_commit(struct piu_queue *q, void *message)
{
    uint64_t who;
    int r = queue_use(q, &who);
    struct message *m = r == 0 && message ? message_of(q, message, BLOCK_RESERVED) : NULL;

    if (r < 0)
        return r;
    return m ? put_block(q, who, m, true) : -EINVAL;
}

int piu_queue_abort(struct piu_queue *q, void *message)
{
    uint64_t who;
    int r = queue_use(q, &who);
    struct message *m = r == 0 && message ? message_of(q, message, BLOCK_RESERVED) : NULL;

    if (r == 0)
        r = m ? put_enter(q, who) : -EINVAL;
    if (r < 0)
        return r;
    r = reservation_end(q, m, who, true) ? 0 : -EINVAL; /* another thread was first */
    put_leave(q);
    if (r == 0)
        block_free(m);
    bell_ring(&q->putters);
    return r;
}

int piu_queue_drop(struct piu_queue *q, void *message)
{
    uint64_t who;
    int r = queue_use(q, &who);
    struct message *m = r == 0 && message ? message_of(q, message, BLOCK_TAKEN) : NULL;

    if (r < 0)
        return r;
    return m ? block_free(m) : -EINVAL;
}
