/* Step 4: tensor cores. Scores and values become products of 16 x 16 by 16 x 8 matrices, one instruction each
 * (mma.cuh).
 *   idea    the queries of an item x the query heads of a group are the rows of one matrix, since all of them attend to
 *           the same K and V: GQA and the tree provide the many rows that a matrix instruction needs. Softmax stays in
 *           registers: a lane's fragment of the scores, exponentiated, is its fragment of the left matrix of weights x
 *           values
 *   wins    946 to 68.3 us on 64 branches with 64 tokens each behind 2048 (figures/ladder.csv)
 *   price   weights are rounded to the storage type. A warp always multiplies 16 rows, even if the task has one. A
 *           NaN in a hidden V contaminates rows that do not see it: such a task runs again, one query at a time
 *           (task.cuh). The host expands the plan: tasks, 4 bytes per token for its slot, 8 for its mask (plan_queue.h)
 *   leaves  loading and computing alternate: the warps wait for a tile, then memory idles while they use it. V is read
 *           from shared memory two bytes at a time: step 5
 *   threads 4 warps, each with 16 of the task's rows, all with the same tile of tokens
 *           tile in shared memory   K  32 tokens x (head_dim + 8)   the padding of 8 elements avoids bank conflicts
 *                                   V  the same
 *           scores  16 rows x 16 tokens: lane i has the rows i / 4, i / 4 + 8, tokens 2 * (i % 4), + 1, + 8, + 9
 *           out     16 rows x head_dim:  lane i has the same rows, elements 2 * (i % 4), + 1 of each 8 */
#include "merge.cuh"
#include "task.cuh"

enum { WARPS = QUEUE_TILE_ROWS / WARP_ROWS, THREADS = WARPS * WARP, TOKENS = 32, PADDING = 8 };

template <int HEAD_DIM, typename T> struct shared_tile {
    T key[TOKENS][HEAD_DIM + PADDING], value[TOKENS][HEAD_DIM + PADDING];
};

/* find this item's blocks: loads tokens first .. first + 31 of the task; zeros for tokens that are not needed. */
template <int HEAD_DIM, typename T>
static __device__ void load_tile(shared_tile<HEAD_DIM, T> &tile, const attention_arguments &a, const lane_rows &at,
                                 uint32_t first, uint32_t only_query)
{
    enum { CHUNKS = HEAD_DIM / 8 };
    for (uint32_t i = threadIdx.x; i < TOKENS * CHUNKS; i += THREADS) {
        uint32_t token = i / CHUNKS, element = i % CHUNKS * 8;
        uint4 k = make_uint4(0, 0, 0, 0), v = k;
        if (task_needs(a, at.task, first + token, only_query)) {
            uint64_t from = task_token_offset<HEAD_DIM>(a, at, first + token) + element;
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
    uint32_t token = first + threadIdx.x % WARP / 4, pair = threadIdx.x % 4 * 2;
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

/* The same element of tokens t and t + 1, neighbours in a column of the right matrix, in one register. */
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
    uint32_t token = first + threadIdx.x % 4 * 2, element = threadIdx.x % WARP / 4;
#pragma unroll
    for (int j = 0; j < HEAD_DIM / 8; j++) {
        uint32_t b[2] = {value_pair(tile, token, element + 8 * j), value_pair(tile, token + 8, element + 8 * j)};
        mma_16x8x16<T>(state.o[j], weights, b);
    }
}

/* All tokens of the task, for all queries or for one. */
template <int HEAD_DIM, typename T>
static __device__ void absorb_task(tile_state<HEAD_DIM> &state, shared_tile<HEAD_DIM, T> &tile,
                                   const uint32_t q[HEAD_DIM / 16][4], const attention_arguments &a,
                                   const lane_rows &at, uint32_t only_query)
{
    tile_clear<HEAD_DIM>(state);
    for (uint32_t first = 0; first < at.task.num_tokens; first += TOKENS) {
        __syncthreads(); /* no warp still reads the previous tile */
        load_tile<HEAD_DIM, T>(tile, a, at, first, only_query);
        __syncthreads();
        for (uint32_t t = first; t < first + TOKENS && t < at.task.num_tokens; t += SLICE_TOKENS) {
            float score[2][4];
            uint32_t weights[1][4], visible = task_visible<SLICE_TOKENS>(a, at, t);
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
    task_run<HEAD_DIM, T>(a, [&](tile_state<HEAD_DIM> &state, const uint32_t q[HEAD_DIM / 16][4], const lane_rows &at,
                                 uint32_t only_query) {
        absorb_task<HEAD_DIM, T>(state, tile, q, a, at, only_query);
    });
}

template <int HEAD_DIM, typename T> static cudaError_t launch(const attention_arguments &a, cudaStream_t stream)
{
    cudaError_t error = launch_kernel(a.queue.num_tasks * a.shape.num_kv_heads, THREADS, 0, stream, attend<HEAD_DIM, T>,
                                      a);
    return error == cudaSuccess ? launch_merge<HEAD_DIM, T>(a, stream) : error; /* merge partial states, normalize */
}

cudaError_t step_4_tensor_cores(const attention_arguments *a, cudaStream_t stream)
{
    return DISPATCH_HALF(launch, *a, stream);
}
