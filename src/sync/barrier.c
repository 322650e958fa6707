#include "sync/barrier.h"

#include "os/clock.h"
#include "os/futex.h"
#include "shm/owner.h"
#include "sync/roll.h"
#include "sync/slices.h"

#include <limits.h>

/*
 *    0      8         16       24        28                              128
 *    | gate | arrived | ending | parties | turn | zero                   |
 *
 *    turn      31..1 generation   0 broken            (a futex: all waiters sleep on it)
 *    ending    63..32 how the generation ends (a state)   31..0 the next turn; 0: it does not
 *
 * Who arrived is an entry of the roll: who, value (its index), state.
 *
 *    not there --itself--> ARRIVED --the last to come--> PASSED --itself--> not there
 *         |                   |`--time up, abort, reset, a death--> BROKEN --itself--> not there
 *         |                   `--itself: a signal--> not there
 *         `--itself, the last--> ACTS, and then as those who have ARRIVED, released by itself
 *    a member that died:   ARRIVED or ACTS: the barrier breaks;   else its entry is taken out
 *
 * B1  the entries that are ARRIVED or ACTS are those of the generation that `turn` says; their
 *     indices are different, and there are less than `parties`, or `parties` while one ACTS
 * B2  entries are put, and states and `turn` change, inside the gate only
 * B3  a generation ends in steps: `ending` is stored, then the states, then `turn`, then `ending`
 *     is 0 again; whoever finds it not 0 does the steps again
 * B4  the result of a wait lies in its own entry, so that a slow one may leave while the next
 *     generations come and pass
 * B5  while one ACTS nobody else arrives: who comes then waits for another `turn`.  Who goes by a
 *     signal leaves its entry, and finds it when it comes again
 * Crash: in the gate, the next one in ends what was begun (B3); arrived, see above.
 */
struct barrier {
    alignas(64) owner_word gate;
    roll_word arrived;
    _Atomic uint64_t ending;
    uint32_t parties;
    _Atomic uint32_t turn;
    uint64_t reserved[12];
};
static_assert(sizeof(struct barrier) == sizeof(struct piu_barrier), "the public size");

enum arrival { ARRIVED = 1, PASSED, BROKEN, ACTS };

#define TURN_BROKEN     1u
#define TURN_GENERATION 2u

static struct barrier *inside(struct piu_barrier *b)
{
    return (struct barrier *)(void *)b;
}

static const struct barrier *look(const struct piu_barrier *b)
{
    return (const struct barrier *)(const void *)b;
}

static uint32_t state_of(const struct roll_entry *e)
{
    /* acquire, for the release in ending_finish(): what the others did before is seen */
    return atomic_load_explicit(&e->state, memory_order_acquire);
}

static uint32_t turn_of(const struct barrier *b)
{
    return atomic_load_explicit(&b->turn, memory_order_relaxed);
}

static bool is_broken(const struct barrier *b)
{
    return turn_of(b) & TURN_BROKEN;
}

/* In the generation that `turn` says (B1). */
static bool is_here(const struct roll_entry *e)
{
    uint32_t state = state_of(e);

    return state == ARRIVED || state == ACTS;
}

/* ---- The end of a generation, inside the gate (B3) ------------------------------------ */

static void ending_finish(struct barrier *b)
{
    uint64_t ending = atomic_load(&b->ending);
    struct roll_walk walk;
    struct roll_entry *e;

    for (e = roll_first(&walk, &b->arrived); e; e = roll_next(&walk))
        if (is_here(e))
            /* release, for the acquire in state_of() */
            atomic_store_explicit(&e->state, (uint32_t)(ending >> 32),
                                  memory_order_release);
    atomic_store(&b->turn, (uint32_t)ending);
    atomic_store(&b->ending, 0);
}

static void generation_end(struct barrier *b, enum arrival how, bool broken)
{
    uint32_t next =
        ((turn_of(b) & ~TURN_BROKEN) + TURN_GENERATION) | (broken ? TURN_BROKEN : 0);

    atomic_store(&b->ending, (uint64_t)how << 32 | next);
    ending_finish(b);
}

