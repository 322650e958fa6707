/* Runs of units: found, made, freed, punched. */
#include "shm/run.h"

#define KEEP_UNITS ((UINT64_C(64) << 20) / UNIT_SIZE) /* B7 */

struct run {
    uint64_t first, units;
    uint64_t kept; /* of them: units that were kept */
    bool punched;  /* some of it has no memory now */
};

static void run_begin(struct run *run, uint64_t first)
{
    run->first = first;
    run->kept = 0;
    run->punched = false;
}

/*
 * The first place at or above `from` for so many free units in a row, the first a multiple of
 * `align`; `kept`: that all have memory.  It may end past committed.  *ret_lowest: the first
 * such unit that was seen.
 */
static void find_run(struct run *run, uint64_t from, uint64_t align, bool kept,
                     uint64_t *ret_lowest)
{
    uint64_t end = heap_committed();
    uint64_t unit = from;

    *ret_lowest = UINT64_MAX;
    run_begin(run, round_up(unit, align));
    while (unit < end && (unit < run->first || unit - run->first < run->units)) {
        uint64_t word = atomic_load(unit_word(unit));
        bool punched = word_kind(word) == KIND_PUNCHED;
        uint64_t length = kept && punched ? 1 : run_length(word);

        if (length) {
            unit += length;
            run_begin(run, round_up(unit, align));
        } else {
            *ret_lowest = min_u64(*ret_lowest, unit);
            run->punched |= punched && unit >= run->first;
            run->kept += !punched && unit >= run->first;
            unit++;
        }
    }
}

/* From the hint, which then says what was seen.  Is it within what is committed? */
static bool place_run_from(struct run *run, _Atomic uint64_t *hint, uint64_t align,
                           bool kept)
{
    uint64_t end = heap_committed();
    uint64_t from = min_u64(atomic_load(hint), end);
    uint64_t lowest;

    find_run(run, from, align, kept, &lowest);
    atomic_store(hint, min_u64(lowest, end));
    return run->first + run->units <= end;
}

/*
 * Where there is memory, if possible: else what is kept could lie idle while each new block needs
 * memory anew.  The hints may be too high: a free races with the search, or was cut off before
 * it said so.  Before the heap grows, the search begins at 0.
 */
static void place_run(struct run *run, uint64_t align)
{
    struct arena_header *h = arena_header();
    uint64_t from;

    if (heap_kept() >= run->units) {
        if (place_run_from(run, &h->first_kept, align, true))
            return;
        atomic_store(&h->first_kept, 0); /* the next search sees all */
    }
    from = atomic_load(&h->first_free);
    if (place_run_from(run, &h->first_free, align, false) || from == 0)
        return;
    atomic_store(&h->first_free, 0);
    place_run_from(run, &h->first_free, align, false);
}

static void hint_lower(_Atomic uint64_t *hint, uint64_t unit)
{
    uint64_t old = atomic_load(hint);

    while (unit < old && !atomic_compare_exchange_weak(hint, &old, unit))
        ;
}

/* relaxed: what is stored into the head next publishes them */
static void words_behind(uint64_t first, uint64_t units, uint64_t word)
{
    for (uint64_t unit = first + 1; unit < first + units; unit++)
        atomic_store_explicit(unit_word(unit), word, memory_order_relaxed);
}

int run_new(const struct wish *wish, uint64_t align, uint64_t *ret_unit, bool *ret_clean)
{
    struct arena_header *h = arena_header();
    struct run run = {.units = word_units(wish->word)};
    uint64_t before = heap_committed();
    uint64_t end;
    int r;

    place_run(&run, align);
    end = run.first + run.units;
    r = heap_grow(end);
    if (r == 0 && run.punched)
        r = heap_back(run.first, end);
    if (r < 0)
        return r;
    if (end > before)
        run.kept += end - max_u64(run.first, before);
    heap_kept_change(-(int64_t)run.kept);
    *ret_clean = run.first >= atomic_load(&h->used_top);
    if (end > atomic_load(&h->used_top))
        atomic_store(&h->used_top, end);
    if (run.punched) /* before the head: they say that there is memory, when it is freed */
        words_behind(run.first, run.units, 0);
    held_take(&wish->holder, arena_offset(unit_address(run.first)), wish->into);
    atomic_store(unit_word(run.first), wish->word);
    *ret_unit = run.first;
    return 0;
}

/*
 * A run gives its memory back.  Two may think that it is theirs to do (a sweep by two
 * survivors, a double free), and what the slower one punched might be somebody else's by then:
 * so one of them makes the run its own first (B5).
 */
static bool run_punch(const struct holder *h, void *block, _Atomic uint64_t *word,
                      uint64_t old)
{
    uint64_t me = h->who & ID_OWNER;
    uint64_t first = unit_of(block), units = word_units(old);
    bool mine = word_owner(old) == me;

    if (mine && word_purpose(old) == PURPOSE_PUNCHING)
        return false; /* another thread of ours is at it */
    if (!mine)
        held_take(h, arena_offset(block), 0);
    if (!atomic_compare_exchange_strong(word, &old,
                                        word_owned_by(old, PURPOSE_PUNCHING, me))) {
        if (!mine)
            held_drop(h, arena_offset(block));
        return false;
    }
    words_behind(first, units, word_make(KIND_PUNCHED, 0, 0, 0));
    arena_unback(arena_offset(block), units * UNIT_SIZE);
    atomic_store(word, word_make(KIND_PUNCHED, 0, 0, 0));
    hint_lower(&arena_header()->first_free, first);
    if (!mine)
        held_drop(h, arena_offset(block));
    return true;
}

bool run_free(const struct holder *h, void *block, _Atomic uint64_t *word, uint64_t old)
{
    uint64_t units = word_units(old);

    /* what somebody has begun to punch may have no memory any more, and he may be at it still */
    if (word_purpose(old) == PURPOSE_PUNCHING || heap_kept() + units >= KEEP_UNITS)
        return run_punch(h, block, word, old);
    if (!atomic_compare_exchange_strong(word, &old, 0))
        return false;
    heap_kept_change((int64_t)units);
    hint_lower(&arena_header()->first_kept, unit_of(block));
    hint_lower(&arena_header()->first_free, unit_of(block));
    return true;
}

void runs_recount(void)
{
    struct arena_header *h = arena_header();
    uint64_t kept = 0, unit = 0;

    while (unit < heap_committed()) {
        uint64_t word = atomic_load(unit_word(unit));
        uint64_t length = run_length(word);

        kept += length == 0 && word_kind(word) == KIND_FREE;
        unit += max_u64(length, 1);
    }
    atomic_store(&h->kept, (int64_t)kept);
    atomic_store(&h->first_kept, 0);
}

bool run_check(uint64_t unit, uint64_t length)
{
    if (length > heap_committed() - unit)
        return false;
    for (uint64_t behind = unit + 1; behind < unit + length; behind++) {
        enum word_kind kind = word_kind(atomic_load(unit_word(behind)));

        if (kind != KIND_FREE && kind != KIND_PUNCHED)
            return false;
    }
    return true;
}
