#include "shm/name.h"

#include "shm/block.h"
#include "shm/owner.h"

#include <piu.h>

#include <stdio.h>
#include <string.h>

/*
 * An open table by offset, grown by copy; under names_lock, readers too.
 *
 *    0          8          16
 *    | capacity | used     | entries: offset, name                      |
 *
 * N1  capacity is a power of two; at least a quarter of the entries was never used
 * N2  an entry counts from the moment its offset is there, and its name is whole then
 * Crash: `used` may be one too large, which N1 allows.  A table that was being replaced is
 * still the one in arena_header()->names, or is already freed by the sweep.
 */
struct name_entry {
    _Atomic uint64_t offset; /* 0: never used; GONE: used once */
    char name[NAME_SIZE];
};

struct name_table {
    uint64_t capacity;
    uint64_t used; /* those with GONE too */
    struct name_entry entries[];
};

#define GONE           UINT64_C(1)
#define CAPACITY_FIRST 64u

static size_t table_size(uint64_t capacity)
{
    return sizeof(struct name_table) + capacity * sizeof(struct name_entry);
}

static uint64_t place_of(uint64_t offset, uint64_t capacity)
{
    return (offset * UINT64_C(0x9e3779b97f4a7c15) >> 32) & (capacity - 1);
}

static bool is_sound(const struct name_table *t)
{
    return t->capacity && !(t->capacity & (t->capacity - 1)) &&
           t->capacity <= arena.range / sizeof(struct name_entry) &&
           arena_has(t, table_size(t->capacity));
}

/* NULL: nobody gives names. */
static struct name_table *table_now(void)
{
    uint64_t offset = arena.base ? atomic_load(&arena_header()->names) : 0;
    struct name_table *t = offset ? arena_at(offset, sizeof(*t)) : NULL;

    return t && is_sound(t) ? t : NULL;
}

/* Its entry, else the first free one; NULL: the table is full. */
static struct name_entry *entry_find(struct name_table *t, uint64_t offset)
{
    struct name_entry *gone = NULL;

    for (uint64_t i = 0, at = place_of(offset, t->capacity); i < t->capacity; i++) {
        struct name_entry *e = &t->entries[(at + i) & (t->capacity - 1)];
        uint64_t there = atomic_load(&e->offset);

        if (there == offset)
            return e;
        if (there == GONE && !gone)
            gone = e;
        if (there == 0)
            return gone ? gone : e;
    }
    return gone;
}

static void entry_write(struct name_table *t, struct name_entry *e, uint64_t offset,
                        const char *name)
{
    if (atomic_load(&e->offset) == 0)
        t->used++;
    /* rather no name than half the old and half the new */
    atomic_store(&e->offset, GONE);
    memset(e->name, 0, sizeof(e->name));
    strncpy(e->name, name, sizeof(e->name) - 1);
    atomic_store(&e->offset, offset);
}

static bool is_full(const struct name_table *t)
{
    return t->used >= t->capacity - t->capacity / 4;
}

static uint64_t names_in(const struct name_table *t)
{
    uint64_t count = 0;

    for (uint64_t i = 0; i < t->capacity; i++)
        count += atomic_load(&t->entries[i].offset) > GONE;
    return count;
}

static void names_copy(struct name_table *to, const struct name_table *from)
{
    for (uint64_t i = 0; i < from->capacity; i++) {
        const struct name_entry *e = &from->entries[i];
        uint64_t offset = atomic_load(&e->offset);

        if (offset > GONE)
            entry_write(to, entry_find(to, offset), offset, e->name);
    }
}

/* The caller's own, until it is published: nobody may find one without its capacity. */
static int table_new(uint64_t capacity, struct name_table **ret)
{
    void *block;
    int r =
        block_new(table_size(capacity), BLOCK_SCRATCH, &arena_header()->names, &block);

    if (r < 0)
        return r;
    memset(block, 0, table_size(capacity));
    *ret = block;
    (*ret)->capacity = capacity;
    return 0;
}

static void table_publish(struct name_table *t)
{
    atomic_store(&arena_header()->names, arena_offset(t));
    block_give(t);
}

static int table_replace(struct name_table *old, struct name_table **ret)
{
    uint64_t capacity =
        names_in(old) * 2 >= old->capacity ? old->capacity * 2 : old->capacity;
    struct name_table *t;
    int r = table_new(capacity, &t);

    if (r < 0)
        return r;
    names_copy(t, old);
    /* killed behind this line: the old one goes back to the family, until ... */
    r = block_take(old, BLOCK_SCRATCH, &arena_header()->names);
    if (r < 0) {
        block_free(t);
        return r;
    }
    /* ... this one, where the new one becomes the family's (B4) */
    table_publish(t);
    block_free(old);
    *ret = t;
    return 0;
}

/* With room for one more. */
static int table_for_one(struct name_table **ret)
{
    struct name_table *t = table_now();
    int r;

    if (t && !is_full(t)) {
        *ret = t;
        return 0;
    }
    if (t)
        return table_replace(t, ret);
    r = table_new(CAPACITY_FIRST, ret);
    if (r == 0)
        table_publish(*ret);
    return r;
}

/* The lock is held. */
static int name_set(uint64_t offset, const char *name)
{
    struct name_table *t;
    struct name_entry *e;
    int r = table_for_one(&t);

    if (r < 0)
        return r;
    e = entry_find(t, offset);
    if (!e)
        return -ENOMEM;
    entry_write(t, e, offset, name);
    return 0;
}

static void names_remove(struct name_table *t, uint64_t first, uint64_t end)
{
    for (uint64_t i = 0; i < t->capacity; i++) {
        uint64_t offset = atomic_load(&t->entries[i].offset);

        if (offset > GONE && offset >= first && offset < end)
            atomic_store(&t->entries[i].offset, GONE);
    }
}

/* Nothing needs repair after a dead holder: every step is one word. */
static int names_enter(uint64_t *ret_who)
{
    int r = member_who(ret_who);

    return r < 0 ? r : (owner_enter(&arena_header()->names_lock, *ret_who), 0);
}

static void names_leave(void)
{
    owner_leave(&arena_header()->names_lock);
}

void name_forget(const void *start, size_t size)
{
    uint64_t who, first = arena.base ? arena_offset(start) : 0;
    struct name_table *t;

    if (!table_now() || names_enter(&who) < 0)
        return;
    t = table_now();
    if (t)
        names_remove(t, first, first + size);
    names_leave();
}

int piu_name(const void *object, const char *name)
{
    uint64_t who;
    int r = member_uses(object, 1, &who);

    if (r < 0)
        return r;
    if (!name) {
        name_forget(object, 1);
        return 0;
    }
    if (strlen(name) >= NAME_SIZE)
        return -ENAMETOOLONG;
    r = names_enter(&who);
    if (r < 0)
        return r;
    r = name_set(arena_offset(object), name);
    names_leave();
    return r;
}

static void name_read(uint64_t offset, char *ret, size_t room)
{
    struct name_table *t = table_now();
    struct name_entry *e = t ? entry_find(t, offset) : NULL;

    if (e && atomic_load(&e->offset) == offset)
        snprintf(ret, room, "%.*s", (int)sizeof(e->name) - 1, e->name);
}

const char *piu_name_of(const void *object, char *ret, size_t room)
{
    uint64_t who;

    if (!ret || room == 0)
        return "";
    ret[0] = '\0';
    if (member_looks(object) < 0 || !arena_has(object, 1) || !table_now() ||
        names_enter(&who) < 0)
        return ret;
    name_read(arena_offset(object), ret, room);
    names_leave();
    return ret;
}
