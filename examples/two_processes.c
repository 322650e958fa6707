/* Two processes that run the same function, each with an argument of its own. */
#include <piu.h>
#include <stdio.h>

static int complain(const char *what, int r)
{
    fprintf(stderr, "%s: %s\n", what, piu_strerror(r));
    return 1;
}

static int greet(void *name)
{
    printf("Hello, %s!\n", (char *)name);
    return 0;
}

int main(void)
{
    struct piu_process processes[] = {
        {.target = greet, .argument = "Alice"},
        {.target = greet, .argument = "Bob"},
    };
    int r;

    for (int i = 0; i < 2; i++) {
        r = piu_process_start(&processes[i]);
        if (r < 0)
            return complain("start", r);
    }
    for (int i = 0; i < 2; i++) {
        r = piu_process_join(&processes[i], PIU_FOREVER);
        if (r < 0)
            return complain("join", r);
    }
    printf("Both are done.\n");
    return 0;
}
