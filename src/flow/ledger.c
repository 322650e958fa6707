/* Holding: entries in the ledgers of members, and what the end of one does with them. */
#include "flow/bequest.h"

#include "flow/queue.h"
#include "os/wiped.h"
#include "shm/heap.h"

#include <sched.h>
#include <string.h>
#include <unistd.h>

#define NO_ENTRY UINT32_MAX

struct ledger ledger_mine;

/*
 * Who is at ledger_mine: a child must find it whole.
 *
 *    63..16 thread that changes it; 0: none   15..0 forks that copy it
 *
 * Forks bar changes and not each other: one may stand in a handler of another library's that waits
 * for another.  So a fork waits for a change only, which runs nobody else's code; not for that
 * of its own thread, which a signal handler that forks has interrupted, nor longer than a second
 * for one that waits for what that thread holds.  Wiped, so the child finds
 * it free.
 */
static _Atomic uint64_t *turns;
static _Atomic uint32_t changes_waiting;

#define PATIENCE \
    (100 * MSEC) /* of a fork with a change that waits for another fork's end */

/* Of a fork with a change: no change takes so long, but one that waits for a lock of our thread's. */
#define CHANGE_LIMIT (1 * SEC)

#define FORKS_BITS 16
#define FORKS_MASK ((UINT64_C(1) << FORKS_BITS) - 1)

/* The calling thread, by the address of something of its own: an id would be a system call. */
static uint64_t change_by_me(void)
{
    static _Thread_local char here;

    return (uint64_t)(uintptr_t)&here << FORKS_BITS;
}

static bool change_try(uint64_t mine)
{
    uint64_t idle = 0;

    return atomic_compare_exchange_strong(turns, &idle, mine);
}

void ledger_mine_enter(void)
{
    uint64_t mine = change_by_me();

    if (likely(change_try(mine)))
        return;
    atomic_fetch_add(&changes_waiting, 1);
    while (!change_try(mine))
        sched_yield();
    atomic_fetch_sub(&changes_waiting, 1);
}

void ledger_mine_leave(void)
{
    atomic_store(turns, 0); /* there are no forks while there is a change */
}

/* With many that fork, there would never be none for a change to come in between. */
static void let_changes_go_first(void)
{
    int64_t deadline = deadline_after(PATIENCE);

    while (atomic_load(&changes_waiting) && deadline_left(deadline))
        sched_yield();
}

bool ledger_mine_enter_to_fork(void)
{
    uint64_t mine = change_by_me(), seen;
    int64_t deadline = deadline_after(CHANGE_LIMIT);

    if (atomic_load(turns) == mine)
        return false;
    let_changes_go_first();
    seen = atomic_load(turns);
    do {
        while (seen >> FORKS_BITS) {
            if (!deadline_left(deadline))
                return false; /* it waits for a lock of the thread that our signal came to */
            sched_yield();
            seen = atomic_load(turns);
        }
    } while (!atomic_compare_exchange_weak(turns, &seen, seen + 1));
    return true;
}

void ledger_mine_leave_in_starter(void)
{
    uint64_t seen = atomic_load(turns);

    /* 0: the child of a fork in a handler, in the midst of ours, has come here */
    while (seen & FORKS_MASK && !atomic_compare_exchange_weak(turns, &seen, seen - 1))
        ;
}

/* Of what its starter's threads were at, nothing goes on here. */
void ledger_mine_leave_in_child(void)
{
    atomic_store(&changes_waiting, 0);
    atomic_store(turns, 0);
}

/* ---- Entries ------------------------------------------------------------------------------ */

ledger_entry *ledger_entry_at(uint32_t number)
{
    uint64_t index;
    unsigned part = part_of(number, &index);
    ledger_entry *first = part < HANDLE_PARTS ? arena_at(ledger_mine.parts[part],
                                                         part_size(part) * sizeof(*first))
                                              : NULL;

    return first ? first + index : NULL;
}

static void ledger_reset(void)
{
    ledger_mine = (struct ledger){.pid = getpid(), .free = NO_ENTRY};
}

/* Empty before anybody could take it for a ledger's (L1). */
static int part_new(unsigned part, uint64_t *ret)
{
    size_t size = sizeof(struct ledger_block) + part_size(part) * sizeof(ledger_entry);
    struct ledger_block *b;
    void *block;
    int r = block_new(size, BLOCK_SCRATCH, NULL, &block);

    if (r < 0)
        return r;
    memset(block, 0, block_size(block));
    block_set_purpose(block, BLOCK_LEDGER);
    b = block;
    *ret = arena_offset(b->entries);
    return 0;
}

