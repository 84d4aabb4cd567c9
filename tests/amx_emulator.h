/* AMX for machines without it: runs the same machine code, by catching the signal of an unknown instruction. */
#ifndef AMX_EMULATOR_H
#define AMX_EMULATOR_H

#include <stdbool.h>

/* With TREEATTN_EMULATE_AMX set in the environment, on Linux with AVX512_BF16: from now on cpu_machine_features claims
 * AMX, and its instructions are computed here, each in some microseconds. Otherwise, or where the machine has AMX, does
 * nothing. */
void amx_emulator_begin(void);

/* Whether it does that. */
bool amx_emulator_runs(void);

/* Tile instructions that were computed here so far, by all threads. */
unsigned long amx_emulator_count(void);

/* Threads that hold tiles (ldtilecfg without tilerelease). */
int amx_emulator_holders(void);

#endif
