#include "task/process.h"

#include "os/fd.h"
#include "os/futex.h"
#include "os/keywords.h"
#include "os/pidfd.h"
#include "shm/block.h"
#include "task/children.h"
#include "task/exec.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- Whose ------------------------------------------------------------------------------ */

/* The process that this one is, if piu started it; a forked child of it inherits the words. */
static struct {
    struct piu_process *process;
    uint64_t id;
    struct piu_child *copy; /* the parent's words about us: to free them costs a page */
} myself;

static bool is_myself(const struct piu_process *p)
{
    return p == myself.process && myself.id && myself.id == member_self_id();
}

/* What p->child points to, if that can be: in shared memory it may be long gone. */
static struct piu_child *child_behind(const struct piu_process *p)
{
    struct piu_child *c = __atomic_load_n(&p->child, __ATOMIC_ACQUIRE);

    return c && arena_has(p, sizeof(*p)) && !block_is(c) ? NULL : c;
}

int process_child(struct piu_process *p, struct piu_child **ret)
{
    struct piu_child *c = p ? child_behind(p) : NULL;

    if (!p)
        return -EINVAL;
    if (!c)
        return p == myself.process ? -ECHILD : -ESRCH;
    if (!c->starter || c->starter != member_self_id())
        return -ECHILD;
    *ret = c;
    return 0;
}

/* ---- Start ------------------------------------------------------------------------------ */

void process_run(struct piu_process *p, int (*run)(struct piu_process *self),
                 int (*target)(void *argument))
{
    myself.process = p;
    myself.id = member_self_id();
    child_end(run ? run(p) : target(p->argument));
}

static void child_forget(struct piu_child *c)
{
    fd_close(c->sentinel);
    child_done(&c->child);
    if (atomic_load(&c->order.state) == ORDER_CANCELLED)
        return; /* the child may still come to read this: a few hundred bytes are lost */
    if (arena_has(c, sizeof(*c)))
        block_free(c);
    else
        free(c);
}

static int child_allocate(const struct piu_process *p, struct piu_child **ret)
{
    void *memory = NULL;
    int r = 0;

    if (arena_has(p, sizeof(*p)))
        r = block_new_family(sizeof(**ret), &memory);
    else if (!(memory = malloc(sizeof(**ret))))
        r = -ENOMEM;
    if (r < 0)
        return r;
    /* not calloc(): it takes other memory than what was freed last, and that costs pages */
    *ret = memset(memory, 0, sizeof(**ret));
    (*ret)->child.pidfd = (*ret)->sentinel = -1;
    return 0;
}

/* Started in shared memory by one that has ended since, and can never close it. */
static bool is_orphan(const struct piu_process *p, const struct piu_child *c)
{
    return arena_has(p, sizeof(*p)) && member_fate(c->starter) != FATE_ALIVE;
}

/* p->child: NULL -> *ret, by one of those who try at once. */
static int child_new(struct piu_process *p, uint64_t starter, struct piu_child **ret)
{
    struct piu_child *old = __atomic_load_n(&p->child, __ATOMIC_ACQUIRE);
    struct piu_child *c = NULL;
    bool orphan;
    int r;

    if (is_myself(p))
        return -EBUSY;
    orphan = old && (!child_behind(p) || is_orphan(p, old));
    if (old && !orphan)
        return -EBUSY;
    r = child_allocate(p, &c);
    if (r < 0)
        return r;
    c->starter = starter;
    if (!__atomic_compare_exchange_n(&p->child, &old, c, false, __ATOMIC_ACQ_REL,
                                     __ATOMIC_ACQUIRE)) {
        child_forget(c);
        return -EBUSY;
    }
    if (orphan && block_is(old))
        block_free(old); /* its descriptors went with the starter */
    *ret = c;
    return 0;
}

static void child_take_back(struct piu_process *p, struct piu_child *c)
{
    if (c->users_name)
        p->name = c->users_name;
    __atomic_store_n(&p->child, NULL, __ATOMIC_RELEASE);
    child_forget(c);
}

static void name_of(const struct piu_process *p, char ret[NAME_SIZE])
{
    if (p->name)
        snprintf(ret, NAME_SIZE, "%s", p->name);
    else
        snprintf(ret, NAME_SIZE, "Process-%" PRIu64,
                 atomic_fetch_add(&arena_header()->process_number, 1) + 1);
}

/* In the child: the parent's words about it are not ours, where they are a copy. */
static _Noreturn void run_forked(struct piu_process *p)
{
    if (!arena_has(p, sizeof(*p))) {
        myself.copy = p->child;
        p->child = NULL;
    }
    process_run(p, p->run, p->target);
}

static int start_by_fork(struct piu_process *p, struct piu_child *c)
{
    char name[NAME_SIZE];
    int r;

    name_of(p, name);
    r = child_fork(&c->child, name, p->daemon);
    if (r == 1)
        run_forked(p);
    return r;
}

static int start_by_exec(struct piu_process *p, struct piu_child *c,
                         const char *const *argv)
{
    char name[NAME_SIZE];

    name_of(p, name);
    return exec_start(&c->child, name, argv, p->daemon);
}

