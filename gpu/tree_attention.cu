/* tree_attention on the GPU: step 8, the last rung. Everything of the steps before, and masks that cost little.
 *   idea    plans that pack many short nodes into one item (flatten, tree masks, small leaves) give each token a
 *           bit for each row. These bits travel with their tile, and a slice of 16 tokens that none of a warp's
 *           rows sees is passed over: neither scores nor values are computed
 *   price   8 bytes a token more in shared memory, for masked tiles alone
 *   leaves  K and V of such a slice are loaded all the same, since another warp may need them; the matrix
 *           instruction is that of 2020: wgmma and TMA of sm_90 do the same work with fewer instructions
 *   threads as step 6; lane i asks for token i % 16 of a slice whether its warp sees it */
#include "worker.cuh"

/* Of a slice's tokens, with masks, of which num_tokens are left: whether any row of this warp's matrix m sees any. */
static __device__ __forceinline__ bool sees_any(const queue_tile &tile, uint32_t m, const uint64_t *masks,
                                                uint32_t num_tokens)
{
    uint32_t warps_m = worker_warps_m(tile), token = threadIdx.x % SLICE_TOKENS;
    uint32_t row = (threadIdx.x / TILE_WARP % warps_m + m * warps_m) * SLICE_ROWS;
    uint32_t first = tile_query_row(tile, row), last = tile_query_row(tile, row + SLICE_ROWS - 1);
    uint64_t mine = first < 64 ? UINT64_MAX << first : 0;
    if (last < 63)
        mine &= ((uint64_t)2 << last) - 1;
    return __any_sync(TILE_ALL_LANES, token < num_tokens && masks[token] & mine);
}

/* absorb this warp's slices of a tile. */
template <int HEAD_DIM, typename T, int M>
static __device__ __forceinline__ void absorb(tile_state<HEAD_DIM> state[M], const uint32_t q[M][HEAD_DIM / 16][4],
                                              const attention_arguments &a, const queue_tile &tile,
                                              const char *keys, const char *values, const uint64_t *masks)
{
    uint32_t warps_n = WORKER_WARPS / worker_warps_m(tile), slice = worker_first_slice<HEAD_DIM>(tile);
    bool is_masked = tile.first_mask != QUEUE_NO_MASK;
    for (; slice * SLICE_TOKENS < tile.num_tokens; slice += warps_n) {
        uint32_t first = slice * SLICE_TOKENS, offset = first * HEAD_DIM * 2, left = tile.num_tokens - first;
        uint32_t visible[M], any = !is_masked;
#pragma unroll
        for (int m = 0; m < M; m++) {
            visible[m] = left < SLICE_TOKENS ? tile_first_tokens((int)left) : 0xff;
            if (!is_masked)
                continue;
            visible[m] = sees_any(tile, m, masks + first, left) ? worker_visible(tile, m, masks + first, left) : 0;
            any |= __any_sync(TILE_ALL_LANES, visible[m]);
        }
        if (any)
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
    /* find this item's blocks: from here on, LEAD tiles ahead */
    worker_place at = worker_start(a, shared);
    uint32_t q[M][HEAD_DIM / 16][4], spoilt = at.end, task_first = at.first;
    tile_state<HEAD_DIM> state[M];

    for (uint32_t i = at.first; i < at.first + LEAD; i++) {
        worker_copy<HEAD_DIM>(a, shared, at, i);
        worker_copy_masks(a, shared, at, i);
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
        worker_copy_masks(a, shared, at, i + LEAD);
        cp_async_commit();

        if (tile.is_first) {
            task_first = i;
            worker_load_queries<HEAD_DIM, T, M>(a, tile, rows, q);
            for (int m = 0; m < M; m++)
                tile_clear<HEAD_DIM>(state[m]);
        }
        /* score the keys, absorb into the running maximum and sum: slice by slice */
        if (M > 1 && tile_rows(tile) > WORKER_WARPS * SLICE_ROWS)
            absorb<HEAD_DIM, T, M>(state, q, a, tile, keys, values, shared.masks[stage]);
        else
            absorb<HEAD_DIM, T, 1>(state, q, a, tile, keys, values, shared.masks[stage]);
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

    /* merge partial states, normalize */
    worker_wait_for_all(a.arrivals);
    merge_share<HEAD_DIM, true>(a, threadIdx.x / TILE_WARP * gridDim.x + blockIdx.x, gridDim.x * WORKER_WARPS);
}

template <int HEAD_DIM, typename T> static cudaError_t launch(const attention_arguments &a, cudaStream_t stream)
{
    return launch_kernel_as(true, a.queue.num_workers, WORKER_THREADS, sizeof(worker_shared), stream,
                            attend<HEAD_DIM, T>, a);
}

cudaError_t step_8_masks(const attention_arguments *a, cudaStream_t stream)
{
    return DISPATCH_HALF(launch, *a, stream);
}
