/* The choice of an instruction set. Each object file of the fast path says which subsets it was compiled for
 * (cpu_kernel.needs, from the compiler's own macros), so a kernel runs only on a machine that has every subset that its
 * flags allow. */
#ifndef TREE_ISA_INTERNAL_H
#define TREE_ISA_INTERNAL_H

#include "tree_attention_cpu_tile.h"
#include "tree_isa.h"

enum {
    CPU_AVX2 = 1 << 0,
    CPU_FMA = 1 << 1,
    CPU_F16C = 1 << 2,
    CPU_AVX512F = 1 << 3,
    CPU_AVX512BW = 1 << 4,
    CPU_AVX512VL = 1 << 5,
    CPU_AVX512DQ = 1 << 6,
    CPU_AVX512BF16 = 1 << 7,
    CPU_AMX_TILE = 1 << 8,
    CPU_AMX_BF16 = 1 << 9,
    CPU_SLOW_PAIRS = 1 << 10, /* a trait: AVX512BF16 multiplies fewer numbers a cycle than AVX512F */
    CPU_ALL_FEATURES = (1 << 11) - 1
};

/* The features of this machine whose registers the operating system saves: tree_isa_machine.c. */
uint32_t cpu_machine_features(void);

/* CPU_SLOW_PAIRS or 0. The three numbers are those of the CPUID instruction, decoded. */
uint32_t cpu_traits_of(bool is_intel, uint32_t family, uint32_t model);

/* Whether a machine with these features can run the instruction set, and the best set that it can run. */
bool cpu_features_suffice(uint32_t features, tree_isa isa);
tree_isa cpu_best_isa(uint32_t features);

/* isa: not TREE_ISA_AUTO. */
const cpu_kernel *cpu_kernel_of(tree_isa isa, tree_storage storage);

extern const cpu_kernel cpu_kernel_portable, cpu_kernel_avx2, cpu_kernel_avx512, cpu_kernel_avx512_bf16,
    cpu_kernel_amx;

#endif
