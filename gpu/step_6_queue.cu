/* Step 6: a queue. The grid is no longer the list of tasks but as many workers as the GPU holds at once; each has
 * a list of tiles that the host made: plan_queue.
 *   idea    the host knows what each task costs, so it deals them out: the dearest first, to whoever has least. A
 *           worker that ends one task is already copying the next one's tiles. And the shape of the work follows
 *           the rows: few rows, and the warps share the tokens; many, and each warp takes 32 of them (worker.cuh)
 *   price   the host expands the plan: 32 bytes a tile and KV head; 108 KB of shared memory a worker
 *   leaves  merge is a second launch, which begins when the last worker has ended: step 7
 *   threads 4 warps, warps_m x warps_n: rows x slices of 16 tokens
 *           tile of 64 tokens (head_dim 128)   K  [ 0-15 | 16-31 | 32-47 | 48-63 ]   warps_n = 4: one slice each
 *           stages   copied: tile i + 2        in flight: i + 1        computed: i */
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
}

template <int HEAD_DIM, typename T> static cudaError_t launch(const attention_arguments &a, cudaStream_t stream)
{
    cudaError_t error = launch_kernel(a.queue.num_workers, WORKER_THREADS, sizeof(worker_shared), stream,
                                      attend<HEAD_DIM, T>, a);
    return error == cudaSuccess ? launch_merge<HEAD_DIM, true>(a, stream) : error;
}

cudaError_t step_6_queue(const attention_arguments *a, cudaStream_t stream)
{
    return DISPATCH_HALF(launch, *a, stream);
}
