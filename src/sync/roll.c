#include "sync/roll.h"

#include "shm/block.h"

#define PARTS 12 /* 131,000 entries */

static uint64_t part_size(unsigned number)
{
    return PART_SIZE << number;
}

static unsigned part_entries(unsigned number)
{
    return (unsigned)((part_size(number) - sizeof(struct roll_part)) /
                      sizeof(struct roll_entry));
}

/* The part that `link` names; NULL: none, or not an address. */
static struct roll_part *part_at(const roll_word *link, unsigned number)
{
    /* acquire, for the store in block_new_into(): the part's zeroes are seen */
    uint64_t offset = atomic_load_explicit(link, memory_order_acquire);

    if (offset == 0 || number >= PARTS)
        return NULL;
    return arena_at(offset, part_size(number));
}

static uint64_t entry_who(const struct roll_entry *e)
{
    /* acquire, for the release in roll_put() and roll_remove() */
    return atomic_load_explicit(&e->who, memory_order_acquire);
}

static struct roll_entry *step(struct roll_walk *walk)
{
    while (walk->part) {
        if (walk->index < part_entries(walk->number))
            return &walk->part->entries[walk->index++];
        walk->part = part_at(&walk->part->next, ++walk->number);
        walk->index = 0;
    }
    return NULL;
}

static void start(struct roll_walk *walk, const roll_word *roll)
{
    *walk = (struct roll_walk){.part = part_at(roll, 0)};
}

struct roll_entry *roll_next(struct roll_walk *walk)
{
    struct roll_entry *e;

    while ((e = step(walk)) && (walk->who = entry_who(e)) == 0)
        ;
    return e;
}

struct roll_entry *roll_first(struct roll_walk *walk, const roll_word *roll)
{
    start(walk, roll);
    return roll_next(walk);
}

struct roll_entry *roll_search(const roll_word *roll, uint64_t who)
{
    struct roll_walk walk;
    struct roll_entry *e;

    start(&walk, roll);
    while ((e = step(&walk)) && entry_who(e) != who)
        ;
    return e;
}

struct roll_entry *roll_entry_at(uint64_t offset)
{
    return arena_within(offset, sizeof(struct roll_entry), sizeof(struct roll_entry));
}

struct roll_entry *roll_vacant(const roll_word *roll)
{
    return roll_find(roll, 0);
}

int roll_grow(roll_word *roll)
{
    struct roll_part *part;
    roll_word *link = roll;
    unsigned number = 0;
    void *added;

    while ((part = part_at(link, number))) {
        link = &part->next;
        number++;
    }
    if (number == PARTS)
        return -ENOMEM;
    return block_new_into(part_size(number), link, &added);
}

/* From the last to the first, so that a part is never cut off before it is free. */
static void parts_free(roll_word *link, unsigned number)
{
    struct roll_part *part = part_at(link, number);

    if (!part)
        return;
    parts_free(&part->next, number + 1);
    block_free_from(link);
}

void roll_done(roll_word *roll)
{
    parts_free(roll, 0);
}

void roll_put(struct roll_entry *e, uint64_t who, uint64_t order, uint32_t value,
              uint32_t state)
{
    atomic_store_explicit(&e->order, order, memory_order_relaxed);
    atomic_store_explicit(&e->value, value, memory_order_relaxed);
    atomic_store_explicit(&e->state, state, memory_order_relaxed);
    /* release, for the acquire in entry_who(): who sees the name sees the rest (R1) */
    atomic_store_explicit(&e->who, who, memory_order_release);
}

void roll_remove(struct roll_entry *e)
{
    /* release, for the acquire in entry_who(): the next owner writes after our last read */
    atomic_store_explicit(&e->who, 0, memory_order_release);
}

bool roll_check(const roll_word *roll)
{
    const roll_word *link = roll;
    struct roll_part *part;
    struct roll_walk walk;
    struct roll_entry *e;
    unsigned number;

    for (number = 0; (part = part_at(link, number)); number++) {
        if (!block_is(part) || block_size(part) < part_size(number))
            return false;
        link = &part->next;
    }
    for (e = roll_first(&walk, roll); e; e = roll_next(&walk))
        if (!member_of(walk.who & ID_MASK))
            return false;
    return number == PARTS || atomic_load(link) == 0;
}
