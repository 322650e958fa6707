/* A victim that takes long to end: it is said where it stands. */
#ifndef SOAK_SLOW_H
#define SOAK_SLOW_H

#include "soak.h"

/* It was killed.  Returns when it has ended, or when it took long and that was said. */
void slow_await_end(const struct actor *a);

#endif
