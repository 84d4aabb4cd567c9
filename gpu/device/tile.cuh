/* What one warp computes with tensor cores: attention of 16 rows (queries x query heads of one KV head) to a slice of
 * 16 or more tokens. Explained by step 4.
 *
 * Every 16 x N matrix of a warp is spread over its lanes as mma.cuh draws it: lane i has the rows i / 4 and i / 4 + 8,
 * each together with three other lanes. */
#ifndef TILE_CUH
#define TILE_CUH

#include <math.h>

#include "gpu_internal.h"
#include "mma.cuh"

enum { WARP_ROWS = 16, SLICE_TOKENS = 16 }; /* rows of a warp, fewest tokens of a slice */
#define ALL_QUERIES UINT32_MAX /* as only_query: no single query, but all of a task */
#define LN_2 0.693147180559945309f

/* The softmax states of a warp's 16 rows, this lane's part: of the rows lane / 4 (h = 0) and lane / 4 + 8 (h = 1). m is
 * the running maximum of score x log2(e), since weights are computed as powers of 2; l is this lane's share of the sum,
 * until tile_sum_rows. */
template <int HEAD_DIM> struct tile_state {
    float m[2], l[2];
    float o[HEAD_DIM / 8][4]; /* [j][2 * h + e]: element 8 * j + lane % 4 * 2 + e */
};

template <int HEAD_DIM> static __device__ __forceinline__ void tile_clear(tile_state<HEAD_DIM> &state)
{
    state.m[0] = state.m[1] = -INFINITY;
    state.l[0] = state.l[1] = 0;
#pragma unroll
    for (int j = 0; j < HEAD_DIM / 8; j++)
        state.o[j][0] = state.o[j][1] = state.o[j][2] = state.o[j][3] = 0;
}

/* ---- queries ---- */

/* This lane's part of the queries of a warp's 16 rows, as floats. */
template <int HEAD_DIM> struct tile_floats {
    float2 pair[HEAD_DIM / 16][4];
};

/* row, row_8: the queries of this lane's two rows; NULL: zeros. */
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

/* The queries as the left matrices of HEAD_DIM / 16 products: rounded to T, negated if scale < 0, and 0 if scale is 0.
 * tile_softmax multiplies the scores by tile_scale. With scale 0 an infinite key scores NaN, as in the reference. */
template <int HEAD_DIM, typename T>
static __device__ __forceinline__ void tile_round(uint32_t q[HEAD_DIM / 16][4], const tile_floats<HEAD_DIM> &x,
                                                  float scale)
{
    const float sign = scale < 0 ? -1 : scale == 0 ? 0 : 1;
#pragma unroll
    for (int i = 0; i < HEAD_DIM / 4; i++)
        q[i / 4][i % 4] = pack_pair<T>(sign * x.pair[i / 4][i % 4].x, sign * x.pair[i / 4][i % 4].y);
}

/* |scale| x log2(e). For scale 0 the same as for 1: tile_round has made the scores 0, and 0 x -infinity, the score of a
 * hidden token, would be NaN. */
static __device__ __forceinline__ float tile_scale(float scale) { return (scale == 0 ? 1 : fabsf(scale)) * LOG2_E; }

/* ---- scores of a slice: TOKENS = 16, 32 or 64 tokens of a tile ---- */

/* A lane has TOKENS / 2 of the slice's 16 x TOKENS scores: score[i / 4][i % 4] belongs to its row h = fragment_row(i)
 * and to token fragment_token(i). Bit i of `visible` says that the row sees the token. */
static __device__ __forceinline__ int fragment_row(int i) { return i % 4 / 2; }
static __device__ __forceinline__ int fragment_token(int i)
{
    return i / 4 * 8 + (int)(threadIdx.x % 4 * 2) + i % 2;
}

template <int TOKENS> struct tile_all_tokens {
    enum : uint32_t { BITS = (uint32_t)(((uint64_t)1 << TOKENS / 2) - 1) };
};

/* `visible` where all rows see the first num_tokens tokens. */
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

/* `visible` where each token has a mask, of which bit r says that query r of the task sees the token; row[h] < 64 is
 * the query of this lane's row h. */
template <int TOKENS>
static __device__ __forceinline__ uint32_t tile_visible(const uint64_t *masks, int num_tokens, const uint32_t row[2])
{
    const uint32_t bit[2] = {1u << row[0] % 32, 1u << row[1] % 32};
    uint32_t visible = 0;
#pragma unroll
    for (int i = 0; i < TOKENS / 2; i++) {
        const int token = fragment_token(i), h = fragment_row(i);
        const uint32_t *half = (const uint32_t *)&masks[token < num_tokens ? token : num_tokens - 1] + row[h] / 32;
        visible |= *half & bit[h] ? 1u << i : 0;
    }
    return num_tokens < TOKENS ? visible & tile_first_tokens<TOKENS>(num_tokens) : visible;
}

/* ---- softmax ---- */

