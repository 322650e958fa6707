/*
 * The map of 10 M ints: what every peer and piu computes, and on what.
 */
#ifndef BENCH_MAP_ROWS_H
#define BENCH_MAP_ROWS_H

#include "measure.h"

enum { MAP_ITEMS = 10 * 1000 * 1000 };

/* One item.  Not inlined anywhere, so that nobody's compiler turns it into vectors. */
int map_work(int x);

/* Fill `in`, and look at `out` after a map. */
void map_begin(int *in);
int map_check(const int *in, const int *out); /* 0 or -EBADMSG */

/*
 * ns an item: twice unmeasured (page tables, threads), then measured.
 */
int map_time(int (*map)(void *arg, const int *in, int *out), void *arg, int *in, int *out,
             double *ret);

#endif
