/* Step 8: one launch. After a barrier of the whole grid, the workers merge too.
 *   idea    a worker that has finished its tiles waits for all others (one counter in global memory); then the warps of
 *           all workers divide the queries and heads among them. Each merges in the order of the plan's list, so that
 *           the same plan gives the same bits, and loads its first lists before its first tile, not after the wait
 *   wins    nothing here: 23.1 to 23.4 us on 64 branches with 64 tokens each behind 2048 (figures/ladder.csv)
 *   price   the barrier: two trips to the L2 cache. A worker that waits must not keep another from starting, so the
 *           launch is cooperative: all workers are on the GPU at once. And only 8 warps per multiprocessor merge, where
 *           a launch of its own has more: with the simple merge of step 6 this rung would be slower still
 *   leaves  a masked task scores all of its rows against all of its tokens, and each lane loads its masks from global
 *           memory: step 9
 *   loop    as step 6
 *   threads as step 6; merge: as step 7, by the warps of the workers */
#include "merge_ahead.cuh"
#include "wait_for_all.cuh"
#include "worker_redo.cuh"

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
    /* while K and V are on their way: the warp's first merge list */
    merge_cursor merges = merge_start(a, threadIdx.x / WARP * gridDim.x + blockIdx.x, gridDim.x * WORKER_WARPS);
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

    /* merge partial states, normalize */
    wait_for_all(a.arrivals);
    merge_all<HEAD_DIM, T>(a, merges);
}

template <int HEAD_DIM, typename T> static cudaError_t launch(const attention_arguments &a, cudaStream_t stream)
{
    return launch_cooperative(a.queue.num_workers, WORKER_THREADS, sizeof(worker_shared), stream,
                              attend<HEAD_DIM, T>, a);
}

cudaError_t step_8_one_launch(const attention_arguments *a, cudaStream_t stream)
{
    return DISPATCH_HALF(launch, *a, stream);
}
