#include "message.h"

#define NUMBERS (UINT64_C(1) << 23) /* of a putter, in a round */

enum fate { BEGUN = 1, PUT = 2, REFUSED = 4, GOT = 8, AGAIN = 16, HELD = 32, TAKEN = 64 };

static struct {
    _Atomic uint64_t last[PUTTERS];
    _Atomic unsigned char fates[PUTTERS][NUMBERS];
} * messages; /* plain shared */

static uint64_t total, total_held, most_in_a_burst;
static uint64_t unseen; /* of the round: as many may be missing */

/* ---- Ids --------------------------------------------------------------------------------- */

static uint64_t id_of(unsigned putter, uint64_t number)
{
    return (uint64_t)(putter + 1) << 32 | number;
}

/* NULL: there can be no such message. */
static _Atomic unsigned char *fate_of(uint64_t id)
{
    uint64_t putter = (id >> 32) - 1, number = id & UINT32_MAX;

    return putter < PUTTERS && number < NUMBERS ? &messages->fates[putter][number] : NULL;
}

#define ID_FORMAT   "message %u of putter-%u"
#define ID_ARGS(id) (unsigned)((id)&UINT32_MAX), (unsigned)((id) >> 32) - 1

/* ---- Bytes ------------------------------------------------------------------------------- */

static uint64_t filling(uint64_t id, size_t i)
{
    return (id + i) * UINT64_C(0x9e3779b97f4a7c15);
}

static uint32_t sum_of(const unsigned char *bytes, size_t size, uint64_t id)
{
    uint64_t sum = id ^ size << 40;

    for (size_t i = sizeof(struct message_head); i < size; i++)
        sum = (sum ^ bytes[i]) * UINT64_C(0x100000001b3);
    return (uint32_t)(sum ^ sum >> 32);
}

static void bytes_fill(unsigned char *bytes, size_t size, uint64_t id)
{
    struct message_head head = {.id = id, .size = (uint32_t)size};

    for (size_t i = sizeof(head); i < size; i++)
        bytes[i] = (unsigned char)(filling(id, i / 8) >> i % 8 * 8);
    head.sum = sum_of(bytes, size, id);
    memcpy(bytes, &head, sizeof(head));
}

uint64_t message_read(const void *bytes, size_t size)
{
    struct message_head head = {0};

    if (size >= sizeof(head))
        memcpy(&head, bytes, sizeof(head));
    if (!fate_of(head.id) || head.size != size ||
        sum_of(bytes, size, head.id) != head.sum) {
        violation("a message of %zu bytes is wrong: it says " ID_FORMAT ", %u bytes",
                  size, ID_ARGS(head.id), head.size);
        return 0;
    }
    return head.id;
}

/* ---- Fates ------------------------------------------------------------------------------- */

uint64_t message_make(unsigned putter, unsigned char *bytes, size_t size)
{
    uint64_t number = atomic_fetch_add(&messages->last[putter], 1) + 1;
    uint64_t id = id_of(putter, number);

    if (number >= NUMBERS) {
        violation("more messages than the ledger has room for");
        exit(1);
    }
    bytes_fill(bytes, size, id);
    atomic_store(fate_of(id), BEGUN);
    return id;
}

void message_was_put(uint64_t id, bool in)
{
    atomic_fetch_or(fate_of(id), (unsigned char)(in ? PUT : REFUSED));
}

void message_was_got(uint64_t id, bool again)
{
    unsigned char old =
        atomic_fetch_or(fate_of(id), (unsigned char)(again ? AGAIN : GOT));

    if (!(old & BEGUN))
        violation(ID_FORMAT " was never put", ID_ARGS(id));
    if (!again && old & (GOT | AGAIN))
        violation(ID_FORMAT " came twice, as new", ID_ARGS(id));
}

static void note_of_dead(uint64_t id, unsigned char note)
{
    _Atomic unsigned char *fate = fate_of(id);

    if (fate && atomic_load(fate) & BEGUN)
        atomic_fetch_or(fate, note);
}

void message_was_held(uint64_t id)
{
    note_of_dead(id, HELD);
}

void message_was_taken(uint64_t id)
{
    note_of_dead(id, TAKEN);
}

void message_was_held_unseen(void)
{
    unseen++;
}

static void missing(uint64_t id)
{
    if (unseen > 0) {
        unseen--;
        total_held++;
        return;
    }
    violation(ID_FORMAT " is lost: its put had ended", ID_ARGS(id));
}

static void fate_check(uint64_t id, unsigned fate)
{
    if (fate & PUT && !(fate & (GOT | AGAIN | HELD)))
        missing(id);
    if (fate & REFUSED && fate & (GOT | AGAIN))
        violation(ID_FORMAT " came, and its put had said no", ID_ARGS(id));
    if (fate & GOT && fate & AGAIN && !(fate & HELD))
        violation(ID_FORMAT " came twice, and nobody died who had it", ID_ARGS(id));
    if (fate & TAKEN && !(fate & AGAIN))
        violation(ID_FORMAT " did not come again: its taker was killed", ID_ARGS(id));
    total += (fate & (GOT | AGAIN)) != 0;
    total_held += (fate & (PUT | GOT | AGAIN | HELD)) == (PUT | HELD);
}

void messages_check(void)
{
    for (unsigned p = 0; p < PUTTERS; p++)
        for (uint64_t n = 1; n <= atomic_load(&messages->last[p]); n++)
            fate_check(id_of(p, n), atomic_load(fate_of(id_of(p, n))));
}

/* ---- The rest ---------------------------------------------------------------------------- */

void messages_set_up(void)
{
    if (!messages)
        messages = plain_shared_new(sizeof(*messages));
    for (unsigned p = 0; p < PUTTERS; p++) {
        memset((void *)messages->fates[p], 0, atomic_load(&messages->last[p]) + 1);
        atomic_store(&messages->last[p], 0);
    }
    most_in_a_burst = unseen = 0;
}

bool messages_run_low(void)
{
    static uint64_t before[PUTTERS];
    bool low = false;

    for (unsigned p = 0; messages && p < PUTTERS; p++) {
        uint64_t last = atomic_load(&messages->last[p]);
        uint64_t since = last >= before[p] ? last - before[p] : last;

        before[p] = last;
        most_in_a_burst = since > most_in_a_burst ? since : most_in_a_burst;
        low |= last + 4 * most_in_a_burst > NUMBERS;
    }
    return low;
}

uint64_t messages_all(void)
{
    return total;
}

uint64_t messages_held(void)
{
    return total_held;
}
