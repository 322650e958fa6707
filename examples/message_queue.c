/* A queue that brings a message from a child. */
#include <piu.h>
#include <errno.h>
#include <stdio.h>

static int complain(const char *what, int r)
{
    fprintf(stderr, "%s: %s\n", what, piu_strerror(r));
    return 1;
}

static int child(void *queue)
{
    static const char message[] = "hello from the child";
    int r;

    r = piu_queue_put(queue, message, sizeof(message), PIU_FOREVER);
    return r < 0 ? complain("put", r) : 0;
}

int main(void)
{
    struct piu_queue *queue = piu_queue_new();
    struct piu_process process = {.target = child, .argument = queue};
    char message[100];
    size_t size = sizeof(message); /* the room going in, the length coming out */
    int r;

    if (queue == NULL)
        return complain("queue", -errno);
    r = piu_process_start(&process);
    if (r < 0)
        return complain("start", r);
    r = piu_queue_get(queue, message, &size, PIU_FOREVER);
    if (r < 0)
        return complain("get", r);
    printf("%s\n", message);
    r = piu_process_join(&process, PIU_FOREVER);
    if (r < 0)
        return complain("join", r);
    piu_queue_free(queue);
    return 0;
}