/* The turn as it is. */
static uint32_t gate_enter(struct barrier *b, uint64_t who)
{
    if (owner_enter(&b->gate, who) == OWNER_DIED && atomic_load(&b->ending))
        ending_finish(b); /* those who sleep find it in their slice */
    return turn_of(b);
}

/* `turn` is what it was when its caller came: if it changed, all who sleep are to look. */
static void gate_leave(struct barrier *b, uint32_t turn)
{
    bool changed = turn_of(b) != turn;

    owner_leave(&b->gate);
    if (changed)
        futex_wake(&b->turn, INT_MAX);
}

/* ---- Who is there ------------------------------------------------------------------- */

static unsigned arrived_count(const struct barrier *b)
{
    struct roll_walk walk;
    struct roll_entry *e;
    unsigned count = 0;

    for (e = roll_first(&walk, &b->arrived); e; e = roll_next(&walk))
        count += is_here(e);
    return count;
}

static bool somebody_acts(const struct barrier *b)
{
    struct roll_walk walk;
    struct roll_entry *e;

    for (e = roll_first(&walk, &b->arrived); e; e = roll_next(&walk))
        if (state_of(e) == ACTS)
            return true;
    return false;
}

static bool has_died(uint64_t who)
{
    uint64_t id = who & ID_MASK;

    return !member_seems_alive(id) && member_fate(id) == FATE_DIED;
}

/*
 * One that had arrived in this generation and died; as in Python, one that left counts on, unless
 * the others wait for what it does.
 */
static bool arrived_has_dead(const struct barrier *b)
{
    struct roll_walk walk;
    struct roll_entry *e;

    for (e = roll_first(&walk, &b->arrived); e; e = roll_next(&walk)) {
        uint32_t state = state_of(e);

        if ((state == ARRIVED && has_died(walk.who)) ||
            (state == ACTS && who_has_ended(walk.who)))
            return true;
    }
    return false;
}

static void break_if_dead(struct barrier *b)
{
    if (arrived_has_dead(b))
        generation_end(b, BROKEN, true);
}

/* Entries of earlier generations whose members ended before they took them out. */
static void entries_clear(struct barrier *b)
{
    struct roll_walk walk;
    struct roll_entry *e;

    for (e = roll_first(&walk, &b->arrived); e; e = roll_next(&walk))
        if (!is_here(e) && who_has_ended(walk.who))
            roll_remove(e);
}

static bool index_is_taken(const struct barrier *b, unsigned index)
{
    struct roll_walk walk;
    struct roll_entry *e;

    for (e = roll_first(&walk, &b->arrived); e; e = roll_next(&walk))
        if (is_here(e) && atomic_load(&e->value) == index)
            return true;
    return false;
}

/* The number of those who came before, unless one of them went away again (B1). */
static unsigned index_free(const struct barrier *b)
{
    unsigned index = arrived_count(b);

    while (index_is_taken(b, index))
        index = index ? index - 1 : b->parties - 1;
    return index;
}

static int entry_vacant(struct barrier *b, struct roll_entry **ret)
{
    struct roll_entry *e = roll_vacant(&b->arrived);
    int r = 0;

    if (!e) {
        entries_clear(b);
        e = roll_vacant(&b->arrived);
    }
    if (!e) {
        r = roll_grow(&b->arrived);
        e = roll_vacant(&b->arrived);
    }
    *ret = e;
    return e ? 0 : r < 0 ? r : -ENOMEM;
}

/* ---- Waiting ---------------------------------------------------------------------------- */

static int arrive_anew(struct barrier *b, uint64_t who, bool acts,
                       struct roll_entry **ret)
{
    int r = entry_vacant(b, ret);
    bool last;

    if (r < 0)
        return r;
    last = arrived_count(b) + 1 >= b->parties;
    roll_put(*ret, who, 0, index_free(b), last && acts ? ACTS : ARRIVED);
    if (last && !acts)
        generation_end(b, PASSED, false);
    return 0;
}

