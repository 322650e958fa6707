#include "task/remote.h"

#include "os/clock.h"
#include "os/fd.h"
#include "os/futex.h"
#include "task/claim.h"
#include "task/ticket.h"

#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <string.h>
#include <sys/epoll.h>

#define PLACE     0u /* in the pool's records (R1) */
#define NEWS_MOST 64 /* outcomes that are taken before there is something to give again */
#define NAP       MSEC         /* before another try to be next */
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
    _Atomic uint32_t busy; /* R4 */
    _Atomic uint32_t wanted;
    _Atomic uint32_t guests;  /* threads that must have it next */
    _Atomic uint32_t turns;   /* counts those who were busy; others wait for the next */
    _Atomic uint32_t waiting; /* for that */
    _Atomic uint32_t inside;  /* R7 */
    _Atomic uint32_t ending;
    /* by who is busy */
    unsigned gone;    /* how often all places were, since a range was finished */
    uint32_t cancels; /* as last seen */
    bool cancelling;
    struct ticket *held; /* not given yet: the engine has enough */
    struct tickets tickets;
};

/* ---- One thread at a time (R4) ------------------------------------------------------------ */

static bool try_enter(struct remote *m)
{
    uint32_t idle = 0;

    return atomic_compare_exchange_strong(&m->busy, &idle, 1);
}

/* The next one of those who wait goes on. */
static void leave(struct remote *m)
{
    atomic_store(&m->busy, 0);
    atomic_fetch_add(&m->turns, 1); /* a full fence too, for the one in wait_for_turn() */
    if (atomic_load(&m->waiting))
        futex_wake(&m->turns, 1);
}

static void nap(struct remote *m)
{
    uint32_t turns = atomic_load(&m->turns);

    atomic_fetch_add(&m->waiting, 1);
    if (atomic_load(&m->busy))
        futex_wait(&m->turns, turns, NAP);
    atomic_fetch_sub(&m->waiting, 1);
}

/* Whoever is busy is told, and gone soon.  At least one try; 0, -ETIMEDOUT */
static int enter(struct piu_pool *pool, int64_t deadline)
{
    struct remote *m = pool->remote;
    bool have;

    atomic_fetch_add(&m->guests, 1);
    while (!(have = try_enter(m)) && deadline_left(deadline)) {
        pool_poke(pool->shared);
        nap(m);
    }
    atomic_fetch_sub(&m->guests, 1);
    return have ? 0 : -ETIMEDOUT;
}

/* ---- Being inside (R7) -------------------------------------------------------------------- */

static void depart(struct remote *m)
{
    atomic_fetch_sub(&m->inside, 1);
}

/* A forked child has a copy of all this, and no part in it. */
static bool arrive(struct piu_pool *pool, uint64_t *ret_who)
{
    struct remote *m;

    if (pool_use(pool) < 0 || member_who(ret_who) < 0 || !(m = pool->remote))
        return false;
    atomic_fetch_add(&m->inside, 1);
    if (!atomic_load(&m->ending))
        return true;
    depart(m);
    return false;
}

static void wait_until_all_departed(struct remote *m)
{
    atomic_store(&m->ending, 1);
    while (atomic_load(&m->inside)) {
        pool_poke(m->pool->shared);
        atomic_fetch_add(&m->turns, 1);
        futex_wake(&m->turns, INT_MAX);
        sched_yield();
    }
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
    wait_until_all_departed(m);
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
        atomic_store(&pool->remote->wanted, 0);
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
        leave(m);
    } while (atomic_load(&m->wanted) && try_enter(m));
}

void remote_look(struct piu_pool *pool)
{
    uint64_t who;

    if (!arrive(pool, &who))
        return;
    if (try_enter(pool->remote))
        work_and_leave(pool, who);
    depart(pool->remote);
}

void remote_push(struct piu_pool *pool)
{
    uint64_t who;

    if (!arrive(pool, &who))
        return;
    atomic_store(&pool->remote->wanted, 1);
    if (try_enter(pool->remote))
        work_and_leave(pool, who);
    else
        pool_poke(pool->shared);
    depart(pool->remote);
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

/* Somebody else is busy: for the word, or for that one to go. */
static int wait_for_turn(struct remote *m, uint32_t turns, const _Atomic uint32_t *word,
                         uint32_t value, int64_t timeout)
{
    struct futex_watch watch[2] = {{word, value}, {&m->turns, turns}};
    int r;

    atomic_fetch_add(&m->waiting, 1); /* a full fence, for the one in leave() */
    r = futex_wait_any(watch, 2, timeout);
    atomic_fetch_sub(&m->waiting, 1);
    return r == -EINTR ? r : 0;
}

static int wait_inside(struct piu_pool *pool, uint64_t who, const _Atomic uint32_t *word,
                       uint32_t value, int64_t timeout)
{
    struct remote *m = pool->remote;
    uint32_t turns = atomic_load(&m->turns);
    int r = 0;

    if (atomic_load(&m->guests))
        return wait_for_turn(m, turns, word, value, min_timeout(timeout, NAP));
    if (!try_enter(m))
        return wait_for_turn(m, turns, word, value, timeout);
    work(pool, who);
    if (atomic_load(word) == value && !atomic_load(&m->guests))
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
    depart(pool->remote);
    return r;
}

/* Between two of them others may say that it is to end now. */
static int stop_slice(struct piu_pool *pool, bool now, int64_t deadline)
{
    struct remote *m = pool->remote;
    int64_t left = deadline_left(deadline);
    int r = enter(pool, deadline_after(now ? PATIENCE : min_timeout(left, SLICE)));

    if (r < 0)
        return r;
    now = now || atomic_load(&pool->shared->state) == POOL_TERMINATED;
    r = stop(m, now, min_timeout(deadline_left(deadline), SLICE));
    leave(m);
    while (r == -ETIMEDOUT && atomic_load(&m->guests) && !atomic_load(&m->busy))
        sched_yield(); /* it is theirs */
    return r;
}

int remote_stop(struct piu_pool *pool, bool now, int64_t timeout)
{
    struct remote *m = pool->remote;
    int64_t deadline = deadline_after(timeout);
    int r;

    atomic_fetch_add(&m->inside, 1);
    do
        r = stop_slice(pool, now, deadline);
    while (r == -ETIMEDOUT && deadline_left(deadline));
    depart(m);
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

    atomic_fetch_add(&m->inside, 1);
    if (enter(pool, deadline_after(PATIENCE)) == 0) {
        if (is_running(m))
            count = m->kind->workers(m->engine, ret, room);
        leave(m);
    }
    depart(m);
    return count;
}
