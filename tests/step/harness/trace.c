#include "trace.h"

#include "symbol.h"
#include "test.h"

#include <sys/mman.h>

struct trace trace_new(void)
{
    size_t bytes = TRACE_MAX * (sizeof(uint64_t) + 2 * sizeof(uint32_t)) +
                   sizeof(size_t) + sizeof(bool);
    char *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    struct trace t;

    CHECK(memory != MAP_FAILED);
    t.at = (uint64_t *)(void *)memory;
    t.from = (uint32_t *)(void *)(t.at + TRACE_MAX);
    t.hits = t.from + TRACE_MAX;
    t.count = (size_t *)(void *)(t.hits + TRACE_MAX);
    t.ended = (bool *)(t.count + 1);
    return t;
}

const char *trace_name(const struct trace *t, size_t n)
{
    return n < *t->count ? symbol_name(t->at[n]) : "its end";
}

/* How often each address has come so far: open addressing, at most half full. */
struct seen {
    uint64_t at;
    uint32_t hits;
};

static struct seen *seen_find(struct seen *table, unsigned bits, uint64_t at)
{
    size_t i = (at * UINT64_C(0x9e3779b97f4a7c15)) >> (64 - bits);

    while (table[i].at && table[i].at != at)
        i = (i + 1) % ((size_t)1 << bits);
    table[i].at = at;
    return &table[i];
}

/* For a way of that length.  The same memory each time, and shared: no fork copies it. */
static struct seen *seen_begin(size_t count, unsigned *ret_bits)
{
    static struct seen *table;
    unsigned bits = 4;

    if (!table)
        table = test_shared(2 * TRACE_MAX * sizeof(*table));
    while ((size_t)1 << bits < 2 * count)
        bits++;
    memset(table, 0, sizeof(*table) << bits);
    *ret_bits = bits;
    return table;
}

void trace_plan(const struct trace *t)
{
    unsigned bits;
    struct seen *table = seen_begin(*t->count, &bits);
    size_t cost = SIZE_MAX / 2;

    for (size_t n = 0; n < *t->count; n++) {
        uint32_t hits = ++seen_find(table, bits, t->at[n])->hits;

        t->hits[n] = hits;
        /* a single step costs about as much as a breakpoint that is hit */
        t->from[n] = hits <= cost + 1 ? (uint32_t)n : t->from[n - 1];
        cost = hits <= cost + 1 ? hits : cost + 1;
    }
}
