/* Processes: by fork, by exec, by zygote. */
#include "scenario.h"

#include <signal.h>

static int give_code(struct piu_process *p)
{
    (void)p;
    return 5;
}

static int use_and_give_code(struct piu_process *p)
{
    void *shared = piu_shared_new(1, 100);

    (void)p;
    if (!shared)
        return CHILD_FAILED;
    piu_shared_free(shared);
    return 5;
}

static _Noreturn int sleep_on(struct piu_process *p)
{
    (void)p;
    for (;;)
        pause();
}

/* A process in shared memory, started in some way. */
static int start_and_join(const struct piu_start_keywords *keywords,
                          int (*run)(struct piu_process *),
                          int (*meanwhile)(struct piu_process *), bool daemon,
                          int exitcode)
{
    struct piu_process *p = piu_shared_new(1, sizeof(*p));
    int r = GOT(p);

    if (r == 0) {
        p->run = run;
        p->daemon = daemon;
        r = scenario_with_child(p, keywords, meanwhile, exitcode);
    }
    piu_shared_free(p);
    return r;
}

#define FORK \
    ((struct piu_start_keywords){.struct_size = sizeof(struct piu_start_keywords)})

static int fork_one(void)
{
    return start_and_join(&FORK, use_and_give_code, NULL, false, 5);
}

static int fork_daemon(void)
{
    return start_and_join(&FORK, give_code, NULL, true, 5);
}

/* By piu, or when it cannot: the join that follows has to come to an end. */
static void end(struct piu_process *p, int (*how)(struct piu_process *), int signal)
{
    int r = how(p);

    if (r < 0 && r != -ESRCH)
        r = how(p);
    if (r < 0 && r != -ESRCH) {
        WANT(fault_plan->lasts);
        kill(piu_process_pid(p), signal);
    }
}

static int fork_and_kill(void)
{
    struct piu_process *p = piu_shared_new(1, sizeof(*p));
    struct piu_death death;
    int r = GOT(p);

    if (r == 0) {
        p->run = sleep_on;
        p->daemon = true;
        r = piu_process_start(p);
    }
    if (r == 0) {
        end(p, piu_process_kill, SIGKILL);
        INSIST(piu_process_join(p, PIU_FOREVER));
        r = piu_process_report(p, &death);
        WANT(r < 0 || !death.left);
        INSIST(piu_process_close(p));
    }
    piu_shared_free(p);
    return r;
}

static int terminate(struct piu_process *p)
{
    int r = piu_process_join(p, PIU_MSEC(1));

    if (r < 0)
        end(p, piu_process_terminate, SIGTERM);
    return r == -ETIMEDOUT ? 0 : r < 0 ? r : -ECHILD;
}

static int fork_and_terminate(void)
{
    return start_and_join(&FORK, sleep_on, terminate, true, -SIGTERM);
}

const struct scenario scenario_process = {
    .name = "process",
    .steps = {fork_one, fork_daemon, fork_and_kill, fork_and_terminate}};

/* ---- Another program: this one, as a member that allocates -------------------------------- */

static int exec_it(bool daemon)
{
    static const char *const argv[] = {"/proc/self/exe", "child", NULL};
    struct piu_start_keywords keywords = {
        .struct_size = sizeof(keywords), .how = PIU_EXEC, .argv = argv};

    return start_and_join(&keywords, give_code, NULL, daemon, 5);
}

static int exec_one(void)
{
    return exec_it(false);
}

static int exec_daemon(void)
{
    return exec_it(true);
}

const struct scenario scenario_exec = {.name = "exec", .steps = {exec_one, exec_daemon}};

/* ---- By zygote ---------------------------------------------------------------------------- */

#define ZYGOTE                                                                     \
    ((struct piu_start_keywords){.struct_size = sizeof(struct piu_start_keywords), \
                                 .how = PIU_ZYGOTE})

static int zygote_begin(void)
{
    int r = piu_init(.zygote = true);

    return r == -EBUSY ? 0 : r; /* it lives */
}

/* The zygote may have been ended by the fault: then another begins. */
static int by_zygote(int (*run)(struct piu_process *), bool daemon)
{
    int r = start_and_join(&ZYGOTE, run, NULL, daemon, 5);

    if (r == -ECHILD || r == -ENOTSUP) {
        int again = zygote_begin();

        return again < 0 ? again : start_and_join(&ZYGOTE, run, NULL, daemon, 5);
    }
    return r;
}

static int zygote_one(void)
{
    return by_zygote(use_and_give_code, false);
}

static int zygote_daemon(void)
{
    return by_zygote(give_code, true);
}

static int zygote_kill(void)
{
    int r = start_and_join(&ZYGOTE, sleep_on, terminate, true, -SIGTERM);

    return r == -ENOTSUP || r == -ECHILD ? zygote_begin() : r;
}

const struct scenario scenario_zygote = {
    .name = "zygote",
    .cold = true,
    .may_lose = 1, /* an order that the zygote died over: process.c, child_forget() */
    .steps = {zygote_begin, zygote_one, zygote_daemon, zygote_kill}};
