/* What of a case this share is to do. */
#include "job.h"

#include "os/clock.h"

const char *const death_names[DEATHS] = {"kill", "exit", "exec"};

size_t spread(size_t i, size_t most)
{
    size_t stride = (size_t)((double)(most + 1) * 0.618) | 1, a, b;

    for (;; stride++) {
        for (a = stride, b = most + 1; b;) {
            size_t rest = a % b;

            a = b;
            b = rest;
        }
        if (a == 1)
            return i * stride % (most + 1);
    }
}

bool time_is_up(void)
{
    return *job.plan->stop || clock_now() >= job.plan->until;
}

bool share_next(size_t many, size_t *ret)
{
    _Atomic size_t *next = &job.count->next[job.plan->share];

    while (*next < many && !time_is_up()) {
        *ret = (*next)++;
        if (*ret % job.plan->shares == job.plan->share)
            return true;
    }
    return false;
}
