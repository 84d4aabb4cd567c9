/* Step 4: tensor cores. Scores and values become products of 16 x 16 by 16 x 8 matrices, one instruction each:
 * mma.cuh.
 *   idea    the rows of an item times its group of query heads are the rows of one matrix, since all meet the same
 *           K and V: what GQA and the tree share is what a matrix instruction wants. Softmax stays in registers:
 *           the scores that a lane gets are, exponentiated, the left side of weights x values
 *   wins    950 to 65 us on 64 branches of 64 tokens behind 2048 (figures/ladder.csv)
 *   price   weights are rounded to the storage type; rows come in sixteens, so that a task of one row pays for 16.
 *           One row may see a V that is NaN and others not: where that spoils the task, it is done again, row by
 *           row. The host expands the plan: tasks, 4 bytes a token for its slot, 8 for its mask (plan_queue.h)
 *   leaves  everybody waits for a tile, then for its sums; V is loaded two bytes at a time: step 5
 *   threads 4 warps, each with 16 of the task's rows, all with the same tile of tokens
 *           tile in shared memory   K  32 tokens x (head_dim + 8)   the 8 keep 8 tokens' elements in different banks
 *                                   V  the same
 *           scores  16 rows x 16 tokens: lane i has rows i / 4 and i / 4 + 8, tokens 2 * (i % 4), + 1, + 8, + 9
 *           out     16 rows x head_dim:  lane i has the same rows, elements 2 * (i % 4), + 1 of each 8 */
#include "merge.cuh"
#include "task.cuh"

enum { WARPS = QUEUE_TILE_ROWS / SLICE_ROWS, THREADS = WARPS * TILE_WARP, TOKENS = 32, PADDING = 8 };

template <int HEAD_DIM, typename T> struct shared_tile {
    T key[TOKENS][HEAD_DIM + PADDING], value[TOKENS][HEAD_DIM + PADDING];
};

/* find this item's blocks: tokens first .. of the task; zeros behind its end and where the only row sees nothing. */
template <int HEAD_DIM, typename T>
static __device__ void load_tile(shared_tile<HEAD_DIM, T> &tile, const attention_arguments &a, const lane_rows &at,
                                 uint32_t first, uint32_t only_row)
{
    enum { CHUNKS = HEAD_DIM / 8 };
    for (uint32_t i = threadIdx.x; i < TOKENS * CHUNKS; i += THREADS) {
        uint32_t token = i / CHUNKS, element = i % CHUNKS * 8;
        uint4 k = make_uint4(0, 0, 0, 0), v = k;
        if (first + token < at.task.num_tokens && tile_row_sees(a, at.task, only_row, first + token)) {
            uint32_t row = a.queue.kv_slots[at.task.first_token + first + token];
            uint64_t from = tile_offset<HEAD_DIM>(a.shape, row, at.kv_head) + element;
            k = *(const uint4 *)((const T *)a.key + from);
            v = *(const uint4 *)((const T *)a.value + from);
        }
        *(uint4 *)&tile.key[token][element] = k;
        *(uint4 *)&tile.value[token][element] = v;
    }
}

/* score the keys: 16 rows x the 16 tokens from `first` on. */
template <int HEAD_DIM, typename T>
static __device__ void score_keys(float score[2][4], const uint32_t q[HEAD_DIM / 16][4],
                                  const shared_tile<HEAD_DIM, T> &tile, uint32_t first)
{
    uint32_t token = first + threadIdx.x % TILE_WARP / 4, pair = threadIdx.x % 4 * 2;
    for (int n = 0; n < 2; n++) {
        for (int e = 0; e < 4; e++)
            score[n][e] = 0;
#pragma unroll
        for (int k = 0; k < HEAD_DIM / 16; k++) {
            const T *from = &tile.key[token + 8 * n][16 * k + pair];
            uint32_t b[2] = {*(const uint32_t *)from, *(const uint32_t *)(from + 8)};
            mma_16x8x16<T>(score[n], q[k], b);
        }
    }
}

