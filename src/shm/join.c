/* Joining: how a process becomes a member, and what a fork must know of it. */
#include "os/clock.h"
#include "os/fd.h"
#include "os/fence.h"
#include "os/pidfd.h"
#include "os/wiped.h"
#include "shm/slot.h"
#include "shm/thread.h"
#include "shm/witness.h"

#include <sched.h>
#include <stdio.h>
#include <unistd.h>

/* For the case that there is no memory for the page: nobody joins then. */
static struct self nobody;
struct self *member_self = &nobody;

static int own_identity(uint64_t *ret)
{
    cleanup(fd_done) int fd = -1;
    int r = pidfd_of(getpid(), &fd);

    return r < 0 ? r : pidfd_identity(fd, getpid(), ret);
}

static int record_live(uint64_t id, int given)
{
    struct member *m = member_of(id);
    uint64_t life, identity;
    int r = witness_take(id, given);

    if (r == 0)
        r = own_identity(&identity);
    if (r < 0)
        return r;
    if (fence_register() < 0)
        atomic_store(&arena_header()->heavy_fences, 1);
    atomic_store(&m->identity, identity);
    life_lock_hold(m, given >= 0);
    life = life_make(id_generation(id), (uint32_t)getpid(), MEMBER_CLAIMED);
    if (!life_move(m, life, (uint32_t)getpid(), MEMBER_LIVE))
        return -EAGAIN; /* the starter gave us up */
    /* release, for member_who(): a thread that sees the id may use the record */
    atomic_store_explicit(&member_self->id, id, memory_order_release);
    return 0;
}

/* Handlers for fork that come before the child's own code may need it to be a member. */
static _Thread_local struct expectation {
    uint64_t id;
    int given;
} expected = {.given = -1};

void member_expect(uint64_t id, int given)
{
    expected = (struct expectation){id, given};
}

bool member_expects(void)
{
    return expected.given >= 0;
}

/* ---- Before anything else, and around fork --------------------------------------- */
/*
 * A fork waits until no thread of the process is joining: the child would inherit what that
 * thread has open and nobody knows yet.  So with witnesses for children.  (Not for ever: the fork
 * may come from a signal handler that interrupted just that thread.)
 */
static bool bar_joining(void)
{
    int64_t deadline = deadline_after(100 * MSEC);
    uint32_t idle = 0;

    while (!atomic_compare_exchange_strong(&member_self->joining, &idle, 1)) {
        idle = 0;
        if (deadline_left(deadline) == 0)
            return false;
        sched_yield();
    }
    return true;
}

static void unbar_joining(bool barred)
{
    if (barred)
        atomic_store(&member_self->joining, 0);
}

struct forks_bar member_bar_forks(void)
{
    struct forks_bar bar;

    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &bar.cancel); /* as in member_join() */
    bar.barred = bar_joining();
    return bar;
}

void member_unbar_forks(struct forks_bar bar)
{
    unbar_joining(bar.barred);
    pthread_setcancelstate(bar.cancel, NULL);
}

int member_witness(int *ret_fd)
{
    struct forks_bar bar = member_bar_forks();
    int r = witness_open_ahead(ret_fd);

    member_unbar_forks(bar);
    return r;
}

void member_witness_close(int fd)
{
    struct forks_bar bar;

    if (fd < 0)
        return;
    bar = member_bar_forks();
    witness_close_ahead(fd);
    member_unbar_forks(bar);
}

static _Thread_local bool fork_bars_joining;

static void fork_begin(void)
{
    fork_bars_joining = bar_joining();
    /* a child of the program's own: no slot tells of it, nor of its children, until they join */
    if (arena.base && !member_expects())
        arena_note_strays();
}

static void fork_end(void)
{
    unbar_joining(fork_bars_joining);
}

static void fork_end_in_child(void)
{
    witnesses_close_but(expected.given);
}

/* Before main(), when there is one thread: so that nobody can come too late. */
__attribute__((constructor(101))) static void self_open(void)
{
    void *page;

    if (wiped_new(sizeof(*member_self), &page) < 0)
        return;
    member_self = page;
    if (pthread_atfork(fork_begin, fork_end, fork_end_in_child) != 0)
        member_self = &nobody;
}

/* ---- The way in ------------------------------------------------------------------ */

static int join_process(uint64_t claimed, int given)
{
    uint64_t id = claimed;
    int r;

    if (!claimed || !slot_take_over(claimed)) {
        char name[NAME_SIZE];

        snprintf(name, sizeof(name), "pid-%d", (int)getpid());
        r = member_claim(name, &id);
        if (r < 0)
            return r;
    }
    r = record_live(id, given);
    if (r < 0)
        member_unclaim(id);
    return r;
}

/* The claim that came with exec serves once, and in the process that it was made for. */
static int join_alone(uint64_t claimed, int given)
{
    int r = arena_open();

    if (!claimed && given < 0) {
        claimed = expected.id;
        given = expected.given;
    }
    if (r == 0 && given < 0 &&
        !arena_is_home()) /* what a member started is in its namespace */
        r = -EXDEV;
    if (r == 0 && !claimed)
        claimed = arena_inherited_id();
    return r < 0 ? r : join_process(claimed, given);
}

/* One thread of the process does it; the word is wiped, so a fork half way is no harm. */
static int join_once(uint64_t claimed, int given)
{
    int r = member_self == &nobody ? -ENOMEM : 0;

    /* acquire, for the release in record_live() */
    while (r == 0 && !atomic_load_explicit(&member_self->id, memory_order_acquire)) {
        uint32_t idle = 0;

        if (!atomic_compare_exchange_strong(&member_self->joining, &idle, 1)) {
            sched_yield();
            continue;
        }
        if (!atomic_load(&member_self->id))
            r = join_alone(claimed, given);
        atomic_store(&member_self->joining, 0);
    }
    return r;
}

/* Each that joins sweeps two others, if they are dead: so slots do not run out. */
static void tidy_up(void)
{
    uint32_t end = arena_slots();
    uint32_t slot = atomic_load(&arena_header()->member_cursor);

    for (int i = 0; i < 2; i++) {
        slot = slot + 1 < end ? slot + 1 : 1;
        slot_tidy(slot);
    }
}

int member_join_as(uint64_t id, int given)
{
    bool joins;
    int r;

    /* a write first: a read would map the page of zeroes, and the write then copy it */
    atomic_fetch_or(&member_self->joining, 0);
    joins = member_self_id() == 0;
    r = join_once(id, given);
    if (given >= 0 && !witness_is(given))
        fd_close(given); /* we were a member already */
    if (r == 0)
        thread_begin(member_self_id());
    if (r == 0 && joins && !id)
        tidy_up();
    return r;
}

int member_join(void)
{
    int cancel, r;

    /* a thread that is cancelled in here would leave `joining` set */
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);
    r = member_join_as(0, -1);
    pthread_setcancelstate(cancel, NULL);
    return r;
}
