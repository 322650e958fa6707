/* A family that another program joins because it was told so: piu_family_text, piu_family_join. */
#include "test.h"

#include "shm/member.h"

#include <piu.h>

#include <fcntl.h>

/* The program is this one again: `argv` is "join", text, descriptor, handle's three numbers. */
static int role(char **argv)
{
    int fd = atoi(argv[3]);
    struct piu_handle h = {strtoull(argv[4], NULL, 16), strtoull(argv[5], NULL, 16),
                           strtoull(argv[6], NULL, 16)};
    struct piu_hold hold;
    uint64_t who;
    int r = argv[7] ? member_who(&who) : 0; /* with a family of its own already */

    if (r == 0)
        r = piu_family_join(argv[2], fd);
    if (r == 0)
        r = piu_family_join(argv[2], fcntl(fd, F_DUPFD_CLOEXEC, 0)); /* again: the same */
    if (r == 0)
        r = piu_hold_take(&hold, &h);
    if (r == 0)
        r = piu_lock_release(hold.object);
    if (r == 0 && fcntl(fd, F_GETFD) >= 0 && !(fcntl(fd, F_GETFD) & FD_CLOEXEC))
        return 99; /* one of the two descriptors is closed, the other is the family's alone */
    return r == 0 ? piu_family() == h.family : -r;
}

__attribute__((constructor(200))) static void begin(int argc, char **argv)
{
    if (argc > 6 && strcmp(argv[1], "join") == 0)
        exit(role(argv));
}

/* What the other program's exit code is. */
static int told(const struct piu_hold *hold, const char *more)
{
    char text[128], fd_text[16], numbers[3][24];
    char *argv[] = {"test_join", "join",     text, fd_text, numbers[0],
                    numbers[1],  numbers[2], NULL, NULL};
    int fd, status;

    argv[7] = (char *)(uintptr_t)more;
    CHECK_EQ(piu_family_text(text, sizeof(text), &fd), 0);
    snprintf(numbers[0], 24, "%llx", (unsigned long long)hold->handle.family);
    snprintf(numbers[1], 24, "%llx", (unsigned long long)hold->handle.number);
    snprintf(numbers[2], 24, "%llx", (unsigned long long)hold->handle.generation);
    status = in_child({
        int copy = dup(fd); /* without close-on-exec */

        snprintf(fd_text, sizeof(fd_text), "%d", copy);
        execv("/proc/self/exe", argv);
        _exit(100);
    });
    CHECK(WIFEXITED(status));
    return WEXITSTATUS(status);
}

TEST(a_program_that_is_told_of_the_family_joins_it)
{
    struct piu_hold hold;

    CHECK_EQ(piu_hold_new(&hold, PIU_KIND_MEMORY, sizeof(struct piu_lock)), 0);
    CHECK_EQ(piu_lock_acquire(hold.object, PIU_NOW), 0);
    CHECK_EQ(told(&hold, NULL), 1);
    CHECK(!piu_lock_is_locked(hold.object));
    CHECK_EQ(piu_hold_drop(&hold), 0);
}

TEST(a_program_with_a_family_of_its_own_cannot_join_another)
{
    struct piu_hold hold;

    CHECK_EQ(piu_hold_new(&hold, PIU_KIND_MEMORY, sizeof(struct piu_lock)), 0);
    CHECK_EQ(told(&hold, "first its own"), EBUSY);
}

TEST(what_is_no_family_is_refused)
{
    char text[128];
    int fd;

    CHECK_EQ(piu_family_text(text, sizeof(text), &fd), 0);
    CHECK_EQ(piu_family_text(text, 8, &fd), -ENAMETOOLONG);
    CHECK_EQ(piu_family_text(text, sizeof(text), NULL), -EINVAL);
    CHECK_EQ(piu_family_text(text, sizeof(text), &fd), 0);
    CHECK_EQ(piu_family_join(NULL, 0), -EINVAL);
    CHECK_EQ(piu_family_join("nonsense", fd), -EINVAL);
    CHECK_EQ(piu_family_join(text, STDIN_FILENO), -EINVAL);
    CHECK_EQ(piu_family_join(text, -1), -EINVAL);
    CHECK_EQ(piu_family_join(text, fd), 0); /* its own: it is */
}

TEST(to_leave_and_then_exit_at_once_is_no_death)
{
    struct piu_hold hold;
    int status;

    CHECK_EQ(piu_hold_new(&hold, PIU_KIND_MEMORY, sizeof(struct piu_lock)), 0);
    status = in_child({
        piu_lock_acquire(hold.object, PIU_FOREVER);
        piu_leave();
        _exit(0);
    });
    CHECK_EQ(status, 0);
    CHECK_EQ(piu_lock_acquire(hold.object, PIU_MSEC(50)), -ETIMEDOUT);
    CHECK_EQ(piu_lock_release(hold.object), 0);
    CHECK_EQ(piu_lock_acquire(hold.object, PIU_NOW), 0);
    status = in_child({
        piu_lock_release(hold.object);
        piu_lock_acquire(hold.object, PIU_FOREVER);
        _exit(0);
    });
    CHECK_EQ(status, 0);
    CHECK_EQ(piu_lock_acquire(hold.object, PIU_FOREVER), PIU_OWNER_DIED);
}
