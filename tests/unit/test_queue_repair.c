/*
 * What somebody who was killed inside a queue may have left, state by state, and what somebody may
 * have written over it: the next one in mends it or leaves it alone, and all goes on.
 */
#include "meanwhile.h"
#include "queues.h"

#include "flow/entry.h"
#include "shm/heap.h"

#define LARGE 6000u

/* In a member that is killed at the end of it. */
#define left_in_put(q, ...)                            \
    in_child_killed({                                  \
        CHECK(owner_enter(&(q)->put.lock, me()) >= 0); \
        __VA_ARGS__                                    \
    })
#define left_in_get(q, ...)                            \
    in_child_killed({                                  \
        CHECK(owner_enter(&(q)->get.lock, me()) >= 0); \
        __VA_ARGS__                                    \
    })

static void *block_of_mine(void)
{
    void *block = NULL;

    CHECK_EQ(block_new(LARGE, BLOCK_SCRATCH, NULL, &block), 0);
    memset(block, 0, LARGE);
    return block;
}

static void goes_on(struct piu_queue *q)
{
    CHECK_EQ(put_int(q, 7, PIU_NOW), 0);
    CHECK_EQ(get_int(q, PIU_NOW), 7);
    CHECK_EQ(get_int(q, PIU_NOW), -ETIMEDOUT);
    CHECK(queue_check(q));
    CHECK(block_check());
    CHECK_EQ(atomic_load(&q->put.pending), 0);
    CHECK_EQ(atomic_load(&q->put.message), 0);
    CHECK_EQ(atomic_load(&q->put.reserving), 0);
    CHECK_EQ(atomic_load(&q->get.taking), 0);
}

/* Chunks that the getters have left stand in front. */
static struct piu_queue *queue_with_a_past(void)
{
    struct piu_queue *q = queue_new();

    for (int i = 0; i < 2000; i++)
        CHECK_EQ(put_int(q, i, PIU_NOW), 0);
    for (int i = 0; i < 2000; i++)
        CHECK_EQ(get_int(q, PIU_NOW), i);
    CHECK(atomic_load(&q->first_chunk) != atomic_load(&q->get_chunk));
    return q;
}

/* ---- The putters' side ---------------------------------------------------------------------- */

TEST(a_chunk_that_was_linked_already_or_not_yet_taken_out_stays_where_it_is)
{
    struct piu_queue *q = queue_with_a_past();

    left_in_put(q, { q->put.pending = atomic_load(&q->put_chunk); });
    goes_on(q);
    left_in_put(q, { q->put.pending = atomic_load(&q->first_chunk); });
    goes_on(q);
}

TEST(the_chunk_inside_the_queue_is_linked_again_as_well)
{
    struct piu_queue *q = queue_new();
    struct chunk *inside = queue_first(q);

    while (atomic_load(&q->put_chunk) == arena_offset(inside))
        CHECK_EQ(put_int(q, 1, PIU_NOW), 0);
    while (get_int(q, PIU_NOW) == 1)
        ;
    CHECK_EQ(atomic_load(&q->first_chunk), arena_offset(inside));
    left_in_put(q, {
        q->put.pending = arena_offset(inside);
        q->first_chunk = atomic_load(&inside->next);
        inside->next = 0;
    });
    goes_on(q);
    CHECK_EQ(atomic_load(&q->put_chunk), arena_offset(inside));
}

TEST(what_is_no_chunk_or_belongs_to_somebody_is_not_linked)
{
    struct piu_queue *q = queue_with_a_past();
    struct chunk *mine = block_of_mine();
    uint64_t put_chunk = atomic_load(&q->put_chunk);

    left_in_put(q, { q->put.pending = 12345; });
    goes_on(q);
    left_in_put(q, { q->put.pending = arena_offset(mine); });
    goes_on(q);
    CHECK(block_is_mine(mine, BLOCK_SCRATCH));
    left_in_put(q, {
        q->put.pending = arena_offset(mine);
        q->put_chunk = 12345;
    });
    CHECK_EQ(put_int(q, 1, PIU_NOW), -EBADMSG);
    q->put_chunk = put_chunk;
    goes_on(q);
    CHECK_EQ(block_free(mine), 0);
}