static int ledger_grow(void)
{
    uint64_t index;
    unsigned part = part_of(ledger_mine.count, &index);
    int r = part < HANDLE_PARTS ? part_new(part, &ledger_mine.parts[part]) : -ENOMEM;

    if (r < 0)
        return r;
    for (uint32_t i = (uint32_t)part_size(part); i-- > 0;) {
        atomic_store(ledger_entry_at(ledger_mine.count + i),
                     ENTRY_FREE | ledger_mine.free);
        ledger_mine.free = ledger_mine.count + i;
    }
    ledger_mine.count += (uint32_t)part_size(part);
    return 0;
}

/* The list of free entries leads through shared memory: somebody may have written over it. */
static bool next_is_free(void)
{
    const ledger_entry *place =
        ledger_mine.free < ledger_mine.count ? ledger_entry_at(ledger_mine.free) : NULL;

    return place && atomic_load(place) & ENTRY_FREE;
}

/* ledger_mine is entered.  There is a free entry then. */
static int ledger_ready(void)
{
    uint64_t who;
    int r = member_who(&who);

    if (r == 0 && ledger_mine.pid != getpid())
        ledger_reset();
    if (ledger_mine.free != NO_ENTRY && !next_is_free())
        ledger_mine.free = NO_ENTRY; /* what was behind it is lost */
    return r == 0 && ledger_mine.free == NO_ENTRY ? ledger_grow() : r;
}

int ledger_begin(void)
{
    int r;

    ledger_mine_enter();
    r = ledger_ready();
    ledger_mine_leave();
    return r;
}

/* The gate is entered, too. */
static void hold_fill(struct handle_table *t, struct piu_hold *ret, struct cell *c,
                      uint64_t number)
{
    uint32_t entry = ledger_mine.free;
    ledger_entry *place = ledger_entry_at(entry);

    ledger_mine.free = (uint32_t)atomic_load(place);
    ledger_mine.held++;
    cell_count(t, c, 1, place, number + 1);
    *ret = (struct piu_hold){
        .handle = {arena_header()->family, number, atomic_load(&c->generation)},
        .object = arena_at(atomic_load(&c->object), 1),
        .entry = entry,
    };
}

/* ---- The calls ----------------------------------------------------------------------------- */

/* ledger_mine and the gate, and an entry to fill. */
static struct handle_table *ledger_enter(int *ret_error)
{
    struct handle_table *t;
    int r;

    ledger_mine_enter();
    r = ledger_ready();
    t = r == 0 ? handles_enter() : NULL;
    *ret_error = r < 0 ? r : t ? 0 : -errno;
    if (!t)
        ledger_mine_leave();
    return t;
}

static void ledger_leave(struct handle_table *t)
{
    handles_leave(t);
    ledger_mine_leave();
}

/* What is given back at the end must fit in. */
static size_t size_least(enum piu_kind kind)
{
    switch (kind) {
    case PIU_KIND_SEMAPHORE:
        return sizeof(struct piu_semaphore);
    case PIU_KIND_CONDITION:
        return sizeof(struct piu_condition);
    case PIU_KIND_BARRIER:
        return sizeof(struct piu_barrier);
    default:
        return 1;
    }
}

int piu_hold_new(struct piu_hold *ret, enum piu_kind kind, size_t size)
{
    struct handle_table *t;
    uint64_t number;
    int r = -EINVAL;

    if (!ret || kind < PIU_KIND_MEMORY || kind >= PIU_KIND_QUEUE ||
        size < size_least(kind))
        return -EINVAL;
    member_sweep_dead(false); /* what the dead held, nobody may have noticed yet */
    t = ledger_enter(&r);
    if (!t)
        return r;
    r = cell_new(t, kind, size, &number);
    if (r == 0)
        hold_fill(t, ret, cell_at(t, number), number);
    ledger_leave(t);
    return r;
}

