/* AVX-512 registers for tree_attention_cpu_body.h, shared by the kernels avx512, avx512_bf16 and amx. */
#include <immintrin.h>
#include <stdint.h>

typedef __m512 vec;
#define LANES 16
#define PANEL_VECS 4 /* 6 x 4 sums, 4 of b and 1 of a: 29 of 32 registers */
#define BLOCK_ROWS 6

static inline vec vec_zero(void) { return _mm512_setzero_ps(); }
static inline vec vec_set1(float x) { return _mm512_set1_ps(x); }
static inline vec vec_load(const float *from) { return _mm512_loadu_ps(from); }
static inline void vec_store(float *to, vec v) { _mm512_storeu_ps(to, v); }
static inline vec vec_add(vec a, vec b) { return _mm512_add_ps(a, b); }
static inline vec vec_sub(vec a, vec b) { return _mm512_sub_ps(a, b); }
static inline vec vec_mul(vec a, vec b) { return _mm512_mul_ps(a, b); }
static inline vec vec_fma(vec a, vec b, vec c) { return _mm512_fmadd_ps(a, b, c); }
static inline vec vec_max(vec a, vec b) { return _mm512_max_ps(a, b); }
static inline vec vec_scale2(vec v, vec n) { return _mm512_scalef_ps(v, n); }
static inline float vec_largest(vec v) { return _mm512_reduce_max_ps(v); }
static inline float vec_sum(vec v) { return _mm512_reduce_add_ps(v); }

/* 0 remains of -infinity, and scalef takes -infinity as an exponent. */
static inline vec vec_split(vec v, vec *n)
{
    vec rest = _mm512_reduce_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    *n = vec_sub(v, rest);
    return rest;
}

static inline vec vec_keep(vec v, uint32_t bits)
{
    return _mm512_mask_mov_ps(_mm512_set1_ps(-__builtin_inff()), (__mmask16)bits, v);
}

/* 16 x 16 units: interleave 32, then 64, then 128 bits twice. */
static inline void vec_transpose(vec v[16])
{
    __m512i a[16], b[16];
    for (int i = 0; i < 16; i += 2) {
        a[i] = _mm512_unpacklo_epi32(_mm512_castps_si512(v[i]), _mm512_castps_si512(v[i + 1]));
        a[i + 1] = _mm512_unpackhi_epi32(_mm512_castps_si512(v[i]), _mm512_castps_si512(v[i + 1]));
    }
    for (int i = 0; i < 16; i += 4) { /* b[i + j]: columns j of each 128 bits, rows i .. i + 3 */
        b[i] = _mm512_unpacklo_epi64(a[i], a[i + 2]);
        b[i + 1] = _mm512_unpackhi_epi64(a[i], a[i + 2]);
        b[i + 2] = _mm512_unpacklo_epi64(a[i + 1], a[i + 3]);
        b[i + 3] = _mm512_unpackhi_epi64(a[i + 1], a[i + 3]);
    }
    for (int j = 0; j < 4; j++) { /* rows 0-7 and 8-15, even and odd 128 bits */
        a[j] = _mm512_shuffle_i32x4(b[j], b[j + 4], 0x88);
        a[j + 4] = _mm512_shuffle_i32x4(b[j], b[j + 4], 0xdd);
        a[j + 8] = _mm512_shuffle_i32x4(b[j + 8], b[j + 12], 0x88);
        a[j + 12] = _mm512_shuffle_i32x4(b[j + 8], b[j + 12], 0xdd);
    }
    for (int j = 0; j < 4; j++) {
        v[j] = _mm512_castsi512_ps(_mm512_shuffle_i32x4(a[j], a[j + 8], 0x88));
        v[j + 8] = _mm512_castsi512_ps(_mm512_shuffle_i32x4(a[j], a[j + 8], 0xdd));
        v[j + 4] = _mm512_castsi512_ps(_mm512_shuffle_i32x4(a[j + 4], a[j + 12], 0x88));
        v[j + 12] = _mm512_castsi512_ps(_mm512_shuffle_i32x4(a[j + 4], a[j + 12], 0xdd));
    }
}