/* acts: it will if it is the last.  *ret NULL: it has not arrived, as somebody acts (B5). */
static int arrive(struct barrier *b, uint64_t who, bool acts, struct roll_entry **ret)
{
    *ret = roll_find(&b->arrived, who);
    if (*ret) /* it went by a signal, or it is the one that acts */
        return state_of(*ret) == ACTS ? -EDEADLK : 0;
    break_if_dead(b);
    if (is_broken(b))
        return -ENOTRECOVERABLE;
    return somebody_acts(b) ? 0 : arrive_anew(b, who, acts, ret);
}

static int arrive_gated(struct barrier *b, uint64_t who, bool acts,
                        struct roll_entry **ret, uint32_t *ret_turn)
{
    int r;

    *ret_turn = gate_enter(b, who);
    r = arrive(b, who, acts, ret);
    gate_leave(b, *ret_turn);
    return r;
}

/* Those who have arrived and live: one that left counts on, and cannot break it any more. */
static void arrived_list(const struct barrier *b, struct lives *ret)
{
    struct roll_walk walk;
    struct roll_entry *e;

    ret->count = 0;
    for (e = roll_first(&walk, &b->arrived); e; e = roll_next(&walk))
        if (is_here(e) && !who_has_ended(walk.who))
            lives_add(ret, walk.who);
}

static void look_for_dead(struct barrier *b, uint64_t who)
{
    uint32_t turn;

    if (!arrived_has_dead(b)) /* mostly: seen without the gate */
        return;
    turn = gate_enter(b, who);
    break_if_dead(b);
    gate_leave(b, turn);
}

/* For the end of its generation; without an entry, of that of `turn` (B5). */
static bool is_waiting(const struct barrier *b, const struct roll_entry *e, uint32_t turn)
{
    return e ? state_of(e) == ARRIVED : turn_of(b) == turn;
}

/* Until it waits no more: 0; else -ETIMEDOUT, -EINTR. */
static int sleep_arrived(struct barrier *b, uint64_t who, const struct roll_entry *e,
                         uint32_t turn, int64_t timeout)
{
    struct lives others;
    struct slices slices;
    int r = 0;

    slices_begin_watching(&slices, who, b, timeout);
    slices_spin(&b->turn, turn);
    while (is_waiting(b, e, turn) && r == 0) {
        arrived_list(b, &others);
        r = slices_sleep(&slices, &b->turn, turn, &others);
        if (r == 0 && is_waiting(b, e, turn))
            look_for_dead(b, who);
    }
    slices_end(&slices);
    return r;
}

/* The entry is taken out; did its generation pass? */
static int result_of(struct roll_entry *e, unsigned *ret_index)
{
    uint32_t index = atomic_load(&e->value);
    bool passed = state_of(e) == PASSED;

    roll_remove(e);
    if (passed && ret_index)
        *ret_index = index;
    return passed ? 0 : -ENOTRECOVERABLE;
}

/* Time is up, or a signal came: `why` is the result, unless the generation has just ended. */
static int give_up(struct barrier *b, uint64_t who, struct roll_entry *e, uint32_t turn,
                   int why, unsigned *ret_index)
{
    uint32_t before = gate_enter(b, who);
    bool waits = is_waiting(b, e, turn);

    if (waits && why == -ETIMEDOUT)
        generation_end(b, BROKEN, true);
    if (waits && e && (why != -EINTR || !somebody_acts(b)))
        roll_remove(e);
    gate_leave(b, before);
    return waits || !e ? why : result_of(e, ret_index);
}

static int pass_arrived(struct barrier *b, uint64_t who, struct roll_entry *e,
                        uint32_t turn, unsigned *ret_index, int64_t timeout)
{
    int r;

    if (e && state_of(e) == ACTS) {
        if (ret_index)
            *ret_index = atomic_load(&e->value);
        return PIU_LAST;
    }
    r = sleep_arrived(b, who, e, turn, timeout);
    if (r < 0)
        return give_up(b, who, e, turn, r, ret_index);
    return e ? result_of(e, ret_index) : 0;
}

