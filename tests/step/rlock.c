/* The recursive lock. */
#include "kill.h"

#include "sync/rlock.h"

#include <piu.h>

static void use(void *rlock)
{
    CHECK(piu_rlock_acquire(rlock, PIU_FOREVER) >= 0);
    CHECK_EQ(piu_rlock_acquire(rlock, PIU_NOW), 0);
    CHECK_EQ(piu_rlock_count(rlock), 2);
    CHECK_EQ(piu_rlock_release(rlock), 0);
    CHECK_EQ(piu_rlock_release(rlock), 0);
}

static void goes_on(void *rlock)
{
    CHECK(rlock_check(rlock));
    CHECK(piu_rlock_acquire(rlock, PIU_SEC(10)) >= 0);
    CHECK_EQ(piu_rlock_count(rlock), 1);
    CHECK_EQ(piu_rlock_release(rlock), 0);
    CHECK_EQ(piu_rlock_release(rlock), -EPERM);
}

static void held_twice_by_one_that_died(void *rlock)
{
    in_child_killed({
        CHECK_EQ(piu_rlock_acquire(rlock, PIU_NOW), 0);
        CHECK_EQ(piu_rlock_acquire(rlock, PIU_NOW), 0);
    });
}

KILL(rlock, free, .size = sizeof(struct piu_rlock), .operation = use, .check = goes_on);
KILL(rlock, dead_holder, .size = sizeof(struct piu_rlock),
     .set_up = held_twice_by_one_that_died, .operation = use, .check = goes_on);
KILL(rlock, two_users, .size = sizeof(struct piu_rlock), .operation = use, .other = use,
     .check = goes_on);
