/* Step 12: early launch. The last rung on sm_90 for all plans but those of few rows (step 13).
 *   idea    programmatic dependent launch: the kernel starts as soon as the previous launch in the stream allows it and
 *           leaves room on the GPU. It reads the plan, finds its tiles, and only then waits for that launch to end,
 *           before it reads queries, K and V
 *   wins    19.1 to 18.6 us on 64 branches with 64 tokens each behind 2048 (figures/ladder.csv); 10.6 to 8.9 us on
 *           a single branch
 *   price   two instructions and a launch attribute. Kernels that it may overlap must not write the plan
 *   leaves  where many rows meet, the chain of a worker's own instructions: a third of a tile's cycles goes to
 *           requesting the next tile (docs/gpu.md). And fixed latencies: three dependent loads before the first tile is
 *           requested, the barrier of the grid, the merge
 *   loop    as step 10
 *   threads as step 11 */
#include "early_launch.cuh"
#include "last_arriver.cuh"
#include "wait_for_all.cuh"
#include "worker_warpgroup.cuh"

template <int HEAD_DIM, typename T>
static __global__ void __launch_bounds__(WORKER_THREADS, WORKERS_PER_SM)
    attend(const __grid_constant__ attention_arguments a)
{
    SHARED_MEMORY(char, memory);
    masked_shared &shared = *(masked_shared *)memory;
    worker<HEAD_DIM, T, own_rows, fragment_order> w;
    allow_next_launch();

    /* find this item's blocks: from here on, LEAD tiles ahead */
    w.find_tiles(a, shared);
    wait_for_previous_launch(); /* until here, only the plan was read */
    w.request_queries(a, shared);
    for (uint32_t n = 0; n < LEAD; n++) {
        w.prefetch(a, shared, n);
        prefetch_masks(a, shared, w.list, n);
        cp_async_commit();
    }
    /* while K and V are on their way: the warp's first merge list */
    merge_cursor merges = a.queue.is_small ? last_arriver_start(a)
                                           : merge_start(a, threadIdx.x / WARP * gridDim.x + blockIdx.x,
                                                         gridDim.x * WORKER_WARPS);
    while (w.tile < w.list.count) {
        w.begin_task(a, shared);
        queue_tile tile;
        do {
            tile = worker_record(shared, w.tile);
            cp_async_wait<LEAD - 1>();
            warpgroup_fence(); /* makes this thread's copies visible to wgmma */
            __syncthreads();

            /* score the keys: on the tensor cores, while the warps issue the copies of the next tile */
            typename warpgroup_tile<HEAD_DIM, T>::scores scores;
            warpgroup_tile<HEAD_DIM, T>::begin_scores(scores, w.q, shared.kv[w.tile % STAGES][0]);
            w.prefetch(a, shared, w.tile + LEAD);
            prefetch_masks(a, shared, w.list, w.tile + LEAD);
            cp_async_commit();

            /* absorb into the running maximum and sum */
            warpgroup_tile<HEAD_DIM, T>::absorb_scores(w.state, scores, w.share, tile, shared.kv[w.tile % STAGES][1],
                                                       shared.masks[w.tile % STAGES], a.scale);
            w.tile++;
        } while (!tile.is_last);
        w.end_task(a, shared, tile);
    }
    redo_spoilt_here(a, shared, w);

    /* merge partial states, normalize */
    if (!a.queue.needs_merge)
        return;
    if (!a.queue.is_small)
        wait_for_all(a.arrivals);
    else if (!is_last_arriver(a, shared.start, merges))
        return;
    merge_all<HEAD_DIM, T>(a, merges);
}

template <int HEAD_DIM, typename T> static cudaError_t launch(const attention_arguments &a, cudaStream_t stream)
{
    return launch_early(all_wait(a), a.queue.num_workers, WORKER_THREADS, sizeof(masked_shared), stream,
                        attend<HEAD_DIM, T>, a);
}

cudaError_t step_12_early_launch(const attention_arguments *a, cudaStream_t stream)
{
    return DISPATCH_HALF(launch, *a, stream);
}
