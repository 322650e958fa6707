/* A pool of parsers that survives the inputs that crash it, and names them. */
#include <piu.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct input {
    char text[8];
};

static int parse(struct piu_task *self, size_t first, size_t last)
{
    const struct input *in = self->in;
    int *out = self->out;

    (void)last; /* first + 1, as the chunks have one item */
    if (strcmp(in[first].text, "null") == 0)
        raise(SIGSEGV); /* as a wild pointer would */
    if (strcmp(in[first].text, "-1") == 0)
        abort(); /* as a failed assert() would */
    while (strcmp(in[first].text, "loop") == 0)
        pause(); /* as a deadlock would */
    out[first] = atoi(in[first].text);
    return out[first] == 0; /* no crash, but a code of our own: not a number */
}

int main(void)
{
    struct input in[] = {{"12"}, {"null"}, {"30"}, {"-1"}, {"loop"}, {"x"}, {"1000"}};
    int out[PIU_LENGTH(in)] = {0}, sum = 0;
    struct piu_task task = {.run = parse, .count = PIU_LENGTH(in), .chunk = 1};
    struct piu_pool *pool = piu_pool_new(.processes = 4);
    struct piu_report *report;
    const struct piu_loss *loss;
    const struct piu_failure *failure;

    if (!pool) {
        perror("crash_pool: piu_pool_new");
        return 1;
    }
    task.in = in, task.in_size = sizeof(in[0]);
    task.out = out, task.out_size = sizeof(out[0]);
    task.timeout = PIU_MSEC(300);
    int r = piu_pool_map(pool, &task, &report);
    if (r < 0) {
        fprintf(stderr, "crash_pool: %s\n", piu_strerror(r));
        return 1;
    }
    for (size_t n = piu_report_losses(report, &loss); n > 0; n--, loss++)
        printf("\"%s\" ended its parser: %s\n", in[loss->first].text,
               loss->timed_out ? "out of time" : strsignal(-loss->exitcode));
    for (size_t n = piu_report_failures(report, &failure); n > 0; n--, failure++)
        printf("\"%s\" was refused: code %d\n", in[failure->first].text, failure->code);
    for (size_t i = 0; i < PIU_LENGTH(in); i++)
        sum += out[i];
    printf("the others are parsed, their sum is %d\n", sum);
    piu_report_free(report);
    piu_pool_free(pool);
    return 0;
}
