/* Fates: asked of the word, of the kernel, of the history. */
#include "shm/fate.h"

#include "os/fd.h"
#include "os/pidfd.h"
#include "os/solo.h"
#include "shm/history.h"
#include "shm/slot.h"
#include "shm/sweep.h"
#include "shm/witness.h"

#include <signal.h>
#include <unistd.h>

/* One that left runs on for a moment, and its threads may still be inside piu. */
static bool process_runs(const struct member *m, uint64_t life)
{
    return !PIU_TSAN &&
           pidfd_is_running((pid_t)life_pid(life), atomic_load(&m->identity)) != 0;
}

/*
 * LEFT, DIED -> FREE: all may do this at once, and again after one who was killed at it.  The
 * process must have ended: only then the sweep finds all, and nothing of it (its lock on the
 * witness, its place in the kernel's list of robust locks) is in the next one's way.
 */
static void end_finish(struct member *m, uint32_t slot, uint64_t life)
{
    bool died = life_state(life) == MEMBER_DIED;
    bool runs = !died && process_runs(m, life);

    if (sweep_member(m, id_make(slot, life_generation(life)), died) < 0 || runs)
        return;
    if (!died)
        history_note_left(m, life_generation(life));
    slot_free(m, life);
}

/* One system call: a sweep may come by thousands.  A zombie is not gone. */
static bool is_gone(pid_t pid)
{
    return kill(pid, 0) < 0 && errno == ESRCH;
}

/*
 * Not merely running: still the program that joined.  exec closes its witness, and marks the
 * word.  One of both alone says nothing: programs close descriptors that they do not know, and
 * the thread that joined may be gone.
 */
static bool process_lives(struct member *m, uint64_t id, uint64_t life)
{
    int running = pidfd_is_running((pid_t)life_pid(life), atomic_load(&m->identity));

    if (running <
        0) /* no descriptor: if the number is nobody's, that is enough to know */
        return !is_gone((pid_t)life_pid(life));
    return running && (!life_is_marked(m) || witness_is_held(id));
}

/* A zombie has.  Another process with the number of one that has ended counts as that one. */
static bool has_ended(pid_t pid)
{
    cleanup(fd_done) int fd = -1;
    int r = pidfd_of(pid, &fd);

    return r == -ESRCH || (r == 0 && pidfd_has_ended(fd));
}

/* Was it made for a child that may still come, with or without its claimer? */
static bool claim_has_child(const struct member *m, uint64_t life)
{
    pid_t child = slot_child(m, life);

    return !(child && has_ended(child));
}

/*
 * The claimer has ended.  Its child may run, and then joins in another slot: none tells of it.
 * (Who claimed for itself has no child, and no starter.)
 */
static void claim_free(struct member *m, uint64_t life)
{
    if (m->starter && claim_has_child(m, life))
        arena_note_strays();
    slot_free(m, life);
}

bool member_seems_alive(uint64_t id)
{
    struct member *m = member_of(id);
    uint64_t life = m ? atomic_load(&m->life) : 0;
    uint32_t futex = m ? atomic_load(life_futex(m)) : 0;

    return life_generation(life) == id_generation(id) &&
           life_state(life) == MEMBER_LIVE &&
           (PIU_TSAN || (futex != 0 && !(futex & FUTEX_OWNER_DIED)));
}

/* `running_left`: one that left counts as alive until its process has ended. */
static enum fate fate_of(uint64_t id, bool running_left)
{
    struct member *m = member_of(id);
    uint64_t life;

    if (!m)
        return FATE_DIED;
    for (;;) {
        life = atomic_load(&m->life);
        if (life_generation(life) != id_generation(id))
            return life_generation(life) > id_generation(id)
                       ? history_read(m, id_generation(id))
                       : FATE_DIED;
        switch (life_state(life)) {
        case MEMBER_CLAIMED:
            if (!is_gone((pid_t)life_pid(life)))
                return FATE_ALIVE;
            claim_free(m, life);
            break; /* whoever moved it: look again */
        case MEMBER_LIVE:
            if (PIU_TSAN || process_lives(m, id, life))
                return FATE_ALIVE;
            life_move(m, life, life_pid(life), MEMBER_DIED);
            break;
        case MEMBER_LEFT:
            return running_left && process_runs(m, life) ? FATE_ALIVE : FATE_LEFT;
        default:
            return FATE_DIED; /* FREE in this generation: nobody had it yet */
        }
    }
}

enum fate member_fate_unswept(uint64_t id)
{
    return fate_of(id, true);
}

enum fate member_fate(uint64_t id)
{
    enum fate fate = fate_of(id, false);
    struct member *m = member_of(id);
    uint64_t life = m ? atomic_load(&m->life) : 0;

    if (life_generation(life) == id_generation(id) && life_state(life) >= MEMBER_LEFT)
        end_finish(m, id_slot(id), life);
    return fate;
}

static bool slot_is_doubtful(uint32_t slot, bool thorough, uint64_t *ret_id)
{
    uint64_t life = atomic_load(&slot_record(slot)->life);

    *ret_id = id_make(slot, life_generation(life));
    switch (life_state(life)) {
    case MEMBER_FREE:
        return false;
    case MEMBER_LIVE:
        return thorough || !member_seems_alive(*ret_id);
    default:
        return true;
    }
}

void slot_tidy(uint32_t slot)
{
    uint64_t id;

    if (slot_is_doubtful(slot, false, &id))
        member_fate(id);
}

void slot_tidy_claim(uint32_t slot)
{
    struct member *m = slot_record(slot);
    uint64_t life = atomic_load(&m->life);

    if (life_state(life) == MEMBER_CLAIMED && is_gone((pid_t)life_pid(life)))
        claim_free(m, life);
}

void member_sweep_dead(bool thorough)
{
    uint32_t end = slots_end();
    uint64_t id;

    for (uint32_t slot = 1; slot < end; slot++) {
        if (slot_is_doubtful(slot, thorough, &id))
            member_fate(id);
    }
}

/* ---- The last one ---------------------------------------------------------------- */

/* In this state after a sweep: can anything come of it? */
static bool may_act(struct member *m, uint64_t life)
{
    switch (life_state(life)) {
    case MEMBER_CLAIMED:
        if (!has_ended((pid_t)life_pid(life)))
            return claim_has_child(m, life);
        claim_free(m, life);
        return false; /* or its child is a stray now */
    case MEMBER_LIVE:
        return !atomic_load(&m->idle);
    case MEMBER_LEFT:
        return (pid_t)life_pid(life) !=
               getpid(); /* else what we were before piu_leave() */
    default:
        return false;
    }
}

static bool is_another(uint32_t slot)
{
    struct member *m = slot_record(slot);
    uint64_t life = atomic_load(&m->life);
    uint64_t id = id_make(slot, life_generation(life));

    if (life_state(life) == MEMBER_FREE || id == member_self_id())
        return false;
    member_fate(id);
    return may_act(m, atomic_load(&m->life));
}

/*
 * A slot that was free when we came by may be taken, and its claimer's be freed, before we come
 * to that one.  So it counts only if nobody has claimed one meanwhile.
 */
bool member_is_alone(void)
{
    struct arena_header *h = arena_header();
    uint64_t claims = atomic_load(&h->claims);
    uint32_t end = slots_end();

    if (atomic_load(&h->strays))
        return false;
    for (uint32_t slot = 1; slot < end; slot++) {
        if (is_another(slot))
            return false;
    }
    return solo_is_sure() && !atomic_load(&h->strays) &&
           atomic_load(&h->claims) == claims;
}
