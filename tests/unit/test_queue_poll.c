/* The descriptor for poll: readable while there are messages, and not when there are none. */
#include "queues.h"

#include <poll.h>
#include <sys/epoll.h>

static bool is_readable(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};

    return poll(&p, 1, 0) == 1;
}

static int queue_fd(struct piu_queue *q)
{
    int fd = piu_queue_fd(q);

    if (fd == -ENOTSUP)
        SKIP("/proc/self/fd is refused");
    CHECK(fd >= 0);
    return fd;
}

TEST(it_is_readable_as_long_as_there_is_a_message)
{
    struct piu_queue *q = queue_new();
    int fd = queue_fd(q);

    CHECK_EQ(piu_queue_fd(q), fd);
    for (int round = 0; round < 3; round++) {
        CHECK(!is_readable(fd));
        CHECK_EQ(put_int(q, 1, PIU_NOW), 0);
        put_pattern(q, 5000, 2);
        CHECK(is_readable(fd));
        CHECK_EQ(get_int(q, PIU_NOW), 1);
        CHECK(is_readable(fd));
        CHECK(is_readable(fd));
        get_pattern(q, 5000, 2);
        CHECK(!is_readable(fd));
    }
}

TEST(epoll_sees_its_level)
{
    struct piu_queue *q = queue_new();
    struct epoll_event event = {.events = EPOLLIN};
    int fd = queue_fd(q), epoll = epoll_create1(EPOLL_CLOEXEC);
    int batch[3] = {1, 2, 3};
    size_t count;

    CHECK(epoll >= 0);
    CHECK_EQ(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event), 0);
    CHECK_EQ(epoll_wait(epoll, &event, 1, 0), 0);
    CHECK_EQ(in_child({ CHECK_EQ(put_int(q, 1, PIU_NOW), 0); }), 0);
    for (int i = 0; i < 3; i++)
        CHECK_EQ(epoll_wait(epoll, &event, 1, 0), 1);
    CHECK_EQ(get_int(q, PIU_NOW), 1);
    CHECK_EQ(epoll_wait(epoll, &event, 1, 0), 0);
    CHECK_EQ(piu_queue_put_many(q, batch, sizeof(int), 3, &count, PIU_NOW), 0);
    CHECK_EQ(epoll_wait(epoll, &event, 1, 0), 1);
    CHECK_EQ(piu_queue_get_many(q, batch, sizeof(int), 3, &count, PIU_NOW), 0);
    CHECK_EQ(epoll_wait(epoll, &event, 1, 0), 0);
}

TEST(it_is_readable_at_once_if_there_was_a_message_before)
{
    struct piu_queue *q = queue_new();

    CHECK_EQ(put_int(q, 1, PIU_NOW), 0);
    CHECK(is_readable(queue_fd(q)));
}

TEST(a_message_that_another_got_makes_it_unreadable)
{
    struct piu_queue *q = queue_new();
    int fd = queue_fd(q);

    CHECK_EQ(put_int(q, 1, PIU_NOW), 0);
    CHECK_EQ(in_child({ CHECK_EQ(get_int(q, PIU_NOW), 1); }), 0);
    CHECK(!is_readable(fd));
}

TEST(many_members_poll_at_once)
{
    enum { MEMBERS = 20 };
    struct piu_queue *q = queue_new();
    struct notes *notes = test_shared(sizeof(*notes));
    pid_t children[MEMBERS];

    queue_fd(q);
    for (int i = 0; i < MEMBERS; i++)
        children[i] = child_start({
            struct pollfd p = {.fd = queue_fd(q), .events = POLLIN};

            notes->about_to_wait++;
            do
                CHECK_EQ(poll(&p, 1, -1), 1);
            while (get_int(q, PIU_NOW) < 0);
        });
    test_wait_until(notes->about_to_wait == MEMBERS);
    for (int i = 0; i < MEMBERS; i++)
        CHECK_EQ(put_int(q, i, PIU_NOW), 0);
    for (int i = 0; i < MEMBERS; i++)
        CHECK_EQ(child_wait(children[i]), 0);
}

TEST(shutdown_free_and_the_last_putters_end_make_it_readable)
{
    struct piu_queue *q = queue_new(), *freed = queue_new(),
                     *ended = queue_new(.putters = true);
    int fd = queue_fd(q), of_freed = queue_fd(freed), of_ended = queue_fd(ended);

    CHECK_EQ(in_child({
                 piu_queue_shutdown(q);
                 piu_queue_free(freed);
             }),
             0);
    CHECK(is_readable(fd));
    CHECK(is_readable(of_freed));
    CHECK_EQ(get_int(q, PIU_NOW), -EPIPE);
    CHECK(is_readable(fd));
    CHECK_EQ(piu_queue_putter(ended), 0);
    CHECK(!is_readable(of_ended));
    CHECK_EQ(piu_queue_putter_done(ended), 0);
    CHECK(is_readable(of_ended));
}

TEST(what_comes_again_from_a_dead_taker_makes_it_readable)
{
    struct piu_queue *q = queue_new();
    int fd = queue_fd(q);
    size_t size;
    void *bytes;

    put_pattern(q, 10, 1);
    in_child_killed({ CHECK_EQ(piu_queue_take(q, &bytes, &size, PIU_NOW), 0); });
    CHECK(!is_readable(fd));
    CHECK_EQ(in_child({ member_sweep_dead(true); }), 0);
    CHECK(is_readable(fd));
}

TEST(members_that_ended_make_place_for_others)
{
    struct piu_queue *q = queue_new();

    for (int i = 0; i < 200; i++)
        in_child_killed({ queue_fd(q); });
    CHECK(!is_readable(queue_fd(q)));
    CHECK_EQ(put_int(q, 1, PIU_NOW), 0);
    CHECK(is_readable(piu_queue_fd(q)));
}

TEST(free_by_the_poller_closes_its_descriptors)
{
    int first = -1;

    for (int i = 0; i < 50; i++) {
        struct piu_queue *q = queue_new();
        int fd = queue_fd(q);

        if (i == 0)
            first = fd;
        CHECK_EQ(fd, first);
        piu_queue_free(q);
    }
}

TEST(a_program_that_closes_it_gets_another_and_loses_no_descriptor)
{
    struct piu_queue *q = queue_new();
    int fd = queue_fd(q), next = dup(fd);

    CHECK_EQ(close(next), 0);
    for (int i = 0; i < 50; i++) {
        int before = fd;

        CHECK_EQ(close(fd), 0);
        fd = queue_fd(q);
        CHECK_EQ(fd, before);
    }
    CHECK_EQ(dup(fd), next);
    CHECK_EQ(put_int(q, 1, PIU_NOW), 0);
    CHECK(is_readable(fd));
}

TEST(so_many_may_poll_and_no_more_until_one_of_them_ends)
{
    enum { MOST = 63 };
    struct piu_queue *q = queue_new();
    struct notes *notes = test_shared(sizeof(*notes));
    pid_t pollers[MOST];

    for (int i = 0; i < MOST; i++)
        pollers[i] = child_start({
            queue_fd(q);
            notes->count++;
            test_wait_until(notes->unguarded);
        });
    test_wait_until(notes->count == MOST);
    CHECK(piu_queue_fd(q) < 0);
    notes->unguarded = 1;
    for (int i = 0; i < MOST; i++)
        CHECK_EQ(child_wait(pollers[i]), 0);
    queue_fd(q);
}
