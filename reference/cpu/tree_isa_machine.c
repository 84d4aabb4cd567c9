/* cpu_machine_features: what this CPU has and this operating system saves. A file of its own, so that a test can put
 * another machine in its place. */
#define _DEFAULT_SOURCE /* syscall */
#include "tree_isa_internal.h"

#ifdef TREE_HAVE_X86
#include <cpuid.h>
#include <stdatomic.h>
#if defined(__GLIBC__) && (__GLIBC__ > 2 || __GLIBC_MINOR__ >= 33)
#include <sys/platform/x86.h>
#endif
#ifdef __linux__
#include <sys/syscall.h>
#include <unistd.h>
#endif

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

/* Whether the operating system has switched tiles on, and gives them to this process. */
static bool tiles_are_granted(void)
{
#if defined(__linux__) && defined(SYS_arch_prctl)
    enum { REQUEST_PERMISSION = 0x1023, TILE_DATA = 18, TILE_STATES = 3 << 17 };
    unsigned eax, ebx, ecx, edx;
    if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx) || !(ecx & bit_OSXSAVE))
        return false;
    __asm__ volatile("xgetbv" : "=a"(eax), "=d"(edx) : "c"(0));
    return (eax & TILE_STATES) == TILE_STATES && syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
#else
    return false;
#endif
}

/* What the C runtime's table lacks. */
static uint32_t ask_cpu_and_kernel(void)
{
    enum { AMX_BF16 = 1 << 22, AMX_TILE = 1 << 24 }; /* of leaf 7, edx */
    unsigned eax, ebx, ecx, edx;
    uint32_t features = 0;
    if (!__get_cpuid(0, &eax, &ebx, &ecx, &edx))
        return features;
    bool is_intel = ebx == signature_INTEL_ebx && edx == signature_INTEL_edx && ecx == signature_INTEL_ecx;
    if (__get_cpuid(1, &eax, &ebx, &ecx, &edx)) {
        uint32_t family = eax >> 8 & 15, model = (eax >> 4 & 15) | (eax >> 12 & 0xf0);
        features |= cpu_traits_of(is_intel, family, model);
    }
    if (__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) && edx & AMX_TILE && tiles_are_granted())
        features |= CPU_AMX_TILE | (edx & AMX_BF16 ? (uint32_t)CPU_AMX_BF16 : 0);
    return features;
}

/* Once per process: the CPUID instruction takes 30 us on a virtual machine. Threads that ask at the same time get the
 * same answer. */
static uint32_t asked_features(void)
{
    const uint32_t asked = (uint32_t)1 << 31;
    static _Atomic uint32_t answer;
    uint32_t known = atomic_load_explicit(&answer, memory_order_relaxed);
    if (!known)
        atomic_store_explicit(&answer, known = ask_cpu_and_kernel() | asked, memory_order_relaxed);
    return known & ~asked;
}
#endif

/* The rest from a table that the C runtime fills before main. */
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
    features |= asked_features();
#endif
    return features;
}