static int start_by_zygote(struct piu_process *p, struct piu_child *c)
{
    void (*code)(void) = p->run ? (void (*)(void))p->run : (void (*)(void))p->target;
    int r;

    name_of(p, c->order.name);
    r = code_address_of(code, &c->order.code);
    if (r < 0)
        return r;
    c->order.process = arena_offset(p);
    c->order.daemon = p->daemon;
    c->order.has_target = !p->run;
    /* the child cannot read a private name; the user gets it back at close */
    if (p->name && !piu_is_shared(p->name)) {
        c->users_name = p->name;
        p->name = c->order.name;
    }
    return zygote_start(&c->order, &c->child);
}

static int start_checked(struct piu_process *p, const struct piu_start_keywords *k)
{
    if (k->how == PIU_EXEC)
        return k->argv && k->argv[0] ? 0 : -EINVAL;
    if (k->how != PIU_FORK && k->how != PIU_ZYGOTE)
        return -EINVAL;
    if ((!p->run && !p->target) || p->reserved[0] || p->reserved[1])
        return -EINVAL;
    return k->how == PIU_ZYGOTE && !arena_has(p, sizeof(*p)) ? -EFAULT : 0;
}

int piu_process_begin(struct piu_process *p, const struct piu_start_keywords *keywords)
{
    struct piu_start_keywords k;
    struct piu_child *c;
    uint64_t who;
    int r = p ? keywords_read(&k, sizeof(k), keywords) : -EINVAL;

    if (r == 0)
        r = start_checked(p, &k);
    if (r == 0)
        r = member_who(&who);
    if (r == 0)
        r = child_new(p, who & ID_MASK, &c);
    if (r < 0)
        return r;
    c->how = k.how;
    c->daemon = p->daemon;
    r = k.how == PIU_EXEC     ? start_by_exec(p, c, k.argv)
        : k.how == PIU_ZYGOTE ? start_by_zygote(p, c)
                              : start_by_fork(p, c);
    if (r < 0)
        child_take_back(p, c);
    else
        children_add(c);
    return r;
}

/* ---- The starter's view ------------------------------------------------------------------ */

int process_join(struct piu_child *c, int64_t timeout)
{
    return c->how == PIU_ZYGOTE ? zygote_join(&c->order, &c->child, timeout)
                                : child_join(&c->child, timeout);
}

/* 0: it has ended, and *ret is set; -EBUSY: it lives. */
static int child_ended(struct piu_process *p, struct piu_child **ret)
{
    int r = process_child(p, ret);

    while (r == 0 && (r = process_join(*ret, 0)) == -EINTR)
        r = 0;
    return r == -ETIMEDOUT ? -EBUSY : r;
}

int piu_process_join(struct piu_process *p, int64_t timeout)
{
    struct piu_child *c;
    int r = process_child(p, &c);

    if (r < 0)
        return p && is_myself(p) ? -EDEADLK : r;
    return process_join(c, timeout);
}

bool piu_process_is_alive(struct piu_process *p)
{
    struct piu_child *c;

    return p && (is_myself(p) || child_ended(p, &c) == -EBUSY);
}

int piu_process_exitcode(struct piu_process *p, int *ret)
{
    struct piu_child *c;
    int r = ret ? child_ended(p, &c) : -EINVAL;

    if (r == 0)
        *ret = c->child.death.exitcode;
    return r;
}

int piu_process_report(struct piu_process *p, struct piu_death *ret)
{
    struct piu_child *c;
    int r = ret ? child_ended(p, &c) : -EINVAL;

    if (r == 0)
        *ret = c->child.death;
    return r;
}

/* It had ended before we could open a pidfd: something that is readable for ever. */
static int sentinel_instead(struct piu_child *c)
{
    int r = c->sentinel >= 0 ? 0 : fd_event(&c->sentinel);

    if (r < 0)
        return r;
    fd_event_post(c->sentinel);
    return c->sentinel;
}

int piu_process_sentinel(struct piu_process *p)
{
    struct piu_child *c;
    int r = process_child(p, &c);

    if (r < 0)
        return r;
    return c->child.pidfd >= 0 ? c->child.pidfd : sentinel_instead(c);
}

/* To a zombie a signal would seem to go; while it is not reaped its pid is not used again. */
static int child_signal(struct piu_process *p, int signal)
{
    struct piu_child *c;
    int r = child_ended(p, &c);

    if (r == 0)
        return -ESRCH;
    return r == -EBUSY ? pidfd_signal(c->child.pidfd, signal) : r;
}

int piu_process_terminate(struct piu_process *p)
{
    return child_signal(p, SIGTERM);
}

int piu_process_kill(struct piu_process *p)
{
    return child_signal(p, SIGKILL);
}

int piu_process_close(struct piu_process *p)
{
    struct piu_child *c;
    int r = child_ended(p, &c);

    if (r < 0)
        return r;
    children_remove(c);
    child_take_back(p, c);
    return 0;
}

pid_t piu_process_pid(const struct piu_process *p)
{
    const struct piu_child *c = p ? child_behind(p) : NULL;

    if (p && is_myself(p))
        return getpid();
    return c ? c->child.pid : 0;
}