TEST(a_message_that_is_none_or_belongs_to_somebody_is_not_freed)
{
    struct piu_queue *q = queue_new();
    void *mine = block_of_mine();
    uint64_t put_chunk = atomic_load(&q->put_chunk);

    left_in_put(q, {
        q->put.message = 12345;
        q->put.before = atomic_load(&queue_chunk(put_chunk)->tail);
    });
    goes_on(q);
    left_in_put(q, {
        q->put.message = arena_offset(mine);
        q->put.before = atomic_load(&queue_chunk(put_chunk)->tail);
    });
    goes_on(q);
    left_in_put(q, {
        q->put.message = arena_offset(mine);
        q->put_chunk = 12345;
    });
    CHECK_EQ(put_int(q, 1, PIU_NOW), -EBADMSG);
    q->put_chunk = put_chunk;
    goes_on(q);
    CHECK(block_is_mine(mine, BLOCK_SCRATCH));
    CHECK_EQ(block_free(mine), 0);
}

TEST(a_message_that_was_put_stays_though_its_putter_had_not_struck_it_out)
{
    struct piu_queue *q = queue_new();
    struct chunk *c = queue_first(q);
    uint64_t before = atomic_load(&c->tail);

    put_pattern(q, LARGE, 4);
    left_in_put(q, {
        q->put.message = c->entries[1];
        q->put.before = before;
    });
    CHECK_EQ(put_int(q, 1, PIU_NOW), 0); /* which repairs */
    get_pattern(q, LARGE, 4);
    CHECK_EQ(get_int(q, PIU_NOW), 1);
    goes_on(q);
}

/* The word `reserving` leads to a block, which says by its purpose whether it was reserved. */
TEST(a_unit_is_reserved_only_for_a_reservation_of_this_queue)
{
    struct piu_queue *q = queue_new(.maxsize = 3);
    struct piu_queue *other = queue_new(.maxsize = 3);
    struct message *m;
    void *place;

    CHECK_EQ(piu_queue_reserve(other, LARGE, &place, PIU_NOW), 0);
    m = container_of(place, struct message, bytes);
    for (int way = 0; way < 3; way++) {
        m->queue = arena_offset(way ? q : other);
        m->generation = q->generation - (way == 1);
        left_in_put(q, {
            q->put.reserving = arena_offset(m);
            q->put.reserved_after = 1;
        });
        goes_on(q);
        CHECK_EQ(atomic_load(&q->put.reserved), way == 2);
        q->put.reserved = 0;
    }
    m->queue = arena_offset(other);
    m->generation = other->generation;
    CHECK_EQ(piu_queue_abort(other, place), 0);
}

/* ---- The getters' side ---------------------------------------------------------------------- */

/* The message at head, which is a large one. */
static struct message *message_at_head(struct piu_queue *q, struct chunk **ret,
                                       uint64_t *ret_head)
{
    struct chunk *c = queue_chunk(atomic_load(&q->get_chunk));

    CHECK(c);
    *ret = c;
    *ret_head = atomic_load(&c->head);
    CHECK(c->entries[place_of(*ret_head)] & ENTRY_LARGE);
    return arena_at(c->entries[place_of(*ret_head) + 1], sizeof(struct message));
}

/* In the get lock: all of a get but for its end. */
static void take_halfway(struct piu_queue *q)
{
    struct chunk *c;
    uint64_t head;
    struct message *m = message_at_head(q, &c, &head);

    q->get.before = head;
    q->get.taking = arena_offset(m);
    CHECK_EQ(block_take(m, BLOCK_TAKEN, &q->get.taking), 0);
    c->head = word_plus(head, 1, 2);
}