/* Raises m to the largest score of each row where that is larger by more than at_most, and rescales l and o. */
template <int HEAD_DIM>
static __device__ __forceinline__ void tile_raise(tile_state<HEAD_DIM> &state, const float largest[2], float at_most)
{
#pragma unroll
    for (int h = 0; h < 2; h++) {
        float m = largest[h];
        m = fmaxf(m, __shfl_xor_sync(ALL_LANES, m, 1));
        m = fmaxf(m, __shfl_xor_sync(ALL_LANES, m, 2));
        m = m > state.m[h] + at_most ? m : state.m[h]; /* per row: its bits do not depend on other rows */
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

/* absorb into the running maximum and sum: updates m and l, rescales o where m grows, and returns the weights
 * exp(score - m) as the left matrices of weights x values.
 *
 * Numerics notes. m is raised only when a new weight would exceed 2^8: below that no sum comes near overflow, and the
 * lanes of a row need not exchange their largest scores.
 * m is the rounded product score x scale_2, but fmaf subtracts it from the exact product, so the weight is wrong by a
 * factor of 2^(rounding error of m). Where |m| > LARGE this factor is 2^(2^-8) or more, and may be 0 or infinite: there
 * the products are rounded before m is subtracted.
 * STATE: m and l as in tile_state; tile_raise rescales its o. */
template <int HEAD_DIM, typename T, int TOKENS, typename STATE = tile_state<HEAD_DIM>>
static __device__ __forceinline__ void tile_softmax(STATE &state, uint32_t weights[TOKENS / 16][4],
                                                    float score[TOKENS / 8][4], uint32_t visible, float scale)
{
    const float at_most = 8, LARGE = 65536, scale_2 = tile_scale(scale);
    float largest[2] = {-INFINITY, -INFINITY}, largest_odd[2] = {-INFINITY, -INFINITY}; /* two shorter chains */
    if (visible != tile_all_tokens<TOKENS>::BITS) {
#pragma unroll
        for (int i = 0; i < TOKENS / 2; i++)
            score[i / 4][i % 4] = visible >> i & 1 ? score[i / 4][i % 4] : -INFINITY;
    }
#pragma unroll
    for (int i = 0; i < TOKENS / 2; i += 2) { /* fmaxf ignores NaN, which reappears in the weights */
        const int h = fragment_row(i);
        largest[h] = fmaxf(largest[h], score[i / 4][i % 4]);
        largest_odd[h] = fmaxf(largest_odd[h], score[i / 4][i % 4 + 1]);
    }
    largest[0] = fmaxf(largest[0], largest_odd[0]) * scale_2;
    largest[1] = fmaxf(largest[1], largest_odd[1]) * scale_2;
    bool grows = largest[0] > state.m[0] + at_most || largest[1] > state.m[1] + at_most;
    if (__any_sync(ALL_LANES, grows))
        tile_raise<HEAD_DIM>(state, largest, at_most);
    /* for a row that has seen no token: exp2(-infinity - 0) is 0, but -infinity - -infinity would be NaN */
    const float base[2] = {state.m[0] == -INFINITY ? 0 : state.m[0], state.m[1] == -INFINITY ? 0 : state.m[1]};
    float factor[2] = {scale_2, scale_2};
    if (fmaxf(fabsf(base[0]), fabsf(base[1])) > LARGE) { /* then per row: its bits do not depend on other rows */
#pragma unroll
        for (int i = 0; i < TOKENS / 2; i++)
            score[i / 4][i % 4] *= fabsf(base[fragment_row(i)]) > LARGE ? scale_2 : 1;
#pragma unroll
        for (int h = 0; h < 2; h++)
            factor[h] = fabsf(base[h]) > LARGE ? 1 : scale_2;
    }
#pragma unroll
    for (int i = 0; i < TOKENS / 2; i += 2) { /* a pair of tokens of one row becomes one register: mma.cuh */
        const int h = fragment_row(i);
        float low = exp2_approx(fmaf(score[i / 4][i % 4], factor[h], -base[h]));
        float high = exp2_approx(fmaf(score[i / 4][i % 4 + 1], factor[h], -base[h]));
        state.l[h] += low + high;
        weights[i / 8][i / 2 % 4] = pack_pair<T>(low, high);
    }
}

/* Adds up the four lanes' shares of l. */
template <int HEAD_DIM> static __device__ __forceinline__ void tile_sum_rows(tile_state<HEAD_DIM> &state)
{
    for (int h = 0; h < 2; h++) {
        state.l[h] += __shfl_xor_sync(ALL_LANES, state.l[h], 1);
        state.l[h] += __shfl_xor_sync(ALL_LANES, state.l[h], 2);
    }
}

/* Whether this lane's o holds a NaN or an infinity. In a matrix product a hidden token has the weight 0, but 0 x NaN is
 * NaN: one NaN in V contaminates every row of the task. */
template <int HEAD_DIM> static __device__ __forceinline__ bool tile_has_nan(const tile_state<HEAD_DIM> &state)
{
    float sum = 0;
#pragma unroll
    for (int j = 0; j < HEAD_DIM / 8; j++)
        sum += (state.o[j][0] + state.o[j][1]) * 0 + (state.o[j][2] + state.o[j][3]) * 0; /* infinity x 0 is NaN too */
    return sum != 0;
}

#endif
