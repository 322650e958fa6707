/* Functions by number: looked up once by the pool, and once by each worker. */
#include "task/code.h"

#include "shm/block.h"
#include "shm/heap.h"

#include <string.h>

#define RESOLVED 16u

/*
 * The main program stays, and so does what this very function lies in.  Any other module may
 * be unloaded, and another function be at this address tomorrow.
 */
static bool is_lasting(code_function *function, const struct code_address *address)
{
    struct code_address own;

    if (address->path[0] == '\0')
        return true;
    return code_address_of((code_function *)code_resolve, &own) == 0 &&
           strcmp(own.path, address->path) == 0 &&
           address->offset - own.offset ==
               (uintptr_t)function - (uintptr_t)(code_function *)code_resolve;
}

uint64_t code_find(const struct code_memory *memory, code_function *function)
{
    for (unsigned i = 0; i < CODE_KNOWN; i++) {
        if (memory->known[i].function == function)
            return memory->known[i].code;
    }
    return 0;
}

static uint64_t code_among(uint64_t codes, const struct code_address *address)
{
    for (uint64_t bound = heap_blocks_most(); codes && bound; bound--) {
        const struct code *code = arena_at(codes, sizeof(*code));

        if (!code || memcmp(&code->address, address, sizeof(*address)) == 0)
            return code ? codes : 0;
        codes = code->next;
    }
    return 0;
}

int code_add_address(uint64_t *codes, const struct code_address *address, uint64_t *ret)
{
    struct code *code;
    void *block;
    int r;

    *ret = code_among(*codes, address);
    if (*ret)
        return 0;
    r = block_new_family(sizeof(*code), &block);
    if (r < 0)
        return r;
    code = block;
    code->address = *address;
    code->next = *codes;
    *codes = *ret = arena_offset(code);
    return 0;
}

const struct code_address *code_says(uint64_t code)
{
    const struct code *c = arena_at(code, sizeof(*c));

    return c ? &c->address : NULL;
}

int code_add(uint64_t *codes, struct code_memory *memory, code_function *function,
             uint64_t *ret)
{
    struct code_address address;
    int r = code_address_of(function, &address);

    if (r == 0)
        r = code_add_address(codes, &address, ret);
    if (r < 0)
        return r;
    if (is_lasting(function, &address)) {
        unsigned i = memory->cursor++ % CODE_KNOWN;

        memory->known[i].function = function;
        memory->known[i].code = *ret;
    }
    return 0;
}

void codes_free(uint64_t *codes)
{
    while (*codes) {
        struct code *code = arena_at(*codes, sizeof(*code));

        *codes = code ? code->next : 0;
        atomic_signal_fence(memory_order_seq_cst);
        if (code)
            block_free(code);
    }
}

int code_resolve(uint64_t code, code_function **ret)
{
    static struct {
        uint64_t code;
        code_function *function;
    } resolved[RESOLVED];
    unsigned i = (unsigned)(code / 64 % RESOLVED);
    const struct code *c;
    int r;

    if (likely(code && resolved[i].code == code)) {
        *ret = resolved[i].function;
        return 0;
    }
    c = arena_at(code, sizeof(*c));
    r = c ? code_address_resolve(&c->address, &resolved[i].function) : -ENOEXEC;
    resolved[i].code = r < 0 ? 0 : code;
    if (r == 0)
        *ret = resolved[i].function;
    return r;
}
