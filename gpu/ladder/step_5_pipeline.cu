/* Step 5: a pipeline. Two tiles are on their way from memory while one is computed.
 *   idea    cp.async copies from global to shared memory asynchronously and past the registers. Three stages form a
 *           ring, and tile i + 2 is prefetched before tile i is computed. ldmatrix loads four 8 x 8 matrices at once,
 *           as the fragments that the tensor cores need, and transposes V on the way. The tile is swizzled
 *           (swizzle.cuh), so that ldmatrix has no bank conflicts, without padding
 *   wins    68.3 to 46.0 us on 64 branches with 64 tokens each behind 2048 (figures/ladder.csv)
 *   price   96 KB of shared memory per thread block, so only two fit on a multiprocessor; each task starts with an
 *           empty pipeline
 *   leaves  a task of 16 rows gives work to one warp of four, a short task ends before the pipeline is full, and the
 *           last tasks leave most of the GPU idle: step 6
 *   threads as step 4; thread t copies 16 bytes of every (128 / (head_dim / 8))th token, of K and of V
 *           time        tile 0   1   2   3
 *           copied      0 1 2    3   4   5    stage = tile % 3
 *           computed    0        1   2   3 */
#include "merge.cuh"
#include "swizzle.cuh"
#include "task.cuh"

enum { WARPS = QUEUE_TILE_ROWS / WARP_ROWS, THREADS = WARPS * WARP, STAGES = 3, LEAD = STAGES - 1 };

template <int HEAD_DIM> struct tile_size { enum { TOKENS = 8192 / HEAD_DIM, BYTES = TOKENS * HEAD_DIM * 2 }; };

/* find this item's blocks: starts the copy of tile i of the task, zeros for tokens that are not needed, and commits the
 * group of copies, even if it is empty. */
template <int HEAD_DIM>
static __device__ void copy_tile(char *stages, const attention_arguments &a, const lane_rows &at, uint32_t i,
                                 uint32_t only_query)
{
    enum { CHUNKS = HEAD_DIM / 8, TOKENS = tile_size<HEAD_DIM>::TOKENS, BYTES = tile_size<HEAD_DIM>::BYTES };
    char *keys = stages + i % STAGES * 2 * BYTES, *values = keys + BYTES;
    uint32_t chunk = threadIdx.x % CHUNKS;
    for (uint32_t token = threadIdx.x / CHUNKS; token < TOKENS; token += THREADS / CHUNKS) {
        if (i * TOKENS >= at.task.num_tokens)
            break;
        bool needed = task_needs(a, at.task, i * TOKENS + token, only_query);
        uint64_t from = needed ? task_token_offset<HEAD_DIM>(a, at, i * TOKENS + token) + chunk * 8 : 0;
        cp_async_16(tile_chunk<HEAD_DIM>(keys, token, chunk), (const uint16_t *)a.key + from, needed);
        cp_async_16(tile_chunk<HEAD_DIM>(values, token, chunk), (const uint16_t *)a.value + from, needed);
    }
    cp_async_commit();
}

/* All tokens of the task, for all queries or for one. */
template <int HEAD_DIM, typename T>
static __device__ void absorb_task(tile_state<HEAD_DIM> &state, char *stages, const uint32_t q[HEAD_DIM / 16][4],
                                   const attention_arguments &a, const lane_rows &at, uint32_t only_query)
{
    enum { TOKENS = tile_size<HEAD_DIM>::TOKENS, BYTES = tile_size<HEAD_DIM>::BYTES };
    tile_clear<HEAD_DIM>(state);
    for (uint32_t i = 0; i < LEAD; i++)
        copy_tile<HEAD_DIM>(stages, a, at, i, only_query);
    for (uint32_t i = 0; i * TOKENS < at.task.num_tokens; i++) {
        cp_async_wait<LEAD - 1>(); /* this thread's copies of tile i have arrived; after the barrier, those of all, */
        __syncthreads();           /* and no warp still reads tile i - 1, whose stage is free */
        copy_tile<HEAD_DIM>(stages, a, at, i + LEAD, only_query);

        /* score the keys, absorb into the running maximum and sum: one slice at a time */
        char *keys = stages + i % STAGES * 2 * BYTES, *values = keys + BYTES;
        for (uint32_t t = i * TOKENS; t < (i + 1) * TOKENS && t < at.task.num_tokens; t += SLICE_TOKENS) {
            uint32_t offset = t % TOKENS * PANEL_ROW;
            tile_absorb<HEAD_DIM, T, SLICE_TOKENS>(state, q, keys + offset, values + offset,
                                                   task_visible<SLICE_TOKENS>(a, at, t), a.scale);
        }
    }
    __syncthreads(); /* all stages are free */
    tile_sum_rows<HEAD_DIM>(state);
}

template <int HEAD_DIM, typename T> static __global__ void __launch_bounds__(THREADS) attend(attention_arguments a)
{
    SHARED_MEMORY(char, stages);
    task_run<HEAD_DIM, T>(a, [&](tile_state<HEAD_DIM> &state, const uint32_t q[HEAD_DIM / 16][4], const lane_rows &at,
                                 uint32_t only_query) {
        absorb_task<HEAD_DIM, T>(state, stages, q, a, at, only_query);
    });
}

template <int HEAD_DIM, typename T> static cudaError_t launch(const attention_arguments &a, cudaStream_t stream)
{
    cudaError_t error = launch_kernel(a.queue.num_tasks * a.shape.num_kv_heads, THREADS,
                                      STAGES * 2 * tile_size<HEAD_DIM>::BYTES, stream, attend<HEAD_DIM, T>, a);
    return error == cudaSuccess ? launch_merge<HEAD_DIM, T>(a, stream) : error; /* merge partial states, normalize */
}

cudaError_t step_5_pipeline(const attention_arguments *a, cudaStream_t stream)
{
    return DISPATCH_HALF(launch, *a, stream);
}
