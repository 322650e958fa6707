/* The life of a family, from its first call to its end, told stage by stage. */
#ifndef SOAK_FAMILY_H
#define SOAK_FAMILY_H

#include <stdatomic.h>

enum stage {
    STAGE_BEGIN,    /* a process that has not called piu */
    STAGE_ZYGOTE,   /* piu_init() with a zygote has returned */
    STAGE_CHILDREN, /* queue and locks are there; children are started, one by one */
    STAGE_POOL,     /* all run; the pool is made */
    STAGE_WORK,     /* tasks, messages, locks */
    STAGE_END,      /* pool freed, children ended, exit() */
    STAGES
};

/* Plain memory that a family shares with who kills it. */
struct family_notes {
    _Atomic int stage;
    _Atomic int failed; /* a call that said no: its errno */
    const char *_Atomic failed_in;
};

/* Never returns. */
_Noreturn void family_main(struct family_notes *notes);

#endif
