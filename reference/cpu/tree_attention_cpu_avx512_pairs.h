/* AVX-512 registers of 16 pairs of bf16, as stored: what the kernels avx512_bf16 and amx share. */
#include "tree_attention_cpu_avx512.h"

#include "tree_plan.h"

#define PAIRS 2

static inline vec vec_units(const char *row, uint32_t unit, tree_storage storage)
{
    (void)storage;
    return _mm512_loadu_ps((const float *)(row + unit * 4));
}

/* Columns 0..15 or 16..31 of two rows of 32 bf16. */
static inline vec vec_pair(vec even, vec odd, int part)
{
    static const uint16_t order[2][32] = {
        {0, 32, 1, 33, 2, 34, 3, 35, 4, 36, 5, 37, 6, 38, 7, 39,
         8, 40, 9, 41, 10, 42, 11, 43, 12, 44, 13, 45, 14, 46, 15, 47},
        {16, 48, 17, 49, 18, 50, 19, 51, 20, 52, 21, 53, 22, 54, 23, 55,
         24, 56, 25, 57, 26, 58, 27, 59, 28, 60, 29, 61, 30, 62, 31, 63}};
    __m512i index = _mm512_loadu_si512(order[part]);
    return _mm512_castsi512_ps(_mm512_permutex2var_epi16(_mm512_castps_si512(even), index, _mm512_castps_si512(odd)));
}

static inline void vec_put_p(uint32_t *dest, vec v, vec w)
{
    _mm512_storeu_si512(dest, (__m512i)_mm512_cvtne2ps_pbh(w, v));
}
