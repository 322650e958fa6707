/* Members: what is known of them, and how they leave. */
#include "shm/member.h"

#include "os/machine.h"
#include "shm/life.h"
#include "shm/sweep.h"
#include "shm/thread.h"
#include "shm/witness.h"

#include <sched.h>
#include <string.h>
#include <unistd.h>

pid_t member_pid(uint64_t id)
{
    const struct member *m = member_of(id);
    uint64_t life = m ? atomic_load(&m->life) : 0;

    return life_generation(life) == id_generation(id) && life_state(life) == MEMBER_LIVE
               ? (pid_t)life_pid(life)
               : 0;
}

void member_name(uint64_t id, char ret[NAME_SIZE])
{
    const struct member *m = member_of(id);

    memset(ret, 0, NAME_SIZE);
    if (m)
        memcpy(ret, m->name, NAME_SIZE - 1); /* may be of the next one, for people only */
}

void member_set_idle(void)
{
    struct member *m = member_of(member_self_id());

    if (m)
        atomic_store(&m->idle, 1);
}

void member_note_exitcode(int exitcode)
{
    uint64_t id = member_self_id();

    if (id)
        atomic_store(&member_of(id)->exitcode,
                     id_generation(id) << 9 | 1u << 8 | (uint64_t)(exitcode & 0xff));
}

int member_exitcode(uint64_t id, int *ret)
{
    struct member *m = member_of(id);
    uint64_t word = m ? atomic_load(&m->exitcode) : 0;

    if (!(word & 1u << 8) || word >> 9 != id_generation(id))
        return -ENODATA;
    *ret = (int)(word & 0xff);
    return 0;
}

/* ---- Leaving ------------------------------------------------------------------- */

void member_leave(void)
{
    uint64_t id = member_self_id();
    struct member *m = member_of(id);

    if (!id)
        return;
    /* while we are alive, for it takes locks: those of one that has left are taken over */
    sweep_member(m, id, false);
    /* the history is for who frees the slot: noted here, one killed now would be LEFT then */
    life_move(m, life_make(id_generation(id), (uint32_t)getpid(), MEMBER_LIVE),
              (uint32_t)getpid(), MEMBER_LEFT);
    atomic_store(&member_self->id, 0);
    witness_close();
}

/* 101: after the destructors of the layers above, which still are members then. */
__attribute__((destructor(101))) static void leave_at_exit(void)
{
    member_leave();
}

/* ---- Playing members (tests under TSan) ----------------------------------------- */

int member_play(const char *name)
{
    uint64_t who, id;
    int r = member_who(&who);

    if (r == 0)
        r = member_claim(name, &id);
    if (r < 0)
        return r;
    life_move(member_of(id), atomic_load(&member_of(id)->life), (uint32_t)getpid(),
              MEMBER_LIVE);
    thread_begin(id);
    return 0;
}

void member_play_end(bool died)
{
    uint64_t id = member_thread.who & ID_MASK;
    struct member *m = member_of(id);

    life_move(m, atomic_load(&m->life), (uint32_t)getpid(),
              died ? MEMBER_DIED : MEMBER_LEFT);
    member_thread = (struct member_thread){0};
    member_fate(id); /* as the process, which sweeps it */
}

bool member_worth_spinning(uint64_t who, uint64_t other)
{
    struct member *me = member_of(who);
    const struct member *m = member_of(other);
    uint32_t cpu = (uint32_t)sched_getcpu() + 1;

    if (me)
        atomic_store_explicit(&me->cpu, cpu, memory_order_relaxed);
    return machine_cpus_online() > 1 &&
           !(m && m != me && atomic_load_explicit(&m->cpu, memory_order_relaxed) == cpu);
}
