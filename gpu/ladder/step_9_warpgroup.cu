/* tree_attention on the GPU: step 9, the last rung, on sm_90. Everything of the steps before, and the warpgroup.
 *   idea    the four warps of a worker are a warpgroup: together they multiply 64 rows by K and V as these lie in
 *           shared memory (wgmma). No warp loads a matrix any more, where each of the four loaded all of K and V; the
 *           next tile's copies are asked for while the scores are computed. All tasks go this way, also few rows, also
 *           masks. Where a KV head has no more rows than a worker has warps, its last worker merges, and nobody waits
 *   wins    22 to 19 us on 64 branches of 64 tokens behind 2048 (figures/ladder.csv)
 *   price   64 rows are multiplied where 4 are there, and slices that nobody sees are no longer passed over: a masked
 *           tile costs as much as another. Code for one GPU generation alone: elsewhere step 8 is the last
 *   leaves  each task of 64 rows brings K and V from L2 for itself: twins of 128 rows, or a cluster, could share them.
 *           And what is fixed: three loads until the first tile is asked for, the wait for all, the merge
 *   loop    worker_run (worker.cuh): find blocks, copy ahead, absorb, write partial states
 *   threads warp w has the rows 16 * w .. + 15 of a task, each lane its part of them as in step 4
 *           time     barrier   scores of tile i    softmax   values   barrier
 *           warps              copy tile i + 1     ...
 *           matrices           ################              ######## */
#include "worker.cuh"

template <int HEAD_DIM, typename T> struct warpgroup_absorb {
    enum { MASKS_TRAVEL = 1, OWN_ROWS = 1 };
    enum { SLICE = worker_tile<HEAD_DIM>::MAX_SLICE, SLICES = worker_tile<HEAD_DIM>::TOKENS / SLICE };
    enum { PANEL = tile_panel<HEAD_DIM>::BYTES };
    typedef float scores[SLICES][SLICE / 8][4];

    /* score the keys of a tile: starts the products. */
    static __device__ __forceinline__ void begin(scores &score, const uint32_t q[HEAD_DIM / 16][4], const char *keys)
    {
        warpgroup_begin();
#pragma unroll
        for (int slice = 0; slice < SLICES; slice++) {
            const shared_at k = shared_address(keys) + slice * SLICE * PANEL_ROW;
#pragma unroll
            for (int i = 0; i < HEAD_DIM / 16; i++)
                warpgroup_scores<T, SLICE>(score[slice][0], q[i], k + i / 4 * PANEL + i % 4 * 32, i > 0);
        }
        warpgroup_commit();
    }

    /* o += weights x the values of a slice. */
    static __device__ __forceinline__ void add_values(tile_state<HEAD_DIM> &state,
                                                      const uint32_t weights[SLICE / 16][4], const char *values)
    {
        const shared_at v = shared_address(values);
        warpgroup_begin();
#pragma unroll
        for (int i = 0; i < SLICE / 16; i++)
            warpgroup_values<T, HEAD_DIM>(state.o[0], weights[i], v + i * 16 * PANEL_ROW, PANEL);
        warpgroup_commit();
        warpgroup_wait();
    }

    /* absorb a tile, slice by slice. */
    static __device__ __forceinline__ void absorb(tile_state<HEAD_DIM> &state, scores &score,
                                                  const uint32_t[HEAD_DIM / 16][4], const worker_part &part,
                                                  const queue_tile &tile, const char *, const char *values,
                                                  const uint64_t *masks, float scale)
    {
        const bool has_rows = threadIdx.x / TILE_WARP * SLICE_ROWS < tile_rows(tile);
#pragma unroll
        for (int slice = 0; slice < SLICES; slice++) {
            const uint32_t first = slice * SLICE;
            const int num_tokens = (int)(tile.num_tokens - first);
            const uint32_t visible = tile.first_mask == QUEUE_NO_MASK
                                         ? tile_first_tokens<SLICE>(num_tokens)
                                         : tile_visible<SLICE>(masks + first, num_tokens, part.row);
            uint32_t weights[SLICE / 16][4] = {};
            warpgroup_wait();
            if (has_rows)
                tile_softmax<HEAD_DIM, T, SLICE>(state, weights, score[slice], visible, scale);
            add_values(state, weights, values + first * PANEL_ROW);
        }
    }
};

template <int HEAD_DIM, typename T>
static __global__ void __launch_bounds__(WORKER_THREADS, WORKERS_PER_SM)
    attend(const __grid_constant__ attention_arguments a)
{
    SHARED_MEMORY(char, memory);
    worker_shared &shared = *(worker_shared *)memory;
    /* its loads have long arrived when they are needed */
    const uint32_t warp = threadIdx.x / TILE_WARP;
    merge_place merges = a.queue.is_small ? worker_small_merges(a)
                                          : merge_begin(a, warp * gridDim.x + blockIdx.x, gridDim.x * WORKER_WARPS);
    begin_next_launch();
    worker_run<HEAD_DIM, T, warpgroup_absorb<HEAD_DIM, T>>(a, shared);

    /* merge partial states, normalize */
    if (!a.queue.is_small)
        worker_wait_for_all(a.arrivals);
    else if (!worker_is_last(a, shared, merges))
        return;
    merge_all<HEAD_DIM, T, true>(a, merges);
}

cudaError_t gpu_num_workers(uint32_t *num_workers)
{
    enum { RESERVED = 1024 }; /* bytes of shared memory that CUDA takes of each thread block's */
    int device = 0, num_sms = 0, shared_bytes = 0;
    cudaError_t error = cudaGetDevice(&device);
    if (error == cudaSuccess)
        error = cudaDeviceGetAttribute(&num_sms, cudaDevAttrMultiProcessorCount, device);
    if (error == cudaSuccess)
        error = cudaDeviceGetAttribute(&shared_bytes, cudaDevAttrMaxSharedMemoryPerMultiprocessor, device);
    uint32_t fit = (uint32_t)shared_bytes / (uint32_t)(sizeof(worker_shared) + RESERVED);
    *num_workers = (uint32_t)num_sms * (fit < WORKERS_PER_SM ? fit : (uint32_t)WORKERS_PER_SM);
    return error == cudaSuccess && *num_workers == 0 ? cudaErrorInvalidConfiguration : error;
}

template <int HEAD_DIM, typename T> static cudaError_t launch(const attention_arguments &a, cudaStream_t stream)
{
    return launch_kernel_as(LAUNCH_EARLY | (a.queue.is_small ? 0 : LAUNCH_COOPERATIVE), a.queue.num_workers,
                            WORKER_THREADS, sizeof(worker_shared), stream, attend<HEAD_DIM, T>, a);
}

cudaError_t step_9_warpgroup(const attention_arguments *a, cudaStream_t stream)
{
    return DISPATCH_HALF(launch, *a, stream);
}
