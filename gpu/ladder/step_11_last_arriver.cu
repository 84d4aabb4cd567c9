/* Step 11: the last arriver merges.
 *   idea    no worker waits where it need not. Where a KV head has no more rows than a worker has warps (a small
 *           queue), the last of its workers to finish merges all of its rows, one per warp. Where every query has a
 *           single state, no warp merges: the tasks have written the results. In both cases the launch need not be
 *           cooperative
 *   wins    nothing here: 19.1 to 19.1 us on 64 branches with 64 tokens each behind 2048 (figures/ladder.csv), which
 *           have too many rows. 58.0 to 56.1 us on 512 leaves on four levels, where nothing is merged. Nothing by itself
 *           on a single branch, 10.2 to 10.6 us: it needs step 12, where a launch that is not cooperative can begin as
 *           soon as there is room for one worker (docs/gpu.md)
 *   price   four warps merge a whole KV head, so this only suits few rows; the kernel has two ways to merge
 *   leaves  the launch begins when the previous one in the stream has ended: step 12
 *   loop    as step 10
 *   threads as step 10; merge: warp w has row w of a KV head */
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

    /* find this item's blocks: from here on, LEAD tiles ahead */
    w.find_tiles(a, shared);
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
    if (!all_wait(a))
        return launch_kernel(a.queue.num_workers, WORKER_THREADS, sizeof(masked_shared), stream, attend<HEAD_DIM, T>, a);
    return launch_cooperative(a.queue.num_workers, WORKER_THREADS, sizeof(masked_shared), stream, attend<HEAD_DIM, T>,
                              a);
}

cudaError_t step_11_last_arriver(const attention_arguments *a, cudaStream_t stream)
{
    return DISPATCH_HALF(launch, *a, stream);
}
