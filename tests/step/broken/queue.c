/* Queues and lists that are wrong, each in one way. */
#include "kill.h"

#include "shm/block.h"

struct ring {
    volatile unsigned tail, count;
    volatile unsigned long values[8];
    _Atomic uint64_t first; /* offset of a block */
};

static void publish_before_the_bytes(void *state)
{
    struct ring *r = state;

    r->tail++;
    r->values[r->tail - 1] = 42;
}

static void bytes_are_whole(void *state)
{
    struct ring *r = state;

    for (unsigned i = 0; i < r->tail; i++)
        CHECK_EQ(r->values[i], 42);
}

TWIN(queue, publish_before_the_bytes, .size = sizeof(struct ring),
     .operation = publish_before_the_bytes, .check = bytes_are_whole);

static void commit_two_words(void *state)
{
    struct ring *r = state;

    r->tail++;
    r->count++;
}

static void words_agree(void *state)
{
    struct ring *r = state;

    CHECK_EQ(r->tail, r->count);
}

TWIN(queue, two_word_commit, .size = sizeof(struct ring), .operation = commit_two_words,
     .check = words_agree);

static void link_one(void *state)
{
    struct ring *r = state;
    void *block = NULL;

    CHECK_EQ(block_new_into(100, &r->first, &block), 0);
}

static void free_before_unlink(void *state)
{
    struct ring *r = state;

    block_free(arena_at(r->first, 1));
    r->first = 0;
}

static void what_is_linked_is_there(void *state)
{
    struct ring *r = state;

    CHECK(r->first == 0 || block_is(arena_at(r->first, 1)));
}

TWIN(queue, free_before_unlink, .size = sizeof(struct ring), .set_up = link_one,
     .operation = free_before_unlink, .check = what_is_linked_is_there);
