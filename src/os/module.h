/*
 * Functions by name of their module: a code address as (build-id, offset), so that it
 * means the same in a process with another layout.
 */
#ifndef PIU_OS_MODULE_H
#define PIU_OS_MODULE_H

#include "os/base.h"

#define BUILD_ID_MAX    32
#define MODULE_PATH_MAX 224

struct code_address {
    uint8_t build_id[BUILD_ID_MAX]; /* zeroes behind it */
    uint32_t
        build_id_size; /* 0: the module has none, then its path and the file's size, */
                       /* in the first 8 bytes of build_id, count */
    uint32_t reserved;
    uint64_t offset;            /* from the module's load address */
    char path[MODULE_PATH_MAX]; /* "" for the main program: /proc/self/exe is meant */
};

/*
 * -EFAULT: not the address of code of any loaded module.  -ENAMETOOLONG: its path does not
 * fit and it has no build-id either.  Any thread; the last module is remembered by thread.
 */
int code_address_of(void (*function)(void), struct code_address *ret);
/*
 * The other way.  A module that is not loaded is opened by its path (dlopen, RTLD_NOW) and
 * its build-id compared: -ENOEXEC if it is missing or another build, or there is no code.
 */
int code_address_resolve(const struct code_address *code, void (**ret)(void));

#endif
