/*
 * usage: soak [--minutes N | --rounds N] [--seed N] [--only SUBJECT] [--limit MSEC]
 *
 * soak.h says how it works.  Not 0 if anything was wrong.
 */
#include "cast.h"
#include "growth.h"
#include "message.h"
#include "orphans.h"

#include <getopt.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>

#define BURSTS    4        /* of a round */
#define KILLS     100      /* of a burst */
#define GAP_MOST  16000000 /* ns between kills: 8 ms in the mean, less those at once */
#define AIM_MOST  300000   /* ns for which a victim is watched until it does something */
#define AIM_LATER 4000     /* ns at most from then to its death */
#define LOOK      2000000  /* ns between two looks of the checker */
#define HANGS     120 /* s: no step of the checker takes that long, unless piu hangs in it */

static const struct subject *const subjects[] = {
    &queue_subject,     &lock_subject,      &rwlock_subject,
    &semaphore_subject, &condition_subject, &event_subject,
    &barrier_subject,   &process_subject,   &pool_subject,
};
#define SUBJECTS (sizeof(subjects) / sizeof(subjects[0]))

static const struct subject *due[SUBJECTS]; /* all, or the one that is asked for */
static size_t due_count;

static struct {
    double minutes;
    unsigned rounds;  /* 0: until the time is over */
    const char *only; /* NULL: all subjects */
} options = {.rounds = 2};

static struct {
    uint64_t actors, workers, nurseries; /* killed */
    uint64_t in_call;                    /* of the actors: inside a call of piu */
    uint64_t random;
} checker;

/* ---- Time ---------------------------------------------------------------------------------- */

static void step(const char *what)
{
    ledger->step = what;
    alarm(HANGS);
}

/* All of the session go with it. */
static void hangs(int signal)
{
    (void)signal;
    dprintf(STDOUT_FILENO, "VIOLATION: the checker hangs: %s\n", ledger->step);
    _exit(1);
}

static void nap(int64_t ns)
{
    struct timespec t = {.tv_nsec = (long)ns};

    nanosleep(&t, NULL);
}

/*
 * Not the checker, who has other things to do: a machine that stands still for a while, or has too
 * much else to run, is no fault of piu's, and is noted.
 */
static void nap_and_note_lateness(void)
{
    int64_t begin = clock_ns();

    nap(LOOK);
    machine_was_late(clock_ns() - begin - LOOK);
}

/* The same for a process from its start to its end. */
static void fork_and_note_lateness(void)
{
    int64_t begin = clock_ns();
    pid_t pid;

    atomic_store(&ledger->forking, begin);
    pid = fork();
    if (pid == 0)
        _exit(0);
    if (pid > 0)
        waitpid(pid, NULL, 0);
    machine_was_late(clock_ns() - begin);
    atomic_store(&ledger->forking, 0);
}

static void look_for_overdue(bool at_last_too)
{
    for (unsigned i = 0; i < ledger->actor_count; i++) {
        struct actor *a = &ledger->actors[i];

        if (atomic_load(&a->pid) && (at_last_too || !a->role->last) && act_is_overdue(a))
            return; /* the others may wait for that one */
    }
}

/* ---- A burst -------------------------------------------------------------------------------- */

static uint64_t choose(uint64_t limit)
{
    return random_below(&checker.random, limit);
}

/* Just when it begins something, or some instructions later. */
static void await_moment(const struct actor *a)
{
    uint64_t before = atomic_load(&a->done);
    int64_t end = clock_ns() + AIM_MOST;

    while (atomic_load(&a->done) == before && clock_ns() < end)
        continue;
    for (end = clock_ns() + (int64_t)choose(AIM_LATER); clock_ns() < end;)
        continue;
}

/* Most sleep, or wait for a processor: every second one is to be caught at work. */
static void actor_die(struct actor *a)
{
    checker.actors++;
    if (choose(2))
        await_moment(a);
    actor_kill(a);
    /* it was in there when it was killed, or just before: it cannot be asked any more */
    checker.in_call += atomic_load(&a->doing) != NULL;
}

static void worker_die(void)
{
    const struct actor *owners[ACTORS_MAX];
    unsigned many = 0;
    unsigned which = (unsigned)choose(POOL_WORKERS);
    bool nursery = choose(4) == 0;

    for (unsigned i = 0; i < ledger->actor_count; i++)
        if (atomic_load(&ledger->actors[i].workers[which]))
            owners[many++] = &ledger->actors[i];
    if (many && worker_kill(owners[choose(many)], which, nursery))
        *(nursery ? &checker.nurseries : &checker.workers) += 1;
}

