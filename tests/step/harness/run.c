/* One kill. */
#include "job.h"

#include "os/coverage.h"
#include "shm/block.h"

#include <sys/prctl.h>

struct kill_now kill_now;

/* ---- The victims ------------------------------------------------------------------------- */

static void a_prepares(void *unused)
{
    (void)unused;
    become_member();
    if (job.c->prepare)
        job.c->prepare(job.state);
}

static void a_operates(void *unused)
{
    (void)unused;
    job.c->operation(job.state);
}

static struct work a_work(void)
{
    return (struct work){
        .prepare = a_prepares, .operation = a_operates, .forks = job.c->forks};
}

static void b_prepares(void *unused)
{
    (void)unused;
    become_member();
    if (job.c->other_prepare)
        job.c->other_prepare(job.state);
}

static void b_operates(void *unused)
{
    (void)unused;
    (job.c->then ? job.c->then : job.c->other)(job.state);
}

static const struct work b_work = {.prepare = b_prepares, .operation = b_operates};

/* ---- Begin and end ----------------------------------------------------------------------- */

/* The way of one that piu starts is recorded: what is wrong then is so without a death. */
static bool nobody_is_killed(void)
{
    return job.c->inside && here.n == SIZE_MAX;
}

#define GUARD_RECORD 60 /* others wait for what is done in single steps */

static void guard_begin(void)
{
    alarm((unsigned)(nobody_is_killed() ? GUARD_RECORD : job.plan->guard));
}

static void run_begin(void)
{
    here.phase = "setting up";
    here.judged = false;
    violation_forget();
    guard_begin();
    if (job.c->fresh) {
        memset(job.state, 0, job.c->size);
        if (job.c->set_up)
            job.c->set_up(job.state);
    } else {
        snapshot_restore();
    }
    cast_enter();
    here.phase = "the victim does not come there";
}

static void run_end(struct victim *a)
{
    guard_begin();
    here.phase = "the survivor";
    here.judged = !nobody_is_killed();
    if (job.c->check)
        job.c->check(job.state);
    if (arena.base) {
        member_sweep_dead(true);
        CHECK(block_check());
    }
    alarm(0);
    cast_leave();
    victim_reap(a);
}

/* ---- One victim -------------------------------------------------------------------------- */

static bool run_alone(enum how_to to, size_t n)
{
    const struct work work = a_work();
    const struct trace *trace = &job.trace;
    struct victim a;
    bool there = true;

    run_begin();
    if (to == RECORD)
        CHECK(victim_record(&a, &work, trace, TRACE_MAX));
    else
        victim_start(&a, &work);
    if (to == STEPS)
        there = victim_step_to(&a, trace, n);
    else if (to == BREAKPOINT)
        there = victim_to(&a, trace, n);
    kill_now.ended = to == RECORD || !there || n >= *trace->count;
    victim_die(&a, kill_now.how);
    run_end(&a);
    job.count->kills++;
    return there;
}

/* In a process of its own, where there must be a new family. */
static bool run_fresh(enum how_to to, size_t n)
{
    pid_t pid = fork();
    int status;

    CHECK(pid >= 0);
    if (pid == 0) {
        bool there;

        job.pid = getpid();
        prctl(PR_SET_CHILD_SUBREAPER, 1);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        there = run_alone(to, n);
        children_kill();
        coverage_save();
        _exit(there ? 0 : 3);
    }
    status = child_wait(pid);
    if (!WIFEXITED(status))
        violation("the survivor was killed");
    if (WEXITSTATUS(status) == 1)
        _exit(1); /* a violation, told already */
    return WEXITSTATUS(status) == 0;
}

void run_one(enum how_to to, size_t n)
{
    bool there;

    here.n = n;
    here.stepped = to == STEPS;
    there = job.c->fresh ? run_fresh(to, n) : run_alone(to, n);
    if (there || to == STEPS)
        return;
    job.count->missed++;
    run_one(STEPS, n);
}

void run_inside(size_t n)
{
    const struct inside_order order = {job.c->inside, job.c->waits, n, kill_now.how};
    struct victim none = {0};
    bool there;

    here.n = n;
    run_begin();
    victim_inside(&order, &job.trace);
    run_end(&none);
    guard_begin();
    here.phase = "the victim does not end";
    there = victim_inside_end();
    alarm(0);
    job.count->kills += there;
    job.count->missed += !there && n != SIZE_MAX;
    job.count->points += there && kill_now.how == DEATH_KILL;
}

/* ---- Two --------------------------------------------------------------------------------- */

bool run_grid(enum how_to to, size_t n, size_t m)
{
    const struct work work = a_work();
    const struct trace *trace = &job.trace, *other = &job.other_trace;
    struct victim a, b;
    bool there, comes = true;

    run_begin();
    victim_start(&b, &b_work);
    there = victim_to(&b, other, m);
    if (to == RECORD) {
        there = comes = victim_record(&a, &work, trace, n);
    } else {
        victim_start(&a, &work);
        there &= victim_to(&a, trace, n);
    }
    kill_now.ended = comes && n >= *trace->count;
    victim_die(&a, kill_now.how);
    here.phase = "B does not go on";
    here.judged = true;
    guard_begin();
    victim_to(&b, other, SIZE_MAX);
    victim_die(&b, DEATH_KILL);
    run_end(&a);
    return there;
}

bool run_then(enum how_to to, size_t n, size_t m)
{
    const struct work work = a_work();
    const struct trace *trace = &job.trace, *other = &job.other_trace;
    struct victim a, b;
    bool there, comes;

    run_begin();
    victim_start(&a, &work);
    comes = victim_to(&a, trace, n);
    kill_now.ended = !comes || n >= *trace->count;
    victim_die(&a, kill_now.how);
    here.phase = "the second victim does not come there";
    here.judged = true;
    if (to == RECORD) {
        there = victim_record(&b, &b_work, other, TRACE_MAX);
    } else {
        victim_start(&b, &b_work);
        there = victim_to(&b, other, m);
    }
    victim_die(&b, DEATH_KILL);
    run_end(&a);
    return there && comes;
}

static void record_only(const struct work *work, const struct trace *trace)
{
    struct victim v = {0};

    run_begin();
    CHECK(victim_record(&v, work, trace, TRACE_MAX));
    victim_die(&v, DEATH_KILL);
    alarm(0);
}

void record_a(void)
{
    const struct work work = a_work();

    record_only(&work, &job.trace);
}

void record_b(void)
{
    record_only(&b_work, &job.other_trace);
}