/* Element `element` of tokens t and t + 1, as they stand below each other in the right side of a product. */
template <int HEAD_DIM, typename T>
static __device__ uint32_t value_pair(const shared_tile<HEAD_DIM, T> &tile, uint32_t t, uint32_t element)
{
    return *(const uint16_t *)&tile.value[t][element] | (uint32_t)*(const uint16_t *)&tile.value[t + 1][element] << 16;
}

/* o += weights x values. */
template <int HEAD_DIM, typename T>
static __device__ void sum_values(tile_state<HEAD_DIM> &state, const uint32_t weights[4],
                                  const shared_tile<HEAD_DIM, T> &tile, uint32_t first)
{
    uint32_t token = first + threadIdx.x % 4 * 2, element = threadIdx.x % TILE_WARP / 4;
#pragma unroll
    for (int j = 0; j < HEAD_DIM / 8; j++) {
        uint32_t b[2] = {value_pair(tile, token, element + 8 * j), value_pair(tile, token + 8, element + 8 * j)};
        mma_16x8x16<T>(state.o[j], weights, b);
    }
}

/* All tokens of the task, for all rows or for one. */
template <int HEAD_DIM, typename T>
static __device__ void absorb_task(tile_state<HEAD_DIM> &state, shared_tile<HEAD_DIM, T> &tile,
                                   const uint32_t q[HEAD_DIM / 16][4], const attention_arguments &a,
                                   const lane_rows &at, uint32_t only_row)
{
    const uint64_t *masks = at.task.first_mask == QUEUE_NO_MASK ? NULL : a.queue.masks + at.task.first_mask;
    tile_clear<HEAD_DIM>(state);
    for (uint32_t first = 0; first < at.task.num_tokens; first += TOKENS) {
        __syncthreads(); /* the tile before was read */
        load_tile<HEAD_DIM, T>(tile, a, at, first, only_row);
        __syncthreads();
        for (uint32_t t = first; t < first + TOKENS && t < at.task.num_tokens; t += SLICE_TOKENS) {
            float score[2][4];
            uint32_t weights[1][4], left = at.task.num_tokens - t;
            uint32_t visible = masks ? tile_visible<SLICE_TOKENS>(masks + t, left, at.mask_row)
                                     : tile_first_tokens<SLICE_TOKENS>(left);
            score_keys<HEAD_DIM, T>(score, q, tile, t - first);
            /* absorb into the running maximum and sum */
            tile_softmax<HEAD_DIM, T, SLICE_TOKENS>(state, weights, score, visible, a.scale);
            sum_values<HEAD_DIM, T>(state, weights[0], tile, t - first);
        }
    }
    tile_sum_rows<HEAD_DIM>(state);
}

template <int HEAD_DIM, typename T> static __global__ void __launch_bounds__(THREADS) attend(attention_arguments a)
{
    SHARED_VARIABLE(tile, shared_tile<HEAD_DIM, T>);
    const lane_rows at = tile_find_rows(a);
    uint32_t q[HEAD_DIM / 16][4];
    tile_state<HEAD_DIM> state;
    tile_load_queries<HEAD_DIM, T>(q, a, at);
    absorb_task<HEAD_DIM, T>(state, tile, q, a, at, ALL_ROWS);
    bool masked = at.task.first_mask != QUEUE_NO_MASK;
    if (!__syncthreads_or(masked && tile_has_nan<HEAD_DIM>(state))) {
        tile_store<HEAD_DIM, T>(a, at, state, ALL_ROWS);
        return;
    }
    for (uint32_t row = 0; row < at.task.num_queries; row++) { /* 0 * NaN: tile.cuh */
        absorb_task<HEAD_DIM, T>(state, tile, q, a, at, row);
        tile_store<HEAD_DIM, T>(a, at, state, row);
    }
}

template <int HEAD_DIM, typename T> static cudaError_t launch(const attention_arguments &a, cudaStream_t stream)
{
    cudaError_t error = launch_kernel(a.queue.num_tasks * a.shape.num_kv_heads, THREADS, 0, stream, attend<HEAD_DIM, T>,
                                      a);
    return error == cudaSuccess ? launch_merge<HEAD_DIM, T>(a, stream) : error;
}

cudaError_t step_4_tensor_cores(const attention_arguments *a, cudaStream_t stream)
{
    return DISPATCH_HALF(launch, *a, stream);
}
