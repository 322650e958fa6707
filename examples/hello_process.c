/* A process that prints a message. */
#include <piu.h>
#include <stdio.h>

static int hello(void *name)
{
    printf("hello %s\n", (char *)name);
    return 0;
}

int main(void)
{
    struct piu_process process = {.target = hello, .argument = "bob"};
    int r;

    r = piu_process_start(&process);
    if (r == 0)
        r = piu_process_join(&process, PIU_FOREVER);
    if (r < 0) {
        fprintf(stderr, "hello_process: %s\n", piu_strerror(r));
        return 1;
    }
    return 0;
}
