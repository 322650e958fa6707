/* Exercise 4: a pool over a list of numbers: which of them are prime? */
#include <piu.h>
#include <errno.h>
#include <stdio.h>

static int complain(const char *what, int r)
{
    fprintf(stderr, "%s: %s\n", what, piu_strerror(r));
    return 1;
}

static long smallest_factor(long n)
{
    for (long factor = 2; factor * factor <= n; factor++)
        if (n % factor == 0)
            return factor;
    return n;
}

int main(void)
{
    struct piu_pool *pool = piu_pool_new(); /* a process for each CPU that we may use */
    long numbers[] = {112272535095293, 112582705942171, 115280095190773,
                      115797848077099, 117450548693743, 1099726899285419};
    long factors[PIU_LENGTH(numbers)];
    int r;

    if (pool == NULL)
        return complain("pool", -errno);
    r = piu_map(pool, smallest_factor, numbers, factors);
    if (r != 0)
        return complain("map", r);
    for (size_t i = 0; i < PIU_LENGTH(numbers); i++)
        if (factors[i] == numbers[i])
            printf("%ld is prime\n", numbers[i]);
        else
            printf("%ld is %ld times %ld\n", numbers[i], factors[i],
                   numbers[i] / factors[i]);
    piu_pool_free(pool);
    return 0;
}
