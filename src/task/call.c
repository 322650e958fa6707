/* Functions that are not a run(): of one argument (apply), of one item (piu_map). */
#include "task/pool.h"

#include <stdlib.h>
#include <string.h>

/* The function travels in the task: by its number in the pool. */
struct call {
    struct piu_task task;
    enum piu_signature signature;
    bool in_place; /* apply: the argument lies in shared memory */
    size_t size;
    uint64_t code;
    code_function *found; /* in the worker's copy: where it is in this process */
};

typedef int apply_function(void *argument);

static int call_find(struct call *call)
{
    return call->found ? 0 : code_resolve(call->code, &call->found);
}

static int apply_run(struct piu_task *self, size_t first, size_t last)
{
    struct call *call = (struct call *)(void *)self;
    int r = call_find(call);

    (void)first;
    (void)last;
    if (r < 0)
        return -r;
    if (call->size && !call->in_place)
        memcpy(self->out, self->in, call->size);
    return ((apply_function *)call->found)(self->out);
}

static int apply_begin(struct piu_pool *pool, apply_function *function, void *argument,
                       size_t size, struct piu_result *ret)
{
    struct call call = {
        .task = {.run = apply_run, .struct_size = sizeof(call), .count = 1},
        .size = size};
    int r = function && (argument || !size) ? pool_use(pool) : -EINVAL;

    if (r < 0)
        return r;
    call.in_place = arena_has(argument, size ? size : 1);
    call.task.in = call.in_place ? NULL : argument;
    call.task.out = argument;
    call.task.in_size = call.task.out_size = size;
    return pool_submit_call(pool, &call.task, (code_function *)function, &call.code, ret);
}

struct piu_result *piu_pool_apply_async(struct piu_pool *pool,
                                        int (*function)(void *argument), void *argument,
                                        size_t size)
{
    struct piu_result *result = malloc(sizeof(*result));
    int r = result ? apply_begin(pool, function, argument, size, result) : -ENOMEM;

    if (r == 0)
        return result;
    free(result);
    errno = -r;
    return NULL;
}

static int get_and_end(struct piu_result *result)
{
    int r = piu_result_get(result, CLOCK_FOREVER);

    if (r == -EINTR)
        piu_result_cancel(result);
    result_done(result);
    return r;
}

int piu_pool_apply(struct piu_pool *pool, int (*function)(void *argument), void *argument,
                   size_t size)
{
    struct piu_result result;
    int r = apply_begin(pool, function, argument, size, &result);

    return r < 0 ? r : get_and_end(&result);
}

/* ---- piu_map: a loop for each signature ------------------------------------------------------ */

typedef void map_loop(struct piu_task *self, void (*function)(void), size_t first,
                      size_t last);

#define MAP_LOOP(name, result, argument)                                                \
    static void map_##name(struct piu_task *self, void (*function)(void), size_t first, \
                           size_t last)                                                 \
    {                                                                                   \
        result (*f)(argument) = (result(*)(argument))function;                          \
        const argument *in = self->in;                                                  \
        result *out = self->out;                                                        \
                                                                                        \
        for (size_t i = first; i < last; i++) {                                         \
            piu_task_progress(self, i);                                                 \
            out[i] = f(in[i]);                                                          \
        }                                                                               \
    }

MAP_LOOP(int, int, int)
MAP_LOOP(unsigned, unsigned, unsigned)
MAP_LOOP(long, long, long)
MAP_LOOP(ulong, unsigned long, unsigned long)
MAP_LOOP(llong, long long, long long)
MAP_LOOP(ullong, unsigned long long, unsigned long long)
MAP_LOOP(float, float, float)
MAP_LOOP(double, double, double)
MAP_LOOP(double_of_int, double, int)
MAP_LOOP(double_of_long, double, long)

static void map_bytes(struct piu_task *self, void (*function)(void), size_t first,
                      size_t last)
{
    void (*f)(const void *, void *) = (void (*)(const void *, void *))function;

    for (size_t i = first; i < last; i++) {
        piu_task_progress(self, i);
        f((const char *)self->in + i * self->in_size,
          (char *)self->out + i * self->out_size);
    }
}

static map_loop *const map_loops[] = {
    [PIU_MAP_INT] = map_int,
    [PIU_MAP_UNSIGNED] = map_unsigned,
    [PIU_MAP_LONG] = map_long,
    [PIU_MAP_ULONG] = map_ulong,
    [PIU_MAP_LLONG] = map_llong,
    [PIU_MAP_ULLONG] = map_ullong,
    [PIU_MAP_FLOAT] = map_float,
    [PIU_MAP_DOUBLE] = map_double,
    [PIU_MAP_DOUBLE_OF_INT] = map_double_of_int,
    [PIU_MAP_DOUBLE_OF_LONG] = map_double_of_long,
    [PIU_MAP_BYTES] = map_bytes,
};

static int map_run(struct piu_task *self, size_t first, size_t last)
{
    struct call *call = (struct call *)(void *)self;
    int r = call_find(call);

    if (r < 0)
        return -r;
    if ((size_t)call->signature >= array_size(map_loops))
        return EINVAL;
    map_loops[call->signature](self, call->found, first, last);
    return 0;
}

int piu_map_array(struct piu_pool *pool, enum piu_signature signature,
                  void (*function)(void), const void *in, size_t count, size_t in_size,
                  void *out, size_t out_size)
{
    struct call call = {.task = {.run = map_run,
                                 .struct_size = sizeof(call),
                                 .count = count,
                                 .in = in,
                                 .in_size = in_size,
                                 .out = out,
                                 .out_size = out_size},
                        .signature = signature};
    struct piu_result result;
    int r = function && in && out ? pool_use(pool) : -EINVAL;

    if (r == 0 && (size_t)signature >= array_size(map_loops))
        r = -EINVAL;
    if (r == 0)
        r = pool_submit_call(pool, &call.task, function, &call.code, &result);
    return r < 0 ? r : get_and_end(&result);
}