/* That and no other, once more, and then never again. */
static void comes_again(struct piu_queue *q, unsigned number)
{
    void *bytes;
    size_t size;

    CHECK_EQ(get_int(q, PIU_NOW), -EMSGSIZE); /* which repairs */
    CHECK_EQ(piu_queue_qsize(q), 1);
    CHECK_EQ(piu_queue_take(q, &bytes, &size, PIU_NOW), PIU_REDELIVERED);
    check_pattern(bytes, size, LARGE, number);
    CHECK_EQ(piu_queue_drop(q, bytes), 0);
    goes_on(q);
}

TEST(a_message_whose_taker_and_whose_repairer_were_killed_comes_again_once)
{
    struct piu_queue *q = queue_new();

    for (int way = 0; way < 2; way++) {
        put_pattern(q, LARGE, 3);
        left_in_get(q, { take_halfway(q); });
        left_in_get(q, {
            struct message *m = arena_at(q->get.taking, sizeof(*m));

            m->redelivered++;
            q->get.returned = arena_offset(m);
            q->get.returned_count = (uint64_t)way;
            if (way)
                CHECK(block_settle(m));
        });
        comes_again(q, 3);
    }
}

TEST(so_it_does_behind_others_that_came_back_since)
{
    struct piu_queue *q = queue_new();

    for (unsigned i = 0; i < 3; i++) {
        put_pattern(q, LARGE, i);
        left_in_get(q, { take_halfway(q); });
        CHECK_EQ(get_int(q, PIU_NOW), -EMSGSIZE);
    }
    left_in_get(q, { /* the repairer of the middle one had forgotten nothing but that */
                     struct message *m = arena_at(q->get.returned, sizeof(*m));

                     q->get.taking = m->next;
                     q->get.before = 0;
    });
    for (unsigned i = 3; i-- > 0;) {
        CHECK_EQ(piu_queue_qsize(q), i + 1);
        size_t size = LARGE;
        unsigned char bytes[LARGE];

        CHECK_EQ(piu_queue_get(q, bytes, &size, PIU_NOW), PIU_REDELIVERED);
        check_pattern(bytes, size, LARGE, i);
    }
    goes_on(q);
}

TEST(a_list_of_what_came_back_that_was_written_over_is_believed_as_far_as_it_is_sound)
{
    struct piu_queue *q = queue_new();
    struct message *m;

    put_pattern(q, LARGE, 1);
    left_in_get(q, { take_halfway(q); });
    CHECK_EQ(get_int(q, PIU_NOW), -EMSGSIZE);
    m = arena_at(q->get.returned, sizeof(*m));
    m->next = 12345; /* leads nowhere */
    left_in_get(q, {});
    CHECK_EQ(get_int(q, PIU_NOW), -EMSGSIZE);
    CHECK_EQ(piu_queue_qsize(q), 1);
    m->next = arena_offset(m); /* in a ring */
    left_in_get(q, {});
    CHECK_EQ(get_int(q, PIU_NOW), -EMSGSIZE);
    m->next = 0;
    left_in_get(q, {});
    comes_again(q, 1);
}

/* The copy of a small message that a taker makes, before the get: it goes, the message stays. */
static void copy_halfway(struct piu_queue *q, uint64_t before)
{
    void *block;

    CHECK_EQ(block_new(LARGE, BLOCK_SCRATCH, &q->get.taking, &block), 0);
    q->get.before = before;
    q->get.taking = arena_offset(block);
}

