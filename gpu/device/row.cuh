/* How steps 0 to 3 walk a plan: straight from its items, ranges and blocks. */
#ifndef ROW_CUH
#define ROW_CUH

#include "device.cuh"

#include <math.h>

#include "gpu_internal.h"
#include "storage.cuh"

/* As in reference/tree_attention.c. */
static __device__ __forceinline__ bool row_sees(const tree_plan &plan, const tree_range &range, uint32_t num_rows,
                                                uint32_t row, uint32_t t)
{
    if (range.mask == TREE_NO_MASK)
        return true;
    uint64_t words_per_token = ((uint64_t)num_rows + 63) / 64;
    const uint64_t *mask_t = plan.masks + range.mask + t * words_per_token;
    return mask_t[row / 64] >> (row % 64) & 1;
}

/* Index of the first element in key and value of token t of the range. */
static __device__ __forceinline__ uint64_t row_token_offset(const attention_arguments &a, const tree_range &range,
                                                            uint32_t kv_head, uint32_t t)
{
    uint32_t slot = range.first_slot + t;
    uint64_t block = a.plan.blocks[range.first_block + slot / a.shape.block_tokens];
    return ((block * a.shape.num_kv_heads + kv_head) * a.shape.block_tokens + slot % a.shape.block_tokens)
           * a.shape.head_dim;
}

/* The largest x (none is NaN) and the sum of x over the lanes of a warp; every lane gets the result. */
static __device__ __forceinline__ float warp_max(float x)
{
    for (int distance = WARP / 2; distance > 0; distance /= 2) {
        float other = __shfl_xor_sync(ALL_LANES, x, distance);
        x = other > x ? other : x;
    }
    return x;
}

template <typename SUM> static __device__ __forceinline__ SUM warp_sum(SUM x)
{
    for (int distance = WARP / 2; distance > 0; distance /= 2)
        x += __shfl_xor_sync(ALL_LANES, x, distance);
    return x;
}

/* From step 1 on: the score of one key. Lane i has the elements i, i + 32, ... of the query and loads the same ones of
 * the key. */
template <int HEAD_DIM, typename T>
static __device__ __forceinline__ float row_score(const float q[HEAD_DIM / WARP], const T *k_bt, float scale)
{
    float score = 0;
    for (int j = 0; j < HEAD_DIM / WARP; j++)
        score = fmaf(q[j], to_float(k_bt[threadIdx.x % WARP + j * WARP]), score);
    return warp_sum(score) * scale;
}

#endif
