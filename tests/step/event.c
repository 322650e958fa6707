/* The event: one word; a setter that dies before the wake costs its sleepers a slice. */
#include "kill.h"

#include "sync/event.h"

#include <piu.h>

static void set(void *event)
{
    CHECK_EQ(piu_event_set(event), 0);
}

static void clear(void *event)
{
    CHECK_EQ(piu_event_clear(event), 0);
}

static void set_and_clear(void *event)
{
    set(event);
    clear(event);
}

static void wait_for_it(void *event)
{
    CHECK_EQ(piu_event_wait(event, PIU_FOREVER), 0);
}

static void wait_shortly(void *event)
{
    int r = piu_event_wait(event, 1000);

    CHECK(r == 0 || r == -ETIMEDOUT);
}

static void all_of_it_works(void *event)
{
    CHECK(event_check(event));
    set(event);
    CHECK(piu_event_is_set(event));
    wait_for_it(event);
    clear(event);
    CHECK(!piu_event_is_set(event));
    CHECK_EQ(piu_event_wait(event, PIU_NOW), -ETIMEDOUT);
    CHECK_EQ(kill_blocks(), 0);
}

static void it_is_set_if_ended(void *event)
{
    CHECK(piu_event_is_set(event) || !kill_now.ended);
    all_of_it_works(event);
}

static void it_is_clear_if_ended(void *event)
{
    CHECK(!piu_event_is_set(event) || !kill_now.ended);
    all_of_it_works(event);
}

#define EVENT .size = sizeof(struct piu_event)

KILL(event, set, EVENT, .operation = set, .check = it_is_set_if_ended);
KILL(event, clear, EVENT, .set_up = set, .operation = clear,
     .check = it_is_clear_if_ended);
KILL(event, wait_in_vain, EVENT, .operation = wait_shortly, .check = all_of_it_works);

/* ---- With peers --------------------------------------------------------------------------- */

static void peer_waits(void *event)
{
    peer_is_ready();
    wait_for_it(event);
}

/* Killed before the store it is not set; from then on all get up. */
static void sleepers_get_up(void *event)
{
    if (!piu_event_is_set(event) && !kill_now.ended)
        set(event);
    peer_join(0);
    peer_join(1);
    all_of_it_works(event);
}

KILL(event, set_two_sleep, EVENT, .peers = {peer_waits, peer_waits}, .operation = set,
     .check = sleepers_get_up);

/* Also those who sleep while it was set for an instant only. */
static void sleepers_saw_it(void *event)
{
    if (!kill_now.ended)
        set(event);
    peer_join(0);
    peer_join(1);
    all_of_it_works(event);
}

KILL(event, set_and_clear_two_sleep, EVENT, .peers = {peer_waits, peer_waits},
     .operation = set_and_clear, .check = sleepers_saw_it);

static void peer_sets(void *event)
{
    peer_is_ready();
    peer_awaits_victim();
    set(event);
}

static void setter_has_set(void *event)
{
    peer_join(0);
    CHECK(piu_event_is_set(event));
    all_of_it_works(event);
}

KILL(event, woken, EVENT, .peers = {peer_sets}, .operation = wait_for_it,
     .check = setter_has_set);

/* ---- Two ------------------------------------------------------------------------------------ */

KILL(event, two_setters, EVENT, .operation = set_and_clear, .other = set_and_clear,
     .check = all_of_it_works);
KILL(event, setter_and_waiter, EVENT, .operation = set, .other = wait_shortly,
     .check = all_of_it_works);
