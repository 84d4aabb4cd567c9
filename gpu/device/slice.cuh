/* What one warp computes with a slice of 16 tokens that it shares with no other warp: attention of up to 16 rows.
 * First read by step 13. Scores and softmax are those of tile.cuh; three things differ.
 *
 * Stages. Each lane copies to shared memory those 16 bytes at a time that it will itself multiply, and waits for its
 * own copies alone (cp.async). So there is no barrier, nothing is swizzled, and a stage is no more than registers that
 * can be waited for.
 *
 * Keys. A dot product does not care in which order head_dim is summed. So lane i has eight elements from
 * 8 * (i % 4 + 4 * j) of the keys i / 4 and i / 4 + 8, takes its fragments of K from them as they are, and of the
 * queries the same elements.
 *
 * Values. o is transposed, values^T x weights^T: the weights are the right matrix, whose fragments are the pairs that
 * the softmax leaves, and up to 8 rows need half of the products and registers that 16 do. The left matrix has the
 * elements of V as rows; again the lane takes which it likes:
 *
 *      lane i has, of tokens p = 2 * (i % 4), p + 1, p + 8 and p + 9, eight elements from 8 * (i / 4 + 8 * j)
 *
 *          token p      x0 x1 | x2 x3 | ..       a[0] = x0 y0   element 0 of tokens p, p + 1
 *          token p + 1  y0 y1 | y2 y3 | ..       a[1] = x1 y1   element 1
 *          token p + 8  z0 z1 | z2 z3 | ..       a[2] = z0 w0   element 0 of tokens p + 8, p + 9
 *          token p + 9  w0 w1 | w2 w3 | ..       a[3] = z1 w1   element 1
 */
#ifndef SLICE_CUH
#define SLICE_CUH

#include "async_copy.cuh"
#include "tile.cuh"

/* K and V of a slice; piece i of lane l is [i][l]. */
template <int HEAD_DIM> struct slice_stage {
    uint4 keys[HEAD_DIM / 16][WARP], values[HEAD_DIM / 16][WARP];
};

/* The softmax states of the warp's rows, 8 * HALVES of them. m, l as in tile_state. Element e of o[h][4 * j + i]: row
 * 8 * h + lane % 4 * 2 + e % 2, and of its o element 8 * (lane / 4 + 8 * j) + 2 * i + e / 2. */
template <int HEAD_DIM, int HALVES> struct slice_state {
    float m[2], l[2];
    float o[HALVES][HEAD_DIM / 16][4];
};

template <int HEAD_DIM, int HALVES>
static __device__ __forceinline__ void slice_clear(slice_state<HEAD_DIM, HALVES> &state)
{
    state.m[0] = state.m[1] = -INFINITY;
    state.l[0] = state.l[1] = 0;
#pragma unroll
    for (int h = 0; h < HALVES; h++) {
#pragma unroll
        for (int i = 0; i < HEAD_DIM / 4; i++)
            state.o[h][i / 4][i % 4] = 0;
    }
}

/* ---- copies ---- */

/* slot: of token lane % 16; key: of slot 0. Bit t of `seen`: token t is copied; otherwise zeros are written. The caller
 * commits. */
template <int HEAD_DIM>
static __device__ __forceinline__ void slice_request_keys(slice_stage<HEAD_DIM> &stage, const char *key, uint32_t slot)
{
    const uint32_t lane = threadIdx.x % WARP;
#pragma unroll
    for (int i = 0; i < 2; i++) {
        const uint32_t token = lane / 4 + 8 * i, slot_i = __shfl_sync(ALL_LANES, slot, token);
        const char *from = key + (uint64_t)slot_i * (HEAD_DIM * 2) + lane % 4 * 16;
#pragma unroll
        for (int j = 0; j < HEAD_DIM / 32; j++)
            cp_async_16(&stage.keys[i * HEAD_DIM / 32 + j][lane], from + j * 64, true);
    }
}

template <int HEAD_DIM>
static __device__ __forceinline__ void slice_request_values(slice_stage<HEAD_DIM> &stage, const char *value,
                                                            uint32_t slot, uint32_t seen = 0xffff)
{
    const uint32_t lane = threadIdx.x % WARP;
#pragma unroll
    for (int i = 0; i < 4; i++) {
        const uint32_t token = i / 2 * 8 + lane % 4 * 2 + i % 2, slot_i = __shfl_sync(ALL_LANES, slot, token);
        const char *from = value + (uint64_t)slot_i * (HEAD_DIM * 2) + lane / 4 * 16;
#pragma unroll
        for (int j = 0; j < HEAD_DIM / 64; j++)
            cp_async_16(&stage.values[i * HEAD_DIM / 64 + j][lane], from + j * 128, seen >> token & 1);
    }
}

/* ---- queries ---- */

/* Of 16 rows, in shared memory: rounded to T, 16 bytes of padding so that the lanes of a warp read other banks. */
template <int HEAD_DIM> struct slice_queries {
    uint4 x[WARP_ROWS][HEAD_DIM / 8 + 1];
};

/* Eight elements of a row; see tile_round. */
template <typename T> static __device__ __forceinline__ uint4 slice_round(float4 x, float4 y, float scale)
{
    const float sign = scale < 0 ? -1 : scale == 0 ? 0 : 1;
    return make_uint4(pack_pair<T>(sign * x.x, sign * x.y), pack_pair<T>(sign * x.z, sign * x.w),
                      pack_pair<T>(sign * y.x, sign * y.y), pack_pair<T>(sign * y.z, sign * y.w));
}

/* ---- scores, softmax, values ---- */

