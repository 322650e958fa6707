/* A case, kill by kill, in a process of its own. */
#include "kill.h"

#include "os/clock.h"
#include "os/coverage.h"
#include "shm/block.h"

#include <piu.h>

#include <limits.h>
#include <sched.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>

/* Shared by the processes of a job. */
struct control {
    _Atomic pid_t victim;
    _Atomic int ready[KILL_PEERS];
    _Atomic int said; /* `words` were said by a child that failed */
    char words[400];
};

/* The arena as it was after set_up(). */
struct snapshot {
    size_t header, table, heap; /* bytes of each that are kept */
    unsigned char *bytes;
};

struct kill_now kill_now;

static const struct kill_case *c;
static const struct kill_plan *plan;
static struct kill_count *count;
static struct control *control;
static struct snapshot snapshot;
static void *state;
static uint64_t blocks_before;
static struct trace trace, other_trace;
static pid_t job, peers[KILL_PEERS];
static unsigned peer_number;
static _Thread_local pid_t forked;

static struct {
    const char *phase;
    bool judged; /* what goes wrong now is the structure's doing, not the harness's */
    size_t n, m;
    bool stepped;
} here;

/* ---- Children --------------------------------------------------------------------------- */

/* Calls `function` for each, orphans that came to us too. */
static void children_each(void (*function)(pid_t pid))
{
    char path[64], line[8192], *p, *end;
    FILE *file;
    long pid;

    snprintf(path, sizeof(path), "/proc/self/task/%d/children", (int)getpid());
    file = fopen(path, "re");
    line[0] = '\0';
    if (file && !fgets(line, sizeof(line), file))
        line[0] = '\0';
    if (file)
        fclose(file);
    for (p = line; (pid = strtol(p, &end, 10)) > 0; p = end)
        function((pid_t)pid);
}

static void child_kill(pid_t pid)
{
    kill(pid, SIGKILL);
}

static void children_kill(void)
{
    pid_t pid;

    for (;;) {
        children_each(child_kill);
        do
            pid = waitpid(-1, NULL, WNOHANG | __WALL);
        while (pid > 0);
        if (pid < 0 && errno == ECHILD)
            return;
        sched_yield();
    }
}

static bool is_ours(pid_t pid)
{
    for (unsigned i = 0; i < KILL_PEERS; i++)
        if (peers[i] == pid)
            return true;
    return control->victim == pid || victim_is_hangman(pid);
}

static bool orphans_seen;

static void orphan_count(pid_t pid)
{
    orphans_seen |= !is_ours(pid);
}

bool kill_has_orphans(void)
{
    orphans_seen = false;
    children_each(orphan_count);
    return orphans_seen;
}

static void orphan_wait(pid_t pid)
{
    if (is_ours(pid))
        return;
    child_wait(pid);
    orphans_seen = true; /* what it had started comes to us now */
}

void kill_orphans_end(void)
{
    here.phase = "what the victim started does not end";
    do {
        orphans_seen = false;
        children_each(orphan_wait);
    } while (orphans_seen);
    here.phase = "the survivor";
}

/* ---- Violations ------------------------------------------------------------------------ */

static const char *const deaths[] = {"kill", "exit", "exec"};

/* All on one write, so that shares do not mix. */
static _Noreturn void violation(const char *text)
{
    char message[3000];
    int length;

    alarm(0);
    if (here.n > *trace.count)
        here.n = *trace.count;
    *(here.judged ? &count->violations : &count->troubles) += 1;
    length = snprintf(message, sizeof(message),
                      "%s  %s/%s, instruction %zu of %zu%s: %s\n"
                      "    %s: %s\n",
                      here.judged ? "VIOLATION" : "TROUBLE", c->structure, c->name,
                      here.n, *trace.count, here.stepped ? " (single steps)" : "",
                      trace_name(&trace, here.n), here.phase, text);
    if (kill_is_of_two(c))
        length += snprintf(message + length, sizeof(message) - (size_t)length,
                           "    B %s at %zu of %zu: %s\n",
                           c->then ? "was killed then" : "stood", here.m,
                           *other_trace.count, trace_name(&other_trace, here.m));
    if (control->said)
        length += snprintf(message + length, sizeof(message) - (size_t)length,
                           "    a child said: %s\n", control->words);
    length += snprintf(message + length, sizeof(message) - (size_t)length,
                       "    again: build/tests/step/%s %s%s/%s --at %zu",
                       program_invocation_short_name, c->twin ? "--selftest " : "",
                       c->structure, c->name, here.n);
    if (kill_is_of_two(c))
        length += snprintf(message + length, sizeof(message) - (size_t)length,
                           " --with %zu", here.m);
    length += snprintf(message + length, sizeof(message) - (size_t)length,
                       " --way %u --by %s\n", kill_now.way, deaths[kill_now.how]);
    if (!c->twin || !here.judged || plan->at != SIZE_MAX)
        (void)!write(STDOUT_FILENO, message, (size_t)length);
    children_kill();
    _exit(1);
}

