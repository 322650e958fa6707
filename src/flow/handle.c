/* The table of handles: what is held, how often, and the end of what nobody holds. */
#include "flow/handle.h"

#include "flow/ledger.h"
#include "flow/queue.h"
#include "shm/heap.h"

/* ---- The table ------------------------------------------------------------------------ */

static struct handle_table *table(void)
{
    return arena.base ? arena_at(atomic_load(&arena_header()->handles),
                                 sizeof(struct handle_table))
                      : NULL;
}

/* Unless another has made it just now. */
static int table_make(uint64_t who, struct handle_table **ret)
{
    owner_word *lock = &arena_header()->handles_lock;
    void *made;
    int r = 0;

    owner_enter(lock, who);
    made = table();
    if (!made)
        r = block_new_into(sizeof(struct handle_table), &arena_header()->handles, &made);
    owner_leave(lock);
    *ret = made;
    return r;
}

/* Once or twice, it is the same (H4). */
static void redo_apply(struct handle_redo *redo)
{
    struct cell *c = arena_at(redo->cell, sizeof(*c));
    ledger_entry *entry = arena_within(redo->entry, sizeof(*entry), sizeof(*entry));

    if (c)
        atomic_store(&c->refs, redo->refs);
    if (entry)
        atomic_store(entry, redo->value);
    /* release: what is done again is not begun again */
    atomic_store_explicit(&redo->armed, 0, memory_order_release);
}

struct handle_table *handles_enter(void)
{
    uint64_t who;
    int r = member_who(&who);
    struct handle_table *t = r == 0 ? table() : NULL;

    if (r == 0 && !t)
        r = table_make(who, &t);
    if (r < 0) {
        errno = -r;
        return NULL;
    }
    owner_enter(&t->gate, who);
    if (atomic_load_explicit(&t->redo.armed, memory_order_acquire))
        redo_apply(&t->redo); /* somebody was killed in here */
    return t;
}

void handles_leave(struct handle_table *t)
{
    owner_leave(&t->gate);
}

bool handles_are_entered_by(uint64_t who)
{
    struct handle_table *t = table();

    return t && (atomic_load(&t->gate) & WHO_MASK) == who;
}

/* ---- Cells ------------------------------------------------------------------------------ */

struct cell *cell_at(struct handle_table *t, uint64_t number)
{
    uint64_t index;
    unsigned part = part_of(number, &index);
    struct cell *first;

    if (number >= atomic_load(&t->count) || part >= HANDLE_PARTS)
        return NULL;
    first = arena_at(atomic_load(&t->parts[part]), part_size(part) * sizeof(*first));
    return first ? first + index : NULL;
}

/* Those that there can be: somebody may have written over the count. */
static uint64_t cells_count(struct handle_table *t)
{
    return min_u64(atomic_load(&t->count), heap_blocks_most());
}

/* The count follows the memory; killed between, the memory is there already. */
static int cells_grow(struct handle_table *t)
{
    uint64_t index, count = atomic_load(&t->count);
    unsigned part = part_of(count, &index);
    void *made;
    int r = 0;

    if (part >= HANDLE_PARTS)
        return -ENOMEM;
    if (!atomic_load(&t->parts[part]))
        r = block_new_into(part_size(part) * sizeof(struct cell), &t->parts[part], &made);
    if (r == 0)
        atomic_store(&t->count, (uint32_t)(count + part_size(part)));
    return r;
}

static int cell_vacant(struct handle_table *t, uint64_t *ret_number)
{
    uint64_t count = cells_count(t), from = atomic_load(&t->cursor);
    int r;

    from = from < count ? from : 0;
    for (uint64_t i = 0; i < count; i++) {
        uint64_t number = from + i < count ? from + i : from + i - count;
        struct cell *c = cell_at(t, number);

        if (c && atomic_load(&c->object) == 0) {
            atomic_store(&t->cursor, (uint32_t)number + 1);
            *ret_number = number;
            return 0;
        }
    }
    r = cells_grow(t);
    if (r == 0) {
        atomic_store(&t->cursor, (uint32_t)count + 1);
        *ret_number = count;
    }
    return r == 0 && !cell_at(t, count) ? -EBADMSG : r;
}

int cell_find(struct handle_table *t, const struct piu_handle *h, struct cell **ret)
{
    struct cell *c = cell_at(t, h->number);

    if (h->family != arena_header()->family)
        return -EXDEV;
    if (!c || atomic_load(&c->generation) != h->generation || atomic_load(&c->refs) == 0)
        return -ESTALE;
    *ret = c;
    return 0;
}

bool cell_count(struct handle_table *t, struct cell *c, int change, ledger_entry *entry,
                uint64_t value)
{
    uint64_t refs = atomic_load(&c->refs) + (uint64_t)(int64_t)change, who = 0;
    bool ends = refs == 0 && member_who(&who) == 0;

    if (ends)
        atomic_store(&c->ender, who & ID_MASK); /* H3: before it looks like ending */
    t->redo.cell = arena_offset(c);
    t->redo.refs = refs;
    t->redo.entry = entry ? arena_offset(entry) : 0;
    t->redo.value = value;
    /* release, for the acquire in handles_enter(): the record is whole */
    atomic_store_explicit(&t->redo.armed, 1, memory_order_release);
    redo_apply(&t->redo);
    return ends;
}

