/*
 * Where the numbers come from: told at the top of the table and in the JSON.
 */
#ifndef BENCH_MACHINE_H
#define BENCH_MACHINE_H

#include <stdio.h>

struct machine {
    char cpu[96];
    char kernel[96];
    unsigned cpus;        /* that this process may use */
    unsigned long memory; /* MB */
    double pp_first,
        pp_last; /* ns, before the first row and after the last; NAN: one CPU */
};

void machine_look(struct machine *m);
void machine_print(const struct machine *m, FILE *out);
void machine_print_pp(const struct machine *m,
                      FILE *out); /* near or far, and did it change */
void machine_json(const struct machine *m, char *ret, size_t room);

#endif
