/*
 * Locks between processes: one alone, and two that take it in turns as fast as they can.
 */
#include <pthread.h>
#include <semaphore.h>

#include "lock_rows.h"

static void mutex_init(void *lock, bool robust)
{
    pthread_mutexattr_t attr;

    pthread_mutexattr_init(&attr);
    pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
    if (robust)
        pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
    pthread_mutex_init(lock, &attr);
}

static void plain_init(void *lock)
{
    mutex_init(lock, false);
}

static void robust_init(void *lock)
{
    mutex_init(lock, true);
}

static inline void mutex_acquire(void *lock)
{
    pthread_mutex_lock(lock);
}

static inline void mutex_release(void *lock)
{
    pthread_mutex_unlock(lock);
}

static void semaphore_init(void *lock)
{
    sem_init(lock, 1, 1);
}

static inline void semaphore_acquire(void *lock)
{
    while (sem_wait(lock) < 0)
        ;
}

static inline void semaphore_release(void *lock)
{
    sem_post(lock);
}

LOCK_KIND(mutexes, sizeof(pthread_mutex_t), plain_init, mutex_acquire, mutex_release);
LOCK_KIND(robusts, sizeof(pthread_mutex_t), robust_init, mutex_acquire, mutex_release);
LOCK_KIND(semaphores, sizeof(sem_t), semaphore_init, semaphore_acquire,
          semaphore_release);

static int mutex_sample(const struct row *row, double *ret)
{
    return lock_sample(row, &mutexes, ret);
}

static int robust_sample(const struct row *row, double *ret)
{
    return lock_sample(row, &robusts, ret);
}

static int semaphore_sample(const struct row *row, double *ret)
{
    return lock_sample(row, &semaphores, ret);
}

static const struct row rows[] = {
    {"sem_t: pair", "ns", semaphore_sample, .variant = LOCK_ALONE},
    {"sem_t: by two", "M/s", semaphore_sample, .variant = LOCK_BY_TWO},
    {"pthread shared: pair", "ns", mutex_sample, .variant = LOCK_ALONE},
    {"pthread shared: by two", "M/s", mutex_sample, .variant = LOCK_BY_TWO},
    {ROW_ROBUST, "ns", robust_sample, .variant = LOCK_ALONE},
    {ROW_ROBUST_TWO, "M/s", robust_sample, .variant = LOCK_BY_TWO},
};

const struct row_set peer_lock_rows = ROW_SET("lock peers", rows);
