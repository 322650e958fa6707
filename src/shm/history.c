/* Which of those who had a slot before have left it. */
#include "shm/history.h"

#define HISTORY_BITS 48u

static _Atomic uint64_t *history_word(struct member *m, uint64_t generation)
{
    return &m->left[generation / HISTORY_BITS % HISTORY_WORDS];
}

static uint64_t history_round(uint64_t generation)
{
    return generation / HISTORY_BITS / HISTORY_WORDS & 0xffff;
}

void history_note_left(struct member *m, uint64_t generation)
{
    uint64_t round = history_round(generation);
    uint64_t bit = UINT64_C(1) << generation % HISTORY_BITS;
    uint64_t old = atomic_load(history_word(m, generation));
    uint64_t kept;

    do {
        kept = old >> HISTORY_BITS == round ? old : round << HISTORY_BITS;
        if ((int16_t)(uint16_t)((old >> HISTORY_BITS) - round) > 0)
            return; /* we come too late: long forgotten */
    } while (
        !atomic_compare_exchange_strong(history_word(m, generation), &old, kept | bit));
}

enum fate history_read(struct member *m, uint64_t generation)
{
    uint64_t word = atomic_load(history_word(m, generation));

    return word >> HISTORY_BITS == history_round(generation) &&
                   word >> generation % HISTORY_BITS & 1
               ? FATE_LEFT
               : FATE_DIED;
}
