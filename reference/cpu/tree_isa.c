/* tree_isa: see tree_isa.h. */
#include "tree_isa.h"

#ifdef TREE_HAVE_X86
#include <cpuid.h>
#if defined(__GLIBC__) && (__GLIBC__ > 2 || __GLIBC_MINOR__ >= 33)
#include <sys/platform/x86.h>
#endif
#endif

#include "tree_isa_internal.h"

const char *const tree_isa_name[TREE_NUM_ISAS] = {"auto", "portable", "avx2", "avx512", "avx512_bf16"};

#ifdef TREE_HAVE_X86
static bool supports_f16c(void)
{
#if !defined(__clang__) && __GNUC__ >= 11
    return __builtin_cpu_supports("f16c");
#elif defined(CPU_FEATURE_ACTIVE)
    return CPU_FEATURE_ACTIVE(F16C);
#else
    unsigned eax, ebx, ecx, edx;
    return __get_cpuid(1, &eax, &ebx, &ecx, &edx) && ecx & bit_F16C;
#endif
}
#endif

/* From a table that the C runtime fills before main: the CPUID instruction takes 30 us on a virtual machine. */
uint32_t cpu_machine_features(void)
{
    uint32_t features = 0;
#ifdef TREE_HAVE_X86
#define ADD_IF(supported, feature) features |= (supported) ? (uint32_t)(feature) : 0
    ADD_IF(__builtin_cpu_supports("avx2"), CPU_AVX2);
    ADD_IF(__builtin_cpu_supports("fma"), CPU_FMA);
    ADD_IF(supports_f16c(), CPU_F16C);
    ADD_IF(__builtin_cpu_supports("avx512f"), CPU_AVX512F);
    ADD_IF(__builtin_cpu_supports("avx512bw"), CPU_AVX512BW);
    ADD_IF(__builtin_cpu_supports("avx512vl"), CPU_AVX512VL);
    ADD_IF(__builtin_cpu_supports("avx512dq"), CPU_AVX512DQ);
    ADD_IF(__builtin_cpu_supports("avx512bf16"), CPU_AVX512BF16);
#undef ADD_IF
#endif
    return features;
}

const cpu_kernel *cpu_kernel_of(tree_isa isa, tree_storage storage)
{
#ifdef TREE_HAVE_X86
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
    while (!cpu_features_suffice(features, isa))
        isa--;
    return isa;
}

bool tree_isa_available(tree_isa isa) { return cpu_features_suffice(cpu_machine_features(), isa); }

tree_isa tree_isa_best(void) { return cpu_best_isa(cpu_machine_features()); }
