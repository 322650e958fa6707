/*
 * The functions that a pool knows.  Each travels once, as (build-id, offset); jobs name it by
 * the offset of that block, which lives as long as the pool and never changes.  So a worker
 * looks a function up once, and a submission compares two words.
 *
 *    pool's `codes` -> code -> code -> 0        added in front, whole, under list_lock
 *
 * Crash: only the user's process adds; a block that is not linked yet stays with the arena.
 */
#ifndef PIU_TASK_CODE_H
#define PIU_TASK_CODE_H

#include "os/module.h"
#include "shm/arena.h"

typedef void code_function(void);

struct code {
    uint64_t next; /* offset; 0: the last */
    struct code_address address;
};

/* Of the submitter: functions of modules that are never unloaded. */
#define CODE_KNOWN 8u

struct code_memory {
    unsigned cursor;
    struct {
        code_function *function;
        uint64_t code;
    } known[CODE_KNOWN];
};

/* Under list_lock: the code of a function, if it is known; 0: ask code_add(). */
uint64_t code_find(const struct code_memory *memory, code_function *function);
/* Under list_lock.  0, or -errno as code_address_of(). */
int code_add(uint64_t *codes, struct code_memory *memory, code_function *function,
             uint64_t *ret);
/* The same for a function of somebody else's, that may not be there. */
int code_add_address(uint64_t *codes, const struct code_address *address, uint64_t *ret);
/* What it says; NULL: it is none. */
const struct code_address *code_says(uint64_t code);
void codes_free(uint64_t *codes); /* killed half way: the rest of them */

/* In a worker: what it is here.  -ENOEXEC as code_address_resolve(). */
int code_resolve(uint64_t code, code_function **ret);

#endif