int piu_hold_queue(struct piu_hold *ret, struct piu_queue *q)
{
    struct handle_table *t;
    uint64_t number, who;
    int r = ret ? queue_use(q, &who) : -EINVAL;

    t = r == 0 ? ledger_enter(&r) : NULL;
    if (!t)
        return r;
    r = cell_new_queue(t, q, &number);
    if (r == 0)
        hold_fill(t, ret, cell_at(t, number), number);
    ledger_leave(t);
    return r;
}

int piu_hold_take(struct piu_hold *ret, const struct piu_handle *h)
{
    struct handle_table *t;
    struct cell *c;
    int r = -EINVAL;

    t = ret && h ? ledger_enter(&r) : NULL;
    if (!t)
        return r;
    r = cell_find(t, h, &c);
    if (r == 0)
        hold_fill(t, ret, c, h->number);
    ledger_leave(t);
    return r;
}

int piu_hold_drop(struct piu_hold *hold)
{
    struct handle_table *t;
    ledger_entry *place;
    struct cell *c = NULL;
    bool ends = false;
    int r = 0;

    if (!hold || !hold->object)
        return -EINVAL;
    hold->object = NULL;
    t = ledger_enter(&r);
    if (!t)
        return r;
    place = hold->entry < ledger_mine.count ? ledger_entry_at(hold->entry) : NULL;
    if (place && atomic_load(place) == hold->handle.number + 1)
        c = cell_at(t, hold->handle.number);
    if (c) {
        ends = cell_count(t, c, -1, place, ENTRY_FREE | ledger_mine.free);
        ledger_mine.free = hold->entry;
        ledger_mine.held--;
    }
    ledger_leave(t);
    if (ends)
        cell_end(c);
    return c ? 0 : -EINVAL; /* a child that has not inherited it */
}

/* ---- Giving back ---------------------------------------------------------------------- */

static uint64_t entries_in(const struct ledger_block *b)
{
    size_t size = block_size(b);

    return size > sizeof(*b) ? (size - sizeof(*b)) / sizeof(ledger_entry) : 0;
}

/* The caller's own: entry by entry; who is killed at it leaves the rest to the sweep of itself. */
void ledger_block_give_back(struct ledger_block *b)
{
    for (uint64_t i = 0, count = entries_in(b); i < count; i++) {
        uint64_t value = atomic_load(&b->entries[i]);
        struct handle_table *t;
        struct cell *c;
        bool ends;

        if (!entry_names_cell(value) || !(t = handles_enter()))
            continue;
        c = cell_at(t, value - 1);
        ends = c && atomic_load(&c->refs) && cell_count(t, c, -1, &b->entries[i], 0);
        handles_leave(t);
        if (ends)
            cell_end(c);
    }
    block_free(b);
}

/* ---- The end of a member --------------------------------------------------------------- */

/*
 * One that left may have threads that still use what it holds, until its process has ended: the
 * sweep comes again then (M3).  The gate comes first: its owner may have been killed in there,
 * with an entry half done.
 */
static bool ledger_orphan(void *block, uint64_t dead_id, bool died)
{
    struct handle_table *t;

    if (!died && member_fate_unswept(dead_id) == FATE_ALIVE)
        return true; /* at piu_leave(): its own end comes later */
    if (block_inherit(block, dead_id, BLOCK_LEDGER) < 0 || !(t = handles_enter()))
        return true; /* another sweep has it */
    handles_leave(t);
    ledger_block_give_back(block);
    cells_end_of(dead_id & ID_MASK);
    bequests_give_back();
    return true;
}

uint64_t ledger_block_count(const struct ledger_block *b)
{
    uint64_t sum = 0;

    for (uint64_t i = 0, count = entries_in(b); i < count; i++)
        sum += entry_names_cell(atomic_load(&b->entries[i]));
    return sum;
}

static void count_block(void *block, uint64_t owner, void *argument)
{
    uint64_t *sum = argument;

    (void)owner;
    *sum += ledger_block_count(block);
}

uint64_t ledgers_count(void)
{
    uint64_t count = bequests_count();

    block_each(BLOCK_LEDGER, count_block, &count);
    return count;
}

/* ---- Before main() ------------------------------------------------------------------------- */

static _Atomic uint64_t not_wiped;

/* Before bequest.c's, whose handlers for fork take the turn. */
__attribute__((constructor(102))) static void ledger_open(void)
{
    void *page;

    turns = wiped_new(4096, &page) == 0 ? page : &not_wiped;
    block_on_orphan(BLOCK_LEDGER, ledger_orphan);
}
