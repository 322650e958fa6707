/* Four processes add to one counter: without a lock additions are lost, with it none. */
#include <piu.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h>

enum { PROCESSES = 4, ROUNDS = 25000, TOTAL = PROCESSES * ROUNDS };

struct counter {
    struct piu_lock lock; /* all bytes zero: unlocked */
    bool locking;
    volatile long value;
};

static int add(void *argument)
{
    struct counter *counter = argument;

    for (int i = 0; i < ROUNDS; i++) {
        if (counter->locking && piu_lock_acquire(&counter->lock, PIU_FOREVER) < 0)
            return 1;
        long seen = counter->value;
        sched_yield();             /* what others write in this moment ... */
        counter->value = seen + 1; /* ... is lost here */
        if (counter->locking)
            piu_lock_release(&counter->lock);
    }
    return 0;
}

static int count(struct counter *counter)
{
    struct piu_process processes[PROCESSES];
    int r = counter == NULL ? -errno : 0;

    for (int i = 0; i < PROCESSES && r == 0; i++) {
        processes[i] = (struct piu_process){.target = add, .argument = counter};
        r = piu_process_start(&processes[i]);
    }
    for (int i = 0; i < PROCESSES && r == 0; i++)
        r = piu_process_join(&processes[i], PIU_FOREVER);
    if (r < 0)
        fprintf(stderr, "lock: %s\n", piu_strerror(r));
    return r;
}

int main(void)
{
    struct counter *counter = piu_shared_new(1, sizeof(*counter));

    if (count(counter) < 0)
        return 1;
    printf("without the lock: %ld of %d, %s\n", counter->value, TOTAL,
           counter->value < TOTAL ? "some are lost" : "none is lost");
    *counter = (struct counter){.locking = true};
    if (count(counter) < 0)
        return 1;
    printf("with the lock: %ld of %d\n", counter->value, TOTAL);
    return 0;
}
