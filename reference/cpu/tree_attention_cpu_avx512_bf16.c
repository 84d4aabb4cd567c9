/* tree_attention_cpu on bf16 as stored: vdpbf16ps multiplies 32 pairs and adds them to 16 sums. Probabilities are
 * rounded to bf16 for the second product; their sum l is taken before rounding. */
#include "tree_attention_cpu_avx512_pairs.h"

static inline vec vec_dot(vec acc, uint32_t unit, vec v)
{
    return _mm512_dpbf16_ps(acc, (__m512bh)_mm512_set1_epi32((int)unit), (__m512bh)v);
}

#include "tree_attention_cpu_body.h"

const cpu_kernel cpu_kernel_avx512_bf16 = CPU_KERNEL;
