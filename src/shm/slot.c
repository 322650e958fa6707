/* Slots: found, claimed, given back. */
#include "shm/slot.h"

#include <string.h>
#include <unistd.h>

#define SLOTS_PIECE  16u  /* records that get memory at once: 16 KB */
#define WINDOW_FIRST 255u /* slots that are gone through before one is used again */

struct member *slot_member(uint32_t slot)
{
    /* acquire, for the release in slots_back(): the record has memory */
    if (slot == 0 || slot >= slots_end())
        return NULL;
    return slot_record(slot);
}

struct member *member_of(uint64_t id)
{
    return slot_member(id_slot(id));
}

bool slot_free(struct member *m, uint64_t life)
{
    return atomic_compare_exchange_strong(
        &m->life, &life, life_make(life_generation(life) + 1, 0, MEMBER_FREE));
}

static int slots_back(uint32_t slot)
{
    struct arena_header *h = arena_header();
    uint32_t committed;

    while (slot >= (committed = slots_end())) {
        uint32_t said = atomic_load(&h->members_committed);
        int r = arena_back(ARENA_MEMBERS + (uint64_t)committed * MEMBER_SIZE,
                           (uint64_t)SLOTS_PIECE * MEMBER_SIZE);

        if (r < 0)
            return r;
        /*
         * Up to there, from whatever it says: somebody may have written less over it than we
         * have seen.  Release, for the acquire in arena_slots().
         */
        while (said < committed + SLOTS_PIECE &&
               !atomic_compare_exchange_weak(&h->members_committed, &said,
                                             committed + SLOTS_PIECE))
            ;
    }
    return 0;
}

/*
 * Whoever joins is not a member yet and cannot sweep: it takes slots that are free, or
 * claimed by one that is gone, and sweeps some others when it has joined (tidy_up).
 */
static bool slot_claim(uint32_t slot, bool sweeps, uint64_t *ret_id)
{
    struct member *m = slot_record(slot);
    uint64_t life;

    if (sweeps)
        slot_tidy(slot);
    else
        slot_tidy_claim(slot);
    life = atomic_load(&m->life);
    if (life_state(life) != MEMBER_FREE ||
        !life_move(m, life, (uint32_t)getpid(), MEMBER_CLAIMED))
        return false;
    atomic_fetch_add(&arena_header()->claims,
                     1); /* before there can be a child (fate.c) */
    *ret_id = id_make(slot, life_generation(life));
    return true;
}

static int slot_find(uint64_t *ret_id)
{
    struct arena_header *h = arena_header();
    bool sweeps = member_self_id() != 0;
    uint32_t window = atomic_load(&h->member_window);

    if (window == 0)
        atomic_compare_exchange_strong(&h->member_window, &window, WINDOW_FIRST);
    for (;;) {
        uint32_t wider, from;

        window = atomic_load(&h->member_window);
        window = window > 0 && window < MEMBER_SLOTS ? window : MEMBER_SLOTS - 1;
        wider = window * 2 < MEMBER_SLOTS - 1 ? window * 2 + 1 : MEMBER_SLOTS - 1;
        from = atomic_load(&h->member_cursor);

        for (uint32_t i = 0; i < window; i++) {
            uint32_t slot = 1 + (from + i) % window;
            int r = slots_back(slot);

            if (r < 0)
                return r;
            if (slot_claim(slot, sweeps, ret_id)) {
                atomic_store(&h->member_cursor,
                             slot); /* a hint: the next one begins behind */
                return 0;
            }
        }
        if (window >= MEMBER_SLOTS - 1)
            return -ENOSPC;
        atomic_compare_exchange_strong(&h->member_window, &window, wider);
    }
}

static void record_init(struct member *m, const char *name)
{
    m->starter = member_self_id();
    atomic_store(&m->threads, 0);
    atomic_store(&m->cpu, 0);
    atomic_store(&m->idle, 0);
    atomic_store(&m->held_lock, 0);
    atomic_store(&m->held_overflow, 0);
    /* one by one: a slow sweeper may still look at them */
    for (unsigned i = 0; i < OPERATIONS; i++) {
        atomic_store_explicit(&m->operations[i].wake, 0, memory_order_relaxed);
        atomic_store_explicit(&m->operations[i].object, 0, memory_order_relaxed);
    }
    for (unsigned i = 0; i < HELD_ENTRIES; i++)
        atomic_store_explicit(&m->held[i].block, 0, memory_order_relaxed);
    memset(m->name, 0, sizeof(m->name));
    strncpy(m->name, name ? name : "", sizeof(m->name) - 1);
}

int member_claim(const char *name, uint64_t *ret_id)
{
    uint64_t id;
    int r = slot_find(&id);

    if (r < 0)
        return r;
    record_init(member_of(id), name);
    *ret_id = id;
    return 0;
}

void member_unclaim(uint64_t id)
{
    struct member *m = member_of(id);
    uint64_t life = m ? atomic_load(&m->life) : 0;

    if (m && life_generation(life) == id_generation(id) &&
        life_state(life) == MEMBER_CLAIMED)
        slot_free(m, life);
}

void member_claim_child(uint64_t id, pid_t pid)
{
    struct member *m = member_of(id);

    /* with the generation: the record may be the next one's already */
    if (m) /* else somebody wrote over the id, which the starter keeps in the arena */
        atomic_store(&m->child, life_make(id_generation(id), (uint32_t)pid, MEMBER_FREE));
}

pid_t slot_child(const struct member *m, uint64_t life)
{
    uint64_t child = atomic_load(&m->child);

    return life_generation(child) == life_generation(life) ? (pid_t)life_pid(child) : 0;
}

bool slot_take_over(uint64_t id)
{
    struct member *m = member_of(id);
    uint64_t life = m ? atomic_load(&m->life) : 0;

    if (!m || life_generation(life) != id_generation(id) ||
        life_state(life) != MEMBER_CLAIMED ||
        !life_move(m, life, (uint32_t)getpid(), MEMBER_CLAIMED))
        return false;
    member_claim_child(id, getpid());
    return true;
}

uint64_t member_next(uint32_t *cursor)
{
    uint32_t end = slots_end();

    for (uint32_t slot = *cursor ? *cursor : 1; slot < end; slot++) {
        uint64_t life = atomic_load(&slot_record(slot)->life);

        if (life_state(life) == MEMBER_LIVE) {
            *cursor = slot + 1;
            return id_make(slot, life_generation(life));
        }
    }
    *cursor = end;
    return 0;
}