/* A check of test.h that does not hold, in any of the processes. */
void test_fail(const char *file, int line, const char *format, ...)
{
    char text[300], whole[400];
    const char *base = strrchr(file, '/');
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    snprintf(whole, sizeof(whole), "%s:%d: %s", base ? base + 1 : file, line, text);
    if (getpid() == job)
        violation(whole);
    if (control && !control->said) {
        memcpy(control->words, whole, sizeof(whole));
        control->said = 1;
    }
    _exit(1);
}

void test_check_eq(const char *file, int line, const char *expr, long long a, long long b)
{
    if (a != b)
        test_fail(file, line, "%s: %lld, %lld", expr, a, b);
}

void test_check_str(const char *file, int line, const char *expr, const char *a,
                    const char *b)
{
    if (strcmp(a, b) != 0)
        test_fail(file, line, "%s: \"%s\", \"%s\"", expr, a, b);
}

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

static void become_member(void)
{
    if (!c->stranger && !c->fresh)
        become_self();
}

pid_t test_fork(void)
{
    forked = fork();
    CHECK(forked >= 0);
    if (forked == 0)
        become_member();
    return forked;
}

pid_t test_forked(void)
{
    return forked;
}

int child_wait(pid_t pid)
{
    int status;

    while (waitpid(pid, &status, 0) < 0)
        CHECK_EQ(errno, EINTR);
    return status;
}

void test_die(void)
{
    kill(getpid(), SIGKILL);
    for (;;)
        pause();
}

void *test_shared(size_t size)
{
    void *memory =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    CHECK(memory != MAP_FAILED);
    return memory;
}

void test_pause(const char *file, int line, const char *expr)
{
    (void)file, (void)line, (void)expr;
    nanosleep(&(struct timespec){.tv_nsec = 50000}, NULL);
}

static void hangs(int signal)
{
    (void)signal;
    violation("it hangs");
}

static void crashed(int signal)
{
    char text[64];

    snprintf(text, sizeof(text), "the survivor got signal %d", signal);
    if (getpid() == job)
        violation(text);
    _exit(1);
}

/* ---- The arena put back ------------------------------------------------------------------- */

static unsigned char *part(size_t which, size_t *ret_size)
{
    struct arena_header *h = arena_header();
    size_t units = (size_t)atomic_load(&h->used_top);

    switch (which) {
    case 0:
        *ret_size = ARENA_MEMBERS + (size_t)h->members_committed * MEMBER_SIZE;
        return arena.base;
    case 1:
        *ret_size = units * sizeof(uint64_t);
        return arena.base + arena.unit_table;
    default:
        *ret_size = units * UNIT_SIZE;
        return arena.base + arena.heap;
    }
}