static int pass(struct barrier *b, uint64_t who, bool acts, unsigned *ret_index,
                int64_t timeout)
{
    int64_t deadline = 0;
    struct roll_entry *e;
    uint32_t turn;
    int r;

    for (;;) {
        r = arrive_gated(b, who, acts, &e, &turn);
        if (r < 0)
            return r;
        if (!deadline && !e) /* else it is told by the sleep alone */
            deadline = deadline_after(timeout);
        if (deadline)
            timeout = deadline_left(deadline);
        r = pass_arrived(b, who, e, turn, ret_index, timeout);
        if (e || r < 0)
            return r;
    }
}

static int wait_at(struct piu_barrier *b, bool acts, unsigned *ret_index, int64_t timeout)
{
    uint64_t who;
    int r = member_uses(b, sizeof(*b), &who);

    if (r < 0)
        return r;
    if (look(b)->parties == 0)
        return -EINVAL; /* init was forgotten */
    return pass(inside(b), who, acts, ret_index, timeout);
}

int piu_barrier_wait(struct piu_barrier *b, unsigned *ret_index, int64_t timeout)
{
    return wait_at(b, false, ret_index, timeout);
}

int piu_barrier_meet(struct piu_barrier *b, unsigned *ret_index, int64_t timeout)
{
    return wait_at(b, true, ret_index, timeout);
}

int piu_barrier_release(struct piu_barrier *b)
{
    struct roll_entry *e;
    uint32_t turn;
    uint64_t who;
    int r = member_uses(b, sizeof(*b), &who);

    if (r < 0)
        return r;
    turn = gate_enter(inside(b), who);
    break_if_dead(inside(b));
    e = roll_find(&inside(b)->arrived, who);
    if (e && state_of(e) == ACTS)
        generation_end(inside(b), PASSED, false);
    r = e ? result_of(e, NULL) : -ENOTRECOVERABLE;
    gate_leave(inside(b), turn);
    return r;
}

/* ---- The rest ------------------------------------------------------------------------------ */

int piu_barrier_init(struct piu_barrier *b, unsigned parties)
{
    uint64_t who;
    bool is_one = parties && (uintptr_t)b % alignof(struct barrier) == 0;
    int r = is_one ? member_uses(b, sizeof(*b), &who) : -EINVAL;

    if (r < 0)
        return r;
    *inside(b) = (struct barrier){.parties = parties};
    return 0;
}

/* What the caller has there, as it acts or went by a signal, is taken out as well. */
static int end_now(struct piu_barrier *b, bool broken)
{
    struct roll_entry *e;
    uint32_t turn;
    uint64_t who;
    int r = member_uses(b, sizeof(*b), &who);

    if (r < 0)
        return r;
    turn = gate_enter(inside(b), who);
    generation_end(inside(b), BROKEN, broken);
    e = roll_find(&inside(b)->arrived, who);
    if (e)
        roll_remove(e);
    gate_leave(inside(b), turn);
    return 0;
}

int piu_barrier_reset(struct piu_barrier *b)
{
    return end_now(b, false);
}

int piu_barrier_abort(struct piu_barrier *b)
{
    return end_now(b, true);
}

unsigned piu_barrier_parties(const struct piu_barrier *b)
{
    return member_looks(b) == 0 ? look(b)->parties : 0;
}

unsigned piu_barrier_waiting(const struct piu_barrier *b)
{
    return member_looks(b) == 0 && arena_has(b, sizeof(*b)) ? arrived_count(look(b)) : 0;
}

bool piu_barrier_is_broken(const struct piu_barrier *b)
{
    return member_looks(b) == 0 && is_broken(look(b));
}

void piu_barrier_done(struct piu_barrier *b)
{
    if (b && arena_has(b, sizeof(*b)))
        roll_done(&inside(b)->arrived);
}

bool barrier_check(const struct piu_barrier *b)
{
    const struct barrier *in = look(b);

    return owner_check(&in->gate) && roll_check(&in->arrived) &&
           (arrived_count(in) < in->parties + somebody_acts(in) || in->parties == 0) &&
           (atomic_load(&in->ending) == 0 || atomic_load(&in->gate) != 0);
}
