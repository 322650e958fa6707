/* Boost.Interprocess, the one peer that is C++: as a channel (see stream.h). */
#ifndef BENCH_PEERS_BOOST_H
#define BENCH_PEERS_BOOST_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

int boost_channel_new(size_t size, void **ret);
int boost_put(void *channel, void *data, size_t size);
int boost_get(void *channel, void *data, size_t size);

#ifdef __cplusplus
}
#endif
#endif
