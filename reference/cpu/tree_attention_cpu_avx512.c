/* tree_attention_cpu with 16 floats per register; half precision is widened when a tile is packed. */
#include "tree_attention_cpu_avx512.h"

#include "tree_plan.h"

#define PAIRS 1

static inline vec vec_dot(vec acc, uint32_t unit, vec v)
{
    return _mm512_fmadd_ps(_mm512_castsi512_ps(_mm512_set1_epi32((int)unit)), v, acc);
}

static inline vec vec_units(const char *row, uint32_t unit, tree_storage storage)
{
    if (storage == TREE_FP32)
        return _mm512_loadu_ps((const float *)row + unit);
    __m256i half = _mm256_loadu_si256((const __m256i *)(row + unit * 2));
    if (storage == TREE_FP16)
        return _mm512_cvtph_ps(half);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
}

static inline void vec_put_p(uint32_t *dest, vec v, vec w)
{
    _mm512_storeu_ps((float *)dest, v);
    _mm512_storeu_ps((float *)dest + LANES, w);
}

#include "tree_attention_cpu_body.h"

const cpu_kernel cpu_kernel_avx512 = CPU_KERNEL;
