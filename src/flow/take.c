/* Message blocks: how one becomes its taker's, and how it comes again when that one dies. */
#include "flow/entry.h"
#include "flow/wait.h"
#include "shm/heap.h"

/*
 * What is under way is written down before the commit, and struck out after it (Q5):
 *
 *    before, counts   the head that the get begins with; what the mark's count was and will be
 *    taking = m       the block is the family's (B4), whatever its word says
 *    counting         the count may have changed
 *    ---- head, or returned, moves: the commit ----
 *    count            applied
 *    taking = 0       from here the block is its taker's
 *    counting = 0
 *
 * Killed before the commit: nothing was got.  Killed with `taking` after it: the message comes
 * again, and the count is what it was.  Killed later: it was got, and the count is applied; a
 * taken block comes again by the sweep, which counts for itself (`returning`).
 */
int entry_take(struct piu_queue *q, struct entry *e)
{
    struct message *m = e->message;
    int r;

    q->get.before = e->chunk ? e->head : FROM_RETURNED;
    atomic_store(&q->get.taking, arena_offset(m));
    r = block_take(m, BLOCK_TAKEN, &q->get.taking);
    if (r < 0) {
        atomic_store(&q->get.taking, 0);
        return -EBADMSG;
    }
    tasks_begin(q);
    if (e->chunk) {
        head_move(e);
    } else {
        atomic_store(&q->get.returned, m->next);
        atomic_fetch_sub(&q->get.returned_count, 1);
    }
    tasks_apply(q);
    atomic_store(&q->get.taking, 0);
    tasks_end(q);
    return m->redelivered ? PIU_REDELIVERED : 0;
}

int entry_take_copy(struct piu_queue *q, struct entry *e, struct message **ret)
{
    struct message *m;
    void *block;
    int r = block_new(sizeof(*m) + e->size, BLOCK_SCRATCH, &q->get.taking, &block);

    if (r < 0)
        return r;
    m = block;
    *m = (struct message){
        .queue = arena_offset(q), .generation = q->generation, .size = e->size};
    memcpy(m->bytes, e->bytes, e->size);
    q->get.before = e->head;
    atomic_store(&q->get.taking, arena_offset(m));
    block_set_purpose(m, BLOCK_TAKEN);
    tasks_begin(q);
    head_move(e);
    tasks_apply(q);
    atomic_store(&q->get.taking, 0);
    tasks_end(q);
    *ret = m;
    return 0;
}

/* ---- Coming again ----------------------------------------------------------------------- */

/* get.lock is held.  All of the list, or as far as it is sound: is `m` in it, and how long. */
static bool is_returned(struct piu_queue *q, const struct message *m,
                        uint64_t *ret_length)
{
    uint64_t offset = atomic_load(&q->get.returned);
    bool found = false;

    *ret_length = 0;
    for (uint64_t bound = heap_blocks_most(); offset && bound; bound--) {
        const struct message *other = arena_at(offset, sizeof(*other));

        if (!other)
            break;
        found = found || other == m;
        offset = other->next;
        ++*ret_length;
    }
    return found;
}

static void message_push(struct piu_queue *q, struct message *m)
{
    uint64_t length;

    if (is_returned(q, m, &length))
        return;
    m->redelivered++;
    m->next = atomic_load(&q->get.returned);
    atomic_store(&q->get.returned, arena_offset(m));
    atomic_store(&q->get.returned_count, length + 1);
}

/* get.lock is held.  A message whose taker died comes again, and is its task no longer. */
static void message_return(struct piu_queue *q, struct message *m, uint64_t dead_id)
{
    tasks_prepare(q, dead_id & ID_MASK, -1);
    /* not `taking`: the dead one's held entry has that, and the block is not the family's yet (B4) */
    atomic_store(&q->get.returning, arena_offset(m));
    tasks_begin(q);
    message_push(q, m); /* the commit */
    tasks_apply(q);
    block_settle(m);
    tasks_end(q);
    atomic_store(&q->get.returning, 0);
}

/* Is it the block that the entry at head names? */
static bool is_at_head(struct piu_queue *q, const struct message *m)
{
    struct chunk *c = queue_chunk(atomic_load(&q->get_chunk));
    uint64_t place = c ? place_of(atomic_load(&c->head)) : 0;

    return c && place + 1 < c->capacity && place < place_of(atomic_load(&c->tail)) &&
           c->entries[place] & ENTRY_LARGE && c->entries[place + 1] == arena_offset(m);
}

/* Had head, or returned, moved? */
static bool has_got(struct piu_queue *q)
{
    struct chunk *c = queue_chunk(atomic_load(&q->get_chunk));
    uint64_t taking = atomic_load(&q->get.taking);

    if (q->get.before == FROM_RETURNED)
        return taking != atomic_load(&q->get.returned) || taking == 0;
    return c && atomic_load(&c->head) != q->get.before;
}

static void repair_taking(struct piu_queue *q, struct message *m)
{
    if (has_got(q)) {
        tasks_undo(q);
        message_push(q, m);
        block_settle(m);
    } else if (q->get.before == FROM_RETURNED || is_at_head(q, m)) {
        block_settle(m); /* it stays where it is */
    } else {
        queue_discard(&q->get.taking); /* the copy of a small one */
    }
}

static void repair_returning(struct piu_queue *q, struct message *m)
{
    if (atomic_load(&q->get.returned) == arena_offset(m)) {
        tasks_apply(q);
        block_settle(m);
    } /* else it is the dead taker's still, and the next sweep does it */
}

void get_repair(struct piu_queue *q)
{
    struct message *returning =
        arena_at(atomic_load(&q->get.returning), sizeof(*returning));
    struct message *taking = arena_at(atomic_load(&q->get.taking), sizeof(*taking));
    uint64_t length;

    q->get.tail_seen = 0;
    if (returning)
        repair_returning(q, returning);
    else if (taking)
        repair_taking(q, taking);
    else if (has_got(q))
        tasks_apply(q);
    tasks_end(q); /* first: without `taking` it would be applied */
    atomic_store(&q->get.taking, 0);
    atomic_store(&q->get.returning, 0);
    tasks_repair(q);
    is_returned(q, NULL, &length);
    atomic_store(&q->get.returned_count, length);
}

/* Unless another sweep has done it.  -ESTALE: the queue is being freed. */
static int message_give_back(struct piu_queue *q, struct message *m, uint64_t dead_id)
{
    uint64_t who = member_who_again();
    int r = put_enter(q, who);

    if (r < 0)
        return r;
    queue_tell_pollers(q);
    r = get_enter(q, who);
    if (r == 0) {
        if (block_owner(m) == (dead_id & ID_OWNER))
            message_return(q, m, dead_id);
        get_leave(q);
    }
    put_leave(q);
    bell_ring(&q->getters);
    return r;
}

/* The sweep found a block that an ended member had taken. */
static bool taken_orphan(void *block, uint64_t dead_id, bool died)
{
    struct piu_queue *q = died ? message_queue(block) : NULL;

    if (!q || message_give_back(q, block, dead_id) < 0)
        block_reap(block, dead_id); /* it had received it; or the queue is gone */
    return true;
}

__attribute__((constructor)) static void orphans_register(void)
{
    block_on_orphan(BLOCK_TAKEN, taken_orphan);
}
