#include "peers_boost.h"

#include <boost/interprocess/ipc/message_queue.hpp>
#include <cerrno>
#include <string>
#include <unistd.h>

using boost::interprocess::message_queue;

/* Its name is gone at once: the children have the mapping by fork. */
int boost_channel_new(size_t size, void **ret)
{
    static unsigned made;
    std::string name =
        "piu-bench-" + std::to_string(getpid()) + "-" + std::to_string(made++);
    size_t room = size > 4096 ? 8 : 1024;

    try {
        *ret =
            new message_queue(boost::interprocess::create_only, name.c_str(), room, size);
        message_queue::remove(name.c_str());
        return 0;
    } catch (...) {
        return -ENOMEM;
    }
}

int boost_put(void *channel, void *data, size_t size)
{
    try {
        static_cast<message_queue *>(channel)->send(data, size, 0);
        return 0;
    } catch (...) {
        return -EIO;
    }
}

int boost_get(void *channel, void *data, size_t size)
{
    message_queue::size_type got;
    unsigned priority;

    try {
        static_cast<message_queue *>(channel)->receive(data, size, got, priority);
        return got == size ? 0 : -EIO;
    } catch (...) {
        return -EIO;
    }
}