/* One to three at once, and then all of them anew. */
static unsigned kill_some(void)
{
    unsigned wanted = choose(4) ? 1 : 2 + (unsigned)choose(2), killed;
    struct actor *dead[3];

    for (killed = 0; killed < wanted; killed++) {
        uint64_t i = choose(ledger->actor_count + 4);

        dead[killed] = NULL;
        if (i >= ledger->actor_count)
            worker_die();
        else if (!atomic_load(&ledger->actors[i].doomed))
            actor_die(dead[killed] = &ledger->actors[i]);
    }
    for (unsigned i = 0; i < killed; i++)
        if (dead[i]) {
            actor_bury(dead[i]);
            actor_start(dead[i]);
        }
    return killed;
}

static void burst(void)
{
    ledger->bursts++;
    step("burst");
    for (unsigned killed = 0; killed < KILLS && !ledger->violations;) {
        killed += kill_some();
        nap((int64_t)choose(choose(4) ? GAP_MOST : GAP_MOST / 100));
        look_for_overdue(true);
    }
}

/* ---- A calm --------------------------------------------------------------------------------- */

/* Each comes to the end of something that it began after the last death. */
static bool all_go_on(const uint64_t before[ACTORS_MAX])
{
    for (unsigned i = 0; i < ledger->actor_count; i++)
        if (atomic_load(&ledger->actors[i].done) < before[i] + 2)
            return false;
    return true;
}

static void calm(void)
{
    uint64_t before[ACTORS_MAX];

    step("calm");
    for (unsigned i = 0; i < ledger->actor_count; i++)
        before[i] = atomic_load(&ledger->actors[i].done);
    while (!all_go_on(before) && !ledger->violations) {
        nap(LOOK);
        look_for_overdue(true);
    }
}

/* ---- A round -------------------------------------------------------------------------------- */

static void actors_stop(bool last)
{
    for (unsigned i = 0; i < ledger->actor_count; i++)
        if (ledger->actors[i].role->last == last)
            atomic_store(&ledger->actors[i].stop, true);
}

static bool actors_have_ended(bool last)
{
    bool all = true;

    for (unsigned i = 0; i < ledger->actor_count; i++) {
        struct actor *a = &ledger->actors[i];

        if (a->role->last == last && atomic_load(&a->pid))
            all &= actor_has_ended(a);
    }
    return all;
}

static void subjects_close(void)
{
    for (size_t s = 0; s < due_count; s++)
        if (due[s]->close)
            due[s]->close();
}

static void actors_end(bool last)
{
    step(last ? "end of the last" : "end");
    if (last)
        atomic_store(&ledger->waits_from, clock_ns());
    actors_stop(last);
    while (!actors_have_ended(last) && !ledger->violations) {
        if (last)
            subjects_close();
        nap(LOOK);
        look_for_overdue(last);
    }
}

/* What actors had started has to end with them: those that were killed, too. */
static void leftovers_end(void)
{
    int64_t limit = 2 * ledger->limit, begin = clock_ns(), stalled = ledger->stalled;

    step("end of what was started");
    while (anybody_is_left()) {
        nap(LOOK);
        if (clock_ns() - begin > limit + ledger->stalled - stalled) {
            violation("processes are left whose starters have ended");
            return;
        }
    }
}

static void round_begin(void)
{
    ledger->rounds++;
    for (size_t s = 0; s < due_count; s++)
        if (due[s]->set_up)
            due[s]->set_up();
    for (unsigned i = 0; i < ledger->actor_count; i++) {
        ledger->actors[i].life = 0;
        actor_start(&ledger->actors[i]);
    }
}

static void round_check(const struct usage *before)
{
    struct usage after;

    step("check");
    after = usage_now(); /* before, so that nothing a dead one had is found taken */
    for (size_t s = 0; s < due_count; s++)
        if (due[s]->check)
            due[s]->check();
    after = usage_now();
    usage_check(before, &after);
    growth_note(&after);
}

static void round_play(void)
{
    struct usage before = usage_now();

    round_begin();
    calm();
    for (unsigned b = 0; b < BURSTS && !ledger->violations; b++) {
        burst();
        calm();
        if (messages_run_low())
            break;
    }
    if (!ledger->violations)
        actors_end(false);
    if (!ledger->violations)
        actors_end(true);
    if (!ledger->violations)
        leftovers_end();
    if (!ledger->violations)
        round_check(&before);
}

/* ---- What is told --------------------------------------------------------------------------- */

static double seconds(void)
{
    return (double)(clock_ns() - ledger->begin) / 1e9;
}

static uint64_t kills(void)
{
    return checker.actors + checker.workers + checker.nurseries;
}

static void print_progress(void)
{
    printf("%6.1f s  round %3u  %9llu messages  %6llu kills  %u violations\n", seconds(),
           ledger->rounds, (unsigned long long)messages_all(),
           (unsigned long long)kills(), ledger->violations);
    fflush(stdout);
}

static void print_role(unsigned first, unsigned count)
{
    const struct actor *a = &ledger->actors[first], *slowest = a;
    uint64_t done = 0;

    for (unsigned i = 0; i < count; i++) {
        done += a[i].done;
        slowest = a[i].longest > slowest->longest ? &a[i] : slowest;
    }
    printf("  %-12s %3u %14llu %10.1f ms  %s\n", a->role->name, count,
           (unsigned long long)done, (double)slowest->longest / 1e6,
           slowest->longest_in ? slowest->longest_in : "");
}

