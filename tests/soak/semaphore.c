/* Semaphores: never more holders than units, and all units are back at the end. */
#include "soak.h"

#include "sync/semaphore.h"

#define UNITS 2u
#define USERS 4u

static struct piu_semaphore *semaphore; /* piu's shared memory */
static struct {                         /* plain shared */
    _Atomic uint64_t holds[USERS];      /* odd: it holds a unit; counts for ever */
} * seen;

static void set_up(void)
{
    unsigned flags = ledger->rounds % 2 ? PIU_BOUNDED : PIU_RECOVER;

    if (!seen)
        seen = plain_shared_new(sizeof(*seen));
    for (unsigned i = 0; i < USERS; i++)
        atomic_store(&seen->holds[i], 0);
    semaphore = piu_shared_new(1, sizeof(*semaphore));
    if (!semaphore || piu_semaphore_init(semaphore, UNITS, flags) != 0)
        violation("the semaphore cannot be made");
}

static struct actor *user(unsigned i)
{
    return self - self->number + i;
}

/* Those who hold a unit and are not about to die; each with its count. */
static unsigned holders_look(uint64_t ret[USERS])
{
    unsigned many = 0;

    for (unsigned i = 0; i < USERS; i++) {
        ret[i] = atomic_load(&seen->holds[i]);
        many += ret[i] % 2 && !atomic_load(&user(i)->doomed);
    }
    return many;
}

/* Twice the same, so all of that was true at one moment between. */
static void holders_check(void)
{
    uint64_t first[USERS], second[USERS];
    unsigned many = holders_look(first);

    if (many > UNITS && holders_look(second) == many &&
        memcmp(first, second, sizeof(first)) == 0)
        violation("%u hold a unit of %u", many, UNITS);
}

static void user_play(struct actor *a)
{
    while (!atomic_load(&a->stop)) {
        int64_t timeout = now_and_then(8) ? PIU_MSEC(1) : PIU_FOREVER;
        int r = ACT("acquire", piu_semaphore_acquire(semaphore, timeout));

        if (r < 0) {
            if (r != -ETIMEDOUT)
                violation("acquire: %s", piu_strerror(r));
            continue;
        }
        atomic_fetch_add(&seen->holds[a->number], 1);
        holders_check();
        if (now_and_then(16))
            usleep(0);
        atomic_fetch_add(&seen->holds[a->number], 1);
        r = ACT("release", piu_semaphore_release(semaphore));
        if (r != 0)
            violation("release: %s", piu_strerror(r));
        if (now_and_then(2))
            usleep(20); /* elsewhere: those who sleep get their turn */
    }
}

static void user_died(struct actor *a)
{
    _Atomic uint64_t *holds = &seen->holds[a->number];

    atomic_store(holds, (atomic_load(holds) + 1) & ~UINT64_C(1));
}

static void check(void)
{
    unsigned units = 0;

    if (!semaphore_check(semaphore))
        violation("the semaphore is not sound");
    while (units <= UNITS && piu_semaphore_acquire(semaphore, PIU_NOW) >= 0)
        units++;
    if (units != UNITS)
        violation("%u units are left of %u", units, UNITS);
    piu_semaphore_done(semaphore);
    semaphore = piu_shared_free(semaphore);
}

const struct subject semaphore_subject = {
    .name = "semaphore",
    .set_up = set_up,
    .check = check,
    .roles = {{.name = "acquirer", .count = USERS, .play = user_play, .died = user_died}},
};
