/* Threads of a member: their numbers. */
#include "shm/thread.h"

_Thread_local struct member_thread member_thread
    __attribute__((tls_model("initial-exec")));

static pthread_key_t thread_key;
static pthread_once_t thread_key_once = PTHREAD_ONCE_INIT;

static void thread_number_back(void *argument)
{
    uint32_t number = (uint32_t)(uintptr_t)argument - 1;

    atomic_fetch_and(&member_self->threads[number / 64], ~(UINT64_C(1) << number % 64));
    member_thread =
        (struct member_thread){0}; /* if a destructor that comes later calls */
}

static void thread_key_make(void)
{
    pthread_key_create(&thread_key, thread_number_back);
}

static uint32_t thread_number(void)
{
    for (uint32_t tries = 0; tries < THREADS_MAX; tries++) {
        uint32_t number = atomic_fetch_add(&member_self->thread_cursor, 1) % THREADS_MAX;
        uint64_t bit = UINT64_C(1) << number % 64;

        if (!(atomic_fetch_or(&member_self->threads[number / 64], bit) & bit))
            return number;
    }
    return 0; /* more threads than Linux allows */
}

void thread_begin(uint64_t id)
{
    struct member *m = member_of(id);
    uint64_t number = thread_number();

    pthread_once(&thread_key_once, thread_key_make);
    pthread_setspecific(thread_key, (void *)(uintptr_t)(number + 1));
    atomic_fetch_add(&m->threads, 1);
    member_renew(id);
    member_thread.who = id | number << 48;
    member_thread.id = member_self_id();
}