static void print_table(void)
{
    printf("\n%-14s %3s %14s %13s\n", "role", "", "calls", "longest");
    for (unsigned i = 0; i < ledger->actor_count; i += ledger->actors[i].role->count)
        print_role(i, ledger->actors[i].role->count);
    printf("\nkilled: %llu actors, %llu of them inside a call; %llu workers, %llu "
           "nurseries\n",
           (unsigned long long)checker.actors, (unsigned long long)checker.in_call,
           (unsigned long long)checker.workers, (unsigned long long)checker.nurseries);
    printf(
        "the victim that took longest to end took %.1f ms; pools that broke: %u; the machine "
        "stood still for %.1f ms\n",
        (double)ledger->teardown / 1e6, ledger->broken_pools,
        (double)ledger->stalled / 1e6);
    printf("messages got: %llu, and %llu in the hands of those killed while they got "
           "them\n\n",
           (unsigned long long)messages_all(), (unsigned long long)messages_held());
    growth_check();
    printf("\n%llu messages, %llu kills in %u rounds and %.0f s, %u violations; seed "
           "%llu\n",
           (unsigned long long)messages_all(), (unsigned long long)kills(),
           ledger->rounds, seconds(), ledger->violations,
           (unsigned long long)ledger->seed);
}

/* ---- Processes ------------------------------------------------------------------------------ */

static bool goes_on(void)
{
    if (ledger->violations)
        return false;
    return options.minutes > 0 ? seconds() < options.minutes * 60
                               : ledger->rounds < options.rounds;
}

static _Noreturn void checker_main(void)
{
    setsid(); /* what is ours can be told */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    signal(SIGALRM, hangs);
    checker.random = ledger->seed;
    for (size_t s = 0; s < due_count; s++)
        cast_add(due[s]);
    if (piu_family() == 0) {
        perror("soak: no family");
        exit(2);
    }
    printf("%u actors, seed %llu\n", ledger->actor_count,
           (unsigned long long)ledger->seed);
    fflush(stdout); /* before any fork: nobody is to print it again */
    while (goes_on()) {
        round_play();
        print_progress();
    }
    step("table");
    print_table();
    fflush(stdout);
    _exit(ledger->violations != 0);
}

/* The checker has a process and a session of its own; nothing outlives it, also if it failed. */
static int run(void)
{
    int status;
    pid_t pid;

    prctl(PR_SET_CHILD_SUBREAPER, 1);
    pid = fork();
    if (pid == 0)
        checker_main();
    if (pid < 0)
        return 2;
    while (waitpid(pid, &status, WNOHANG) == 0) {
        nap_and_note_lateness();
        fork_and_note_lateness();
    }
    orphans_end();
    return WIFEXITED(status) ? WEXITSTATUS(status) : 2;
}

static bool subjects_choose(void)
{
    for (size_t s = 0; s < SUBJECTS; s++)
        if (!options.only || strcmp(options.only, subjects[s]->name) == 0)
            due[due_count++] = subjects[s];
    if (due_count == 0)
        fprintf(stderr, "soak: no subject is called \"%s\"\n", options.only);
    return due_count > 0;
}

static bool options_read(int argc, char **argv)
{
    static const struct option names[] = {
        {"minutes", required_argument, NULL, 'm'},
        {"rounds", required_argument, NULL, 'r'},
        {"seed", required_argument, NULL, 's'},
        {"only", required_argument, NULL, 'o'},
        {"limit", required_argument, NULL, 'l'},
        {NULL, 0, NULL, 0},
    };

    for (int c; (c = getopt_long(argc, argv, "", names, NULL)) >= 0;)
        switch (c) {
        case 'm':
            options.minutes = atof(optarg);
            break;
        case 'r':
            options.rounds = (unsigned)atoi(optarg);
            break;
        case 's':
            ledger->seed = strtoull(optarg, NULL, 0);
            break;
        case 'l':
            ledger->limit = (int64_t)(atof(optarg) * 1e6);
            break;
        case 'o':
            options.only = optarg;
            break;
        default:
            return false;
        }
    return optind == argc;
}

int main(int argc, char **argv)
{
    int r;

    ledger = plain_shared_new(sizeof(*ledger));
    ledger->begin = clock_ns();
    ledger->seed = 1;
    ledger->limit = WAIT_LIMIT;
    if (!options_read(argc, argv)) {
        fprintf(stderr, "usage: soak [--minutes N | --rounds N] [--seed N] "
                        "[--only SUBJECT] [--limit MSEC]\n");
        return 2;
    }
    if (!subjects_choose())
        return 2;
    r = run();
    printf("%d passed, %d failed\n", r == 0, r != 0);
    return r;
}
