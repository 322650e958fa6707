/* Exercise 1: two processes that run different functions, side by side. */
#include <piu.h>
#include <stdio.h>

static int complain(const char *what, int r)
{
    fprintf(stderr, "%s: %s\n", what, piu_strerror(r));
    return 1;
}

static int count_primes(void *argument)
{
    int limit = *(int *)argument, primes = 0;

    for (int n = 2; n < limit; n++) {
        int divisor = 2;

        while (divisor * divisor <= n && n % divisor != 0)
            divisor++;
        if (divisor * divisor > n)
            primes++;
    }
    printf("%d primes are below %d\n", primes, limit);
    return 0;
}

static int count_steps(void *argument)
{
    int start = *(int *)argument, steps = 0;

    for (long n = start; n != 1; n = n % 2 == 0 ? n / 2 : 3 * n + 1)
        steps++;
    printf("%d takes %d steps of Collatz to 1\n", start, steps);
    return 0;
}

int main(void)
{
    int limit = 200000, start = 837799;
    struct piu_process primes = {.target = count_primes, .argument = &limit};
    struct piu_process steps = {.target = count_steps, .argument = &start};
    int r;

    r = piu_process_start(&primes);
    if (r < 0)
        return complain("primes", r);
    r = piu_process_start(&steps);
    if (r < 0)
        return complain("steps", r);
    r = piu_process_join(&primes, PIU_FOREVER);
    if (r < 0)
        return complain("primes", r);
    r = piu_process_join(&steps, PIU_FOREVER);
    if (r < 0)
        return complain("steps", r);
    printf("Both are done.\n");
    return 0;
}
