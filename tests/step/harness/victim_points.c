/* Victims that stop themselves at a crash point: see points.h. */
#include "kill.h"
#include "points.h"
#include "roles.h"

#include <limits.h>

/* What the next one to start is to do, and what it said; one victim at a time moves. */
struct orders {
    _Atomic size_t goal;        /* stop there, and wait for SIGCONT */
    _Atomic bool until_waits;   /* or where it would sleep */
    _Atomic int death;          /* 1 + enum death: behind the stop */
    _Atomic(uint64_t *) record; /* its way, `goal` at most; NULL: not wanted */
    _Atomic size_t passed;      /* points, when it stopped last */
    _Atomic bool ended;
    /* of the one that is inside */
    struct inside_order inside;
    _Atomic pid_t inside_pid; /* 0: none yet */
    _Atomic bool inside_open, inside_there;
    _Atomic size_t inside_passed;
};

static struct orders *orders;
static pid_t counting; /* a victim, between its first point and its last; 0: nobody */
static size_t passed;
static bool inside;
static size_t *inside_count; /* where its way is recorded */

const char *victims_way(void)
{
    return "by crash points: every atomic operation, plain store and system call";
}

bool victims_can_stop(const char **ret_reason)
{
    (void)ret_reason;
    return true;
}

pid_t __real_getpid(void); /* not the wrapped one, which comes back here */

/* ---- In the victim ------------------------------------------------------------------------ */

static void die(enum death how)
{
    static char *argv[] = {(char *)(uintptr_t) "idle", NULL};

    switch (how) {
    case DEATH_EXIT:
        _exit(0);
    case DEATH_EXEC:
        execve(kill_idle_program(), argv, argv + 1);
        _exit(127);
    default:
        kill(getpid(), SIGKILL);
    }
}

/* Until SIGCONT; then it may be its end. */
static void stand(void)
{
    int death;

    atomic_store(&orders->passed, passed);
    raise(SIGSTOP);
    death = atomic_load(&orders->death);
    if (death)
        die((enum death)(death - 1));
}

static void point_inside(void)
{
    if (!orders->inside_open)
        return;
    if (passed++ == orders->inside.n) {
        orders->inside_there = true;
        die(orders->inside.how);
    }
    orders->inside_passed = passed < TRACE_MAX ? passed : TRACE_MAX;
}

static void point(void *where, bool waits)
{
    uint64_t *record;
    pid_t self = counting;

    if (!self || self != __real_getpid()) /* a child of its own does not count */
        return;
    counting = 0; /* not what is done in here */
    record = atomic_load(&orders->record);
    if (record && passed < TRACE_MAX && (!inside || orders->inside_open))
        record[passed] = (uint64_t)(uintptr_t)where;
    if (inside) {
        point_inside();
        counting = self;
        return;
    }
    if (passed == atomic_load(&orders->goal) ||
        (waits && atomic_load(&orders->until_waits)))
        stand();
    passed++;
    counting = self;
}

void crash_point(void *where)
{
    point(where, false);
}

void crash_point_waits(void *where)
{
    point(where, true);
}

static _Noreturn void child_runs(const struct work *work)
{
    if (work->prepare)
        work->prepare(work->argument);
    passed = 0;
    raise(SIGSTOP);
    counting = getpid();
    work->operation(work->argument);
    counting = 0;
    atomic_store(&orders->ended, true);
    stand();
    _exit(3); /* never: it is killed there */
}

/* ---- In the harness ------------------------------------------------------------------------- */

/* false: it has ended, by itself or as piu ends daemons. */
static bool stopped(struct victim *v)
{
    int status;

    CHECK_EQ(waitpid(v->pid, &status, WUNTRACED), v->pid);
    if (!WIFSTOPPED(status))
        v->pid = 0;
    return v->pid != 0;
}

void victim_start(struct victim *v, const struct work *work)
{
    *v = (struct victim){.pid = fork()};
    CHECK(v->pid >= 0);
    if (v->pid == 0)
        child_runs(work);
    kill_victim_is(v->pid);
    if (!stopped(v))
        test_fail(__FILE__, __LINE__, "the victim ended before its first instruction");
}

