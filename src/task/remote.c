#include "task/remote.h"

#include "os/clock.h"
#include "os/fd.h"
#include "os/futex.h"
#include "task/claim.h"
#include "task/ticket.h"
#include "task/gate.h"

#include <poll.h>
#include <sched.h>
#include <string.h>
#include <sys/epoll.h>

#define PLACE     0u /* in the pool's records (R1) */
#define NEWS_MOST 64 /* outcomes that are taken before there is something to give again */
#define SLICE     (50 * MSEC)  /* of waiting for the engine's end */
#define PATIENCE  (500 * MSEC) /* with who is busy */
#define GONE_MOST 3 /* times that all places may be gone with no range finished between */

/* In a block of the user's process. */
struct remote {
    const struct piu_pool *pool;
    const struct engine_kind *kind;
    struct engine *engine; /* NULL: stopped */
    bool stopping;         /* nothing is asked of it but stop() */
    int news;              /* an epoll: of the engine, and of results that have ended */
    struct gate gate;      /* R4, R7 */
    /* by who is busy */
    unsigned gone;    /* how often all places were, since a range was finished */
    uint32_t cancels; /* as last seen */
    bool cancelling;
    struct ticket *held; /* not given yet: the engine has enough */
    struct tickets tickets;
};

/* A forked child has a copy of all this, and no part in it. */
static bool arrive(struct piu_pool *pool, uint64_t *ret_who)
{
    return pool_use(pool) >= 0 && member_who(ret_who) >= 0 && pool->remote &&
           gate_arrive(&pool->remote->gate);
}

static void depart(struct piu_pool *pool)
{
    gate_depart(&pool->remote->gate);
}

/* ---- The engine's life ---------------------------------------------------------------------- */

static int start(struct piu_pool *pool)
{
    struct remote *m = pool->remote;
    struct epoll_event event = {.events = EPOLLIN};
    int r = engine_start(m->kind, pool->shared, &m->engine);

    if (r < 0)
        return r;
    m->stopping = false;
    /* without it results are told of when somebody looks */
    epoll_ctl(m->news, EPOLL_CTL_ADD, m->kind->fd(m->engine), &event);
    return 0;
}

static bool is_running(const struct remote *m)
{
    return m->engine && !m->stopping;
}

/* Not left to close(): a forked child may have the descriptor too. */
static int stop(struct remote *m, bool now, int64_t timeout)
{
    int r;

    if (!m->engine)
        return 0;
    if (!m->stopping)
        epoll_ctl(m->news, EPOLL_CTL_DEL, m->kind->fd(m->engine), NULL);
    m->stopping = true;
    r = m->kind->stop(m->engine, now, timeout);
    if (r == 0)
        m->engine = NULL;
    return r;
}

bool remote_is_sound(const struct piu_pool *pool)
{
    return arena_has(pool->remote, sizeof(*pool->remote)) &&
           (uintptr_t)pool->remote % 64 == 0 && pool->remote->pool == pool;
}

int remote_start(struct piu_pool *pool, const struct engine_kind *kind)
{
    struct epoll_event event = {.events = EPOLLIN};
    struct remote *m;
    void *block;
    int r = block_new(sizeof(*m), BLOCK_SCRATCH, NULL, &block);

    if (r < 0)
        return r;
    m = pool->remote = memset(block, 0, sizeof(*m));
    m->pool = pool;
    m->kind = kind;
    tickets_begin(&m->tickets);
    m->news = epoll_create1(EPOLL_CLOEXEC);
    if (m->news < 0 || epoll_ctl(m->news, EPOLL_CTL_ADD, pool->ended, &event) < 0)
        return -errno;
    return start(pool);
}

struct remote *remote_free(struct remote *m)
{
    gate_end(&m->gate, m->pool->shared);
    fd_close(m->news);
    block_free(m);
    return NULL;
}

/* No place is left, and so nothing that was out comes back (R2).  What is held was not. */
static void all_gone(struct piu_pool *pool, uint64_t who, const struct outcome *last)
{
    struct outcome lost = {.how = RANGE_LOST, .death = last->death};
    struct remote *m = pool->remote;

    for (unsigned i = 0; i < TICKETS; i++) {
        struct ticket *t = &m->tickets.all[i];

        if (!atomic_load(&t->job) || t == m->held)
            continue;
        ticket_end(pool->shared, who, t, &lost);
        ticket_free(&m->tickets, t);
    }
    while (stop(m, true, CLOCK_FOREVER) < 0)
        ;
    if (atomic_load(&pool->shared->state) < POOL_FINISHED &&
        (++m->gone > GONE_MOST || start(pool) < 0))
        pool_break(pool->shared, who);
}

/* ---- What comes --------------------------------------------------------------------------- */

