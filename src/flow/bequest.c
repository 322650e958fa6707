/* Bequests: made before a fork, taken after it, given back where nobody came for them. */
#include "flow/bequest.h"

#include "os/coverage.h"
#include "shm/heap.h"

#include <pthread.h>
#include <string.h>
#include <unistd.h>

/*
 * For a child that the thread is forking: offset of its block; 0: there is nothing to inherit.
 * Each thread's own: another's handlers for fork may run between ours.
 */
static _Thread_local uint64_t bequest;
/* And what it would be slow to make (member_witness). */
static _Thread_local int bequest_witness = -1;
static _Thread_local bool fork_has_entered;

/* ---- The list ------------------------------------------------------------------------------ */

/* In the gate: the word that names `b`; NULL: none does. */
static _Atomic uint64_t *link_to(struct handle_table *t, const struct ledger_block *b)
{
    _Atomic uint64_t *link = &t->bequests;

    for (uint64_t bound = heap_blocks_most(); bound; bound--) {
        struct ledger_block *at = arena_at(atomic_load(link), sizeof(*at));

        if (!at || at == b)
            return at ? link : NULL;
        link = &at->next;
    }
    return NULL;
}

/* In the gate: out of the list, and the caller's.  Killed between: it is the family's again. */
static bool bequest_take(struct handle_table *t, struct ledger_block *b)
{
    _Atomic uint64_t *link = link_to(t, b);

    if (!link || block_take(b, BLOCK_LEDGER, link) < 0)
        return false;
    atomic_store(link, atomic_load(&b->next));
    block_aim(b, NULL);
    return true;
}

static struct ledger_block *bequest_overdue(struct handle_table *t)
{
    struct ledger_block *b = arena_at(atomic_load(&t->bequests), sizeof(*b));
    int64_t now = b ? clock_now() : 0;
    uint64_t bound = heap_blocks_most();

    while (b && bound-- &&
           (atomic_load(&b->made) > now || now - atomic_load(&b->made) < BEQUEST_LASTS))
        b = arena_at(atomic_load(&b->next), sizeof(*b));
    return b;
}

/* Nobody came for them. */
void bequests_give_back(void)
{
    struct ledger_block *b;

    do {
        struct handle_table *t = handles_enter();

        if (!t)
            return;
        b = bequest_overdue(t);
        if (b && !bequest_take(t, b))
            b = NULL;
        handles_leave(t);
        if (b)
            ledger_block_give_back(b);
    } while (b);
}

uint64_t bequests_count(void)
{
    struct handle_table *t = handles_enter();
    struct ledger_block *b = t ? arena_at(atomic_load(&t->bequests), sizeof(*b)) : NULL;
    uint64_t count = 0;

    for (uint64_t bound = heap_blocks_most(); b && bound; bound--) {
        if (block_purpose(b) != BLOCK_LEDGER)
            count += ledger_block_count(b);
        b = arena_at(atomic_load(&b->next), sizeof(*b));
    }
    if (t)
        handles_leave(t);
    return count;
}

/* ---- Fork ----------------------------------------------------------------------------------- */

/* In the gate. */
static void bequest_fill(struct handle_table *t, struct ledger_block *b)
{
    for (uint32_t i = 0; i < ledger_mine.count; i++) {
        uint64_t value = atomic_load(ledger_entry_at(i));
        struct cell *c = entry_names_cell(value) ? cell_at(t, value - 1) : NULL;

        if (c)
            cell_count(t, c, 1, &b->entries[i], value);
        else
            atomic_store(&b->entries[i], value);
    }
}

/* In the gate: in the list before it is filled, so it is found whenever one is killed. */
static int bequest_make(struct handle_table *t)
{
    size_t size = sizeof(struct ledger_block) + ledger_mine.count * sizeof(ledger_entry);
    struct ledger_block *b;
    void *block;
    int r = block_new(size, BLOCK_SCRATCH, &t->bequests, &block);

    if (r < 0)
        return r;
    b = block;
    memset(b, 0, block_size(b));
    atomic_store(&b->made, clock_now());
    atomic_store(&b->next, atomic_load(&t->bequests));
    atomic_store(&t->bequests, arena_offset(b));
    block_give(b);
    bequest_fill(t, b);
    bequest = arena_offset(b);
    return 0;
}

/* A handler that forks, of a signal that came while this thread was in the gate. */
static bool is_in_gate(void)
{
    uint64_t who;

    return ledger_mine.pid == getpid() && member_who(&who) == 0 &&
           handles_are_entered_by(who);
}

static void before_fork(void)
{
    struct handle_table *t;

    bequest = 0;
    /* the gate first: who makes a change may wait for it */
    fork_has_entered = !is_in_gate() && ledger_mine_enter_to_fork();
    if (!fork_has_entered || ledger_mine.held == 0 || ledger_mine.pid != getpid() ||
        !(t = handles_enter()))
        return;
    (void)bequest_make(t); /* no memory: the child will not hold anything */
    handles_leave(t);
    if (bequest && !member_expects() && member_witness(&bequest_witness) == 0)
        member_expect(0, bequest_witness);
}

static void witness_forget(void)
{
    if (bequest_witness >= 0)
        member_expect(0, -1);
    bequest_witness = -1;
}

static void after_fork_in_starter(void)
{
    member_witness_close(bequest_witness);
    witness_forget();
    if (fork_has_entered)
        ledger_mine_leave_in_starter();
    if (bequest)
        bequests_give_back();
}

/* One flat block stands for all parts. */
static void bequest_adopt(struct ledger_block *b)
{
    uint64_t offset = arena_offset(b->entries);

    for (unsigned part = 0; part < HANDLE_PARTS; part++) {
        ledger_mine.parts[part] = offset;
        offset += part_size(part) * sizeof(ledger_entry);
        if (offset >= arena_offset(b->entries) + ledger_mine.count * sizeof(ledger_entry))
            break;
    }
    ledger_mine.pid = getpid();
}

static void after_fork_in_child(void)
{
    struct ledger_block *b = bequest ? arena_at(bequest, sizeof(*b)) : NULL;
    struct handle_table *t;
    bool taken;

    ledger_mine_leave_in_child();
    if (!b)
        return;
    t = handles_enter();
    if (!t)
        member_witness_close(bequest_witness);
    witness_forget();
    if (!t) { /* no member, for want of descriptors, say: but it uses what it inherited */
        atomic_store(&b->made, INT64_MAX);
        return;
    }
    taken = bequest_take(t, b);
    handles_leave(t);
    if (!taken) {
        coverage_save();
        _exit(EXIT_DISINHERITED);
    }
    bequest_adopt(b);
}

/* After member.c's: so its handlers for fork come first in the child, and last in the starter. */
__attribute__((constructor(103))) static void bequest_open(void)
{
    pthread_atfork(before_fork, after_fork_in_starter, after_fork_in_child);
}