/* true: it stands there; false: it has come to its end. */
static bool go_on(struct victim *v, size_t goal, bool until_waits, uint64_t *record)
{
    if (v->pid == 0)
        return false;
    atomic_store(&orders->goal, goal);
    atomic_store(&orders->until_waits, until_waits);
    atomic_store(&orders->record, record);
    atomic_store(&orders->death, 0);
    atomic_store(&orders->ended, false);
    CHECK_EQ(kill(v->pid, SIGCONT), 0);
    return stopped(v) && !atomic_load(&orders->ended);
}

/* Stands before the point that comes next, so those are `passed` + 1 places to die. */
bool victim_record(struct victim *v, const struct work *work, const struct trace *t,
                   size_t limit)
{
    bool stands;

    victim_start(v, work);
    stands = go_on(v, limit < TRACE_MAX ? limit : SIZE_MAX, limit < TRACE_MAX, t->at);

    *t->count = atomic_load(&orders->passed) + (stands ? 1 : 0);
    return !stands;
}

/* There is one way. */
bool victims_begin(const struct trace *a, const struct trace *b)
{
    (void)a, (void)b;
    orders = test_shared(sizeof(*orders));
    return true;
}

bool victim_to(struct victim *v, const struct trace *t, size_t n)
{
    if (n >= *t->count) {
        go_on(v, SIZE_MAX, false, NULL);
        return true;
    }
    return go_on(v, n, false, NULL);
}

/* Counting is all there is: it goes the same way again, or not. */
bool victim_step_to(struct victim *v, const struct trace *t, size_t n)
{
    return victim_to(v, t, n);
}

/* It pauses: the kernel has closed by then what exec closes, and marked what it marks. */
static bool has_execed(pid_t pid)
{
    char path[40], program[PATH_MAX];
    ssize_t length;

    snprintf(path, sizeof(path), "/proc/%d/exe", (int)pid);
    length = readlink(path, program, sizeof(program) - 1);
    program[length > 0 ? length : 0] = '\0';
    return strcmp(program, kill_idle_program()) == 0 && process_state(pid) == 'S';
}

void victim_die(struct victim *v, enum death how)
{
    int status;

    if (v->pid == 0)
        return;
    if (how == DEATH_KILL) {
        victim_reap(v);
        return;
    }
    atomic_store(&orders->death, 1 + (int)how);
    CHECK_EQ(kill(v->pid, SIGCONT), 0);
    if (how == DEATH_EXIT) {
        CHECK_EQ(waitpid(v->pid, &status, 0), v->pid);
        v->pid = 0;
        return;
    }
    while (!has_execed(v->pid)) {
        if (process_state(v->pid) == 'Z')
            test_fail(__FILE__, __LINE__, "exec of %s failed", kill_idle_program());
        test_pause(NULL, 0, NULL);
    }
}

/* ---- One that is inside ------------------------------------------------------------------------ */

void victims_inside_begin(const struct instead *programs)
{
    roles_new(programs);
}

bool victim_is_hangman(pid_t pid)
{
    (void)pid;
    return false;
}

void victim_inside(const struct inside_order *order, const struct trace *t)
{
    orders->inside = *order;
    orders->record = order->n == SIZE_MAX ? t->at : NULL;
    orders->inside_open = !order->waits;
    orders->inside_there = false;
    orders->inside_pid = 0;
    orders->inside_passed = 0;
    if (order->n == SIZE_MAX)
        inside_count = t->count;
    if (!order->waits || order->role != ROLE_CHILD)
        role_is_wanted(order->role);
}

void victim_inside_opens(void)
{
    if (orders->inside.role == ROLE_CHILD)
        role_is_wanted(ROLE_CHILD);
    else
        test_wait_until(orders->inside_pid &&
                        strchr("SZ", process_state(orders->inside_pid)));
    orders->inside_open = true;
}

bool victim_inside_end(void)
{
    role_is_wanted(ROLE_NONE);
    orders->record = NULL;
    if (orders->inside.n == SIZE_MAX)
        *inside_count = orders->inside_passed;
    return orders->inside_there;
}

size_t victim_inside_places(const struct trace *t, uint32_t *ret)
{
    for (size_t n = 0; n < *t->count; n++)
        ret[n] = (uint32_t)n;
    return *t->count;
}

void role_begins(void)
{
    inside = true;
    passed = 0;
    orders->inside_pid = getpid();
    counting = getpid();
}
