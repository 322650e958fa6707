/* Children that are wrong: see programs.h. */
#include "programs.h"

/* The claim of one that ended before it joined is given back by nobody. */
#define member_unclaim(id) ((void)(id))

#define child_fork child_fork_claimed_for_ever
#define child_join child_join_claimed_for_ever

/* what else there is in it, so that its names are not there twice */
#pragma GCC diagnostic ignored "-Wmissing-prototypes"
#define child_be         broken_child_be
#define child_done       broken_child_done
#define child_end        broken_child_end
#define child_has_execed broken_child_has_execed
#define child_prepare    broken_child_prepare
#define child_set_death  broken_child_set_death
#define child_wait_end   broken_child_wait_end
#define child_watch      broken_child_watch

#include "task/child.c"
