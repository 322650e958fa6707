#include "map_rows.h"

__attribute__((noinline)) int map_work(int x)
{
    return (int)((unsigned)x * (unsigned)x);
}

void map_begin(int *in)
{
    for (int i = 0; i < MAP_ITEMS; i++)
        in[i] = i;
}

int map_check(const int *in, const int *out)
{
    for (int i = 0; i < MAP_ITEMS; i++)
        if (out[i] != map_work(in[i]))
            return -EBADMSG;
    return 0;
}

int map_time(int (*map)(void *arg, const int *in, int *out), void *arg, int *in, int *out,
             double *ret)
{
    int64_t start = 0;
    int r = 0;

    map_begin(in);
    for (int i = 0; i < 3 && r == 0; i++) {
        start = clock_now();
        r = map(arg, in, out);
    }
    *ret = (double)(clock_now() - start) / MAP_ITEMS;
    return r < 0 ? r : map_check(in, out);
}
