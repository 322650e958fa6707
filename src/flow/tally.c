#include "flow/tally.h"

#include "shm/block.h"
#include "shm/member.h"

#define TALLY_FIRST 14u /* marks: a block of 256 bytes */
#define TALLY_LAST  (2 * MEMBER_SLOTS)

struct tally *tally_at(_Atomic uint64_t *word)
{
    struct tally *tally = arena_at(atomic_load(word), sizeof(*tally));

    return tally && tally->capacity >= TALLY_FIRST && tally->capacity <= TALLY_LAST &&
                   arena_has(tally->marks, tally->capacity * sizeof(tally->marks[0]))
               ? tally
               : NULL;
}

/* A larger one in its place: made aside, then the word moves, and with it both blocks (B4). */
static int tally_grow(_Atomic uint64_t *word)
{
    struct tally *old = tally_at(word);
    uint32_t capacity = old ? old->capacity * 2 : TALLY_FIRST;
    struct tally *tally;
    void *block;
    int r = capacity > TALLY_LAST
                ? -ENOMEM
                : block_new(sizeof(*tally) + capacity * sizeof(tally->marks[0]),
                            BLOCK_SCRATCH, word, &block);

    if (r < 0)
        return r;
    tally = block;
    tally->capacity = capacity;
    for (uint32_t i = 0; i < capacity; i++) {
        bool had = old && i < old->capacity;

        atomic_store(&tally->marks[i].id, had ? atomic_load(&old->marks[i].id) : 0);
        atomic_store(&tally->marks[i].count, had ? atomic_load(&old->marks[i].count) : 0);
    }
    if (old && block_take(old, BLOCK_SCRATCH, word) < 0) {
        block_free(tally);
        return -EBADMSG;
    }
    atomic_store(word, arena_offset(tally));
    block_give(tally);
    if (old)
        block_free(old);
    return 0;
}

struct tally_mark *tally_find(_Atomic uint64_t *word, uint64_t id)
{
    struct tally *tally = tally_at(word);

    for (uint32_t i = 0; tally && i < tally->capacity; i++) {
        if (atomic_load(&tally->marks[i].id) == id)
            return &tally->marks[i];
    }
    return NULL;
}

/* A free one; else that of a member that has ended and means nothing more. */
static struct tally_mark *tally_free_mark(_Atomic uint64_t *word, bool counts)
{
    struct tally_mark *mark = tally_find(word, 0);
    struct tally *tally = tally_at(word);

    for (uint32_t i = 0; tally && i < tally->capacity && !mark; i++) {
        struct tally_mark *m = &tally->marks[i];

        if ((!counts || !atomic_load(&m->count)) &&
            member_fate_unswept(atomic_load(&m->id)) != FATE_ALIVE)
            mark = m;
    }
    return mark;
}

int tally_add(_Atomic uint64_t *word, uint64_t id, bool counts, struct tally_mark **ret)
{
    struct tally_mark *mark = tally_find(word, id);
    int r = 0;

    while (!mark) {
        mark = tally_free_mark(word, counts);
        if (mark) {
            atomic_store(&mark->id, 0);
            atomic_store(&mark->count, 0);
            atomic_store(&mark->id, id);
        } else if ((r = tally_grow(word)) < 0) {
            return r;
        }
    }
    *ret = mark;
    return 0;
}

uint64_t tally_index(_Atomic uint64_t *word, const struct tally_mark *mark)
{
    return 1 + (uint64_t)(mark - tally_at(word)->marks);
}

struct tally_mark *tally_mark_at(_Atomic uint64_t *word, uint64_t index)
{
    struct tally *tally = tally_at(word);

    return tally && index && index <= tally->capacity ? &tally->marks[index - 1] : NULL;
}