/* The cell is free, and stays so until it has an object. */
static struct cell *cell_begin(struct handle_table *t, uint64_t number,
                               enum piu_kind kind)
{
    struct cell *c = cell_at(t, number);
    uint64_t who = 0;

    member_who(&who);
    atomic_fetch_add(&c->generation, 1);
    atomic_store(&c->refs, 0);
    atomic_store(&c->ender, who & ID_MASK);
    c->kind = kind;
    return c;
}

int cell_new(struct handle_table *t, enum piu_kind kind, size_t size,
             uint64_t *ret_number)
{
    void *made;
    int r = cell_vacant(t, ret_number);

    if (r < 0)
        return r;
    return block_new_into(size, &cell_begin(t, *ret_number, kind)->object, &made);
}

int cell_new_queue(struct handle_table *t, struct piu_queue *q, uint64_t *ret_number)
{
    struct cell *c;
    int r = cell_vacant(t, ret_number);

    if (r < 0)
        return r;
    c = cell_begin(t, *ret_number, PIU_KIND_QUEUE);
    c->of_queue = q->generation;
    atomic_store(&c->object, arena_offset(q));
    return 0;
}

/* ---- The end ---------------------------------------------------------------------------- */

/* Cut off anywhere, and done again by another. */
void cell_end(struct cell *c)
{
    void *object = arena_at(atomic_load(&c->object), 1);
    struct piu_queue *q = object;

    if (!object)
        return;
    switch (c->kind) {
    case PIU_KIND_SEMAPHORE:
        piu_semaphore_done(object);
        break;
    case PIU_KIND_CONDITION:
        piu_condition_done(object);
        break;
    case PIU_KIND_BARRIER:
        piu_barrier_done(object);
        break;
    case PIU_KIND_QUEUE:
        /* done already, it is another's by now, or the sweep goes on with it */
        if (q->generation == c->of_queue)
            piu_queue_free(q);
        atomic_store(&c->object, 0);
        return;
    default:
        break;
    }
    block_free_from(&c->object);
}

static struct cell *cell_of_ender(uint64_t id)
{
    struct handle_table *t = handles_enter();
    struct cell *found = NULL;

    if (!t)
        return NULL;
    for (uint64_t i = 0; i < cells_count(t) && !found; i++) {
        struct cell *c = cell_at(t, i);

        if (c && atomic_load(&c->object) && atomic_load(&c->refs) == 0 &&
            atomic_load(&c->ender) == id) {
            atomic_store(&c->ender, member_who_again() & ID_MASK);
            found = c;
        }
    }
    handles_leave(t);
    return found;
}

void cells_end_of(uint64_t id)
{
    struct cell *c;

    while ((c = cell_of_ender(id)))
        cell_end(c);
}

/* ---- Messages ------------------------------------------------------------------------ */

int piu_handle_send(const struct piu_handle *h)
{
    struct handle_table *t = h ? handles_enter() : NULL;
    struct cell *c;
    int r;

    if (!t)
        return h ? -errno : -EINVAL;
    r = cell_find(t, h, &c);
    if (r == 0)
        cell_count(t, c, 1, NULL, 0);
    handles_leave(t);
    return r;
}

int piu_handle_land(const struct piu_handle *h)
{
    int r = h ? ledger_begin() : -EINVAL; /* H3 */
    struct handle_table *t = r == 0 ? handles_enter() : NULL;
    bool ends = false;
    struct cell *c;

    if (!t)
        return r < 0 ? r : -errno;
    r = cell_find(t, h, &c);
    if (r == 0)
        ends = cell_count(t, c, -1, NULL, 0);
    handles_leave(t);
    if (ends)
        cell_end(c);
    return r;
}

/* ---- Looking ---------------------------------------------------------------------------- */

uint64_t handles_in_use(void)
{
    struct handle_table *t = table();
    uint64_t used = 0;

    for (uint64_t i = 0; t && i < cells_count(t); i++) {
        const struct cell *c = cell_at(t, i);

        used += c && atomic_load(&c->object) != 0;
    }
    return used;
}

bool handles_check(uint64_t messages)
{
    struct handle_table *t = handles_enter();
    uint64_t refs = 0;
    bool sound = t != NULL;

    for (uint64_t i = 0; t && i < cells_count(t); i++) {
        struct cell *c = cell_at(t, i);
        bool used = c && atomic_load(&c->object) != 0;

        sound = sound && c && (used || atomic_load(&c->refs) == 0) &&
                (!used || block_is(arena_at(atomic_load(&c->object), 1)));
        refs += c ? atomic_load(&c->refs) : 0;
    }
    if (t)
        handles_leave(t);
    return sound && refs == ledgers_count() + messages;
}
