/* tree_isa: the instruction sets that tree_attention_cpu has code for, and which of them this machine can run. */
#ifndef TREE_ISA_H
#define TREE_ISA_H

#include <stdbool.h>

#include "tree_shape.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum tree_isa {
    TREE_ISA_AUTO = 0,
    TREE_ISA_PORTABLE,
    TREE_ISA_AVX2,
    TREE_ISA_AVX512,
    TREE_ISA_AVX512_BF16, /* bf16 storage: bf16 dot products, weights rounded to bf16; other storage: as AVX512 */
    TREE_ISA_AMX,         /* bf16 storage: bf16 tiles, weights rounded to bf16; other storage: as AVX512 */
    TREE_NUM_ISAS
} tree_isa;

/* "auto", "portable", "avx2", "avx512", "avx512_bf16", "amx" */
extern const char *const tree_isa_name[TREE_NUM_ISAS];

/* Whether this build has the code for it, this machine has every subset that the code was compiled for (AVX2: also FMA
 * and F16C; AVX512: F, BW, VL and DQ; AMX: tiles and bf16, with all of AVX512_BF16), and the operating system saves the
 * registers.
 *   AMX   Linux saves tiles only for a process that requests them. The first call of a function of this file, of
 *         tree_attention_cpu or of tree_importance_cpu does so, whichever set it is given, once, for all threads and
 *         for children by fork(). From then on a signal frame may take 11 KB. So Linux refuses tiles where a thread
 *         has given a smaller stack to sigaltstack(), and afterwards refuses such a stack. A refusal (for this reason,
 *         by an older kernel, by a sandbox) is final for the process: AMX is not available, and TREE_ISA_AUTO stands
 *         for the next best set. */
bool tree_isa_available(tree_isa isa);

/* The instruction set that TREE_ISA_AUTO stands for on this machine, the same on every call: nothing is timed. It is
 * the last of the list that is available, but for CPUs (Intel's Sapphire Rapids and Emerald Rapids, by family and
 * model) that multiply bf16 pairs at half the speed of floats: there AVX512 goes before AVX512_BF16. */
tree_isa tree_isa_best(void);

/* The instruction set whose code runs for this argument and storage. isa: TREE_ISA_AUTO or one that is available. */
tree_isa tree_isa_for(tree_isa isa, tree_storage storage);

#ifdef __cplusplus
}
#endif
#endif
