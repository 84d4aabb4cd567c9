/* What one warp does with the tensor cores: 16 rows (query heads of one KV head) meet 16 tokens or more at a time. The
 * first part is explained by step 4, the second by step 5.
 *
 * Layout of every 16 x N matrix of a warp: mma.cuh. Lane i has rows i / 4 and i / 4 + 8, each with three other
 * lanes. */
#ifndef TILE_CUH
#define TILE_CUH

#include <math.h>

#include "gpu_internal.h"
#include "mma.cuh"

enum { TILE_WARP = 32, SLICE_ROWS = 16, SLICE_TOKENS = 16 };
#define TILE_ALL_LANES 0xffffffffu
#define ALL_ROWS UINT32_MAX /* where one row of a task may be meant */
#define LN_2 0.693147180559945309f

/* ---- from step 4: scores and softmax in registers ---- */

/* Softmax state of a warp's 16 rows, this lane's part. m counts in powers of 2, l is this lane's share of the sum. */
template <int HEAD_DIM> struct tile_state {
    float m[2], l[2];
    float o[HEAD_DIM / 8][4]; /* the rows lane / 4, elements pair and pair + 1 of each 8; the rows + 8 */
};

template <int HEAD_DIM> static __device__ __forceinline__ void tile_clear(tile_state<HEAD_DIM> &state)
{
    state.m[0] = state.m[1] = -INFINITY;
    state.l[0] = state.l[1] = 0;
#pragma unroll
    for (int j = 0; j < HEAD_DIM / 8; j++)
        state.o[j][0] = state.o[j][1] = state.o[j][2] = state.o[j][3] = 0;
}

/* The 16 queries of a warp as memory has them, this lane's part; NULL: a row of zeros. */
template <int HEAD_DIM> struct tile_floats {
    float2 pair[HEAD_DIM / 16][4];
};

template <int HEAD_DIM>
static __device__ __forceinline__ void tile_load(tile_floats<HEAD_DIM> &x, const float *row, const float *row_8)
{
    const int pair = threadIdx.x % 4 * 2;
#pragma unroll
    for (int i = 0; i < HEAD_DIM / 4; i++) {
        const float *from = i % 2 ? row_8 : row;
        x.pair[i / 4][i % 4] = from ? *(const float2 *)(from + i / 2 * 8 + pair) : make_float2(0, 0);
    }
}

/* As left sides of HEAD_DIM / 16 products, rounded to T and multiplied by the sign of scale (-1, 0 or 1); tile_softmax
 * multiplies by tile_scale. With scale 0 an infinite key thus scores NaN, as in the reference. */
template <int HEAD_DIM, typename T>
static __device__ __forceinline__ void tile_round(uint32_t q[HEAD_DIM / 16][4], const tile_floats<HEAD_DIM> &x,
                                                  float scale)
{
    const float sign = scale < 0 ? -1 : scale == 0 ? 0 : 1;
#pragma unroll
    for (int i = 0; i < HEAD_DIM / 4; i++)
        q[i / 4][i % 4] = pack_pair<T>(sign * x.pair[i / 4][i % 4].x, sign * x.pair[i / 4][i % 4].y);
}

/* |scale| times log2(e). For scale 0 as for 1: tile_round has made the scores 0, and -infinity, the score of a hidden
 * token, must not meet a factor of 0. */
static __device__ __forceinline__ float tile_scale(float scale) { return (scale == 0 ? 1 : fabsf(scale)) * LOG2_E; }

/* A slice is TOKENS = 16, 32 or 64 tokens of a tile. A lane's scores of it are score[n][e]: row lane / 4 + e / 2 * 8,
 * token 8 * n + pair + e % 2. Bit 4 * n + e of `visible` says that the row sees the token. */
template <int TOKENS> struct tile_all_tokens {
    enum : uint32_t { BITS = (uint32_t)(((uint64_t)1 << TOKENS / 2) - 1) };
};

/* Those bits where all rows see the first num_tokens. */
template <int TOKENS> static __device__ __forceinline__ uint32_t tile_first_tokens(int num_tokens)
{
    int left = num_tokens - (int)(threadIdx.x % 4 * 2);
    uint32_t visible = 0;
    if (num_tokens >= TOKENS)
        return tile_all_tokens<TOKENS>::BITS;
#pragma unroll
    for (int n = 0; n < TOKENS / 8; n++)
        visible |= (left >= 8 * n + 2 ? 0xfu : left == 8 * n + 1 ? 0x5u : 0) << 4 * n;
    return visible;
}

/* The same bits where each token has a mask, of which bit r says that query row r sees it; row[h] < 64 is the query
 * row of this lane's row lane / 4 + 8 * h. */
template <int TOKENS>
static __device__ __forceinline__ uint32_t tile_visible(const uint64_t *masks, int num_tokens, const uint32_t row[2])
{
    const uint32_t bit[2] = {1u << row[0] % 32, 1u << row[1] % 32};
    uint32_t visible = 0;
#pragma unroll
    for (int i = 0; i < TOKENS / 2; i++) {
        int token = i / 4 * 8 + (int)(threadIdx.x % 4 * 2) + i % 2, h = i % 4 / 2;
        const uint32_t *half = (const uint32_t *)&masks[token < num_tokens ? token : num_tokens - 1] + row[h] / 32;
        visible |= *half & bit[h] ? 1u << i : 0;
    }
    return num_tokens < TOKENS ? visible & tile_first_tokens<TOKENS>(num_tokens) : visible;
}

