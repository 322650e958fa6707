/* The queue, and waiting for any of several. */
#include "scenario.h"

#include <poll.h>
#include <signal.h>

#define LARGE 100000

struct talk {
    struct piu_process process;
    struct piu_queue *queue;
    struct piu_event event;
    _Atomic int ready;
    int (*act)(struct talk *);
    bool die;
};

#define talk_of(p) ((struct talk *)(void *)(p))

static int act_out(struct piu_process *p)
{
    struct talk *t = talk_of(p);

    if (t->act(t) < 0)
        return CHILD_FAILED;
    if (t->die)
        kill(getpid(), SIGKILL);
    return 0;
}

static int in_two(const struct piu_queue_keywords *keywords, int (*act)(struct talk *),
                  int (*meanwhile)(struct piu_process *), bool die)
{
    struct piu_start_keywords how = {.struct_size = sizeof(how)};
    struct talk *t = piu_shared_new(1, sizeof(*t));
    int r = GOT(t);

    if (r == 0) {
        t->process.run = act_out;
        t->act = act;
        t->die = die;
        t->queue = piu_queue_create(keywords);
        r = GOT(t->queue);
    }
    if (r == 0)
        r = scenario_with_child(&t->process, &how, meanwhile, die ? -SIGKILL : 0);
    if (t)
        piu_queue_free(t->queue);
    piu_shared_free(t);
    return r;
}

static int put_number(struct piu_queue *q, int number)
{
    return piu_queue_put(q, &number, sizeof(number), PIU_SEC(5));
}

/* While the child lives. */
static int get_number(struct talk *t, int *ret)
{
    size_t size = sizeof(*ret);
    int r;

    do {
        bool alive = piu_process_is_alive(&t->process);

        r = piu_queue_get(t->queue, ret, &size, PIU_MSEC(50));
        if (r == -ETIMEDOUT && !alive)
            return -ECHILD;
    } while (r == -ETIMEDOUT);
    return r;
}

/* Alone: small and large, by all ways. */
static int use_alone(struct piu_queue *q)
{
    static char large[LARGE], got[LARGE];
    int batch[20] = {1, 2, 3}, number;
    size_t size = sizeof(number), count;
    void *memory;
    int r = put_number(q, 5);

    if (r < 0)
        return r;
    r = piu_queue_get(q, &number, &size, PIU_NOW);
    if (r < 0)
        return r;
    WANT(number == 5 && size == sizeof(number));
    memset(large, 'x', sizeof(large));
    r = piu_queue_put(q, large, sizeof(large), PIU_NOW);
    if (r < 0)
        return r;
    size = sizeof(got);
    r = piu_queue_get(q, got, &size, PIU_NOW);
    if (r < 0)
        return r;
    WANT(size == LARGE && memcmp(got, large, LARGE) == 0);
    r = piu_queue_put_many(q, batch, sizeof(int), 20, &count, PIU_NOW);
    if (r < 0)
        return r;
    WANT(count == 20);
    r = piu_queue_get_many(q, batch, sizeof(int), 20, &count, PIU_NOW);
    if (r < 0)
        return r;
    WANT(count == 20 && batch[2] == 3);
    r = piu_queue_reserve(q, 5000, &memory, PIU_NOW);
    if (r < 0)
        return r;
    r = piu_queue_commit(q, memory);
    if (r < 0) {
        INSIST(piu_queue_abort(q, memory));
        return r;
    }
    r = piu_queue_take(q, &memory, &size, PIU_NOW);
    if (r < 0)
        return r;
    WANT(size == 5000);
    INSIST(piu_queue_drop(q, memory));
    r = put_number(q, 6);
    if (r == 0)
        r = piu_queue_get_new(q, &memory, &size, PIU_NOW);
    if (r == 0) {
        WANT(*(int *)memory == 6);
        free(memory);
    }
    return r;
}

static int alone(void)
{
    struct piu_queue *q = piu_queue_new();
    int r = GOT(q);

    if (r == 0)
        r = use_alone(q);
    piu_queue_free(q);
    return r;
}

static int with_maxsize(void)
{
    struct piu_queue *q = piu_queue_new(.maxsize = 30);
    int r = GOT(q);

    if (r == 0)
        r = use_alone(q);
    piu_queue_free(q);
    return r;
}

