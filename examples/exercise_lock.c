/* Exercise 3: a bank account, shared by two processes and protected by a lock. */
#include <piu.h>
#include <errno.h>
#include <stdio.h>

struct account {          /* in shared memory */
    struct piu_lock lock; /* all bytes zero: unlocked */
    long balance;
    long bookings;
};

static int complain(const char *what, int r)
{
    fprintf(stderr, "%s: %s\n", what, piu_strerror(r));
    return 1;
}

static int book(struct account *account, long amount)
{
    for (int i = 0; i < 10000; i++) {
        int r = piu_lock_acquire(&account->lock, PIU_FOREVER);

        if (r < 0)
            return complain("acquire", r);
        account->balance += amount;
        account->bookings++;
        piu_lock_release(&account->lock);
    }
    return 0;
}

static int pay_in(void *account)
{
    return book(account, +5);
}

static int pay_out(void *account)
{
    return book(account, -3);
}

int main(void)
{
    struct account *account = piu_shared_new(1, sizeof(*account));
    struct piu_process in = {.target = pay_in, .argument = account};
    struct piu_process out = {.target = pay_out, .argument = account};
    int r;

    if (account == NULL)
        return complain("memory", -errno);
    account->balance = 100;
    if ((r = piu_process_start(&in)) < 0 || (r = piu_process_start(&out)) < 0)
        return complain("start", r);
    if ((r = piu_process_join(&in, PIU_FOREVER)) < 0 ||
        (r = piu_process_join(&out, PIU_FOREVER)) < 0)
        return complain("join", r);
    printf("balance %ld after %ld bookings\n", account->balance, account->bookings);
    piu_shared_free(account);
    return 0;
}