TEST(the_copy_of_a_message_that_was_not_got_is_freed_wherever_head_stands)
{
    struct piu_queue *q = queue_new();
    struct chunk *c = queue_first(q);
    uint64_t blocks = block_count(), head;

    left_in_get(q, { copy_halfway(q, atomic_load(&c->head)); }); /* it is empty */
    CHECK_EQ(get_int(q, PIU_NOW), -ETIMEDOUT);
    goes_on(q);
    CHECK_EQ(put_int(q, 5, PIU_NOW), 0);
    head = atomic_load(&c->head);
    left_in_get(q, { copy_halfway(q, head); });
    CHECK_EQ(get_int(q, PIU_NOW), 5);
    goes_on(q);
    put_pattern(q, LARGE, 2); /* at head there is another */
    head = atomic_load(&c->head);
    left_in_get(q, { copy_halfway(q, head); });
    get_pattern(q, LARGE, 2);
    goes_on(q);
    head = atomic_load(&c->head); /* somebody wrote over it */
    left_in_get(q, {
        c->head = c->capacity - 1;
        copy_halfway(q, c->capacity - 1);
    });
    CHECK_EQ(get_int(q, PIU_NOW), -ETIMEDOUT);
    c->head = head;
    left_in_get(q, {
        q->get_chunk = 12345;
        copy_halfway(q, 0);
    });
    CHECK_EQ(get_int(q, PIU_NOW), -ETIMEDOUT);
    q->get_chunk = arena_offset(c);
    goes_on(q);
    CHECK_EQ(block_count(), blocks);
}

/* ---- The sweep, while others are at the queue ------------------------------------------------- */

struct told {
    _Atomic uint64_t id;
};

/* A member that died with a message of the queue: taken, or reserved. */
static void *died_with(struct piu_queue *q, struct told *told, enum block_purpose purpose)
{
    void **place = test_shared(sizeof(*place));
    size_t size;

    if (purpose == BLOCK_TAKEN)
        put_pattern(q, LARGE, 9);
    in_child_killed({
        told->id = me() & ID_MASK;
        if (purpose == BLOCK_TAKEN)
            CHECK_EQ(piu_queue_take(q, place, &size, PIU_NOW), 0);
        else
            CHECK_EQ(piu_queue_reserve(q, LARGE, place, PIU_NOW), 0);
    });
    return container_of(*place, struct message, bytes);
}

static pid_t sweeper(struct told *told)
{
    return child_start({
        me();
        sweep_one(&told->id);
    });
}

TEST(of_two_who_sweep_at_once_one_gives_a_message_back)
{
    struct piu_queue *q = queue_new(.maxsize = 5);
    struct told *told = piu_shared_new(1, sizeof(*told));

    for (int way = 0; way < 2; way++) {
        uint64_t blocks = block_count();
        struct held_up h;
        pid_t other;

        died_with(q, told, way ? BLOCK_TAKEN : BLOCK_RESERVED);
        hold_up(&h, &q->put.lock, sweep_one, &told->id);
        other = sweeper(told);
        test_wait_until(is_asleep(other));
        let_go_on(&h);
        CHECK_EQ(child_wait(other), 0);
        CHECK_EQ(atomic_load(&q->put.reserved), 0);
        CHECK_EQ(block_count(), blocks + (unsigned)way);
        if (way)
            comes_again(q, 9);
    }
}

/* Who frees it says so before it has the locks. */
TEST(what_the_dead_had_of_a_queue_that_is_just_being_freed_goes)
{
    struct told *told = piu_shared_new(1, sizeof(*told));
    struct piu_queue *q = queue_new();
    uint64_t blocks = block_count();

    for (int way = 0; way < 3; way++) {
        owner_word *lock = way == 2 ? &q->get.lock : &q->put.lock;
        struct held_up h;

        died_with(q, told, way ? BLOCK_TAKEN : BLOCK_RESERVED);
        hold_up(&h, lock, sweep_one, &told->id);
        atomic_store(&q->stamp, 0);
        let_go_on(&h);
        atomic_store(&q->stamp, QUEUE_STAMP);
        CHECK_EQ(block_count(), blocks);
        CHECK(block_check());
        q->put.reserved = 0; /* it would have gone with the queue */
        goes_on(q);
    }
}

/* The block of a reservation, between the look at it and its becoming the sweeper's. */
TEST(a_reservation_that_somebody_wrote_over_meanwhile_is_left_alone)
{
    struct told *told = piu_shared_new(1, sizeof(*told));
    struct piu_queue *q = queue_new(.maxsize = 2);
    struct held_up h;
    void *m = died_with(q, told, BLOCK_RESERVED);
    uint64_t word = atomic_load(block_word(m));

    hold_up(&h, &member_of(me())->held_lock, sweep_one, &told->id);
    atomic_store(block_word(m), word_owned_by(word, BLOCK_SCRATCH, me() & ID_OWNER));
    let_go_on(&h);
    CHECK(block_is_mine(m, BLOCK_SCRATCH));
    CHECK_EQ(block_free(m), 0);
    CHECK_EQ(atomic_load(&q->put.reserved), 0);
    goes_on(q);
}

