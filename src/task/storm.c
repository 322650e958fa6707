/* Storms: counted in series, and slowed down. */
#include "task/storm.h"

#include "os/clock.h"

#include <signal.h>

#define STORM_TIME  (5 * SEC)
#define PEACE       (1 * SEC)
#define PAUSE_FIRST (10 * MSEC)
#define PAUSE_LAST  (250 * MSEC)

/* Signals that a process does not get from what it does, but from somebody. */
static bool was_killed(const struct piu_death *death)
{
    switch (-death->exitcode) {
    case SIGKILL:
    case SIGTERM:
    case SIGINT:
    case SIGHUP:
    case SIGQUIT:
        return true;
    default:
        return false;
    }
}

static int64_t pause_after(unsigned times)
{
    return times < 5 ? min_timeout(PAUSE_FIRST << times, PAUSE_LAST) : PAUSE_LAST;
}

/* Deaths in the initializer are one series, however long it takes. */
static bool is_over(const struct storm *s, bool was_born, uint64_t tasks, int64_t now)
{
    return tasks != s->tasks || (was_born && now - s->last > PEACE);
}

bool storm_note_death(struct storm *s, const struct piu_death *death, bool was_born,
                      unsigned places, uint64_t tasks, int64_t now)
{
    unsigned most = (unsigned)max_u64(3, places);

    if (s->deaths == 0 || is_over(s, was_born, tasks, now)) {
        s->deaths = s->own = 0;
        s->began = now;
        s->tasks = tasks;
        s->next = 0;
    }
    s->last = now;
    s->deaths++;
    s->own += !was_killed(death);
    if (s->deaths > most)
        s->next = now + pause_after(s->deaths - most - 1);
    return s->own > most || (s->deaths > most && now - s->began > STORM_TIME);
}

bool storm_note_start(struct storm *s, int r, int64_t now)
{
    if (r == 0) {
        s->failures = 0;
        s->failing = 0;
        return false;
    }
    if (s->failures == 0)
        s->failing = now;
    s->next = now + pause_after(s->failures++);
    return now - s->failing > STORM_TIME;
}

int64_t storm_pause(const struct storm *s, int64_t now)
{
    return s->next > now ? s->next - now : 0;
}
