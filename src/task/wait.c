/*
 * piu_wait_any: queues and events have a word each, and a member's life is a word too, so one
 * futex call watches all.  What has no word (a program that is no member, a process whose
 * memory is being torn down) and kernels without that call make the slices short.
 */
#include "flow/queue.h"
#include "os/fd.h"
#include "os/futex.h"
#include "sync/event.h"
#include "task/process.h"

#include <limits.h>
#include <poll.h>
#include <stdlib.h>

#define SLICE_FIRST (20 * MSEC)
#define SLICE_LAST  (100 * MSEC)
#define SLICE_BLIND (2 * MSEC) /* not all can be watched */
#define THOROUGH    8 /* every so many slices the kernel is asked about each member */

struct watching {
    struct futex_watch words[FUTEX_WATCH_MAX];
    unsigned count;
    uint64_t lives; /* bit i: words[i] is a member's life */
    bool blind;
    size_t processes; /* how many of the list are */
    bool only_processes;
    bool slept;
    int64_t deadline;
    int64_t slice;
    int64_t waited; /* since we last asked whether we are alone */
    unsigned slices;
    bool alone; /* nobody is left who could end it */
};

static int waitable_check(const struct piu_waitable *w)
{
    struct piu_child *c;
    uint64_t who;

    if (!!w->process + !!w->queue + !!w->event != 1)
        return -EINVAL;
    if (w->process)
        return process_child(w->process, &c);
    return w->queue ? queue_use(w->queue, &who) : 0;
}

static void watch(struct watching *w, const _Atomic uint32_t *word, uint32_t expected)
{
    if (word && w->count < FUTEX_WATCH_MAX)
        w->words[w->count++] = (struct futex_watch){word, expected};
    else
        w->blind = true;
}

/* The word first, then the look: what happens in between changes the word. */
static bool process_look(struct piu_process *p, struct watching *w)
{
    const _Atomic uint32_t *word;
    struct piu_child *c;
    uint32_t expected = 0;

    if (process_child(p, &c) < 0)
        return true; /* closed meanwhile */
    word = w->only_processes ? NULL : member_life_futex(c->child.id, &expected);
    if (process_join(c, 0) == 0)
        return true;
    if (word)
        w->lives |= w->count < FUTEX_WATCH_MAX ? UINT64_C(1) << w->count : 0;
    watch(w, word, expected);
    return false;
}

static bool queue_look(struct piu_queue *q, struct watching *w)
{
    uint32_t expected;
    const _Atomic uint32_t *word = queue_futex(q, &expected);

    if (queue_is_ready(q))
        return true;
    watch(w, word, expected);
    return false;
}

static bool event_look(struct piu_event *e, struct watching *w)
{
    uint32_t expected;
    const _Atomic uint32_t *word = event_watch(e, &expected);

    if (!word)
        return true;
    watch(w, word, expected);
    return false;
}

/* How many are ready; else what to sleep on. */
static size_t look_at_all(struct piu_waitable *list, size_t count, struct watching *w)
{
    size_t ready = 0;

    w->count = 0;
    w->lives = 0;
    w->blind = false;
    for (size_t i = 0; i < count; i++) {
        struct piu_waitable *at = &list[i];

        at->ready = at->process ? process_look(at->process, w)
                    : at->queue ? queue_look(at->queue, w)
                                : event_look(at->event, w);
        ready += at->ready;
    }
    return ready;
}

/* A member's life word wakes one only: the others that wait for its end are to be told. */
static void lives_pass_on(const struct watching *w)
{
    for (unsigned i = 0; i < w->count; i++) {
        if (w->lives >> i & 1 && atomic_load(w->words[i].word) != w->words[i].expected)
            futex_wake(w->words[i].word, INT_MAX);
    }
}

/*
 * After a slice in which nothing came.  The caller looks once more before it hears of it.  A
 * process that we wait for will end, or has and we shall be told: its zygote, which counts as
 * nobody, may have to write it down yet.
 */
static void ask_alone(struct watching *w, int64_t slice)
{
    w->waited += slice;
    if (w->processes || w->waited < SLICE_LAST || w->deadline != CLOCK_FOREVER)
        return;
    w->waited = 0;
    w->alone = member_is_alone();
}

static int sleep_on_words(struct watching *w, int64_t left)
{
    bool blind = w->blind || (w->count > 1 && !futex_has_wait_any());
    int64_t slice = min_timeout(left, blind ? SLICE_BLIND : w->slice);
    struct timespec span;
    int r;

    if (w->count == 0) {
        span = timespec_of(slice);
        return nanosleep(&span, NULL) < 0 ? -errno : 0;
    }
    r = futex_wait_any(w->words, w->count, slice);
    w->slice =
        r == -ETIMEDOUT && !blind ? min_timeout(w->slice * 2, SLICE_LAST) : SLICE_FIRST;
    if (r == -ETIMEDOUT)
        member_sweep_dead(++w->slices % THOROUGH == 0);
    if (r == -ETIMEDOUT)
        ask_alone(w, slice);
    lives_pass_on(w);
    return r == -EINTR ? r : 0;
}

/* Pidfds alone need no slices. */
static int sleep_on_processes(struct piu_waitable *list, size_t count, int64_t left)
{
    struct pollfd *entries = calloc(count, sizeof(*entries));
    struct timespec span = timespec_of(left);
    int r;

    if (!entries)
        return -ENOMEM;
    for (size_t i = 0; i < count; i++)
        entries[i] = (struct pollfd){.fd = piu_process_sentinel(list[i].process),
                                     .events = POLLIN};
    r = ppoll(entries, (nfds_t)count, left == CLOCK_FOREVER ? NULL : &span, NULL);
    r = r < 0 ? -errno : r;
    free(entries);
    return r;
}

static int sleep_once(struct piu_waitable *list, size_t count, struct watching *w,
                      int64_t left)
{
    struct timespec pause = timespec_of(min_timeout(left, 1 * MSEC));
    int r;

    if (!w->only_processes)
        return sleep_on_words(w, left);
    r = sleep_on_processes(list, count, left);
    /* it has ended; its zygote, or a tracer, has it for a moment yet */
    if (r > 0 && look_at_all(list, count, w) == 0)
        nanosleep(&pause, NULL);
    return r < 0 ? r : 0;
}

/*
 * A bell that rang for us was to be heard by who takes the message: we take none, so the next
 * sleeper is told.  And it must ring again for those who sleep on.
 */
static void bells_pass_on(struct piu_waitable *list, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        uint32_t expected;

        if (!list[i].queue)
            continue;
        if (queue_is_ready(list[i].queue))
            futex_wake(queue_futex(list[i].queue, &expected), 1);
    }
}

int piu_wait_any(struct piu_waitable *list, size_t count, int64_t timeout)
{
    struct watching w = {.slice = SLICE_FIRST};
    uint64_t who;
    int r = list && count ? member_who(&who) : -EINVAL;

    for (size_t i = 0; i < count && r == 0; i++) {
        r = waitable_check(&list[i]);
        w.processes += list[i].process != NULL;
    }
    if (r < 0)
        return r;
    w.only_processes = w.processes == count;
    w.deadline = deadline_after(timeout);
    while (r == 0 && look_at_all(list, count, &w) == 0) {
        int64_t left = deadline_left(w.deadline);

        r = left == 0 ? -ETIMEDOUT
            : w.alone ? -EDEADLK
                      : sleep_once(list, count, &w, left);
        w.slept = true;
    }
    if (w.slept)
        bells_pass_on(list, count);
    return r;
}
