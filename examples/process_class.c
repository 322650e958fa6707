/* A "class" of processes: a struct that embeds piu_process, with its own data and run(). */
#include <piu.h>
#include <stdio.h>

struct counter {
    struct piu_process process;
    int first, last;
};

static int complain(const char *what, int r)
{
    fprintf(stderr, "%s: %s\n", what, piu_strerror(r));
    return 1;
}

static int counter_run(struct piu_process *self)
{
    struct counter *counter = piu_container_of(self, struct counter, process);

    printf("%s counts:", self->name);
    for (int i = counter->first; i <= counter->last; i++)
        printf(" %d", i);
    printf("\n");
    return counter->last; /* the exit code */
}

int main(void)
{
    struct counter counter = {
        .process = {.run = counter_run, .name = "Count Dracula"},
        .first = 1,
        .last = 5,
    };
    int exitcode, r;

    r = piu_process_start(&counter.process);
    if (r < 0)
        return complain("start", r);
    r = piu_process_join(&counter.process, PIU_FOREVER);
    if (r < 0)
        return complain("join", r);
    r = piu_process_exitcode(&counter.process, &exitcode);
    if (r < 0)
        return complain("exitcode", r);
    printf("%s ended with exit code %d\n", counter.process.name, exitcode);
    return 0;
}
