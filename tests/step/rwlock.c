/* The read-write lock. */
#include "kill.h"

#include "shm/member.h"
#include "sync/rwlock.h"

#include <piu.h>

static void read_twice(void *l)
{
    piu_rwlock_acquire_read(l, PIU_FOREVER);
    piu_rwlock_acquire_read(l, PIU_FOREVER);
    piu_rwlock_release(l);
    piu_rwlock_release(l);
}

static void write_once(void *l)
{
    piu_rwlock_acquire_write(l, PIU_FOREVER);
    piu_rwlock_release(l);
}

static void goes_on(void *l)
{
    CHECK(rwlock_check(l));
    CHECK(piu_rwlock_acquire_write(l, PIU_SEC(10)) >= 0);
    CHECK_EQ(piu_rwlock_release(l), 0);
    CHECK_EQ(piu_rwlock_acquire_write(l, PIU_NOW), 0);
    CHECK_EQ(piu_rwlock_release(l), 0);
    CHECK_EQ(piu_rwlock_acquire_read(l, PIU_NOW), 0);
    CHECK_EQ(piu_rwlock_release(l), 0);
    piu_rwlock_done(l);
    member_sweep_dead(true);
    CHECK_EQ(kill_blocks(), 0);
}

static void dead_writer(void *l)
{
    in_child_killed({ CHECK_EQ(piu_rwlock_acquire_write(l, PIU_NOW), 0); });
}

static void dead_reader(void *l)
{
    in_child_killed({ CHECK_EQ(piu_rwlock_acquire_read(l, PIU_NOW), 0); });
}

#define RWLOCK .size = sizeof(struct piu_rwlock), .check = goes_on

KILL(rwlock, read, RWLOCK, .operation = read_twice);
KILL(rwlock, write, RWLOCK, .operation = write_once);
KILL(rwlock, read_after_a_dead_writer, RWLOCK, .set_up = dead_writer,
     .operation = read_twice);
KILL(rwlock, write_after_a_dead_writer, RWLOCK, .set_up = dead_writer,
     .operation = write_once);
KILL(rwlock, write_after_a_dead_reader, RWLOCK, .set_up = dead_reader,
     .operation = write_once);
KILL(rwlock, reader_and_writer, RWLOCK, .operation = read_twice, .other = write_once);
KILL(rwlock, two_writers, RWLOCK, .operation = write_once, .other = write_once);
