#include <piu.h>

#include <stdio.h>
#include <string.h>

/* a child adds to a shared sum under a lock; the sum and the version come out right */
struct account {
    struct piu_lock lock;
    int sum;
};

struct saver {
    struct piu_process process;
    struct account *account;
};

static int save(struct account *account, int amount)
{
    int r = piu_lock_acquire(&account->lock, PIU_FOREVER);

    if (r < 0)
        return r;
    account->sum += amount;
    return piu_lock_release(&account->lock);
}

static int saver_run(struct piu_process *process)
{
    struct saver *self = piu_container_of(process, struct saver, process);

    return save(self->account, 40) < 0;
}

int main(void)
{
    struct account *account = piu_shared_new(1, sizeof(*account));
    struct saver saver = {.process.run = saver_run, .account = account};
    int exitcode = -1;

    if (!account || strcmp(piu_version(), PIU_VERSION) != 0)
        return 1;
    if (piu_process_start(&saver.process) < 0 || save(account, 2) < 0)
        return 2;
    if (piu_process_join(&saver.process, PIU_FOREVER) < 0 ||
        piu_process_exitcode(&saver.process, &exitcode) < 0 || exitcode != 0)
        return 3;
    printf("piu %s: %d\n", piu_version(), account->sum);
    return account->sum == 42 ? 0 : 4;
}
