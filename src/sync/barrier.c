#include "sync/barrier.h"

#include "sync/parties.h"

static struct barrier *inside(struct piu_barrier *b)
{
    return (struct barrier *)(void *)b;
}

static const struct barrier *look(const struct piu_barrier *b)
{
    return (const struct barrier *)(const void *)b;
}

/* ---- Waiting ---------------------------------------------------------------------------- */

static int arrive_anew(struct barrier *b, uint64_t who, bool acts,
                       struct roll_entry **ret)
{
    int r = parties_vacant(b, ret);
    bool last;

    if (r < 0)
        return r;
    last = parties_count(b) + 1 >= b->parties;
    roll_put(*ret, who, 0, parties_index(b), last && acts ? ACTS : ARRIVED);
    if (last && !acts)
        parties_end(b, PASSED, false);
    return 0;
}

/* acts: it will if it is the last.  *ret NULL: it has not arrived, as somebody acts (B5). */
static int arrive(struct barrier *b, uint64_t who, bool acts, struct roll_entry **ret)
{
    *ret = roll_find(&b->arrived, who);
    if (*ret) /* it went by a signal, or it is the one that acts */
        return state_of(*ret) == ACTS ? -EDEADLK : 0;
    parties_break_if_dead(b);
    if (is_broken(b))
        return -ENOTRECOVERABLE;
    return parties_act(b) ? 0 : arrive_anew(b, who, acts, ret);
}

static int arrive_gated(struct barrier *b, uint64_t who, bool acts,
                        struct roll_entry **ret, uint32_t *ret_turn)
{
    int r;

    *ret_turn = parties_enter(b, who);
    r = arrive(b, who, acts, ret);
    parties_leave(b, *ret_turn);
    return r;
}

static void look_for_dead(struct barrier *b, uint64_t who)
{
    uint32_t turn;

    /* mostly: seen without the gate; an ending is that of one in the gate, or dead there (B3) */
    if (!parties_have_dead(b) && !atomic_load(&b->ending))
        return;
    turn = parties_enter(b, who);
    parties_break_if_dead(b);
    parties_leave(b, turn);
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
        parties_list(b, &others);
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

/*
 * Time is up, or a signal came: `why` is the result, unless the generation has just ended.
 * -EAGAIN: all have come in time, and wait for the one that acts.
 */
static int give_up(struct barrier *b, uint64_t who, struct roll_entry *e, uint32_t turn,
                   int why, unsigned *ret_index)
{
    uint32_t before = parties_enter(b, who);
    bool waits = is_waiting(b, e, turn), acted = waits && e && parties_act(b);

    if (waits && !acted && why == -ETIMEDOUT)
        parties_end(b, BROKEN, true);
    if (waits && !acted && e)
        roll_remove(e);
    parties_leave(b, before);
    if (acted && why == -ETIMEDOUT)
        return -EAGAIN;
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
    do {
        r = sleep_arrived(b, who, e, turn, timeout);
        if (r < 0)
            r = give_up(b, who, e, turn, r, ret_index);
        else if (e)
            r = result_of(e, ret_index);
        timeout = PIU_FOREVER;
    } while (r == -EAGAIN);
    return r;
}

/* Nobody's time runs while one acts: it is for the coming of all. */
static int pass(struct barrier *b, uint64_t who, bool acts, unsigned *ret_index,
                int64_t timeout)
{
    struct roll_entry *e;
    uint32_t turn;
    int r;

    do {
        r = arrive_gated(b, who, acts, &e, &turn);
        if (r == 0)
            r = pass_arrived(b, who, e, turn, ret_index, e ? timeout : PIU_FOREVER);
    } while (!e && r == 0);
    return r;
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
    turn = parties_enter(inside(b), who);
    parties_break_if_dead(inside(b));
    e = roll_find(&inside(b)->arrived, who);
    if (e && state_of(e) == ACTS)
        parties_end(inside(b), PASSED, false);
    r = e ? result_of(e, NULL) : -ENOTRECOVERABLE;
    parties_leave(inside(b), turn);
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
    turn = parties_enter(inside(b), who);
    parties_end(inside(b), BROKEN, broken);
    e = roll_find(&inside(b)->arrived, who);
    if (e)
        roll_remove(e);
    parties_leave(inside(b), turn);
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
    return member_looks(b) == 0 && arena_has(b, sizeof(*b)) ? parties_count(look(b)) : 0;
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
           (parties_count(in) < in->parties + parties_act(in) || in->parties == 0) &&
           (atomic_load(&in->ending) == 0 || atomic_load(&in->gate) != 0);
}
