/*
 * Private memory that is all zero after any kind of fork: MADV_WIPEONFORK.  (A vfork child
 * sees its parent's; it may not call piu.)
 */
#ifndef PIU_OS_WIPED_H
#define PIU_OS_WIPED_H

#include "os/base.h"

int wiped_new(size_t size,
              void **ret); /* whole pages, zero; lives as long as the process */

#endif
