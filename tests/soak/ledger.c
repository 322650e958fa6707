/* What everybody says: clocks, calls, violations. */
#include "soak.h"

#include <stdarg.h>
#include <sys/mman.h>
#include <time.h>

struct ledger *ledger;
struct actor *self;

void *plain_shared_new(size_t size)
{
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
                   MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (p == MAP_FAILED) {
        perror("soak: mmap");
        exit(2);
    }
    return p;
}

int64_t clock_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* splitmix64 */
uint64_t random_below(uint64_t *state, uint64_t limit)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return (z ^ z >> 31) % limit;
}

bool now_and_then(unsigned many)
{
    return random_below(&self->random, many) == 0;
}

/* ---- Calls ------------------------------------------------------------------------------- */

void act_begin(const char *what)
{
    atomic_store(&self->stalled, atomic_load(&ledger->stalled));
    atomic_store(&self->since, clock_ns());
    atomic_store(&self->doing, what);
}

/* A fork that has not come back yet is a stall already. */
static int64_t stall_now(void)
{
    int64_t forking = atomic_load(&ledger->forking);

    return forking ? clock_ns() - forking : 0;
}

static int64_t act_limit(int64_t stalled)
{
    return ledger->limit + atomic_load(&ledger->teardown) +
           atomic_load(&ledger->stalled) - stalled + stall_now();
}

/* Whether it was too late is for the checker to say, who learns of stalls when we do. */
void act_end(void)
{
    int64_t since = atomic_load(&self->since), from = atomic_load(&ledger->waits_from);
    int64_t took = clock_ns() - (since > from ? since : from);
    int64_t stalled = atomic_load(&self->stalled);
    const char *what = atomic_load(&self->doing);

    atomic_store(&self->doing, NULL);
    atomic_fetch_add(&self->done, 1);
    if (took > self->longest) {
        self->longest = took;
        self->longest_in = what;
    }
    if (took > act_limit(stalled) && took > atomic_load(&self->late)) {
        self->late_in = what;
        atomic_store(&self->late_stalled, stalled);
        atomic_store(&self->late, took);
    }
}

bool act_is_overdue(struct actor *a)
{
    int64_t late = atomic_exchange(&a->late, 0);
    /* in this order: what it began since is younger */
    int64_t since = atomic_load(&a->since), stalled = atomic_load(&a->stalled);
    int64_t from = atomic_load(&ledger->waits_from);
    bool waits = atomic_load(&a->doing) &&
                 clock_ns() - (since > from ? since : from) > act_limit(stalled);

    if (late > act_limit(atomic_load(&a->late_stalled)))
        violation_of(a, "%s took %.0f ms", a->late_in, (double)late / 1e6);
    else if (waits)
        violation_of(a, "waits too long: %.0f ms", (double)(clock_ns() - since) / 1e6);
    else
        return false;
    return true;
}

#define LATE 20000000 /* ns: a machine with much to run is that late */

void machine_was_late(int64_t ns)
{
    if (ns > LATE)
        atomic_fetch_add(&ledger->stalled, ns - LATE);
}

/* ---- Violations ---------------------------------------------------------------------------- */

static void say(const struct actor *a, const char *format, va_list args)
{
    const char *doing = a ? atomic_load(&a->doing) : NULL;
    unsigned many = atomic_fetch_add(&ledger->violations, 1);
    char who[96] = "checker", what[200];

    if (many >= VIOLATIONS_KEPT)
        return;
    if (a)
        snprintf(who, sizeof(who), "%s-%u (life %u, pid %d%s%s)", a->role->name,
                 a->number, a->life, (int)atomic_load(&a->pid), doing ? ", in " : "",
                 doing ? doing : "");
    vsnprintf(what, sizeof(what), format, args);
    /* one write: whole lines */
    dprintf(STDOUT_FILENO, "VIOLATION at %.3f s, round %u, burst %u, %s, %s: %s\n",
            (double)(clock_ns() - ledger->begin) / 1e9, ledger->rounds, ledger->bursts,
            ledger->step, who, what);
}

void violation(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    say(self, format, args);
    va_end(args);
}

void violation_of(const struct actor *a, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    say(a, format, args);
    va_end(args);
}

/* ---- Guarded ------------------------------------------------------------------------------- */

void guarded_look(const struct guarded *g, int r)
{
    uint64_t first = g->first;

    if (r == 0 && g->second != first)
        violation("half a change, and no news of a death");
}

void guarded_change(struct guarded *g, int r)
{
    uint64_t next;

    guarded_look(g, r);
    next = g->first + 1;
    g->first = next;
    if (now_and_then(16))
        usleep(0); /* others run, or a kill comes */
    if (g->first != next)
        violation("two at once: %llu became %llu", (unsigned long long)next,
                  (unsigned long long)g->first);
    g->second = next;
}
