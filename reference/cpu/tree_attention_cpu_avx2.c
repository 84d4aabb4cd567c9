/* tree_attention_cpu with 8 floats per register (AVX2, FMA, F16C); half precision is widened when a tile is packed. */
#include <immintrin.h>
#include <stdint.h>

#include "tree_plan.h"

typedef __m256 vec;
#define LANES 8
#define PANEL_VECS 2 /* 6 x 2 sums, 2 of b and 1 of a: 15 of 16 registers */
#define BLOCK_ROWS 6
#define PAIRS 1

static inline vec vec_zero(void) { return _mm256_setzero_ps(); }
static inline vec vec_set1(float x) { return _mm256_set1_ps(x); }
static inline vec vec_load(const float *from) { return _mm256_loadu_ps(from); }
static inline void vec_store(float *to, vec v) { _mm256_storeu_ps(to, v); }
static inline vec vec_add(vec a, vec b) { return _mm256_add_ps(a, b); }
static inline vec vec_sub(vec a, vec b) { return _mm256_sub_ps(a, b); }
static inline vec vec_mul(vec a, vec b) { return _mm256_mul_ps(a, b); }
static inline vec vec_fma(vec a, vec b, vec c) { return _mm256_fmadd_ps(a, b, c); }
static inline vec vec_max(vec a, vec b) { return _mm256_max_ps(a, b); }

static inline vec vec_split(vec v, vec *n)
{
    vec clamped = vec_max(vec_set1(-160.0f), v);
    *n = _mm256_round_ps(clamped, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    return vec_sub(clamped, *n);
}

static inline vec vec_keep(vec v, uint32_t bits)
{
    const __m256i lane_bit = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    __m256i kept = _mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32((int)bits), lane_bit), lane_bit);
    return _mm256_blendv_ps(_mm256_set1_ps(-__builtin_inff()), v, _mm256_castsi256_ps(kept));
}

/* Adds n to the exponent; below 2^-126 the result is 0. NaN in v stays: its n is NaN and converts to INT_MIN. */
static inline vec vec_scale2(vec v, vec n)
{
    vec scaled = _mm256_castsi256_ps(
        _mm256_add_epi32(_mm256_castps_si256(v), _mm256_slli_epi32(_mm256_cvtps_epi32(n), 23)));
    vec normal = _mm256_cmp_ps(n, _mm256_set1_ps(-126.0f), _CMP_GE_OQ);
    vec result = _mm256_and_ps(scaled, normal);
    return _mm256_blendv_ps(result, v, _mm256_cmp_ps(v, v, _CMP_UNORD_Q));
}

static inline vec vec_dot(vec acc, uint32_t unit, vec v)
{
    return _mm256_fmadd_ps(_mm256_castsi256_ps(_mm256_set1_epi32((int)unit)), v, acc);
}

static inline float vec_largest(vec v)
{
    __m128 four = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}

static inline float vec_sum(vec v)
{
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

static inline vec vec_units(const char *row, uint32_t unit, tree_storage storage)
{
    if (storage == TREE_FP32)
        return _mm256_loadu_ps((const float *)row + unit);
    __m128i half = _mm_loadu_si128((const __m128i *)(row + unit * 2));
    if (storage == TREE_FP16)
        return _mm256_cvtph_ps(half);
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16));
}

static inline void vec_transpose(vec v[8])
{
    vec a[8], b[8];
    for (int i = 0; i < 8; i += 2) {
        a[i] = _mm256_unpacklo_ps(v[i], v[i + 1]);
        a[i + 1] = _mm256_unpackhi_ps(v[i], v[i + 1]);
    }
    for (int i = 0; i < 8; i += 4) {
        b[i] = _mm256_shuffle_ps(a[i], a[i + 2], 0x44);
        b[i + 1] = _mm256_shuffle_ps(a[i], a[i + 2], 0xee);
        b[i + 2] = _mm256_shuffle_ps(a[i + 1], a[i + 3], 0x44);
        b[i + 3] = _mm256_shuffle_ps(a[i + 1], a[i + 3], 0xee);
    }
    for (int j = 0; j < 4; j++) {
        v[j] = _mm256_permute2f128_ps(b[j], b[j + 4], 0x20);
        v[j + 4] = _mm256_permute2f128_ps(b[j], b[j + 4], 0x31);
    }
}

static inline void vec_put_p(uint32_t *dest, vec v, vec w)
{
    _mm256_storeu_ps((float *)dest, v);
    _mm256_storeu_ps((float *)dest + LANES, w);
}

#include "tree_attention_cpu_body.h"

const cpu_kernel cpu_kernel_avx2 = CPU_KERNEL;