static void abort_it(void *place)
{
    struct message *m = container_of(place, struct message, bytes);

    CHECK_EQ(piu_queue_abort(arena_at(m->queue, 1), place), -EINVAL);
}

TEST(abort_of_what_is_another_members_by_now_is_refused)
{
    struct piu_queue *q = queue_new(.maxsize = 2);
    struct held_up h;
    uint64_t word;
    void *place, *m;

    CHECK_EQ(piu_queue_reserve(q, LARGE, &place, PIU_NOW), 0);
    m = container_of(place, struct message, bytes);
    word = atomic_load(block_word(m));
    hold_up(&h, &q->put.lock, abort_it, place);
    /* another thread aborted it, and another member has reserved that block */
    atomic_store(block_word(m), word_owned_by(word, BLOCK_RESERVED, id_make(5, 5)));
    let_go_on(&h);
    CHECK_EQ(atomic_load(&q->put.reserved), 1);
    atomic_store(block_word(m), word);
    CHECK_EQ(piu_queue_abort(q, place), 0);
    goes_on(q);
}

/* ---- Queues that are gone ---------------------------------------------------------------------- */

TEST(what_was_taken_from_a_queue_that_is_no_more_is_freed_and_comes_to_no_other)
{
    struct told *told = piu_shared_new(1, sizeof(*told));

    for (int way = 0; way < 4; way++) {
        struct piu_queue *q = queue_new(), *next = NULL;
        void *other = block_of_mine();
        uint64_t blocks = block_count();
        struct message *m = died_with(q, told, BLOCK_TAKEN);

        if (way == 0)
            m->queue = 12345;
        else if (way == 3)
            m->queue = arena_offset(other); /* which is no queue */
        else
            piu_queue_free(q);
        if (way == 2) /* another queue in the same place */
            while ((next = queue_new()) != q)
                ;
        sweep_one(&told->id);
        CHECK(!block_is(m));
        CHECK(block_check());
        if (way == 2)
            goes_on(q);
        else
            CHECK_EQ(block_count(), blocks - (way == 1));
        CHECK_EQ(block_free(other), 0);
    }
}

TEST(a_queue_whose_chain_was_written_over_is_freed_as_far_as_it_is_one)
{
    for (int way = 0; way < 3; way++) {
        struct piu_queue *q = queue_new();
        struct chunk *mine = block_of_mine();

        if (way == 0)
            q->first_chunk = arena_offset(mine); /* somebody's */
        else if (way == 1)
            queue_first(q)->next = arena_offset(queue_first(q)); /* a ring */
        else
            q->first_chunk = 12345;
        piu_queue_free(q);
        CHECK(block_is_mine(mine, BLOCK_SCRATCH));
        CHECK_EQ(block_free(mine), 0);
        CHECK(!block_is(q));
        CHECK(block_check());
    }
}

/* Head and tail at one place, but not with one count. */
TEST(a_queue_that_seems_to_have_what_is_not_there_ends_a_wait_in_time)
{
    struct piu_queue *q = queue_new();
    struct chunk *c = queue_first(q);

    atomic_fetch_add(&c->tail, UINT64_C(5) << PLACE_BITS);
    check_times_out(get_int(q, PIU_MSEC(20)), PIU_MSEC(20));
    CHECK_EQ(piu_queue_shutdown(q), 0);
    check_times_out(get_int(q, PIU_MSEC(20)), PIU_MSEC(20));
    atomic_fetch_sub(&c->tail, UINT64_C(5) << PLACE_BITS);
    CHECK_EQ(get_int(q, PIU_MSEC(20)), -EPIPE);
}
