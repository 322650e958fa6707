/* The cut, with a place that is another process: what its death and its lies leave. */
#include "pipe/pipe.h"
#include "pools.h"

enum { COUNT = 12 };

static int numbers[COUNT], squares[COUNT];

static struct trouble trouble_of(size_t chunk)
{
    return (struct trouble){.task = squares_task(numbers, squares, COUNT, chunk)};
}

static void check_pool_works(struct piu_pool *pool)
{
    struct trouble t = trouble_of(1);

    CHECK_EQ(piu_pool_map(pool, &t.task, NULL), 0);
    for (int i = 0; i < COUNT; i++)
        CHECK_EQ(squares[i], i * i);
}

/* ---- By value ------------------------------------------------------------------------------ */

struct shift { /* of items that have neighbours in the whole of the task only */
    struct piu_task task;
    const int *home;
};

static int look_around(struct piu_task *self, size_t first, size_t last)
{
    const int *home = ((struct shift *)(void *)self)->home;
    const int *in = self->in;
    int *out = self->out;

    for (size_t i = first; i < last; i++) {
        if (in == home || self->count != COUNT || in[i] != (int)i || out[i] != -(int)i)
            return 1;
        out[i] = in[i] + (int)self->count;
    }
    return 0;
}

TEST(far_away_items_have_their_numbers_and_shared_arrays_their_content)
{
    struct piu_pool *pool = pool_of(2);
    int *in = piu_shared_new(COUNT, sizeof(*in)),
        *out = piu_shared_new(COUNT, sizeof(*out));
    struct shift shift = {.task = {.run = look_around,
                                   .struct_size = sizeof(shift),
                                   .count = COUNT,
                                   .chunk = 5,
                                   .in = in,
                                   .in_size = sizeof(int),
                                   .out = out,
                                   .out_size = sizeof(int)},
                          .home = in};

    for (int i = 0; i < COUNT; i++) {
        in[i] = i;
        out[i] = -i;
    }
    CHECK_EQ(piu_pool_map(pool, &shift.task, NULL), 0);
    for (int i = 0; i < COUNT; i++)
        CHECK_EQ(out[i], i + COUNT);
    piu_pool_free(pool);
}

/* ---- Death of a place ---------------------------------------------------------------------- */

static struct piu_result *begin_and_wait(struct piu_pool *pool, struct trouble *t)
{
    struct piu_result *r;

    t->told = piu_shared_new(1, sizeof(*t->told));
    t->open = piu_shared_new(1, sizeof(*t->open));
    t->what = go_on;
    r = piu_pool_map_async(pool, &t->task);
    wait_told(t->told);
    return r;
}

TEST(a_place_that_is_killed_loses_what_is_out_and_the_pool_goes_on)
{
    struct piu_pool *pool = pool_of(1);
    struct trouble t = trouble_of(12);
    const struct piu_loss *loss;
    struct piu_report *report;
    struct piu_result *r;
    pid_t place = pipe_place();

    t.bad = 5;
    r = begin_and_wait(pool, &t);
    CHECK_EQ(kill(place, SIGKILL), 0);
    CHECK_EQ(piu_result_get(r, PIU_FOREVER), PIU_LOSSES);
    for (int i = 0; i < COUNT; i++)
        CHECK_EQ(squares[i], -1);
    CHECK_EQ(piu_result_report(r, &report), 0);
    CHECK_EQ(piu_report_losses(report, &loss), 1);
    CHECK(loss->first == 0 && loss->last == COUNT && loss->attempts == 1);
    CHECK_EQ(loss->pid, place);
    CHECK_EQ(loss->exitcode, -SIGKILL);
    piu_report_free(report);
    piu_result_free(r);
    check_pool_works(pool);
    CHECK(pipe_place() != place);
    piu_pool_free(pool);
}

TEST(with_retries_the_death_of_a_place_costs_no_item)
{
    struct piu_pool *pool = pool_of(2);
    struct trouble t = trouble_of(1);
    struct piu_result *r;

    t.bad = 3;
    t.task.retries = 1;
    r = begin_and_wait(pool, &t);
    *t.open = 1;
    CHECK_EQ(kill(pipe_place(), SIGKILL), 0);
    CHECK_EQ(piu_result_get(r, PIU_FOREVER), 0);
    for (int i = 0; i < COUNT; i++)
        CHECK_EQ(squares[i], i * i);
    piu_result_free(r);
    piu_pool_free(pool);
}

TEST(a_place_that_is_killed_idle_is_not_missed)
{
    struct piu_pool *pool = pool_of(1);

    for (int i = 0; i < 6; i++) {
        check_pool_works(pool);
        CHECK_EQ(kill(pipe_place(), SIGKILL), 0);
        test_wait_until((piu_pool_apply(pool, do_nothing, NULL, 0), pipe_place()) &&
                        piu_pool_apply(pool, do_nothing, NULL, 0) == 0);
    }
    piu_pool_free(pool);
}

TEST(a_pool_whose_place_is_stopped_can_be_freed)
{
    struct piu_pool *pool = pool_of(1);
    pid_t place = pipe_place();

    stop(place);
    piu_pool_free(pool);
    CHECK(kill(place, 0) < 0 && errno == ESRCH);
}

/* ---- Lies ----------------------------------------------------------------------------------- */

static void check_mischief(enum mischief mischief, bool ends_the_place)
{
    struct piu_pool *pool = pool_of(1);
    struct trouble t = trouble_of(12);
    pid_t place = pipe_place();

    *pipe_mischief = mischief;
    CHECK_EQ(piu_pool_map(pool, &t.task, NULL), PIU_LOSSES);
    for (int i = 0; i < COUNT; i++)
        CHECK_EQ(squares[i], -1);
    *pipe_mischief = MISCHIEF_NONE;
    check_pool_works(pool);
    CHECK_EQ(pipe_place() != place, ends_the_place);
    piu_pool_free(pool);
}

TEST(who_sends_frames_that_cannot_be_is_not_listened_to)
{
    check_mischief(MISCHIEF_SIZE, true);
    check_mischief(MISCHIEF_COUNT, true);
    check_mischief(MISCHIEF_TICKET, true);
    check_mischief(MISCHIEF_KIND, true);
}

TEST(an_outcome_of_other_items_or_bytes_is_a_loss)
{
    check_mischief(MISCHIEF_ITEMS, false);
    check_mischief(MISCHIEF_SHORT, false);
}

/* ---- More than the socket and the window hold ------------------------------------------------ */

TEST(arrays_that_are_larger_than_any_buffer_go_and_come)
{
    enum { LARGE = 1 << 20, CHUNKS = 16 };
    struct piu_pool *pool = pool_of(2);
    int *in = calloc(LARGE, sizeof(*in)), *out = calloc(LARGE, sizeof(*out));
    struct trouble t = {.task = {.run = trouble_run,
                                 .struct_size = sizeof(t),
                                 .count = LARGE,
                                 .chunk = LARGE / CHUNKS,
                                 .in = in,
                                 .in_size = sizeof(int),
                                 .out = out,
                                 .out_size = sizeof(int)}};

    for (int i = 0; i < LARGE; i++)
        in[i] = i % 1000;
    CHECK_EQ(piu_pool_map(pool, &t.task, NULL), 0);
    for (int i = 0; i < LARGE; i++)
        CHECK_EQ(out[i], in[i] * in[i]);
    free(in);
    free(out);
    piu_pool_free(pool);
}
