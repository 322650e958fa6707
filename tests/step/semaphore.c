/* The semaphore with recovery: units of the dead come back, no more and no less. */
#include "kill.h"

#include "shm/member.h"
#include "sync/semaphore.h"

#include <piu.h>

static void of_two(void *s)
{
    CHECK_EQ(piu_semaphore_init(s, 2, PIU_BOUNDED), 0);
}

static void of_two_one_lost(void *s)
{
    of_two(s);
    in_child_killed({ CHECK_EQ(piu_semaphore_acquire(s, PIU_NOW), 0); });
}

static void acquire(void *s)
{
    piu_semaphore_acquire(s, PIU_FOREVER);
}

static void release(void *s)
{
    piu_semaphore_release(s);
}

static void plain_two(void *s)
{
    CHECK_EQ(piu_semaphore_init(s, 2, 0), 0);
}

static void enter(void *s)
{
    piu_semaphore_enter(s, PIU_FOREVER);
}

static void leave(void *s)
{
    piu_semaphore_exit(s);
}

static void enter_and_leave(void *s)
{
    enter(s);
    leave(s);
}

static void use(void *s)
{
    acquire(s);
    release(s);
}

static void both_can_be_had(void *s)
{
    CHECK_EQ(piu_semaphore_acquire(s, PIU_SEC(10)), 0);
    CHECK_EQ(piu_semaphore_acquire(s, PIU_SEC(10)), 0);
    CHECK_EQ(piu_semaphore_acquire(s, PIU_NOW), -ETIMEDOUT);
    CHECK(semaphore_check(s));
    CHECK_EQ(piu_semaphore_release(s), 0);
    CHECK_EQ(piu_semaphore_release(s), 0);
    CHECK_EQ(piu_semaphore_value(s), 2);
}

static void done(void *s)
{
    piu_semaphore_done(s);
    member_sweep_dead(true);
    CHECK_EQ(kill_blocks(), 0);
}

static void both_are_there(void *s)
{
    both_can_be_had(s);
    done(s);
}

/* The victim gives a unit that it has not: the dead one's comes back, and a debt is paid. */
static void debt_is_0_or_1(void *s)
{
    unsigned debt;

    both_can_be_had(s);
    debt = (unsigned)semaphore_debt(s);
    CHECK(debt <= 1);
    CHECK_EQ(piu_semaphore_release(s), debt ? 0 : -EOVERFLOW);
    CHECK_EQ(piu_semaphore_value(s), 2);
    done(s);
}

KILL(semaphore, acquire, .size = sizeof(struct piu_semaphore), .set_up = of_two,
     .operation = acquire, .check = both_are_there);
KILL(semaphore, release, .size = sizeof(struct piu_semaphore), .set_up = of_two,
     .prepare = acquire, .operation = release, .check = both_are_there);
KILL(semaphore, one_lost, .size = sizeof(struct piu_semaphore), .set_up = of_two_one_lost,
     .operation = use, .check = both_are_there);
KILL(semaphore, release_for_a_dead_one, .size = sizeof(struct piu_semaphore),
     .set_up = of_two_one_lost, .operation = release, .check = debt_is_0_or_1);
KILL(semaphore, two_users, .size = sizeof(struct piu_semaphore), .set_up = of_two,
     .operation = use, .other = use, .check = both_are_there);

/* A plain one, whose units come back from between enter and exit. */
KILL(semaphore, enter, .size = sizeof(struct piu_semaphore), .set_up = plain_two,
     .operation = enter, .check = both_are_there);
KILL(semaphore, leave, .size = sizeof(struct piu_semaphore), .set_up = plain_two,
     .prepare = enter, .operation = leave, .check = both_are_there);
KILL(semaphore, enter_beside_another, .size = sizeof(struct piu_semaphore),
     .set_up = plain_two, .operation = enter_and_leave, .other = enter_and_leave,
     .check = both_are_there);
