/* Who is at a barrier, and how their generation ends. */
#include "sync/parties.h"

#include "os/futex.h"

#include <limits.h>

/* ---- The end of a generation, inside the gate (B3) ------------------------------------ */

static void ending_finish(struct barrier *b)
{
    uint64_t ending = atomic_load(&b->ending);
    struct roll_walk walk;
    struct roll_entry *e;

    for (e = roll_first(&walk, &b->arrived); e; e = roll_next(&walk))
        if (is_here(e))
            /* release, for the acquire in state_of() */
            atomic_store_explicit(&e->state, (uint32_t)(ending >> 32),
                                  memory_order_release);
    atomic_store(&b->turn, (uint32_t)ending);
    atomic_store(&b->ending, 0);
}

void parties_end(struct barrier *b, enum arrival how, bool broken)
{
    uint32_t next =
        ((turn_of(b) & ~TURN_BROKEN) + TURN_GENERATION) | (broken ? TURN_BROKEN : 0);

    atomic_store(&b->ending, (uint64_t)how << 32 | next);
    ending_finish(b);
}

uint32_t parties_enter(struct barrier *b, uint64_t who)
{
    if (owner_enter(&b->gate, who) == OWNER_DIED && atomic_load(&b->ending))
        ending_finish(b); /* those who sleep find it in their slice */
    return turn_of(b);
}

/* `turn` is what it was when its caller came: if it changed, all who sleep are to look. */
void parties_leave(struct barrier *b, uint32_t turn)
{
    bool changed = turn_of(b) != turn;

    owner_leave(&b->gate);
    if (changed)
        futex_wake(&b->turn, INT_MAX);
}

/* ---- Who is there ------------------------------------------------------------------- */

unsigned parties_count(const struct barrier *b)
{
    struct roll_walk walk;
    struct roll_entry *e;
    unsigned count = 0;

    for (e = roll_first(&walk, &b->arrived); e; e = roll_next(&walk))
        count += is_here(e);
    return count;
}

bool parties_act(const struct barrier *b)
{
    struct roll_walk walk;
    struct roll_entry *e;

    for (e = roll_first(&walk, &b->arrived); e; e = roll_next(&walk))
        if (state_of(e) == ACTS)
            return true;
    return false;
}

static bool has_died(uint64_t who)
{
    uint64_t id = who & ID_MASK;

    return !member_seems_alive(id) && member_fate(id) == FATE_DIED;
}

/*
 * One that had arrived in this generation and died; as in Python, one that left counts on, unless
 * the others wait for what it does.
 */
bool parties_have_dead(const struct barrier *b)
{
    struct roll_walk walk;
    struct roll_entry *e;

    for (e = roll_first(&walk, &b->arrived); e; e = roll_next(&walk)) {
        uint32_t state = state_of(e);

        if ((state == ARRIVED && has_died(walk.who)) ||
            (state == ACTS && who_has_ended(walk.who)))
            return true;
    }
    return false;
}

void parties_break_if_dead(struct barrier *b)
{
    if (parties_have_dead(b))
        parties_end(b, BROKEN, true);
}

/* Entries of earlier generations whose members ended before they took them out. */
static void entries_clear(struct barrier *b)
{
    struct roll_walk walk;
    struct roll_entry *e;

    for (e = roll_first(&walk, &b->arrived); e; e = roll_next(&walk))
        if (!is_here(e) && who_has_ended(walk.who))
            roll_remove(e);
}

static bool index_is_taken(const struct barrier *b, unsigned index)
{
    struct roll_walk walk;
    struct roll_entry *e;

    for (e = roll_first(&walk, &b->arrived); e; e = roll_next(&walk))
        if (is_here(e) && atomic_load(&e->value) == index)
            return true;
    return false;
}

/* The number of those who came before, unless one of them went away again (B1). */
unsigned parties_index(const struct barrier *b)
{
    unsigned index = parties_count(b);

    while (index_is_taken(b, index))
        index = index ? index - 1 : b->parties - 1;
    return index;
}

int parties_vacant(struct barrier *b, struct roll_entry **ret)
{
    struct roll_entry *e = roll_vacant(&b->arrived);
    int r = 0;

    if (!e) {
        entries_clear(b);
        e = roll_vacant(&b->arrived);
    }
    if (!e) {
        r = roll_grow(&b->arrived);
        e = roll_vacant(&b->arrived);
    }
    *ret = e;
    return e ? 0 : r < 0 ? r : -ENOMEM;
}

/* Those who have arrived and live: one that left counts on, and cannot break it any more. */
void parties_list(const struct barrier *b, struct lives *ret)
{
    struct roll_walk walk;
    struct roll_entry *e;

    ret->count = 0;
    for (e = roll_first(&walk, &b->arrived); e; e = roll_next(&walk))
        if (is_here(e) && !who_has_ended(walk.who))
            lives_add(ret, walk.who);
}
