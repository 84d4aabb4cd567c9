/* tree_isa: see tree_isa.h. */
#include "tree_isa.h"

#include "tree_isa_internal.h"

const char *const tree_isa_name[TREE_NUM_ISAS] = {"auto", "portable", "avx2", "avx512", "avx512_bf16", "amx"};

/* The cores of Sapphire Rapids and Emerald Rapids start two fused multiply-adds of 16 floats a cycle, but only one
 * multiplication of 16 pairs in two cycles: half as many products. */
uint32_t cpu_traits_of(bool is_intel, uint32_t family, uint32_t model)
{
    enum { SAPPHIRE_RAPIDS = 143, EMERALD_RAPIDS = 207 };
    return is_intel && family == 6 && (model == SAPPHIRE_RAPIDS || model == EMERALD_RAPIDS) ? CPU_SLOW_PAIRS : 0;
}

const cpu_kernel *cpu_kernel_of(tree_isa isa, tree_storage storage)
{
#ifdef TREE_HAVE_X86
    if (isa == TREE_ISA_AMX && storage == TREE_BF16)
        return &cpu_kernel_amx;
    if (isa == TREE_ISA_AVX512_BF16 && storage == TREE_BF16)
        return &cpu_kernel_avx512_bf16;
    if (isa >= TREE_ISA_AVX512)
        return &cpu_kernel_avx512;
    if (isa == TREE_ISA_AVX2)
        return &cpu_kernel_avx2;
#endif
    (void)isa, (void)storage;
    return &cpu_kernel_portable;
}

bool cpu_features_suffice(uint32_t features, tree_isa isa)
{
    if (isa == TREE_ISA_AUTO || isa == TREE_ISA_PORTABLE)
        return true;
#ifdef TREE_HAVE_X86
    uint32_t needs = cpu_kernel_of(isa, TREE_FP32)->needs | cpu_kernel_of(isa, TREE_BF16)->needs;
    return (unsigned)isa < TREE_NUM_ISAS && (features & needs) == needs;
#else
    (void)features;
    return false;
#endif
}

tree_isa cpu_best_isa(uint32_t features)
{
    tree_isa isa = TREE_NUM_ISAS - 1;
    while (!cpu_features_suffice(features, isa) || (isa == TREE_ISA_AVX512_BF16 && features & CPU_SLOW_PAIRS))
        isa--;
    return isa;
}

bool tree_isa_available(tree_isa isa) { return cpu_features_suffice(cpu_machine_features(), isa); }

tree_isa tree_isa_best(void) { return cpu_best_isa(cpu_machine_features()); }

tree_isa tree_isa_for(tree_isa isa, tree_storage storage)
{
    isa = isa == TREE_ISA_AUTO ? tree_isa_best() : isa;
    return isa > TREE_ISA_AVX512 && storage != TREE_BF16 ? TREE_ISA_AVX512 : isa;
}
