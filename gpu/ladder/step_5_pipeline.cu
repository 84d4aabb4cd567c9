/* Step 5: a pipeline. Two tiles are on their way from memory while one is computed.
 *   idea    cp.async copies from global to shared memory without a register and without waiting: three stages in a
 *           ring, the copies of tile i + 2 start before tile i is computed. ldmatrix then brings four 8 x 8
 *           matrices at a time to the lanes that the product wants them in, V transposed on the way. For that, the
 *           eight 16-byte pieces that it reads at once must lie in different banks: each 128 bytes of a token have
 *           piece c at c ^ (t % 8) (tile_chunk)
 *   wins    65 to 43 us on 64 branches of 64 tokens behind 2048 (figures/ladder.csv)
 *   price   96 KB of shared memory a thread block: two blocks a multiprocessor; the first two tiles of each task
 *           are waited for
 *   leaves  a task of 16 rows keeps one warp of four busy, a short task is over before the pipeline is full, and
 *           the last tasks run alone: step 6
 *   threads as step 4; thread t copies 16 bytes of every (128 / (head_dim / 8))th token, of K and of V
 *           time        tile 0   1   2   3
 *           copied      0 1 2    3   4   5    stage = tile % 3
 *           computed    0        1   2   3 */
#include "merge.cuh"
#include "swizzle.cuh"
#include "task.cuh"

enum { WARPS = QUEUE_TILE_ROWS / SLICE_ROWS, THREADS = WARPS * TILE_WARP, STAGES = 3, LEAD = STAGES - 1 };

template <int HEAD_DIM> struct tile_size { enum { TOKENS = 8192 / HEAD_DIM, BYTES = TOKENS * HEAD_DIM * 2 }; };

/* find this item's blocks: starts the copy of tile i of the task, and closes the group of copies, also an empty one. */
template <int HEAD_DIM>
static __device__ void copy_tile(char *stages, const attention_arguments &a, const lane_rows &at, uint32_t i,
                                 uint32_t only_row)
{
    enum { CHUNKS = HEAD_DIM / 8, TOKENS = tile_size<HEAD_DIM>::TOKENS, BYTES = tile_size<HEAD_DIM>::BYTES };
    char *keys = stages + i % STAGES * 2 * BYTES, *values = keys + BYTES;
    uint32_t chunk = threadIdx.x % CHUNKS;
    for (uint32_t token = threadIdx.x / CHUNKS; token < TOKENS; token += THREADS / CHUNKS) {
        uint32_t t = i * TOKENS + token;
        if (i * TOKENS >= at.task.num_tokens)
            break;
        bool valid = t < at.task.num_tokens && tile_row_sees(a, at.task, only_row, t);
        uint32_t row = valid ? a.queue.kv_slots[at.task.first_token + t] : 0;
        uint64_t from = tile_offset<HEAD_DIM>(a.shape, row, at.kv_head) + chunk * 8;
        cp_async_16(tile_chunk<HEAD_DIM>(keys, token, chunk), (const uint16_t *)a.key + from, valid);
        cp_async_16(tile_chunk<HEAD_DIM>(values, token, chunk), (const uint16_t *)a.value + from, valid);
    }
    cp_async_commit();
}

/* All tokens of the task, for all rows or for one. */
template <int HEAD_DIM, typename T>
static __device__ void absorb_task(tile_state<HEAD_DIM> &state, char *stages, const uint32_t q[HEAD_DIM / 16][4],
                                   const attention_arguments &a, const lane_rows &at, uint32_t only_row)
{
    enum { TOKENS = tile_size<HEAD_DIM>::TOKENS, BYTES = tile_size<HEAD_DIM>::BYTES };
    const uint64_t *masks = at.task.first_mask == QUEUE_NO_MASK ? NULL : a.queue.masks + at.task.first_mask;
    tile_clear<HEAD_DIM>(state);
    for (uint32_t i = 0; i < LEAD; i++)
        copy_tile<HEAD_DIM>(stages, a, at, i, only_row);
    for (uint32_t i = 0; i * TOKENS < at.task.num_tokens; i++) {
        cp_async_wait<LEAD - 1>(); /* my copies of tile i are there; after the barrier, those of all, */
        __syncthreads();           /* and tile i - 1 was read, so that its stage is free */
        copy_tile<HEAD_DIM>(stages, a, at, i + LEAD, only_row);

        char *keys = stages + i % STAGES * 2 * BYTES, *values = keys + BYTES;
        for (uint32_t t = i * TOKENS; t < (i + 1) * TOKENS && t < at.task.num_tokens; t += SLICE_TOKENS) {
            uint32_t offset = t % TOKENS * PANEL_ROW, left = at.task.num_tokens - t;
            uint32_t visible = masks ? tile_visible<SLICE_TOKENS>(masks + t, left, at.mask_row)
                                     : tile_first_tokens<SLICE_TOKENS>(left);
            tile_absorb<HEAD_DIM, T, SLICE_TOKENS>(state, q, keys + offset, values + offset, visible, a.scale);
        }
    }
    __syncthreads(); /* all stages are free */
    tile_sum_rows<HEAD_DIM>(state);
}

template <int HEAD_DIM, typename T> static __global__ void __launch_bounds__(THREADS) attend(attention_arguments a)
{
    SHARED_MEMORY(char, stages);
    const lane_rows at = tile_find_rows(a);
    uint32_t q[HEAD_DIM / 16][4];
    tile_state<HEAD_DIM> state;
    tile_load_queries<HEAD_DIM, T>(q, a, at);
    absorb_task<HEAD_DIM, T>(state, stages, q, a, at, ALL_ROWS);
    bool masked = at.task.first_mask != QUEUE_NO_MASK;
    if (!__syncthreads_or(masked && tile_has_nan<HEAD_DIM>(state))) {
        tile_store<HEAD_DIM, T>(a, at, state, ALL_ROWS);
        return;
    }
    for (uint32_t row = 0; row < at.task.num_queries; row++) { /* 0 * NaN: tile.cuh */
        absorb_task<HEAD_DIM, T>(state, stages, q, a, at, row);
        tile_store<HEAD_DIM, T>(a, at, state, row);
    }
}

template <int HEAD_DIM, typename T> static cudaError_t launch(const attention_arguments &a, cudaStream_t stream)
{
    cudaError_t error = launch_kernel(a.queue.num_tasks * a.shape.num_kv_heads, THREADS,
                                      STAGES * 2 * tile_size<HEAD_DIM>::BYTES, stream, attend<HEAD_DIM, T>, a);
    return error == cudaSuccess ? launch_merge<HEAD_DIM, T>(a, stream) : error;
}

cudaError_t step_5_pipeline(const attention_arguments *a, cudaStream_t stream)
{
    return DISPATCH_HALF(launch, *a, stream);
}
