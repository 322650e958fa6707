/* Semaphores, conditions, events, barriers and read-write locks that are wrong in one way. */
#include "kill.h"

#include "os/clock.h"
#include "os/futex.h"

#include <piu.h>

#include <limits.h>

struct state {
    _Atomic uint32_t word;
    _Atomic uint32_t count, generation;
    _Atomic uint32_t waiting, told; /* of a condition */
};

#define BROKEN .size = sizeof(struct state)

/* ---- Units are counted, and nobody knows by whom ------------------------------------------- */

static void one_unit(void *state)
{
    ((struct state *)state)->count = 1;
}

static void unit_use(void *state)
{
    struct state *s = state;

    s->count--;
    s->count++;
}

static void the_unit_is_there(void *state)
{
    CHECK_EQ(((struct state *)state)->count, 1);
}

TWIN(semaphore, counts_without_names, BROKEN, .set_up = one_unit, .operation = unit_use,
     .check = the_unit_is_there);

/* ---- So are readers ------------------------------------------------------------------------ */

static void read_once(void *state)
{
    struct state *s = state;

    s->count++;
    s->count--;
}

static void a_writer_gets_in(void *state)
{
    struct state *s = state;

    for (int i = 0; s->count != 0; i++) {
        CHECK(i < 20);
        futex_wait(&s->word, 0, PIU_MSEC(1));
    }
}

TWIN(rwlock, counts_readers, BROKEN, .operation = read_once, .check = a_writer_gets_in);

/* ---- A notifier waits until the notified one has said that it got it ------------------------- */

static void wait_and_answer(void *state)
{
    struct state *s = state;

    s->waiting++;
    futex_wait(&s->word, 0, 1000);
    s->waiting--;
    s->told++;
}

static void notify_and_hear(void *state)
{
    struct state *s = state;
    uint32_t told = s->told;

    if (s->waiting == 0)
        return;
    for (int i = 0; s->told == told; i++) {
        CHECK(i < 20);
        futex_wait(&s->word, 0, PIU_MSEC(1));
    }
}

TWIN(condition, handshake, BROKEN, .operation = wait_and_answer,
     .check = notify_and_hear);

/* ---- A notify is handed to who comes first: it dies with that one ---------------------------- */

static void one_notify_for_two(void *state)
{
    ((struct state *)state)->told = 1;
}

static void take_the_notify(void *state)
{
    struct state *s = state;

    if (s->told) {
        s->told--;
        s->count++; /* came back, with the lock */
    }
}

static void somebody_came_back(void *state)
{
    take_the_notify(state);
    CHECK_EQ(((struct state *)state)->count, 1);
}

TWIN(condition, swallows, BROKEN, .set_up = one_notify_for_two,
     .operation = take_the_notify, .check = somebody_came_back);

/* ---- The wait for an event has no end: killed between the store and the wake ----------------- */

static void untimed_peer(void *state)
{
    struct state *s = state;

    peer_is_ready();
    while (s->word == 0)
        futex_wait(&s->word, 0, CLOCK_FOREVER);
}

static void set_and_wake(void *state)
{
    struct state *s = state;

    s->word = 1;
    futex_wake(&s->word, INT_MAX);
}

static void peer_goes_on(void *state)
{
    struct state *s = state;

    if (s->word == 0)
        set_and_wake(state);
    peer_join(0);
}

TWIN(event, untimed_wait, BROKEN, .peers = {untimed_peer}, .operation = set_and_wake,
     .check = peer_goes_on);

/* ---- Set is seen, but not that it was set and cleared: the sleeper missed it -------------------- */

static void sleeper_of_level(void *state)
{
    struct state *s = state;

    peer_is_ready();
    while (s->word == 0)
        futex_wait(&s->word, 0, PIU_MSEC(2));
}

static void set_wake_clear(void *state)
{
    struct state *s = state;

    s->word = 1;
    s->count = 1; /* it was set */
    s->word = 0;
    futex_wake(&s->word, INT_MAX);
}

static void who_slept_saw_it(void *state)
{
    struct state *s = state;

    if (s->count == 0)
        s->word = 1;
    peer_join(0);
}

TWIN(event, level_only, BROKEN, .peers = {sleeper_of_level}, .operation = set_wake_clear,
     .check = who_slept_saw_it);

/* ---- The last to arrive ends the generation in two words ------------------------------------- */

static void first_has_arrived(void *state)
{
    ((struct state *)state)->count = 1;
}

static void arrive_last(void *state)
{
    struct state *s = state;

    s->count++;
    if (s->count == 2) {
        s->count = 0;
        s->generation++;
    }
}

static void the_first_gets_through(void *state)
{
    struct state *s = state;

    if (s->count == 1)
        arrive_last(state);
    CHECK_EQ(s->generation, 1);
}

TWIN(barrier, two_word_end, BROKEN, .set_up = first_has_arrived, .operation = arrive_last,
     .check = the_first_gets_through);

/* ---- Who arrived and died counts all the same ------------------------------------------------ */

static void arrive(void *state)
{
    ((struct state *)state)->count++;
}

static void only_the_living_count(void *state)
{
    CHECK_EQ(((struct state *)state)->count, 0);
}

TWIN(barrier, counts_the_dead, BROKEN, .operation = arrive,
     .check = only_the_living_count);
