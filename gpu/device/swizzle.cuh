/* K and V tiles in shared memory, swizzled against bank conflicts, and the matrix products that read them there with
 * ldmatrix. Explained by step 5. */
#ifndef SWIZZLE_CUH
#define SWIZZLE_CUH

#include "async_copy.cuh"
#include "tile.cuh"

#ifndef TREEATTN_EMULATE /* emulate.h has the same functions */

/* Loads four 8 x 8 matrices of 2-byte elements from shared memory. Lanes 0 to 7 supply the addresses of the rows of
 * the first matrix, lanes 8 to 15 those of the second, and so on: 16 bytes each, aligned. Lane i gets elements pair and
 * pair + 1 (mma.cuh) of row i / 4 of matrix j in r[j]; transposed: of column i / 4. */
static __device__ __forceinline__ void ldmatrix_x4(uint32_t r[4], shared_at row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(row));
}

static __device__ __forceinline__ void ldmatrix_x4_trans(uint32_t r[4], shared_at row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(row));
}

#endif

/* A tile is cut into panels of 64 elements: 128 bytes of each token, one token after the other, then the next panel.
 * Swizzle: within a panel, chunk c (16 bytes, 8 elements) of token t lies at position c ^ (t % 8). ldmatrix reads the
 * same chunk of eight tokens at once; swizzled, these eight lie in different banks. */
enum { PANEL_ROW = 128, PANEL_CHUNKS = 8 };
template <int HEAD_DIM> struct tile_panel {
    enum { BYTES = 8192 / HEAD_DIM * PANEL_ROW }; /* queue_tile_tokens */
};

template <int HEAD_DIM> static __device__ __forceinline__ char *tile_chunk(char *tile, uint32_t token, uint32_t chunk)
{
    return tile + chunk / PANEL_CHUNKS * tile_panel<HEAD_DIM>::BYTES + token * PANEL_ROW
           + ((chunk % PANEL_CHUNKS ^ token % 8) << 4);
}

/* score the keys: 16 rows x the tokens of a slice. The swizzle depends on token % 8 alone, so each of a lane's
 * addresses is its first one with some bits flipped, plus a constant; a slice begins at a multiple of 2048 bytes. */
template <int HEAD_DIM, typename T, int TOKENS>
static __device__ __forceinline__ void tile_scores(float score[TOKENS / 8][4], const uint32_t q[HEAD_DIM / 16][4],
                                                   const char *keys)
{
    uint32_t lane = threadIdx.x % WARP, token = lane % 8 + lane / 16 * 8;
    shared_at first = shared_address(keys) + token * PANEL_ROW + ((lane / 8 % 2 ^ token % 8) << 4);
#pragma unroll
    for (int i = 0; i < TOKENS / 2; i++)
        score[i / 4][i % 4] = 0;
#pragma unroll
    for (int k = 0; k < HEAD_DIM / 16; k++) {
#pragma unroll
        for (int n = 0; n < TOKENS / 16; n++) {
            uint32_t b[4];
            ldmatrix_x4(b, (first ^ k % 4 << 5) + k / 4 * tile_panel<HEAD_DIM>::BYTES + n * 16 * PANEL_ROW);
            mma_16x8x16<T>(score[2 * n], q[k], b);
            mma_16x8x16<T>(score[2 * n + 1], q[k], b + 2);
        }
    }
}

/* o += weights x the values of a slice. */
template <int HEAD_DIM, typename T, int TOKENS>
static __device__ __forceinline__ void tile_values(tile_state<HEAD_DIM> &state, const uint32_t weights[TOKENS / 16][4],
                                                   const char *values)
{
    uint32_t lane = threadIdx.x % WARP, token = lane % 16;
    shared_at first = shared_address(values) + token * PANEL_ROW + ((lane / 16 ^ token % 8) << 4);
#pragma unroll
    for (int n = 0; n < TOKENS / 16; n++) {
#pragma unroll
        for (int j = 0; j < HEAD_DIM / 16; j++) {
            uint32_t b[4];
            ldmatrix_x4_trans(b, (first ^ j % 4 << 5) + j / 4 * tile_panel<HEAD_DIM>::BYTES + n * 16 * PANEL_ROW);
            mma_16x8x16<T>(state.o[2 * j], weights[n], b);
            mma_16x8x16<T>(state.o[2 * j + 1], weights[n], b + 2);
        }
    }
}

/* Absorbs one slice: score the keys, softmax, o += weights x values. */
template <int HEAD_DIM, typename T, int TOKENS>
static __device__ __forceinline__ void tile_absorb(tile_state<HEAD_DIM> &state, const uint32_t q[HEAD_DIM / 16][4],
                                                   const char *keys, const char *values, uint32_t visible, float scale)
{
    float score[TOKENS / 8][4];
    uint32_t weights[TOKENS / 16][4];
    tile_scores<HEAD_DIM, T, TOKENS>(score, q, keys);
    tile_softmax<HEAD_DIM, T, TOKENS>(state, weights, score, visible, scale);
    tile_values<HEAD_DIM, T, TOKENS>(state, weights, values);
}

#endif
