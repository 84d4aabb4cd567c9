/* Step 7: one launch. The workers merge too.
 *   idea    a worker without tiles left waits until all others are there too (one counter), then the workers share out
 *           the queries and heads. States are merged in the order of the plan's list, so that the same plan gives the
 *           same bits
 *   price   a wait of two trips to the L2 cache. Who waits must not keep those from running that it waits for: the
 *           launch is cooperative, all workers are on the GPU at once. 8 warps a multiprocessor merge, where a
 *           launch of its own would have more
 *   leaves  a masked task computes all its rows against all its tokens, and each lane asks memory for its bits: step 8
 *   threads as step 6; merge: a warp for each query and head */
#include "worker.cuh"

/* absorb this warp's slices of a tile. */
template <int HEAD_DIM, typename T, int M>
static __device__ __forceinline__ void absorb(tile_state<HEAD_DIM> state[M], const uint32_t q[M][HEAD_DIM / 16][4],
                                              const attention_arguments &a, const queue_tile &tile,
                                              const char *keys, const char *values)
{
    uint32_t warps_n = WORKER_WARPS / worker_warps_m(tile), slice = worker_first_slice<HEAD_DIM>(tile);
    bool is_masked = tile.first_mask != QUEUE_NO_MASK;
    for (; slice * SLICE_TOKENS < tile.num_tokens; slice += warps_n) {
        uint32_t first = slice * SLICE_TOKENS, offset = first * HEAD_DIM * 2, left = tile.num_tokens - first;
        uint32_t visible[M];
#pragma unroll
        for (int m = 0; m < M; m++) {
            visible[m] = left < SLICE_TOKENS ? tile_first_tokens((int)left) : 0xff;
            if (is_masked)
                visible[m] = worker_visible(tile, m, a.queue.masks + tile.first_mask + first, left);
        }
        tile_absorb<HEAD_DIM, T, M>(state, q, keys + offset, values + offset, visible, a.scale);
    }
}

template <int HEAD_DIM, typename T>
static __global__ void __launch_bounds__(WORKER_THREADS, WORKERS_PER_SM)
    attend(const __grid_constant__ attention_arguments a)
{
    enum { M = worker_matrices<HEAD_DIM>::M };
    SHARED_MEMORY(char, memory);
    worker_shared &shared = *(worker_shared *)memory;
    worker_place at = worker_start(a, shared);
    uint32_t q[M][HEAD_DIM / 16][4], spoilt = at.end, task_first = at.first;
    tile_state<HEAD_DIM> state[M];

    for (uint32_t i = at.first; i < at.first + LEAD; i++) {
        worker_copy<HEAD_DIM>(a, shared, at, i);
        cp_async_commit();
    }
    for (uint32_t i = at.first; i < at.end; i++) {
        const queue_tile &tile = shared.tiles[i % RECORD_RING];
        const queue_row *rows = shared.rows[at.task % ROW_RING];
        uint32_t stage = (i - at.first) % STAGES;
        char *keys = shared.kv[stage][0], *values = shared.kv[stage][1];

        /* the tile is there, and no warp is at the one before: its stage takes the next copy */
        cp_async_wait<LEAD - 1>();
        __syncthreads();
        worker_copy<HEAD_DIM>(a, shared, at, i + LEAD);
        cp_async_commit();

        if (tile.is_first) {
            task_first = i;
            worker_load_queries<HEAD_DIM, T, M>(a, tile, rows, q);
            for (int m = 0; m < M; m++)
                tile_clear<HEAD_DIM>(state[m]);
        }
        if (M > 1 && tile_rows(tile) > WORKER_WARPS * SLICE_ROWS)
            absorb<HEAD_DIM, T, M>(state, q, a, tile, keys, values);
        else
            absorb<HEAD_DIM, T, 1>(state, q, a, tile, keys, values);
        if (!tile.is_last)
            continue;

        /* write the partial states */
        bool has_nan = false;
        for (int m = 0; m < M && tile.is_masked; m++)
            has_nan |= tile_has_nan<HEAD_DIM>(state[m]);
        at.task++;
        if (__syncthreads_or(has_nan)) {
            spoilt = spoilt < at.end ? spoilt : task_first;
            continue;
        }
        worker_store<HEAD_DIM, M>(a, shared, tile, rows, state, keys, 0, tile.num_rows);
    }
    for (uint32_t i = spoilt; i < at.end; i++) {
        if (a.queue.tiles[i].is_masked && a.queue.tiles[i].is_first)
            worker_row_by_row<HEAD_DIM, T>(a, shared, i);
    }
    worker_wait_for_all(a.arrivals);
    merge_share<HEAD_DIM, true>(a, threadIdx.x / TILE_WARP * gridDim.x + blockIdx.x, gridDim.x * WORKER_WARPS);
}

template <int HEAD_DIM, typename T> static cudaError_t launch(const attention_arguments &a, cudaStream_t stream)
{
    return launch_kernel_as(true, a.queue.num_workers, WORKER_THREADS, sizeof(worker_shared), stream,
                            attend<HEAD_DIM, T>, a);
}

cudaError_t step_7_one_launch(const attention_arguments *a, cudaStream_t stream)
{
    return DISPATCH_HALF(launch, *a, stream);
}
