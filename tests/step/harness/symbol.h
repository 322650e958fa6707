/* Where an address is: "symbol+0x12, file.c:34". */
#ifndef STEP_SYMBOL_H
#define STEP_SYMBOL_H

#include <stdint.h>

const char *symbol_name(uint64_t address); /* static memory */

#endif
