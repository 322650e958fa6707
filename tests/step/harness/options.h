/* What the command line says. */
#ifndef STEP_OPTIONS_H
#define STEP_OPTIONS_H

#include "plan.h"

enum mode { ALL, QUICK, PAIRS, SELFTEST, MODES };

struct options {
    enum mode mode;
    bool list;
    unsigned jobs;
    size_t budget, seconds; /* 0: none is given */
    char **names;
    int name_count;
};

extern struct options options;
extern struct kill_plan plan; /* of the case that is done now */

void options_read(int argc, char **argv);

static inline bool one_is_wanted(void)
{
    return plan.at != SIZE_MAX;
}

#endif