/* Also what is out of a job that has ended in another way. */
static void cancel_tickets(struct remote *m)
{
    for (unsigned i = 0; i < TICKETS; i++) {
        struct ticket *t = &m->tickets.all[i];

        if (!atomic_load(&t->job) || t->told || !ticket_is_void(t))
            continue;
        t->told = true;
        if (t == m->held) {
            m->held = NULL;
            ticket_free(&m->tickets, t);
        } else if (is_running(m))
            m->kind->cancel(m->engine, t->number);
    }
}

static void outcome_do(struct piu_pool *pool, uint64_t who, const struct outcome *o)
{
    struct remote *m = pool->remote;
    struct ticket *t = ticket_find(&m->tickets, o->ticket);

    if (!t || t == m->held)
        return; /* R5: nothing of that kind is out */
    if (o->how == RANGE_FINISHED)
        m->gone = 0;
    ticket_end(pool->shared, who, t, o);
    ticket_free(&m->tickets, t);
    if (o->how == RANGE_REFUSED)
        cancel_tickets(m);
    if (o->how == RANGE_REFUSED && o->error == -ECHILD)
        pool_break(pool->shared, who);
}

/* true: there may be more. */
static bool take_news(struct piu_pool *pool, uint64_t who)
{
    struct remote *m = pool->remote;
    struct outcome o = {0};
    int r = 0, n = 0;

    while (is_running(m) && n < NEWS_MOST && (r = m->kind->next(m->engine, &o)) > 0) {
        outcome_do(pool, who, &o);
        o = (struct outcome){0};
        n++;
    }
    if (r < 0)
        all_gone(pool, who, &o);
    return n == NEWS_MOST;
}

/* ---- Cancelling ----------------------------------------------------------------------------- */

/* Cancelled jobs end when nothing of them is out any more. */
static void end_cancelled(struct piu_pool *pool, uint64_t who)
{
    struct pool_shared *p = pool->shared;
    struct remote *m = pool->remote;
    struct job_walk walk = job_walk_from(&p->first);
    uint32_t cancels = atomic_load(&p->cancels);

    if (cancels == m->cancels && !m->cancelling)
        return;
    m->cancels = cancels;
    m->cancelling = false;
    cancel_tickets(m);
    pool_lock(p, who);
    for (struct job *j; (j = job_walk_next(&walk));) {
        if (!atomic_load(&j->cancelled) || atomic_load(&j->state) == JOB_ENDED)
            continue;
        if (tickets_name(&m->tickets, j))
            m->cancelling = true;
        else {
            job_end_with(j, -ECANCELED);
            pool_tell_end(p);
        }
    }
    pool_unlock(p);
}

/* ---- What goes ------------------------------------------------------------------------------ */

/* false: it is held, for the engine has enough. */
static bool give(struct piu_pool *pool, uint64_t who, struct ticket *t)
{
    struct remote *m = pool->remote;
    struct outcome refused = {.how = RANGE_REFUSED};
    struct range range;

    refused.error = ticket_range(t, &range);
    if (refused.error == 0)
        refused.error = m->kind->give(m->engine, &range);
    if (refused.error == -EAGAIN || refused.error == -EPIPE) {
        m->held = t; /* also where no place is left: next() will say so */
        return false;
    }
    m->held = NULL;
    if (refused.error < 0) {
        ticket_end(pool->shared, who, t, &refused);
        ticket_free(&m->tickets, t);
    }
    return true;
}

/* Chunks of one job, as a worker takes them.  true: all there were, and there was one. */
static bool give_job(struct piu_pool *pool, uint64_t who, struct job *j)
{
    struct remote *m = pool->remote;
    bool any = false;
    uint64_t chunk;

    while (m->tickets.free_count &&
           job_claim(j, PLACE, false, &pool->shared->workers[PLACE].chunk, &chunk)) {
        job_moved(j, PLACE); /* nobody else looks for them */
        if (!give(pool, who, ticket_new(&m->tickets, j, chunk)))
            return false;
        any = true;
    }
    return any;
}

static bool may_give(const struct piu_pool *pool)
{
    return is_running(pool->remote) && atomic_load(&pool->shared->state) < POOL_FINISHED;
}

static void give_all(struct piu_pool *pool, uint64_t who)
{
    struct pool_shared *p = pool->shared;
    struct remote *m = pool->remote;
    bool more = may_give(pool) && (!m->held || give(pool, who, m->held));

    while (more && m->tickets.free_count && may_give(pool)) {
        struct job *j = pool_pick(p, who, PLACE);

        more = j && give_job(pool, who, j);
        /* R3: from here on the tickets name it */
        atomic_store_explicit(&p->workers[PLACE].job, 0, memory_order_release);
    }
}

/* ---- All of it, when there is time ---------------------------------------------------------- */

