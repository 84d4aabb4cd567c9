/* tree_isa: the instruction sets that tree_attention_cpu has code for, and which of them this machine can run. */
#ifndef TREE_ISA_H
#define TREE_ISA_H

#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum tree_isa {
    TREE_ISA_AUTO = 0,
    TREE_ISA_PORTABLE,
    TREE_ISA_AVX2,
    TREE_ISA_AVX512,
    TREE_ISA_AVX512_BF16, /* bf16 storage: bf16 dot products, weights rounded to bf16; other storage: as AVX512 */
    TREE_NUM_ISAS
} tree_isa;

extern const char *const tree_isa_name[TREE_NUM_ISAS]; /* "auto", "portable", "avx2", "avx512", "avx512_bf16" */

/* Whether this build has the code for it, this machine has every subset that the code was compiled for (AVX2: also FMA
 * and F16C; AVX512: F, BW, VL and DQ), and the operating system saves the registers. */
bool tree_isa_available(tree_isa isa);

/* The instruction set that TREE_ISA_AUTO stands for on this machine. */
tree_isa tree_isa_best(void);

#ifdef __cplusplus
}
#endif
#endif
