/* Exercise 2: a queue between two processes, a producer and a consumer. */
#include <piu.h>
#include <errno.h>
#include <stdio.h>

static int complain(const char *what, int r)
{
    fprintf(stderr, "%s: %s\n", what, piu_strerror(r));
    return 1;
}

static int produce(void *queue)
{
    for (int number = 1; number <= 5; number++) {
        int r = piu_queue_put(queue, &number, sizeof(number), PIU_FOREVER);

        if (r < 0)
            return complain("put", r);
    }
    return piu_queue_shutdown(queue) < 0; /* that was all */
}

static int consume(void *queue)
{
    int number, r;

    for (;;) {
        size_t size = sizeof(number);

        r = piu_queue_get(queue, &number, &size, PIU_FOREVER);
        if (r < 0)
            break;
        printf("got %d\n", number);
    }
    if (r != -EPIPE)
        return complain("get", r);
    printf("the producer is done\n");
    return 0;
}

int main(void)
{
    struct piu_queue *queue = piu_queue_new(.maxsize = 2);
    struct piu_process producer = {.target = produce, .argument = queue};
    struct piu_process consumer = {.target = consume, .argument = queue};
    int r;

    if (queue == NULL)
        return complain("queue", -errno);
    if ((r = piu_process_start(&producer)) < 0 || (r = piu_process_start(&consumer)) < 0)
        return complain("start", r);
    if ((r = piu_process_join(&producer, PIU_FOREVER)) < 0 ||
        (r = piu_process_join(&consumer, PIU_FOREVER)) < 0)
        return complain("join", r);
    piu_queue_free(queue);
    return 0;
}
