/* Step 13: merge at once. A warp requests all partial states of a merge, and waits for them once.
 *   idea    step 7 requests eight rows of partial o, then the next eight before it adds up the first; but the copy from
 *           the registers of the next eight to those of these waits for their loads, so each eight rows cost a trip to
 *           L2 (a warp's clock: 700 cycles and as many for the sum). Here up to 32 rows are in flight, nothing is
 *           copied, and the weights of all rows are computed together, one row in each lane
 *   wins    @WINS@
 *   price   64 registers for the rows, at the end of the kernel, where the states of the tiles are no longer needed
 *   leaves  the way to the first tile: three dependent loads; the barrier of the grid; each task of 64 rows loads K and V
 *           from L2 for itself
 *   loop    as step 10
 *   threads as step 11; merge: lane i computes the weight of row i (merge_at_once.cuh) */
#include "early_launch.cuh"
#include "last_arriver.cuh"
#include "merge_at_once.cuh"
#include "wait_for_all.cuh"
#include "worker_warpgroup.cuh"

template <int HEAD_DIM, typename T>
static __global__ void __launch_bounds__(WORKER_THREADS, WORKERS_PER_SM)
    attend(const __grid_constant__ attention_arguments a)
{
    SHARED_MEMORY(char, memory);
    masked_shared &shared = *(masked_shared *)memory;
    worker<HEAD_DIM, T, own_rows, fragment_order> w;
    /* loads the warp's first merge lists, long before they are needed */
    merge_cursor merges = a.queue.is_small ? last_arriver_start(a)
                                           : merge_start(a, threadIdx.x / WARP * gridDim.x + blockIdx.x,
                                                         gridDim.x * WORKER_WARPS);
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
    if (!a.queue.is_small)
        wait_for_all(a.arrivals);
    else if (!is_last_arriver(a, shared.start, merges))
        return;
    merge_all_at_once<HEAD_DIM, T>(a, merges);
}

template <int HEAD_DIM, typename T> static cudaError_t launch(const attention_arguments &a, cudaStream_t stream)
{
    return launch_early(!a.queue.is_small, a.queue.num_workers, WORKER_THREADS, sizeof(masked_shared), stream,
                        attend<HEAD_DIM, T>, a);
}

cudaError_t step_13_merge_at_once(const attention_arguments *a, cudaStream_t stream)
{
    return DISPATCH_HALF(launch, *a, stream);
}