/* Two sums for each eight tokens, so that products do not wait for each other. */
template <int HEAD_DIM, typename T, int HALVES>
static __device__ __forceinline__ void slice_scores(float score[SLICE_TOKENS / 8][4],
                                                    const slice_queries<HEAD_DIM> &queries,
                                                    const slice_stage<HEAD_DIM> &stage)
{
    const uint32_t lane = threadIdx.x % WARP, row = lane / 4;
    float sum[2][SLICE_TOKENS / 8][4] = {};
#pragma unroll
    for (int j = 0; j < HEAD_DIM / 32; j++) {
        const uint4 x = queries.x[row][lane % 4 + 4 * j];
        const uint4 x_8 = HALVES == 2 ? queries.x[row + 8][lane % 4 + 4 * j] : make_uint4(0, 0, 0, 0);
        const uint32_t low[4] = {x.x, x_8.x, x.y, x_8.y}, high[4] = {x.z, x_8.z, x.w, x_8.w};
#pragma unroll
        for (int i = 0; i < SLICE_TOKENS / 8; i++) {
            const uint4 k = stage.keys[i * HEAD_DIM / 32 + j][lane];
            const uint32_t k_low[2] = {k.x, k.y}, k_high[2] = {k.z, k.w};
            mma_16x8x16<T>(sum[0][i], low, k_low);
            mma_16x8x16<T>(sum[1][i], high, k_high);
        }
    }
#pragma unroll
    for (int i = 0; i < SLICE_TOKENS / 2; i++) {
        /* where no row is, the compiler learns the score, and drops the softmax */
        const bool is_row = HALVES == 2 || fragment_row(i) == 0;
        score[i / 4][i % 4] = is_row ? sum[0][i / 4][i % 4] + sum[1][i / 4][i % 4] : -INFINITY;
    }
}

/* `visible` (tile.cuh) where lane t has the queries that see token t; row h of this lane is of query bit[h]. */
static __device__ __forceinline__ uint32_t slice_visible(uint32_t queries, const uint32_t bit[2], uint32_t all_queries)
{
    uint32_t visible = 0;
    if (__all_sync(ALL_LANES, queries == all_queries))
        return tile_all_tokens<SLICE_TOKENS>::BITS;
#pragma unroll
    for (int i = 0; i < SLICE_TOKENS / 2; i++) {
        const uint32_t seen_by = __shfl_sync(ALL_LANES, queries, fragment_token(i));
        visible |= seen_by & bit[fragment_row(i)] ? 1u << i : 0;
    }
    return visible;
}

/* As that of tile_state; called by tile_softmax. */
template <int HEAD_DIM, int HALVES>
static __device__ __forceinline__ void tile_raise(slice_state<HEAD_DIM, HALVES> &state, const float largest[2],
                                                  float at_most)
{
#pragma unroll
    for (int h = 0; h < HALVES; h++) {
        float m = largest[h];
        m = fmaxf(m, __shfl_xor_sync(ALL_LANES, m, 1));
        m = fmaxf(m, __shfl_xor_sync(ALL_LANES, m, 2));
        m = m > state.m[h] + at_most ? m : state.m[h];
        const float rescale = m == -INFINITY ? 1 : exp2_approx(state.m[h] - m);
        state.m[h] = m;
        state.l[h] *= rescale;
        /* lane 4 * r has the factor of row r */
        const float factor[2] = {__shfl_sync(ALL_LANES, rescale, threadIdx.x % 4 * 8),
                                 __shfl_sync(ALL_LANES, rescale, threadIdx.x % 4 * 8 + 4)};
#pragma unroll
        for (int i = 0; i < HEAD_DIM / 4; i++)
            state.o[h][i / 4][i % 4] *= factor[i % 2];
    }
}

/* o += the weights of tile_softmax x values. */
template <int HEAD_DIM, typename T, int HALVES>
static __device__ __forceinline__ void slice_add_values(slice_state<HEAD_DIM, HALVES> &state, const uint32_t weights[4],
                                                        const slice_stage<HEAD_DIM> &stage)
{
    enum { FIRST_OF_BOTH = 0x5410, SECOND_OF_BOTH = 0x7632 }; /* halves of two registers */
#pragma unroll
    for (int j = 0; j < HEAD_DIM / 64; j++) {
        uint32_t v[4][4];
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const uint4 x = stage.values[i * HEAD_DIM / 64 + j][threadIdx.x % WARP];
            v[i][0] = x.x;
            v[i][1] = x.y;
            v[i][2] = x.z;
            v[i][3] = x.w;
        }
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const uint32_t left[4] = {
                __byte_perm(v[0][i], v[1][i], FIRST_OF_BOTH), __byte_perm(v[0][i], v[1][i], SECOND_OF_BOTH),
                __byte_perm(v[2][i], v[3][i], FIRST_OF_BOTH), __byte_perm(v[2][i], v[3][i], SECOND_OF_BOTH)};
#pragma unroll
            for (int h = 0; h < HALVES; h++) {
                const uint32_t right[2] = {weights[h], weights[2 + h]};
                mma_16x8x16<T>(state.o[h][4 * j + i], left, right);
            }
        }
    }
}

template <int HEAD_DIM, int HALVES>
static __device__ __forceinline__ bool slice_has_nan(const slice_state<HEAD_DIM, HALVES> &state)
{
    float sum = 0;
#pragma unroll
    for (int h = 0; h < HALVES; h++) {
#pragma unroll
        for (int i = 0; i < HEAD_DIM / 4; i++)
            sum += state.o[h][i / 4][i % 4] * 0; /* infinity x 0 is NaN too */
    }
    return sum != 0;
}

#endif
