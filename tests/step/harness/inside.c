/*
 * A victim that is not the harness's own child: a process beside, the hangman, traces it, for the
 * survivor is busy with what the victim serves.
 *
 *    survivor                   victim                     hangman
 *       | victim_inside()          |                          |
 *       | does its work  - - - - > | role_begins() - pid ---> |
 *       |                          | <------ seizes it ------ |
 *       | goes on                  | stands at its n-th <---- |
 *       |                          X <------ ends it -------- |
 *       | victim_inside_end() <-----------------------------  | done
 */
#include "kill.h"
#include "ptrace.h"
#include "roles.h"

#include "os/clock.h"
#include "os/futex.h"

#include <limits.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>

#define OFTEN 3 /* times that an instruction of theirs is a place to die */

static struct {
    struct inside_order order;
    struct trace trace;
    bool there; /* it was killed where it should be */
    _Atomic bool open;
    _Atomic bool seized;
    _Atomic pid_t pid;     /* of the victim; 0: none yet, or no more */
    _Atomic uint32_t news; /* counts changes of these: a futex */
} * inside;

static pid_t hangman;

static void tell_news(void)
{
    atomic_fetch_add(&inside->news, 1);
    futex_wake(&inside->news, INT_MAX);
}

#define await(expr)                                      \
    do {                                                 \
        uint32_t seen_ = atomic_load(&inside->news);     \
                                                         \
        if (expr)                                        \
            break;                                       \
        futex_wait(&inside->news, seen_, CLOCK_FOREVER); \
    } while (1)

/* ---- The hangman ------------------------------------------------------------------------------ */

/* Stands as it was found: asleep in a call mostly, or in its trap. */
static bool seize(struct victim *v)
{
    bool trapped = !inside->order.waits || inside->order.role == ROLE_CHILD;
    bool seized = ptrace(PTRACE_SEIZE, v->pid, NULL, PTRACE_O_TRACEEXEC) == 0 &&
                  (trapped || ptrace(PTRACE_INTERRUPT, v->pid, NULL, NULL) == 0);

    atomic_store(&inside->seized, true);
    tell_news();
    return seized && victim_stands(v);
}

static void hang(pid_t pid)
{
    const struct inside_order *order = &inside->order;
    struct victim v = {.pid = pid};

    inside->there = false;
    if (!seize(&v))
        return;
    if (order->n == SIZE_MAX) {
        steps_record(&v, &inside->trace, TRACE_MAX);
    } else {
        inside->there =
            *inside->trace.count > order->n && victim_to(&v, &inside->trace, order->n);
        if (inside->there)
            victim_die(&v, order->how);
    }
    if (v.pid && !inside->there)
        victim_to(&v, &inside->trace, SIZE_MAX);
}

static _Noreturn void hangman_main(void)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (;;) {
        await(atomic_load(&inside->pid) && atomic_load(&inside->open));
        hang(atomic_load(&inside->pid));
        atomic_store(&inside->pid, 0);
        tell_news();
    }
}

/* ---- The survivor ---------------------------------------------------------------------------- */

void victims_inside_begin(const struct instead *programs)
{
    roles_new(programs);
    inside = test_shared(sizeof(*inside));
    hangman = role_fork();
    CHECK(hangman >= 0);
    if (hangman == 0)
        hangman_main();
}

bool victim_is_hangman(pid_t pid)
{
    return pid == hangman;
}

void victim_inside(const struct inside_order *order, const struct trace *t)
{
    inside->order = *order;
    inside->trace = *t;
    inside->there = false;
    atomic_store(&inside->open, !order->waits);
    atomic_store(&inside->seized, false);
    atomic_store(&inside->pid, 0);
    if (!order->waits || order->role != ROLE_CHILD)
        role_is_wanted(order->role);
}

void victim_inside_opens(void)
{
    if (inside->order.role == ROLE_CHILD) {
        role_is_wanted(ROLE_CHILD);
        atomic_store(&inside->open, true);
        return;
    }
    test_wait_until(inside->pid && strchr("SZ", process_state(inside->pid)));
    atomic_store(&inside->open, true);
    tell_news();
    await(atomic_load(&inside->seized));
}

bool victim_inside_end(void)
{
    role_is_wanted(ROLE_NONE);
    await(!atomic_load(&inside->pid));
    if (inside->order.n == SIZE_MAX)
        trace_plan(&inside->trace);
    return inside->there;
}

size_t victim_inside_places(const struct trace *t, uint32_t *ret)
{
    size_t count = 0;

    for (size_t n = 0; n < *t->count; n++)
        if (t->hits[n] <= OFTEN)
            ret[count++] = (uint32_t)n;
    return count;
}

/* ---- The victim -------------------------------------------------------------------------------- */

void role_begins(void)
{
    prctl(PR_SET_PTRACER, hangman); /* where not everybody may trace a relative */
    atomic_store(&inside->pid, getpid());
    tell_news();
    if (!atomic_load(&inside->open))
        return;
    while (!atomic_load(&inside->seized))
        sched_yield();
    trap();
}

pid_t __wrap_fork(void);
pid_t __wrap_fork(void)
{
    return role_fork();
}
