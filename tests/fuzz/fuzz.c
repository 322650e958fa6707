/*
 * Fuzzing everything that reads bytes which another member wrote: the arena of a family of which a
 * member was killed half-way (image.h), some of its words changed, then some calls.  Each must
 * come back, with whatever result: no signal, no report of a sanitizer, no endless loop.
 *
 *    an input    0       2          3                       3 + 12 n
 *                | image | n changes | change ...           | operation, argument | ...
 *    a change    0       2      3       4          12
 *                | word  | kind | count | value    |
 */
#include "image.h"

#include "shm/heap.h"

#include <string.h>

#define CHANGES_MOST    8u
#define OPERATIONS_MOST 12u

enum kind { FLIP, SET, OFFSET, ADD, FILL, COPY, COPY_LINE, KINDS };

struct change {
    uint16_t word;
    uint8_t kind, count;
    uint64_t value;
};

/* Numbers that lie at the edges of things. */
static uint64_t edge(uint64_t n)
{
    uint64_t end = arena.heap + heap_committed() * UNIT_SIZE;
    const uint64_t edges[] = {
        0,
        1,
        UINT64_MAX,
        INT64_MAX,
        arena.range,
        arena.range - 64,
        arena.range - 8,
        arena.heap,
        arena.heap - 64,
        end,
        end - 64,
        end - 8,
        end + UNIT_SIZE,
        arena_offset(objects),
        arena_offset(queues[0]),
        arena_offset(queues[3]),
        arena_offset(blocks[0]),
        arena_offset(blocks[5]),
        arena_offset(blocks[4]) + 8,
        arena_offset(jobs[1]),
        UINT32_MAX,
        PLACE_MASK,
        (uint64_t)KIND_SPAN << 58 | (uint64_t)RUN_MAX << 34,
        (uint64_t)KIND_USED << 58 | (uint64_t)RUN_MAX << 34,
        id_make(2, 0),
        id_make(3, 0),
        id_make(MEMBER_SLOTS - 1, 0),
    };

    return edges[n % array_size(edges)];
}

static void change_word(const struct change *c, uint64_t *word)
{
    switch (c->kind % KINDS) {
    case FLIP:
        *word ^= UINT64_C(1) << c->value % 64;
        break;
    case SET:
        *word = c->value;
        break;
    case OFFSET:
        *word = edge(c->value);
        break;
    case ADD:
        *word += (uint64_t)(int64_t)(int8_t)c->value;
        break;
    case COPY:
        *word = *image_word(c->value);
        break;
    default:
        break;
    }
}

static void change_do(const struct change *c)
{
    uint64_t *word = image_word(c->word);

    if (c->kind % KINDS == FILL) {
        for (unsigned i = 0; i < 1u + c->count % 8; i++)
            *image_word((size_t)c->word + i) = c->value;
    } else if (c->kind % KINDS == COPY_LINE) {
        for (unsigned i = 0; i < 8; i++)
            *image_word((size_t)c->word + i) = *image_word(c->value + i);
    } else {
        change_word(c, word);
    }
}

static size_t take(const unsigned char **data, size_t *size, void *ret, size_t wanted)
{
    size_t got = *size < wanted ? *size : wanted;

    memcpy(ret, *data, got);
    *data += got;
    *size -= got;
    return got;
}

int fuzz_one(const unsigned char *data, size_t size)
{
    struct change changes[CHANGES_MOST];
    unsigned char head[3], pair[2];
    uint16_t image;
    unsigned count;

    if (take(&data, &size, head, sizeof(head)) < sizeof(head))
        return -1;
    memcpy(&image, head, sizeof(image));
    count = head[2] % (CHANGES_MOST + 1);
    memset(changes, 0, sizeof(changes));
    for (unsigned i = 0; i < count; i++) {
        take(&data, &size, &changes[i].word, 2);
        take(&data, &size, &changes[i].kind, 1);
        take(&data, &size, &changes[i].count, 1);
        take(&data, &size, &changes[i].value, 8);
    }
    image_restore(image);
    image_words();
    for (unsigned i = 0; i < count; i++)
        change_do(&changes[i]);
    image_open_locks();
    for (unsigned i = 0; i < OPERATIONS_MOST && take(&data, &size, pair, 2) == 2; i++)
        operation_do(pair[0], pair[1]);
    return 0;
}