/* m follows the largest score of each row, and what was summed shrinks by as much. */
template <int HEAD_DIM>
static __device__ __forceinline__ void tile_raise(tile_state<HEAD_DIM> &state, const float largest[2], float at_most)
{
#pragma unroll
    for (int h = 0; h < 2; h++) {
        float m = largest[h];
        m = fmaxf(m, __shfl_xor_sync(TILE_ALL_LANES, m, 1));
        m = fmaxf(m, __shfl_xor_sync(TILE_ALL_LANES, m, 2));
        m = m > state.m[h] + at_most ? m : state.m[h]; /* a row's bits do not depend on the others */
        float rescale = m == -INFINITY ? 1 : exp2_approx(state.m[h] - m);
        state.m[h] = m;
        state.l[h] *= rescale;
#pragma unroll
        for (int j = 0; j < HEAD_DIM / 8; j++) {
            state.o[j][2 * h] *= rescale;
            state.o[j][2 * h + 1] *= rescale;
        }
    }
}

/* Absorb into the running maximum and sum: updates m and l, rescales o where m has grown, and leaves exp(score - m) as
 * the left sides of weights x values. m follows the largest score only when one is more than 2^8 times as heavy: until
 * then weights stay far from overflow, and the lanes of a row need not exchange their largest scores.
 * m is a rounded product. One fmaf subtracts it from the exact product, so that the rounding error stays in the weight:
 * from LARGE on a factor of 2^(2^-8) or more, up to 0 or infinity. There the products are rounded first. */
template <int HEAD_DIM, typename T, int TOKENS>
static __device__ __forceinline__ void tile_softmax(tile_state<HEAD_DIM> &state, uint32_t weights[TOKENS / 16][4],
                                                    float score[TOKENS / 8][4], uint32_t visible, float scale)
{
    const float at_most = 8, LARGE = 65536, scale_2 = tile_scale(scale);
    float largest[2] = {-INFINITY, -INFINITY};
    if (visible != tile_all_tokens<TOKENS>::BITS) {
#pragma unroll
        for (int i = 0; i < TOKENS / 2; i++)
            score[i / 4][i % 4] = visible >> i & 1 ? score[i / 4][i % 4] : -INFINITY;
    }
#pragma unroll
    for (int i = 0; i < TOKENS / 2; i++) /* a NaN is none; it comes back as a weight */
        largest[i % 4 / 2] = fmaxf(largest[i % 4 / 2], score[i / 4][i % 4]);
    largest[0] *= scale_2;
    largest[1] *= scale_2;
    bool grows = largest[0] > state.m[0] + at_most || largest[1] > state.m[1] + at_most;
    if (__any_sync(TILE_ALL_LANES, grows))
        tile_raise<HEAD_DIM>(state, largest, at_most);
    /* no token yet: exp2(-infinity - 0) is 0, and no NaN */
    const float base[2] = {state.m[0] == -INFINITY ? 0 : state.m[0], state.m[1] == -INFINITY ? 0 : state.m[1]};
    float factor[2] = {scale_2, scale_2};
    if (fmaxf(fabsf(base[0]), fabsf(base[1])) > LARGE) { /* each row for itself: its bits do not depend on the other */
#pragma unroll
        for (int i = 0; i < TOKENS / 2; i++)
            score[i / 4][i % 4] *= fabsf(base[i % 4 / 2]) > LARGE ? scale_2 : 1;
#pragma unroll
        for (int h = 0; h < 2; h++)
            factor[h] = fabsf(base[h]) > LARGE ? 1 : scale_2;
    }
#pragma unroll
    for (int i = 0; i < TOKENS / 4; i++) { /* register i % 4 of left side i / 4: row i % 2 * 8, tokens 8 * (i / 2) */
        const float *s = &score[i / 2][i % 2 * 2];
        float low = exp2_approx(fmaf(s[0], factor[i % 2], -base[i % 2]));
        float high = exp2_approx(fmaf(s[1], factor[i % 2], -base[i % 2]));
        state.l[i % 2] += low + high;
        weights[i / 4][i % 4] = pack_pair<T>(low, high);
    }
}

/* The four lanes of a row add up their shares of l. */
template <int HEAD_DIM> static __device__ __forceinline__ void tile_sum_rows(tile_state<HEAD_DIM> &state)
{
    for (int h = 0; h < 2; h++) {
        state.l[h] += __shfl_xor_sync(TILE_ALL_LANES, state.l[h], 1);
        state.l[h] += __shfl_xor_sync(TILE_ALL_LANES, state.l[h], 2);
    }
}

/* Whether this lane's o has a NaN: 0 * NaN, where a value that its row must not see is none. */
template <int HEAD_DIM> static __device__ __forceinline__ bool tile_has_nan(const tile_state<HEAD_DIM> &state)
{
    float sum = 0;
#pragma unroll
    for (int j = 0; j < HEAD_DIM / 8; j++)
        sum += (state.o[j][0] + state.o[j][1]) * 0 + (state.o[j][2] + state.o[j][3]) * 0; /* infinity * 0 is one too */
    return sum != 0;
}

#endif
