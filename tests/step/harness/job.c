/* A job begins and ends; what a check may ask about its family. */
#include "job.h"

#include "os/coverage.h"
#include "shm/block.h"
#include "shm/life.h"
#include "shm/slot.h"

#include <piu.h>

#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>

struct job job;

static uint64_t blocks_before;

/* ---- The family -------------------------------------------------------------------------- */

uint64_t kill_who(void)
{
    uint64_t who = 0;

    CHECK_EQ(member_who(&who), 0);
    return who;
}

static void become_self(void)
{
    /* as if it had waited on our one CPU before: nobody spins for it */
    atomic_store(&member_of(kill_who())->cpu, (uint32_t)sched_getcpu() + 1);
}

void become_member(void)
{
    if (!job.c->stranger && !job.c->fresh)
        become_self();
}

long kill_blocks(void)
{
    return (long)block_count() - (long)blocks_before;
}

unsigned kill_living(void)
{
    uint32_t cursor = 0;
    unsigned members = 0;

    while (member_next(&cursor))
        members++;
    return members;
}

/* Slots for children of ours that never came; those of the dead are taken again. */
static unsigned own_claims(void)
{
    unsigned claims = 0;

    for (uint32_t slot = 1; slot < slots_end(); slot++) {
        uint64_t life = atomic_load(&slot_record(slot)->life);

        claims +=
            life_state(life) == MEMBER_CLAIMED && life_pid(life) == (uint32_t)getpid();
    }
    return claims;
}

void kill_all_end(void)
{
    kill_orphans_end();
    do /* a process that is not ours to reap is known to have ended a moment later */
        member_sweep_dead(true);
    while (kill_living() != 1 && sched_yield() == 0);
    CHECK(block_check());
    CHECK_EQ(own_claims(), 0);
}

/* ---- Begin ------------------------------------------------------------------------------- */

/* One CPU: nobody spins, and every run goes the same way. */
static void stay_on_one_cpu(void)
{
    cpu_set_t cpus;
    int cpu = -1, wanted;

    if (sched_getaffinity(0, sizeof(cpus), &cpus) < 0)
        return;
    wanted = (int)job.plan->share % CPU_COUNT(&cpus);
    do
        wanted -= CPU_ISSET(++cpu, &cpus) ? 1 : 0;
    while (wanted >= 0);
    CPU_ZERO(&cpus);
    CPU_SET(cpu, &cpus);
    sched_setaffinity(0, sizeof(cpus), &cpus);
}

static void begin(void)
{
    here.phase = "setting up";
    job.trace = trace_new();
    job.other_trace = trace_new();
    violations_begin();
    cast_begin();
    stay_on_one_cpu();
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
    CHECK_EQ(access(kill_idle_program(), X_OK), 0);
    CHECK(victims_begin(&job.trace, &job.other_trace));
    if (job.c->inside)
        victims_inside_begin(&job.c->instead);
}

/* Waiting for what does not come teaches a thread not to spin; its children inherit that. */
static void learn_not_to_spin(void)
{
    struct piu_event never = {{0}};

    for (int i = 0; i < 8; i++)
        CHECK_EQ(piu_event_wait(&never, 1), -ETIMEDOUT);
}

static void family_begin(void)
{
    const struct kill_case *c = job.c;
    size_t size = c->size ? c->size : 1;

    if (c->fresh) { /* each kill has its own */
        job.state = test_shared(size);
        return;
    }
    become_self();
    learn_not_to_spin();
    job.state = piu_shared_new(1, size);
    CHECK(job.state);
    blocks_before = block_count();
    alarm((unsigned)job.plan->guard);
    if (c->set_up)
        c->set_up(job.state);
    snapshot_take();
}

void kill_job(const struct kill_case *c, const struct kill_plan *plan,
              struct kill_count *count)
{
    job = (struct job){.c = c, .plan = plan, .count = count, .pid = getpid()};
    begin();
    family_begin();
    if (c->inside)
        all_inside();
    else if (kill_is_of_two(c))
        all_pairs();
    else
        all_alone();
    coverage_save();
    _exit(0);
}
