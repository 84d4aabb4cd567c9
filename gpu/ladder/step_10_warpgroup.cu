/* Step 10: the warpgroup. From here on the rungs need sm_90.
 *   idea    the four warps of a worker form a warpgroup and issue wgmma, which reads K and V directly from shared
 *           memory. In step 9, in a task of many rows, each warp loaded every fragment of K and V with ldmatrix, so
 *           shared memory was read four times per tile; now it is read once. The copies of the next tile are issued
 *           while the tensor cores compute the scores. Tasks of few rows and masked tasks use wgmma too
 *   wins    22.3 to 19.1 us on 64 branches with 64 tokens each behind 2048 (figures/ladder.csv)
 *   price   wgmma always multiplies 64 rows, even when the task has 4; and slices that no row sees are not skipped, so
 *           a masked tile costs as much as a dense one
 *   leaves  on a tree with few rows, all workers wait at the barrier although only a few warps merge: step 11
 *   loop    as step 6, but the scores are started before the prefetch
 *   threads warp w has the rows 16 * w .. + 15 of a task, each lane its part of them as in step 4
 *           time           barrier   scores of tile n    softmax   values   barrier
 *           warps                    copy tile n + 1     ...
 *           tensor cores             ################              ######## */
#include "merge_ahead.cuh"
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
    merge_cursor merges = merge_start(a, threadIdx.x / WARP * gridDim.x + blockIdx.x, gridDim.x * WORKER_WARPS);
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
    wait_for_all(a.arrivals);
    merge_all<HEAD_DIM, T>(a, merges);
}

template <int HEAD_DIM, typename T> static cudaError_t launch(const attention_arguments &a, cudaStream_t stream)
{
    return launch_cooperative(a.queue.num_workers, WORKER_THREADS, sizeof(masked_shared), stream,
                              attend<HEAD_DIM, T>, a);
}

cudaError_t step_10_warpgroup(const attention_arguments *a, cudaStream_t stream)
{
    return DISPATCH_HALF(launch, *a, stream);
}
