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

static void use(void *s)
{
    acquire(s);
    release(s);
}

static void both_are_there(void *s)
{
    CHECK_EQ(piu_semaphore_acquire(s, PIU_SEC(10)), 0);
    CHECK_EQ(piu_semaphore_acquire(s, PIU_SEC(10)), 0);
    CHECK_EQ(piu_semaphore_acquire(s, PIU_NOW), -ETIMEDOUT);
    CHECK(semaphore_check(s));
    CHECK_EQ(piu_semaphore_release(s), 0);
    CHECK_EQ(piu_semaphore_release(s), 0);
    CHECK_EQ(piu_semaphore_value(s), 2);
    piu_semaphore_done(s);
    member_sweep_dead(true);
    CHECK_EQ(kill_blocks(), 0);
}

KILL(semaphore, acquire, .size = sizeof(struct piu_semaphore), .set_up = of_two,
     .operation = acquire, .check = both_are_there);
KILL(semaphore, release, .size = sizeof(struct piu_semaphore), .set_up = of_two,
     .prepare = acquire, .operation = release, .check = both_are_there);
KILL(semaphore, one_lost, .size = sizeof(struct piu_semaphore), .set_up = of_two_one_lost,
     .operation = use, .check = both_are_there);
KILL(semaphore, two_users, .size = sizeof(struct piu_semaphore), .set_up = of_two,
     .operation = use, .other = use, .check = both_are_there);
