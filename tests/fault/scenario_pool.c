/* The pool: the nursery and the workers meet the faults too. */
#include "scenario.h"

#include <signal.h>

#define COUNT 12

static int square_all(struct piu_task *self, size_t first, size_t last)
{
    for (size_t i = first; i < last; i++) {
        piu_task_progress(self, i);
        ((int *)self->out)[i] = ((const int *)self->in)[i] * ((const int *)self->in)[i];
    }
    return 0;
}

static int die_at_five(struct piu_task *self, size_t first, size_t last)
{
    for (size_t i = first; i < last; i++) {
        piu_task_progress(self, i);
        if (i == 5)
            raise(SIGKILL);
        ((int *)self->out)[i] = 1;
    }
    return 0;
}

static _Noreturn int stand_still(struct piu_task *self, size_t first, size_t last)
{
    (void)self, (void)first, (void)last;
    for (;;)
        pause();
}

static int add_one(void *argument)
{
    ++*(int *)argument;
    return 0;
}

static int in[COUNT], out[COUNT];

static struct piu_task task_of(int (*run)(struct piu_task *, size_t, size_t))
{
    for (int i = 0; i < COUNT; i++) {
        in[i] = i;
        out[i] = -1;
    }
    return (struct piu_task){.run = run,
                             .count = COUNT,
                             .chunk = 3,
                             .in = in,
                             .in_size = sizeof(int),
                             .out = out,
                             .out_size = sizeof(int)};
}

/* Without a fault just `wanted`; a fault in a worker may cost the chunk that it was in. */
static int judge(int r, int wanted)
{
    if (r == wanted)
        return 0;
    if (r == PIU_LOSSES && fault_plan->fired)
        return -ECHILD;
    WANT(r < 0);
    return r;
}

static int with_pool(int (*use)(struct piu_pool *))
{
    struct piu_pool *pool = piu_pool_new(.processes = 2);
    int r = GOT(pool);

    if (r == 0)
        r = use(pool);
    piu_pool_free(pool);
    return r;
}

static int use_map(struct piu_pool *pool)
{
    struct piu_task task = task_of(square_all);
    struct piu_report *report = NULL;
    int r = piu_pool_map(pool, &task, &report);

    piu_report_free(report);
    for (int i = 0; r == 0 && i < COUNT; i++)
        WANT(out[i] == i * i);
    r = judge(r, 0);
    if (r == 0) {
        int number = 4;

        r = judge(piu_pool_apply(pool, add_one, &number, sizeof(number)), 0);
        WANT(r < 0 || number == 5);
    }
    return r;
}

static int use_async(struct piu_pool *pool)
{
    struct piu_task task = task_of(square_all);
    struct piu_result *result = piu_pool_map_async(pool, &task);
    int r = GOT(result);

    if (r == 0)
        r = piu_result_wait(result, PIU_SEC(10));
    if (r == 0)
        r = judge(piu_result_get(result, PIU_NOW), 0);
    piu_result_free(result);
    return r;
}

static int use_imap(struct piu_pool *pool)
{
    struct piu_task task = task_of(square_all);
    struct piu_result *result = piu_pool_imap(pool, &task, .lookahead = 2);
    size_t first, last;
    int r = GOT(result);

    while (r == 0)
        r = judge(piu_result_next(result, &first, &last, PIU_SEC(10)), 0);
    piu_result_free(result);
    return r == -ENODATA ? 0 : r;
}

static int use_losses(struct piu_pool *pool)
{
    struct piu_task task = task_of(die_at_five);
    struct piu_report *report = NULL;
    const struct piu_loss *loss;
    int r;

    task.retries = 1;
    r = piu_pool_map(pool, &task, &report);
    WANT(r != 0);
    if (r == PIU_LOSSES)
        WANT(piu_report_losses(report, &loss) >= 1);
    piu_report_free(report);
    return judge(r, PIU_LOSSES);
}

static int use_timeout(struct piu_pool *pool)
{
    struct piu_task task = task_of(stand_still);
    int r;

    task.count = 1;
    task.timeout = PIU_MSEC(2);
    r = piu_pool_map(pool, &task, NULL);
    WANT(r != 0);
    return judge(r, PIU_LOSSES);
}

static int use_cancel(struct piu_pool *pool)
{
    struct piu_task task = task_of(stand_still);
    struct piu_result *result = piu_pool_map_async(pool, &task);
    int r = GOT(result);

    if (r == 0)
        r = piu_result_cancel(result);
    if (r == 0)
        r = piu_result_get(result, PIU_SEC(10));
    piu_result_free(result);
    return r == -ECANCELED ? 0 : r;
}

static int use_close(struct piu_pool *pool)
{
    int r;

    WANT(piu_pool_fd(pool) >= 0);
    r = piu_pool_close(pool);
    return r < 0 ? r : piu_pool_join(pool, PIU_SEC(10));
}

static int map(void)
{
    return with_pool(use_map);
}

static int async(void)
{
    return with_pool(use_async);
}

static int imap(void)
{
    return with_pool(use_imap);
}

static int losses(void)
{
    return with_pool(use_losses);
}

static int timeouts(void)
{
    return with_pool(use_timeout);
}

static int cancel(void)
{
    return with_pool(use_cancel);
}

static int close_and_join(void)
{
    return with_pool(use_close);
}

const struct scenario scenario_pool = {
    .name = "pool",
    .steps = {map, async, imap, losses, timeouts, cancel, close_and_join}};