static void work(struct piu_pool *pool, uint64_t who)
{
    bool more;

    do {
        atomic_store(&pool->remote->gate.wanted, 0);
        more = take_news(pool, who);
        end_cancelled(pool, who);
        give_all(pool, who);
    } while (more);
}

/* Until nobody has said `wanted` since. */
static void work_and_leave(struct piu_pool *pool, uint64_t who)
{
    struct remote *m = pool->remote;

    do {
        work(pool, who);
        gate_leave(&m->gate);
    } while (atomic_load(&m->gate.wanted) && gate_try(&m->gate));
}

void remote_look(struct piu_pool *pool)
{
    uint64_t who;

    if (!arrive(pool, &who))
        return;
    if (gate_try(&pool->remote->gate))
        work_and_leave(pool, who);
    depart(pool);
}

void remote_push(struct piu_pool *pool)
{
    uint64_t who;

    if (!arrive(pool, &who))
        return;
    atomic_store(&pool->remote->gate.wanted, 1);
    if (gate_try(&pool->remote->gate))
        work_and_leave(pool, who);
    else
        pool_poke(pool->shared);
    depart(pool);
}

/* ---- Waiting ------------------------------------------------------------------------------ */

/* 0, -EINTR */
static int wait_for_news(struct piu_pool *pool, int64_t timeout)
{
    struct remote *m = pool->remote;
    struct pollfd fds[2] = {
        {.fd = pool->poke, .events = POLLIN},
        {.fd = is_running(m) ? m->kind->fd(m->engine) : -1, .events = POLLIN}};
    struct timespec ts = timespec_of(timeout);
    int r = ppoll(fds, 2, &ts, NULL) < 0 ? -errno : 0;

    fd_event_drain(pool->poke);
    return r == -EINTR ? r : 0;
}

static int wait_inside(struct piu_pool *pool, uint64_t who, const _Atomic uint32_t *word,
                       uint32_t value, int64_t timeout)
{
    struct gate *g = &pool->remote->gate;
    uint32_t turns = atomic_load(&g->turns);
    int r = 0;

    if (atomic_load(&g->guests))
        return gate_wait(g, turns, word, value, min_timeout(timeout, GATE_NAP));
    if (!gate_try(g))
        return gate_wait(g, turns, word, value, timeout);
    work(pool, who);
    if (atomic_load(word) == value && !atomic_load(&g->guests))
        r = wait_for_news(pool, timeout);
    work_and_leave(pool, who);
    return r;
}

int remote_wait(struct piu_pool *pool, const _Atomic uint32_t *word, uint32_t value,
                int64_t timeout)
{
    uint64_t who;
    int r;

    if (!arrive(pool, &who))
        return futex_wait(word, value, timeout) == -EINTR ? -EINTR : 0;
    r = wait_inside(pool, who, word, value, timeout);
    depart(pool);
    return r;
}

/* Between two of them others may say that it is to end now. */
static int stop_slice(struct piu_pool *pool, bool now, int64_t deadline)
{
    struct remote *m = pool->remote;
    struct gate *g = &m->gate;
    int64_t left = deadline_left(deadline);
    int64_t until = deadline_after(now ? PATIENCE : min_timeout(left, SLICE));
    int r = gate_enter(g, pool->shared, until);

    if (r < 0)
        return r;
    now = now || atomic_load(&pool->shared->state) == POOL_TERMINATED;
    r = stop(m, now, min_timeout(deadline_left(deadline), SLICE));
    gate_leave(g);
    while (r == -ETIMEDOUT && atomic_load(&g->guests) && !atomic_load(&g->busy))
        sched_yield(); /* it is theirs */
    return r;
}

int remote_stop(struct piu_pool *pool, bool now, int64_t timeout)
{
    struct gate *g = &pool->remote->gate;
    int64_t deadline = deadline_after(timeout);
    int r;

    atomic_fetch_add(&g->inside, 1);
    do
        r = stop_slice(pool, now, deadline);
    while (r == -ETIMEDOUT && deadline_left(deadline));
    gate_depart(g);
    return r;
}

/* ---- Looking --------------------------------------------------------------------------------- */

bool remote_names(const struct remote *m, const struct job *j)
{
    return tickets_name(&m->tickets, j);
}

int remote_fd(const struct remote *m)
{
    return m->news;
}

size_t remote_workers(struct piu_pool *pool, pid_t *ret, size_t room)
{
    struct remote *m = pool->remote;
    size_t count = 0;

    atomic_fetch_add(&m->gate.inside, 1);
    if (gate_enter(&m->gate, pool->shared, deadline_after(PATIENCE)) == 0) {
        if (is_running(m))
            count = m->kind->workers(m->engine, ret, room);
        gate_leave(&m->gate);
    }
    gate_depart(&m->gate);
    return count;
}
