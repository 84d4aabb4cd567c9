/* Step 7: merge ahead. A warp requests many partial states before it needs the first.
 *   idea    the o of a partial state is 256 bytes (head_dim 128), but a trip to L2 takes 700 cycles: the merge is bound
 *           by latency. So a warp loads eight of these rows into registers at once, and requests the next eight before
 *           it adds them up. Where there are more queries x heads than warps, a warp merges four heads of a query
 *           together. And partial o is written in fragment order, as the matrix instructions leave it in the lanes, so
 *           that a lane writes 16 bytes at once instead of 4
 *   wins    25.8 to 23.1 us on 64 branches with 64 tokens each behind 2048 (figures/ladder.csv)
 *   price   96 to 126 registers for each thread that merges (head_dim 128, sm_90a); out is written in pieces of 8 bytes
 *   leaves  the merge is a second launch, which begins when the last worker has ended: step 8
 *   loop    as step 6
 *   threads as step 6; merge: lane i computes the weight of row i % 8 (merge_ahead.cuh) */
#include "merge_ahead.cuh"
#include "worker_redo.cuh"

enum { MERGE_WARPS = 4 }; /* of a thread block that merges */

template <int HEAD_DIM, typename T>
static __global__ void __launch_bounds__(WORKER_THREADS, WORKERS_PER_SM)
    attend(const __grid_constant__ attention_arguments a)
{
    SHARED_MEMORY(char, memory);
    worker_shared &shared = *(worker_shared *)memory;
    worker<HEAD_DIM, T, split_rows_then_tokens, fragment_order> w;

    /* find this item's blocks: from here on, LEAD tiles ahead */
    w.find_tiles(a, shared);
    w.request_queries(a, shared);
    for (uint32_t n = 0; n < LEAD; n++) {
        w.prefetch(a, shared, n);
        cp_async_commit();
    }
    while (w.tile < w.list.count) {
        w.begin_task(a, shared);
        queue_tile tile;
        do {
            tile = worker_record(shared, w.tile);
            cp_async_wait<LEAD - 1>(); /* this thread's copies of the tile have landed; */
            __syncthreads();           /* so have those of all threads, and the stage of the previous tile is free */
            w.prefetch(a, shared, w.tile + LEAD);
            cp_async_commit();

            /* score the keys, absorb into the running maximum and sum */
            absorb_tile<HEAD_DIM, T>(w.state, w.q, w.share, tile, shared.kv[w.tile % STAGES],
                                     a.queue.masks + tile.first_mask, a.scale);
            w.tile++;
        } while (!tile.is_last);
        w.end_task(a, shared, tile);
    }
    redo_spoilt<absorb_tile<HEAD_DIM, T>>(a, shared, w);
}

/* merge partial states, normalize */
template <int HEAD_DIM, typename T> static __global__ void merge_states(attention_arguments a)
{
    merge_cursor merges = merge_start(a, blockIdx.x * MERGE_WARPS + threadIdx.x / WARP, gridDim.x * MERGE_WARPS);
    merge_all<HEAD_DIM, T>(a, merges);
}

template <int HEAD_DIM, typename T> static cudaError_t launch(const attention_arguments &a, cudaStream_t stream)
{
    const uint64_t num_merges = (uint64_t)a.plan.num_queries * a.shape.num_heads;
    cudaError_t error = launch_kernel(a.queue.num_workers, WORKER_THREADS, sizeof(worker_shared), stream,
                                      attend<HEAD_DIM, T>, a);
    if (error != cudaSuccess)
        return error;
    return launch_kernel((uint32_t)((num_merges + MERGE_WARPS - 1) / MERGE_WARPS), MERGE_WARPS * WARP, 0, stream,
                         merge_states<HEAD_DIM, T>, a);
}

cudaError_t step_7_merge_ahead(const attention_arguments *a, cudaStream_t stream)
{
    return DISPATCH_HALF(launch, *a, stream);
}
