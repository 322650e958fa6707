/* The event's inside, for piu_wait_any and tests. */
#ifndef PIU_SYNC_EVENT_H
#define PIU_SYNC_EVENT_H

#include "os/base.h"

#include <piu.h>

/*
 * The word that changes when the event is set, for a sleep while it is *ret_expected (in
 * slices).  NULL: it is set now.
 */
const _Atomic uint32_t *event_watch(struct piu_event *e, uint32_t *ret_expected);
bool event_check(const struct piu_event *e);

#endif