/* A getter that sleeps, a putter that sleeps. */
static int put_some(struct talk *t)
{
    int r = 0;

    for (int i = 0; r == 0 && i < 6; i++)
        r = put_number(t->queue, i);
    return r;
}

static int get_some(struct piu_process *p)
{
    struct talk *t = talk_of(p);
    int number, r = 0;

    for (int i = 0; r >= 0 && i < 6; i++)
        r = get_number(t, &number);
    if (r < 0) /* it must not wait for room */
        while (piu_process_is_alive(p))
            get_number(t, &number);
    return r;
}

static int wait_for_each_other(void)
{
    struct piu_queue_keywords keywords = {.struct_size = sizeof(keywords), .maxsize = 2};

    return in_two(&keywords, put_some, get_some, false);
}

/* Taken by one that dies: it comes again. */
static int take_and_die(struct talk *t)
{
    size_t size;
    void *memory;
    int r = piu_queue_take(t->queue, &memory, &size, PIU_SEC(5));

    if (r < 0)
        return r;
    t->ready = 1;
    return 0;
}

static int get_again(struct piu_process *p)
{
    struct talk *t = talk_of(p);
    int number, r = put_number(t->queue, 9);

    if (r < 0) {
        piu_process_kill(p);
        return r;
    }
    r = scenario_await(&t->ready, p);
    return r < 0 ? r : get_number(t, &number);
}

static int take_over(void)
{
    struct piu_queue_keywords keywords = {.struct_size = sizeof(keywords), .tasks = true};

    return in_two(&keywords, take_and_die, get_again, true);
}

static int do_tasks(void)
{
    struct piu_queue *q = piu_queue_new(.tasks = true);
    size_t size = sizeof(int);
    int number, r = GOT(q);

    if (r == 0)
        r = put_number(q, 1);
    if (r == 0)
        r = piu_queue_get(q, &number, &size, PIU_NOW);
    if (r == 0)
        r = piu_queue_task_done(q);
    if (r == 0)
        r = piu_queue_join(q, PIU_MSEC(500));
    piu_queue_free(q);
    return r;
}

/* Getters are told when the last putter has ended. */
static int put_declared(struct talk *t)
{
    int r = piu_queue_putter(t->queue);

    return r < 0 ? r : put_number(t->queue, 3);
}

static int get_to_the_end(struct piu_process *p)
{
    struct talk *t = talk_of(p);
    int number, r;

    do
        r = get_number(t, &number);
    while (r >= 0);
    return r == -EPIPE ? 0 : r;
}

static int putters_end(void)
{
    struct piu_queue_keywords keywords = {.struct_size = sizeof(keywords),
                                          .putters = true};

    return in_two(&keywords, put_declared, get_to_the_end, false);
}

static int poll_for_it(struct piu_process *p)
{
    struct talk *t = talk_of(p);
    struct pollfd entry = {.events = POLLIN};
    int number, r;

    entry.fd = piu_queue_fd(t->queue);
    if (entry.fd < 0)
        return entry.fd;
    do {
        bool alive = piu_process_is_alive(p);

        poll(&entry, 1, 50);
        r = get_number(t, &number);
        if (r == -ETIMEDOUT && !alive)
            r = -ECHILD;
    } while (r == -ETIMEDOUT);
    return r;
}

static int put_one(struct talk *t)
{
    int r = put_number(t->queue, 1);

    return r < 0 ? r : piu_event_set(&t->event);
}

static int by_descriptor(void)
{
    struct piu_queue_keywords keywords = {.struct_size = sizeof(keywords)};

    return in_two(&keywords, put_one, poll_for_it, false);
}

static int any_of_three(struct piu_process *p)
{
    struct talk *t = talk_of(p);
    struct piu_waitable list[] = {
        {.process = p}, {.queue = t->queue}, {.event = &t->event}};
    int r = piu_wait_any(list, 3, PIU_SEC(5));

    if (r == 0)
        WANT(list[0].ready || list[1].ready || list[2].ready);
    return r;
}

static int wait_any(void)
{
    struct piu_queue_keywords keywords = {.struct_size = sizeof(keywords)};

    return in_two(&keywords, put_one, any_of_three, false);
}

const struct scenario scenario_queue = {
    .name = "queue",
    .steps = {alone, with_maxsize, wait_for_each_other, take_over, do_tasks, putters_end,
              by_descriptor, wait_any}};
