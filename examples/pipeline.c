/* Numbers flow through two stages that are joined by queues; each has three workers. */
#include <piu.h>
#include <errno.h>
#include <stdio.h>

enum { STAGES = 2, WORKERS = 3 };

struct stage {
    int (*work)(int x);
    struct piu_queue *from, *to;
};

static int square(int x)
{
    return x * x;
}

static int increment(int x)
{
    return x + 1;
}

static int worker(void *argument)
{
    struct stage *stage = argument;
    size_t size = sizeof(int);
    int x, r = 0;

    while (r == 0 && piu_queue_get(stage->from, &x, &size, PIU_FOREVER) >= 0) {
        x = stage->work(x);
        r = piu_queue_put(stage->to, &x, sizeof(x), PIU_FOREVER);
    }
    return r != 0;
}

int main(void)
{
    struct piu_queue *q[] = {piu_queue_new(), piu_queue_new(), piu_queue_new()};
    struct stage stages[STAGES] = {{square, q[0], q[1]}, {increment, q[1], q[2]}};
    struct piu_process workers[STAGES * WORKERS];
    int x, r = q[0] && q[1] && q[2] ? 0 : -errno;

    for (int i = 0; i < STAGES * WORKERS && r == 0; i++) {
        workers[i] = (struct piu_process){
            .target = worker, .argument = &stages[i / WORKERS], .daemon = true};
        r = piu_process_start(&workers[i]);
    }
    for (x = 1; x <= 8 && r == 0; x++)
        r = piu_queue_put(q[0], &x, sizeof(x), PIU_FOREVER);
    for (int i = 0; i < STAGES * WORKERS && r == 0; i++) {
        if (i % WORKERS == 0)
            piu_queue_shutdown(q[i / WORKERS]); /* the stage drains it, then it ends */
        r = piu_process_join(&workers[i], PIU_FOREVER);
    }
    while (r == 0 && piu_queue_get(q[STAGES], &x, &(size_t){sizeof(x)}, PIU_NOW) >= 0)
        printf("%d\n", x);
    if (r < 0)
        fprintf(stderr, "pipeline: %s\n", piu_strerror(r));
    return r < 0;
}
