/* The heap: its growth, and what a word goes through. */
#include "shm/heap.h"

#include "os/machine.h"
#include "shm/owner.h"
#include "shm/run.h"
#include "shm/span.h"

#include <pthread.h>

#define PIECE_UNITS ((UINT64_C(16) << 20) / UNIT_SIZE) /* growth: 16 MB at once */
#define PIECE_FIRST 16u

bool word_pass_on(_Atomic uint64_t *word, uint64_t from, unsigned purpose, uint64_t to)
{
    uint64_t old = atomic_load(word);

    while (word_is_of(old, from) && word_purpose(old) != PURPOSE_PUNCHING) {
        if (atomic_compare_exchange_strong(word, &old, word_owned_by(old, purpose, to)))
            return true;
    }
    return false;
}

int heap_back(uint64_t first, uint64_t end)
{
    int r = arena_back(arena.unit_table + first * sizeof(uint64_t),
                       (end - first) * sizeof(uint64_t));

    for (uint64_t to; r == 0 && first < end; first = to) {
        to = min_u64(first + PIECE_UNITS, end);
        r = arena_back(arena.heap + first * UNIT_SIZE, (to - first) * UNIT_SIZE);
    }
    return r;
}

/* Asked for the whole at once: piece by piece we would take all memory before we gave up. */
static bool machine_allows(uint64_t units)
{
    return units <= PIECE_UNITS ||
           min_u64(machine_memory_available(), machine_memory_headroom()) / UNIT_SIZE >
               units;
}

int heap_grow(uint64_t end)
{
    struct arena_header *h = arena_header();
    uint64_t now = heap_committed();
    uint64_t piece = min_u64(max_u64(now, PIECE_FIRST), PIECE_UNITS);
    uint64_t most = min_u64(max_u64(end, now + piece), arena.units_max);
    uint64_t to = most;
    int r;

    if (end <= now)
        return 0;
    if (end > arena.units_max || !machine_allows(end - now))
        return -ENOMEM;
    r = heap_back(now, most);
    if (r < 0 && most > end)
        r = heap_back(now, to = end); /* less will do */
    if (r < 0) {
        arena_unback(arena.heap + now * UNIT_SIZE, (most - now) * UNIT_SIZE);
        return r;
    }
    /* release, for the acquire in arena_units() */
    atomic_store_explicit(&h->committed, to, memory_order_release);
    heap_kept_change((int64_t)(to - now));
    return 0;
}

uint64_t heap_kept(void)
{
    int64_t units = atomic_load_explicit(&arena_header()->kept, memory_order_relaxed);

    return units > 0 ? (uint64_t)units : 0;
}

void heap_kept_change(int64_t units)
{
    atomic_fetch_add_explicit(&arena_header()->kept, units, memory_order_relaxed);
}

/* A thread that is cancelled (fallocate is a place for that) would keep the lock for ever. */
void heap_enter(uint64_t who, int *ret_cancel)
{
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, ret_cancel);
    if (owner_enter(&arena_header()->heap_lock, who) == OWNER_DIED) {
        spans_relink();
        runs_recount();
    }
}

void heap_leave(int cancel)
{
    owner_leave(&arena_header()->heap_lock);
    pthread_setcancelstate(cancel, NULL);
}
