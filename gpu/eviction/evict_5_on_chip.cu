/* evict_5: scores that never leave the chip. The last rung, on sm_90, at head_dim 128 and 256.
 *   idea    a task that has all tokens of its query knows lse when it ends. Until then its scores stay in shared
 *           memory, and while the next task runs, the warps that have no rows turn them into one float for each token
 *           and KV head: a quarter of the writes, with four heads in a group, and few enough to stay in L2. The loads
 *           behind the barrier are all requested at once, in short loops
 *   wins    237 to 214 us on 64 branches with 3200 tokens each (figures/eviction_fused_cost.csv)
 *   price   113 KB of shared memory for a worker, which leaves L1 28 KB; weights to 5e-6. Queries with several states
 *           or too many tokens (3392 at head_dim 128, four heads in a group) go through memory as before
 *   leaves  few branches: all of their queries are split over workers, and evict_4 runs. And head_dim 64, where this
 *           was slower
 *   loop    as evict_4; with each tile, the tile before is packed, and one of the task before is summed
 *   threads as evict_4; pack and sum: warps 1 to 3, a lane has two tokens; sum_all: lane i has token i of 32 */
#include "early_launch.cuh"
#include "merge_ahead.cuh"
#include "wait_for_all.cuh"
#include "worker_on_chip.cuh"

template <int HEAD_DIM, typename T>
static __global__ void __launch_bounds__(WORKER_THREADS, WORKERS_PER_SM)
    attend(const __grid_constant__ eviction_arguments e)
{
    typedef warpgroup_tile<HEAD_DIM, T> tiles;
    typedef chip_scores<HEAD_DIM> chip;
    SHARED_MEMORY(char, memory);
    chip_shared &shared = *(chip_shared *)memory;
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
    uint32_t place = 0; /* in the ring, of the task's first tile */
    shared.task.num_tokens = 0;
    while (w.tile < w.list.count) {
        w.begin_task(e, shared);
        const queue_tile begin = worker_record(shared, w.tile);
        const bool on_chip = __ldg(&e.lists.on_chip[begin.first_partial]);
        const kept_rows kept = find_kept_rows(e, begin, WORKER_WARPS);
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

            /* the warps without rows: pack the previous tile, sum one of the task before */
            chip::sum_tile(e, shared, w.tile);
            if (on_chip && tile.number > 0)
                chip::pack_tile(e, shared, w.tile - 1, chip::place_after(e, place, tile.number - 1));

            /* keep the scores: on the chip, or in memory */
            const uint32_t first = tile.number * worker_tile<HEAD_DIM>::TOKENS;
            warpgroup_wait();
#pragma unroll
            for (int slice = 0; slice < tiles::SLICES; slice++) {
                if (on_chip)
                    chip::template keep<tiles::SLICE>(e, shared, w.tile, scores[slice], slice * tiles::SLICE);
                else
                    kept.template keep<tiles::SLICE>(scores[slice], first + slice * tiles::SLICE,
                                                     (int)tile.num_tokens - slice * tiles::SLICE);
            }

            /* absorb into the running maximum and sum */
            tiles::absorb_scores(w.state, scores, w.share, tile, shared.kv[w.tile % STAGES][1],
                                 shared.masks[w.tile % STAGES], e.scale);
            if (on_chip)
                chip::keep_maxima(e, shared, w.tile, w.state);
            w.tile++;
        } while (!tile.is_last);
        if (on_chip)
            chip::keep_softmax(e, shared, w.state);
        w.end_task(e, shared, tile);
        if (on_chip) {
            chip::finish(e, shared, tile, w.tile, place);
            place = chip::place_after(e, place, tile.number + 1);
        }
    }
    redo_spoilt_here(e, shared, w);

    /* sum what is left on the chip; merge partial states, normalize; importance and victims */
    sum_memory &sums = ((sum_memory *)shared.kv)[threadIdx.x / WARP];
    sum_cursor sum_jobs = sum_start(e);
    __syncthreads();
    sum_request_slots(e, sum_jobs, sums);
    chip::sum_rest(e, shared, w.tile);
    score_cursor jobs = score_start(e);
    sum_request_norms(e, sum_jobs, sums, 0);
    const uint32_t ticket = arrive(e.arrivals);
    score_ahead(e, jobs);
    wait_for_others(e.arrivals, ticket);
    sum_request_masses(e, sum_jobs, sums, 0);
    if (e.queue.needs_merge)
        merge_all<HEAD_DIM, T>(e, merges);
    sum_all(e, sum_jobs, sums);
    __syncwarp();
    score_all(e, jobs, shared.kv[0][0]);
}

template <int HEAD_DIM, typename T> static cudaError_t launch(const eviction_arguments &e, cudaStream_t stream)
{
    return launch_early(true, e.queue.num_workers, WORKER_THREADS, sizeof(chip_shared), stream, attend<HEAD_DIM, T>, e);
}

cudaError_t evict_5_on_chip(const eviction_arguments *e, cudaStream_t stream)
{
    eviction_arguments placed = *e;
    if (e->lists.num_sum_jobs == 0)
        return evict_4_warpgroup(e, stream);
    placed.lists.num_jobs -= placed.lists.num_sum_jobs; /* the first ones: scores in memory */
    fused_place_scratch(&placed);
    return DISPATCH_HALF(launch, placed, stream);
}
