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
    *m = (struct message){.queue = arena_offset(q), .size = size};
    *ret = m;
    return 0;
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
    return block_purpose(m) == BLOCK_RESERVED && m->queue == arena_offset(q);
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

/* By its owner, or for a dead one (`orphan`): it is no reservation any more, and free. */
static void reservation_end(struct piu_queue *q, uint64_t who, struct message *m, uint64_t owner)
{
    bool mine = owner == (who & ID_OWNER);

    if (put_enter(q, who) < 0)
        return;
    if (is_reservation(q, m) && block_owner(m) == owner) {
        reserving_begin(q, m, atomic_load(&q->put.reserved) - 1);
        if (mine)
            block_set_purpose(m, BLOCK_SCRATCH);
        else
            mine = block_take(m, BLOCK_SCRATCH, NULL) == 0;
        reserving_end(q);
    } else {
        mine = false;
    }
    put_leave(q);
    if (mine)
        block_free(m);
    bell_ring(&q->putters);
}

static void reserved_orphan(void *block, uint64_t dead_id, bool died)
{
    struct message *m = block;
    struct piu_queue *q = arena_at(m->queue, sizeof(*q));
    uint64_t who;

    (void)died; /* left or died: it is never seen */
    if (q && queue_use(q, &who) == 0) {
        reservation_end(q, who, m, dead_id & ID_OWNER);
        return;
    }
    block_settle(block);
    block_free(block);
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
static struct message *message_of(struct piu_queue *q, void *bytes, enum block_purpose purpose)
{
    struct message *m;

    if (!arena_has((unsigned char *)bytes - sizeof(*m), sizeof(*m)) || (uintptr_t)bytes % 64)
        return NULL;
    m = container_of(bytes, struct message, bytes);
    return block_is_mine(m, purpose) && m->queue == arena_offset(q) ? m : NULL;
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

    if (r < 0 || !m)
        return r < 0 ? r : -EINVAL;
    reservation_end(q, who, m, who & ID_OWNER);
    return 0;
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
