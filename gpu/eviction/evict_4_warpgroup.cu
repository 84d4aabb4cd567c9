/* evict_4: the warpgroup. From here on the rungs need sm_90.
 *   idea    the fusion of evict_3 in the loop of step 12: wgmma leaves the scores of a tile in registers, and they go
 *           to memory from there, before softmax overwrites them; and the launch begins before the previous one ends
 *   wins    64.0 to 62.7 us on 16 branches with 3200 tokens each (figures/eviction_fused_cost.csv)
 *   price   as evict_3; and no last arriver merges a small queue (step 11), because the tokens of a query are scored by
 *           all workers: the launch stays cooperative
 *   leaves  as evict_3. And on a short step the code behind the barrier, which runs once, comes from memory as well
 *   loop    as step 12, with the scores kept
 *   threads as step 12; keep: a lane writes its fragments, four lanes a sector of a row; score: as evict_3 */
#include "early_launch.cuh"
#include "merge_ahead.cuh"
#include "wait_for_all.cuh"
#include "worker_scores.cuh"
#include "worker_warpgroup.cuh"

template <int HEAD_DIM, typename T>
static __global__ void __launch_bounds__(WORKER_THREADS, WORKERS_PER_SM)
    attend(const __grid_constant__ eviction_arguments e)
{
    typedef warpgroup_tile<HEAD_DIM, T> tiles;
    SHARED_MEMORY(char, memory);
    masked_shared &shared = *(masked_shared *)memory;
    worker<HEAD_DIM, T, own_rows, fragment_order> w;
    /* loads the warp's first merge lists, long before they are needed */
    merge_cursor merges = merge_start(e, threadIdx.x / WARP * gridDim.x + blockIdx.x, gridDim.x * WORKER_WARPS);
    score_prefetch(e);
    allow_next_launch();

    /* find this item's blocks: from here on, LEAD tiles ahead */
    w.find_tiles(e, shared);
    wait_for_previous_launch(); /* until here, only the plan was read */
    clear_victims(e);
    w.request_queries(e, shared);
    for (uint32_t n = 0; n < LEAD; n++) {
        w.prefetch(e, shared, n);
        prefetch_masks(e, shared, w.list, n);
        cp_async_commit();
    }
    while (w.tile < w.list.count) {
        w.begin_task(e, shared);
        const kept_rows kept = find_kept_rows(e, worker_record(shared, w.tile), WORKER_WARPS);
        queue_tile tile;
        do {
            tile = worker_record(shared, w.tile);
            cp_async_wait<LEAD - 1>();
            warpgroup_fence(); /* makes this thread's copies visible to wgmma */
            __syncthreads();

            /* score the keys: on the tensor cores, while the warps issue the copies of the next tile */
            typename tiles::scores scores;
            tiles::begin_scores(scores, w.q, shared.kv[w.tile % STAGES][0]);
            w.prefetch(e, shared, w.tile + LEAD);
            prefetch_masks(e, shared, w.list, w.tile + LEAD);
            cp_async_commit();

            /* keep the scores */
            const uint32_t first = tile.number * worker_tile<HEAD_DIM>::TOKENS;
            warpgroup_wait();
#pragma unroll
            for (int slice = 0; slice < tiles::SLICES; slice++)
                kept.template keep<tiles::SLICE>(scores[slice], first + slice * tiles::SLICE,
                                                 (int)tile.num_tokens - slice * tiles::SLICE);

            /* absorb into the running maximum and sum */
            tiles::absorb_scores(w.state, scores, w.share, tile, shared.kv[w.tile % STAGES][1],
                                 shared.masks[w.tile % STAGES], e.scale);
            w.tile++;
        } while (!tile.is_last);
        w.end_task(e, shared, tile);
    }
    redo_spoilt_here(e, shared, w);

    /* merge partial states, normalize; importance and victims */
    score_cursor jobs = score_start(e);
    const uint32_t ticket = arrive(e.arrivals);
    score_ahead(e, jobs);
    wait_for_others(e.arrivals, ticket);
    if (e.queue.needs_merge)
        merge_all<HEAD_DIM, T>(e, merges);
    score_all(e, jobs, shared.kv[0][0]);
}

template <int HEAD_DIM, typename T> static cudaError_t launch(const eviction_arguments &e, cudaStream_t stream)
{
    return launch_early(true, e.queue.num_workers, WORKER_THREADS, sizeof(masked_shared), stream, attend<HEAD_DIM, T>,
                        e);
}

cudaError_t evict_4_warpgroup(const eviction_arguments *e, cudaStream_t stream)
{
    eviction_arguments placed = *e;
    fused_place_scratch(&placed);
    return DISPATCH_HALF(launch, placed, stream);
}
