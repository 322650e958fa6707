#ifndef BENCH_FORK_TURNS_H
#define BENCH_FORK_TURNS_H

int fork_turns(double *ret); /* 0 or -errno */

#endif