static void snapshot_take(void)
{
    size_t *sizes[] = {&snapshot.header, &snapshot.table, &snapshot.heap}, all = 0;
    unsigned char *to;

    for (size_t i = 0; i < 3; i++) {
        part(i, sizes[i]);
        all += *sizes[i];
    }
    to = snapshot.bytes =
        mmap(NULL, all, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(snapshot.bytes != MAP_FAILED);
    /* the survivor's alone: a fork does not copy what it has for it */
    CHECK_EQ(madvise(to, all, MADV_DONTFORK), 0);
    for (size_t i = 0; i < 3; i++) {
        size_t size;

        memcpy(to, part(i, &size), *sizes[i]);
        to += *sizes[i];
    }
}

/* Only what differs is written; what has grown since reads zero again. */
static void page_back(unsigned char *to, const unsigned char *from, size_t size)
{
    for (size_t i = 0; i < size; i += 4096) {
        size_t some = size - i < 4096 ? size - i : 4096;

        if (memcmp(to + i, from + i, some) != 0)
            memcpy(to + i, from + i, some);
    }
}

static void snapshot_restore(void)
{
    size_t sizes[] = {snapshot.header, snapshot.table, snapshot.heap};
    const unsigned char *from = snapshot.bytes + snapshot.header;
    size_t grown;

    for (size_t i = 3; i-- > 0;) { /* the header last: it says how much has grown */
        unsigned char *to = part(i, &grown);

        from =
            snapshot.bytes + (i > 0 ? snapshot.header : 0) + (i > 1 ? snapshot.table : 0);
        if (grown > sizes[i])
            memset(to + sizes[i], 0, grown - sizes[i]);
        page_back(to, from, sizes[i]);
    }
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

void kill_all_end(void)
{
    kill_orphans_end();
    do /* those of a starter that lives on as another program are not ours to wait for */
        member_sweep_dead(true);
    while (kill_living() != 1 && sched_yield() == 0);
    CHECK(block_check());
}

/* ---- Peers ----------------------------------------------------------------------------------- */

char process_state(pid_t pid)
{
    char path[40], line[256], *p = NULL;
    FILE *file;

    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    file = fopen(path, "re");
    if (!file)
        return 'Z';
    if (fgets(line, sizeof(line), file))
        p = strrchr(line, ')');
    fclose(file);
    return p ? p[2] : 'Z';
}

void peer_is_ready(void)
{
    control->ready[peer_number] = 1;
}

void peer_awaits_victim(void)
{
    pid_t victim;

    while ((victim = control->victim) == 0 || !strchr("SZ", process_state(victim)))
        test_pause(NULL, 0, NULL);
}

pid_t peer_pid(unsigned i)
{
    return peers[i];
}

bool peer_rests(unsigned i)
{
    return strchr("SZ", process_state(peers[i])) != NULL;
}

bool peer_has_ended(unsigned i)
{
    return process_state(peers[i]) == 'Z';
}

void peer_kill(unsigned i)
{
    CHECK_EQ(kill(peers[i], SIGKILL), 0);
    test_wait_until(process_state(peers[i]) == 'Z');
}

void peer_stop(unsigned i)
{
    CHECK_EQ(kill(peers[i], SIGSTOP), 0);
    test_wait_until(process_state(peers[i]) == 'T');
}

void peer_continue(unsigned i)
{
    CHECK_EQ(kill(peers[i], SIGCONT), 0);
}

void peer_join(unsigned i)
{
    pid_t pid = peers[i];
    int status;

    here.phase = "a peer does not go on";
    status = child_wait(pid);
    here.phase = "the survivor";
    peers[i] = 0;
    CHECK_EQ(status, 0);
}

static void peer_start(unsigned i)
{
    control->ready[i] = 0;
    peers[i] = test_fork();
    if (peers[i] == 0) {
        peer_number = i;
        c->peers[i](state);
        exit(0);
    }
    test_wait_until(control->ready[i] && process_state(peers[i]) == 'S');
}

static void peers_end(void)
{
    for (unsigned i = 0; i < KILL_PEERS; i++)
        if (peers[i]) {
            kill(peers[i], SIGKILL);
            child_wait(peers[i]);
            peers[i] = 0;
        }
}

/* ---- One kill ------------------------------------------------------------------------------ */

static void a_prepares(void *unused)
{
    (void)unused;
    become_member();
    if (c->prepare)
        c->prepare(state);
}

static void a_operates(void *unused)
{
    (void)unused;
    c->operation(state);
}

static void b_prepares(void *unused)
{
    (void)unused;
    become_member();
    if (c->other_prepare)
        c->other_prepare(state);
}

static void b_operates(void *unused)
{
    (void)unused;
    (c->then ? c->then : c->other)(state);
}

static struct work a_work = {.prepare = a_prepares, .operation = a_operates};
static const struct work b_work = {.prepare = b_prepares, .operation = b_operates};

void kill_victim_is(pid_t pid)
{
    control->victim = pid;
}

static void run_begin(void)
{
    here.phase = "setting up";
    here.judged = false;
    control->said = 0;
    control->victim = 0;
    alarm((unsigned)plan->guard);
    if (c->fresh) {
        memset(state, 0, c->size);
        if (c->set_up)
            c->set_up(state);
    } else {
        snapshot_restore();
    }
    for (unsigned i = 0; i < KILL_PEERS && c->peers[i]; i++)
        peer_start(i);
    here.phase = "the victim does not come there";
}

static void run_end(struct victim *a)
{
    alarm((unsigned)plan->guard);
    here.phase = "the survivor";
    here.judged = true;
    if (c->check)
        c->check(state);
    if (arena.base) {
        member_sweep_dead(true);
        CHECK(block_check());
    }
    alarm(0);
    peers_end();
    victim_reap(a);
}

/* A alone: killed after its n-th; what has to be recorded is. */
enum how_to { RECORD, BREAKPOINT, STEPS };

static bool run_alone(enum how_to to, size_t n)
{
    struct victim a;
    bool there = true;

    run_begin();
    if (to == RECORD)
        CHECK(victim_record(&a, &a_work, &trace, TRACE_MAX));
    else
        victim_start(&a, &a_work);
    if (to == STEPS)
        there = victim_step_to(&a, &trace, n);
    else if (to == BREAKPOINT)
        there = victim_to(&a, &trace, n);
    kill_now.ended = to == RECORD || !there || n >= *trace.count;
    victim_die(&a, kill_now.how);
    count->kills++;
    run_end(&a);
    return there;
}

/* B stands at its m-th while A is killed at its n-th (or its whole way is recorded). */
static bool run_grid(enum how_to to, size_t n, size_t m)
{
    struct victim a, b;
    bool there, comes = true;

    run_begin();
    victim_start(&b, &b_work);
    there = victim_to(&b, &other_trace, m);
    if (to == RECORD) {
        there = comes = victim_record(&a, &a_work, &trace, n);
    } else {
        victim_start(&a, &a_work);
        there &= victim_to(&a, &trace, n);
    }
    kill_now.ended = comes && n >= *trace.count;
    victim_die(&a, kill_now.how);
    here.phase = "B does not go on";
    here.judged = true;
    alarm((unsigned)plan->guard);
    victim_to(&b, &other_trace, SIZE_MAX);
    victim_die(&b, DEATH_KILL);
    run_end(&a);
    return there;
}

/* A is killed at its n-th; B comes, and is killed at its m-th (or its whole way is recorded). */
static bool run_then(enum how_to to, size_t n, size_t m)
{
    struct victim a, b;
    bool there, comes;

    run_begin();
    victim_start(&a, &a_work);
    comes = victim_to(&a, &trace, n);
    kill_now.ended = !comes || n >= *trace.count;
    victim_die(&a, kill_now.how);
    here.phase = "the second victim does not come there";
    here.judged = true;
    if (to == RECORD) {
        there = victim_record(&b, &b_work, &other_trace, TRACE_MAX);
    } else {
        victim_start(&b, &b_work);
        there = victim_to(&b, &other_trace, m);
    }
    victim_die(&b, DEATH_KILL);
    run_end(&a);
    return there && comes;
}

/* In a process of its own, where there must be a new family. */
static bool run_fresh(enum how_to to, size_t n)
{
    pid_t pid = fork();
    int status;

    CHECK(pid >= 0);
    if (pid == 0) {
        bool there;

        job = getpid();
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

static bool run_one(enum how_to to, size_t n)
{
    bool there;

    here.n = n;
    here.stepped = to == STEPS;
    there = c->fresh ? run_fresh(to, n) : run_alone(to, n);
    if (there || to == STEPS)
        return there;
    count->missed++;
    return run_one(STEPS, n);
}

/* The survivor does all of it, and somebody is killed meanwhile. */
static void run_inside(size_t n)
{
    const struct inside_order order = {c->inside, c->waits, n, kill_now.how};
    struct victim none = {0};
    bool there;

    here.n = n;
    run_begin();
    victim_inside(&order, &trace);
    run_end(&none);
    alarm((unsigned)plan->guard);
    here.phase = "the victim does not end";
    there = victim_inside_end();
    alarm(0);
    count->kills += there;
    count->missed += !there && n != SIZE_MAX;
    count->points += there && kill_now.how == DEATH_KILL;
}

/* ---- All of them ------------------------------------------------------------------------------ */

/* The i-th of 0 .. most, spread; each once if i goes to most. */
static size_t spread(size_t i, size_t most)
{
    size_t stride = (size_t)((double)(most + 1) * 0.618) | 1, a, b;

    for (;; stride++) {
        for (a = stride, b = most + 1; b;) {
            size_t rest = a % b;

            a = b;
            b = rest;
        }
        if (a == 1)
            return i * stride % (most + 1);
    }
}

static void record(void)
{
    kill_now = (struct kill_now){0};
    here.n = SIZE_MAX;
    if (c->fresh) {
        run_one(RECORD, SIZE_MAX);
        return;
    }
    run_one(BREAKPOINT, SIZE_MAX); /* symbols, caches, the heap's first pieces */
    run_one(RECORD, SIZE_MAX);
}

static bool time_is_up(void)
{
    return *plan->stop || clock_now() >= plan->until;
}

static bool is_wanted(int wanted, unsigned value)
{
    return wanted < 0 || (unsigned)wanted == value;
}

/* At one instruction: each way, and now and then the other deaths. */
static void all_at(size_t n, size_t i)
{
    unsigned ways = c->ways ? c->ways : 1;

    for (unsigned how = 0; how < DEATHS; how++)
        for (unsigned way = 0; way < ways; way++) {
            bool due = how == DEATH_KILL ? !plan->budget || way == i % ways
                                         : i % 16 == 5 * how && way == i / 16 % ways;

            if (plan->at != SIZE_MAX)
                due = is_wanted(plan->way, way) && is_wanted(plan->how, how);
            if (!due)
                continue;
            kill_now = (struct kill_now){.way = way, .how = (enum death)how};
            run_one(BREAKPOINT, n);
        }
}

static void all_alone(void)
{
    size_t many;

    record();
    many = *trace.count + 1;
    if (c->most && c->most < many)
        many = c->most;
    count->size = many;
    if (plan->budget && plan->budget < many)
        many = c->fresh ? plan->budget / 8 + 1 : plan->budget; /* those are slow */
    if (plan->at != SIZE_MAX) {
        all_at(plan->at < *trace.count ? plan->at : *trace.count, 0);
        return;
    }
    for (size_t i = count->next[plan->share]; i < many && !time_is_up(); i++) {
        count->next[plan->share] = i + 1;
        if (i % plan->shares != plan->share)
            continue;
        count->points++;
        all_at(spread(i, *trace.count), i / plan->shares);
        if (count->violations && c->twin)
            return;
    }
}

/* What a child becomes by exec before it is a member is no concern of piu's. */
static enum death inside_death(size_t i)
{
    if (i % 16 == 5)
        return DEATH_EXIT;
    return i % 16 == 10 && c->inside != ROLE_CHILD ? DEATH_EXEC : DEATH_KILL;
}

/* How far it comes is not the same each time: it waits, and others are about. */
static void all_inside(void)
{
    uint32_t *places = test_shared(TRACE_MAX * sizeof(*places));
    size_t all, many;

    run_inside(SIZE_MAX);
    all = many = victim_inside_places(&trace, places);
    CHECK(all > 20);
    if (plan->at != SIZE_MAX) {
        kill_now.how = plan->how >= 0 ? (enum death)plan->how : DEATH_KILL;
        run_inside(plan->at);
        return;
    }
    if (c->most && c->most < many)
        many = c->most;
    count->size = many;
    if (plan->budget && plan->budget < many)
        many = plan->budget / 8 + 1; /* they are slow */
    for (size_t i = count->next[plan->share]; i < many && !time_is_up(); i++) {
        count->next[plan->share] = i + 1;
        if (i % plan->shares != plan->share)
            continue;
        kill_now.how = inside_death(i / plan->shares);
        run_inside(places[spread(i, all - 1)]);
    }
}

/* ---- Two --------------------------------------------------------------------------------- */

/* How many rows, and of each how many columns: a row costs a record, some tens of columns. */
struct grid {
    size_t rows, all_rows, columns; /* SIZE_MAX: all */
};

static struct grid grid_plan(size_t all_rows)
{
    struct grid g = {all_rows, all_rows, SIZE_MAX};

    if (plan->budget) {
        g.rows = plan->budget / 150 > plan->shares ? plan->budget / 150 : plan->shares;
        g.rows = g.rows < all_rows ? g.rows : all_rows;
        g.columns = 1 + plan->budget / g.rows;
    }
    return g;
}

/* What is common to all rows. */
static void record_once(const struct work *work, struct trace *t)
{
    struct victim v = {0};

    run_begin();
    CHECK(victim_record(&v, work, t, TRACE_MAX));
    victim_die(&v, DEATH_KILL);
    alarm(0);
}

/* The i-th kill of a row. */
static void pair_at(size_t i, size_t n, size_t m)
{
    unsigned ways = c->ways ? c->ways : 1;
    bool there;

    here.n = plan->at != SIZE_MAX ? plan->at : n;
    here.m = plan->with != SIZE_MAX ? plan->with : m;
    kill_now.way = plan->way >= 0 ? (unsigned)plan->way : (unsigned)(n + m) % ways;
    kill_now.how = plan->how >= 0 ? (enum death)plan->how
                   : i % 16 == 5  ? DEATH_EXIT
                                  : DEATH_KILL;
    there = c->then ? run_then(BREAKPOINT, here.n, here.m)
                    : run_grid(BREAKPOINT, here.n, here.m);
    *(there ? &count->pairs : &count->missed) += 1;
}

/* B stands there.  A's way may be another than alone, and end where it would sleep. */
static void row_of_grid(size_t m, const struct grid *g, size_t limit)
{
    size_t columns;
    bool ends;

    here.m = m;
    here.n = 0;
    ends = run_grid(RECORD, limit, m);
    columns = *trace.count + ends;
    for (size_t i = 0; i < columns && i < g->columns && !time_is_up(); i++) {
        pair_at(i, spread(i, columns - 1), m);
        if (plan->at != SIZE_MAX)
            return;
    }
}

static void row_of_then(size_t n, const struct grid *g)
{
    here.n = n;
    here.m = 0;
    run_then(RECORD, n, 0);
    for (size_t i = 0; i <= *other_trace.count && i < g->columns && !time_is_up(); i++) {
        pair_at(i, n, spread(i, *other_trace.count));
        if (plan->at != SIZE_MAX)
            return;
    }
}

static void all_pairs(void)
{
    struct grid g;
    size_t limit;

    kill_now = (struct kill_now){0};
    if (!c->then || plan->only_size)
        record_once(&b_work, &other_trace);
    record_once(&a_work, &trace);
    limit = *trace.count + 200;
    count->size = (*trace.count + 1) * (*other_trace.count + 1);
    if (plan->only_size)
        return;
    g = grid_plan((c->then ? *trace.count : *other_trace.count) + 1);
    for (size_t i = count->next[plan->share]; i < g.rows && !time_is_up(); i++) {
        size_t row = spread(i, g.all_rows - 1);

        count->next[plan->share] = i + 1;
        if (i % plan->shares != plan->share)
            continue;
        if (plan->at != SIZE_MAX)
            row = c->then ? plan->at : plan->with;
        kill_now = (struct kill_now){0};
        if (c->then)
            row_of_then(row, &g);
        else
            row_of_grid(row, &g, limit);
        if (plan->at != SIZE_MAX)
            return;
    }
}

/* ---- The job ------------------------------------------------------------------------------ */

static void begin(void)
{
    cpu_set_t cpus;
    int cpu = -1, wanted;

    /* one CPU: nobody spins, and every run goes the same way */
    if (sched_getaffinity(0, sizeof(cpus), &cpus) == 0) {
        wanted = (int)plan->share % CPU_COUNT(&cpus);
        do
            wanted -= CPU_ISSET(++cpu, &cpus) ? 1 : 0;
        while (wanted >= 0);
        CPU_ZERO(&cpus);
        CPU_SET(cpu, &cpus);
        sched_setaffinity(0, sizeof(cpus), &cpus);
    }
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
    signal(SIGALRM, hangs);
    signal(SIGSEGV, crashed);
    signal(SIGBUS, crashed);
    control = test_shared(sizeof(*control));
    CHECK_EQ(access(kill_idle_program(), X_OK), 0);
    trace = trace_new();
    other_trace = trace_new();
    a_work.forks = c->forks;
    CHECK(victims_record_alike(&trace, &other_trace));
    if (c->inside)
        victims_inside_begin();
}

/* Waiting for what does not come teaches a thread not to spin; its children inherit that. */
static void learn_not_to_spin(void)
{
    struct piu_event never = {{0}};

    for (int i = 0; i < 8; i++)
        CHECK_EQ(piu_event_wait(&never, 1), -ETIMEDOUT);
}

void kill_job(const struct kill_case *case_, const struct kill_plan *plan_,
              struct kill_count *count_)
{
    c = case_;
    plan = plan_;
    count = count_;
    job = getpid();
    here.phase = "setting up";
    begin();
    if (c->fresh) {
        state = test_shared(c->size ? c->size : 1);
    } else {
        become_self();
        learn_not_to_spin();
        state = piu_shared_new(1, c->size ? c->size : 1);
        CHECK(state);
        blocks_before = block_count();
        alarm((unsigned)plan->guard);
        if (c->set_up)
            c->set_up(state);
        snapshot_take();
    }
    if (c->inside)
        all_inside();
    else if (kill_is_of_two(c))
        all_pairs();
    else
        all_alone();
    coverage_save();
    _exit(0);
}
