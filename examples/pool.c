/* A pool of 4 processes that squares the numbers 1 to 5. */
#include <piu.h>
#include <stdio.h>

static int square(int x)
{
    return x * x;
}

int main(void)
{
    struct piu_pool *pool = piu_pool_new(.processes = 4);
    int in[] = {1, 2, 3, 4, 5}, out[5];
    int r = piu_map(pool, square, in, out);

    if (r == 0)
        printf("[%d, %d, %d, %d, %d]\n", out[0], out[1], out[2], out[3], out[4]);
    else
        fprintf(stderr, "pool: %s\n", piu_strerror(r));
    piu_pool_free(pool);
    return r != 0;
}
