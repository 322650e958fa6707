/*
 * A thread that is held up at a lock: so a test does what another might do just then.
 *
 *     struct held_up h;
 *
 *     hold_up(&h, &q->put.lock, function, argument);   the thread calls it, and waits at the lock
 *     ...                                              what happens meanwhile
 *     let_go_on(&h);                                   the lock is given back, the thread ends
 */
#ifndef TEST_MEANWHILE_H
#define TEST_MEANWHILE_H

#include "waits.h"

#include "shm/owner.h"

struct held_up {
    void (*function)(void *argument);
    void *argument;
    owner_word *lock;
    pthread_t thread;
    _Atomic pid_t tid;
};

static inline uint64_t me(void)
{
    uint64_t who = 0;

    CHECK_EQ(member_who(&who), 0);
    return who;
}

static inline void *held_up_main(void *argument)
{
    struct held_up *h = argument;

    me();
    h->tid = gettid();
    h->function(h->argument);
    return NULL;
}

/* The lock is the caller's then, and the thread sleeps at it. */
static inline void hold_up(struct held_up *h, owner_word *lock, void (*function)(void *),
                           void *argument)
{
    *h = (struct held_up){.function = function, .argument = argument, .lock = lock};
    CHECK(owner_enter(lock, me()) >= 0);
    CHECK_EQ(pthread_create(&h->thread, NULL, held_up_main, h), 0);
    test_wait_until(h->tid && is_asleep(h->tid));
}

static inline void let_go_on(struct held_up *h)
{
    owner_leave(h->lock);
    CHECK_EQ(pthread_join(h->thread, NULL), 0);
}

/* For test_threads(2, ...): the two begin together, each on a CPU of its own where there are two. */
static inline void begin_together(int i)
{
    static _Atomic int there;
    cpu_set_t all, one;

    CHECK_EQ(sched_getaffinity(0, sizeof(all), &all), 0);
    for (int cpu = 0, n = 0; cpu < CPU_SETSIZE && CPU_COUNT(&all) > 1; cpu++) {
        if (CPU_ISSET(cpu, &all) && n++ == i) {
            CPU_ZERO(&one);
            CPU_SET(cpu, &one);
            CHECK_EQ(sched_setaffinity(0, sizeof(one), &one), 0);
        }
    }
    there++;
    while (there % 2)
        ;
}

/* For hold_up(): the sweep of a member, by its id. */
static inline void sweep_one(void *id)
{
    CHECK(member_fate(*(_Atomic uint64_t *)id) != FATE_ALIVE);
}

#endif
